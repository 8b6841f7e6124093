"""The notebook as it was at a moment: what was decided then is computed again by what decides now.

Knows no verdict. The tables are hidden behind views of the same names, which leave out what came
later, so that every function that reads a notebook may read its past.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path

from org import schema
from org.notebook import Notebook

_NOW = "(select moment from temp.past)"
_CERTIFIED = f"(select number from main.certifications where ended < {_NOW})"

# What a change or a certification came to later, and what is there in its place before.
_LATER = {
    "stack": {
        "standing": f"case when certification in {_CERTIFIED} then"
        f" case when pruning is null or pruning in {_CERTIFIED} then standing else 'keep' end"
        " else 'provisional' end",
        "certification": f"case when certification in {_CERTIFIED} then certification end",
        "commit_sha": f"case when certification in {_CERTIFIED} then commit_sha end",
        "pruning": f"case when pruning in {_CERTIFIED} then pruning end",
    },
    "certifications": {
        "says": f"case when ended < {_NOW} then says end",
        "reason": f"case when ended < {_NOW} then reason else '' end",
        "effect_json": f"case when ended < {_NOW} then effect_json end",
        "ended": f"case when ended < {_NOW} then ended end",
    },
}

# When a row was there. Experiments are those that were closed; a new incumbent is there together
# with what becomes of the stack.
_SINCE = {
    "trials": "ended",
    "experiments": "ended",
    "stack": "since",
    "certifications": "started",
    "incumbents": "coalesce((select c.ended from main.certifications c where c.number = certification), since)",
}


class Past:
    """A notebook that is only read, in one state of it, at any moment up to that."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        execute = notebook.db.execute
        execute("create temp table past (moment)")
        execute("insert into temp.past values (?)", [inf])
        for table, since in _SINCE.items():
            later = _LATER.get(table, {})
            columns = ", ".join(
                f"{later[name]} as {name}" if name in later else name
                for name in schema.TABLES[table][0]
            )
            execute(
                f"create temp view {table} as select rowid as rowid, {columns}"
                f" from main.{table} where {since} < {_NOW}"
            )
        notebook.db.conn.commit()
        execute("begin")

    @contextmanager
    def before(self, moment: float) -> Iterator[Notebook]:
        """The notebook as it was right before a moment, in Unix seconds."""
        self._set(moment)
        try:
            yield self.notebook
        finally:
            self._set(inf)

    def _set(self, moment: float) -> None:
        self.notebook.db.execute("update temp.past set moment = ?", [moment])


@contextmanager
def reading_past(path: Path) -> Iterator[Past]:
    """Open a notebook for that; a run may go on in it meanwhile, and is not seen.

    Raises:
        sqlite3.DatabaseError: it is not there, or is no notebook of this version.
    """
    notebook = Notebook(path, read_only=True)
    try:
        yield Past(notebook)
    finally:
        notebook.close()
