"""Words looked for in the notebook: in the experiments, and in all that was said about them."""

from __future__ import annotations

import re

from rich.console import Group, RenderableType
from rich.text import Text

from org.notebook import Notebook
from org.plain import one_line
from org.telling.reports import listing

HITS = 20  # shown of the experiments, and as many of the messages
RANKED = 5000  # hits; of more the latest are shown, for to rank them all would take too long

# What SQLite puts around a hit: of the characters that Unicode leaves to private use.
BEGIN, END = "\ue000", "\ue001"
SNIPPET = f"-1, '{BEGIN}', '{END}', '…', 32"

SEARCHES = {
    "experiments": f"""
        select e.number, 'experiment' as place, snippet(experiments_fts, {SNIPPET}) as said
        from experiments_fts join experiments e on e.rowid = experiments_fts.rowid
        where experiments_fts match :words order by {{order}} limit :hits""",
    "messages": f"""
        select e.number, m.speaker as place, snippet(messages_fts, {SNIPPET}) as said
        from messages_fts join messages m on m.number = messages_fts.rowid
        join experiments e on e.id = m.experiment
        where messages_fts match :words order by {{order}} limit :hits""",
}


def found(notebook: Notebook, words: str) -> RenderableType:
    """The experiments and messages in which all words occur, the best first; of very many the latest.

    A word finds its other forms, too: ``rate`` finds ``rates``. Words in double quotes are found
    side by side only. Nothing else in them has a meaning of its own.
    """
    searched = " ".join(word for word in one_line(words).split() if any(map(str.isalnum, word)))
    table = listing("#", "where", "what it says")
    more: list[str] = []
    for name, sql in SEARCHES.items() if searched else ():
        asked = {"words": notebook.db.quote_fts(searched), "hits": HITS, "ranked": RANKED + 1}
        count = (
            "select count(*) as count from (select 1"
            f" from {name}_fts where {name}_fts match :words limit :ranked)"
        )
        hits_count = notebook.rows(count, asked)[0]["count"]
        order = "rank" if hits_count <= RANKED else f"{name}_fts.rowid desc"
        for row in notebook.rows(sql.format(order=order), asked):
            table.add_row(str(row["number"]), row["place"], _marked(row["said"]))
        if hits_count > RANKED:
            more.append(f"earlier {name}, more than {RANKED:,} in all")
        elif hits_count > HITS:
            more.append(f"{hits_count - HITS} more {name}")
    if not table.row_count:
        return Text(f"Nothing in the notebook has all of: {one_line(words)}")
    return Group(table, Text(f"and {' and '.join(more)}", "dim")) if more else table


def _marked(said: str) -> Text:
    """A snippet in one line, the words that were looked for in bold."""
    text = Text()
    for count, part in enumerate(re.split(f"[{BEGIN}{END}]", one_line(said))):
        text.append(part, "bold" if count % 2 else "")
    return text
