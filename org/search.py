"""Words looked for in the notebook: in the experiments, and in all that was said about them."""

from __future__ import annotations

import re

from rich.console import Group, RenderableType
from rich.text import Text

from org.notebook import Notebook
from org.plain import one_line
from org.reports import listing

HITS = 20  # shown of the experiments, and as many of the messages

# What SQLite puts around a hit: of the characters that Unicode leaves to private use.
BEGIN, END = "\ue000", "\ue001"
SNIPPET = f"-1, '{BEGIN}', '{END}', '…', 32"

SEARCHES = {
    "experiments": f"""
        select e.number, 'experiment' as place, snippet(experiments_fts, {SNIPPET}) as said
        from experiments_fts join experiments e on e.rowid = experiments_fts.rowid
        where experiments_fts match :words order by rank limit :hits""",
    "messages": f"""
        select e.number, m.speaker as place, snippet(messages_fts, {SNIPPET}) as said
        from messages_fts join messages m on m.number = messages_fts.rowid
        join experiments e on e.id = m.experiment
        where messages_fts match :words order by rank limit :hits""",
}


def found(notebook: Notebook, words: str) -> RenderableType:
    """The experiments and messages in which all words occur, the best first.

    A word finds its other forms, too: ``rate`` finds ``rates``. Words in double quotes are found
    side by side only. Nothing else in them has a meaning of its own.
    """
    searched = " ".join(word for word in one_line(words).split() if any(map(str.isalnum, word)))
    table = listing("#", "where", "what it says")
    more: list[str] = []
    for name, sql in SEARCHES.items() if searched else ():
        asked = {"words": notebook.db.quote_fts(searched), "hits": HITS}
        for row in notebook.rows(sql, asked):
            table.add_row(str(row["number"]), row["place"], _marked(row["said"]))
        count = f"select count(*) as count from {name}_fts where {name}_fts match :words"
        left_out = notebook.rows(count, asked)[0]["count"] - HITS
        if left_out > 0:
            more.append(f"{left_out} more {name}")
    if not table.row_count:
        return Text(f"Nothing in the notebook has all of: {one_line(words)}")
    return Group(table, Text(f"and {' and '.join(more)}", "dim")) if more else table


def _marked(said: str) -> Text:
    """A snippet in one line, the words that were looked for in bold."""
    text = Text()
    for count, part in enumerate(re.split(f"[{BEGIN}{END}]", one_line(said))):
        text.append(part, "bold" if count % 2 else "")
    return text
