"""A row put into a table of the notebook, or changed there: one statement, before which nothing is asked.

`Table.insert` and `Table.update` of sqlite-utils ask for the table's columns and keys each time,
which takes seven times as long as the statement.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlite_utils import Database

from org import schema


def insert(db: Database, table: str, row: Mapping[str, object], *, ignore: bool = False) -> int:
    """Insert a row; its rowid. With ``ignore``, one whose key is there already changes nothing.

    Where nothing was inserted, what comes back means nothing.
    """
    how = "insert or ignore" if ignore else "insert"
    names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    done = db.execute(f"{how} into {table} ({names}) values ({values})", dict(row))
    return done.lastrowid or 0


def update(db: Database, table: str, key: object, columns: Mapping[str, object]) -> None:
    """Change some columns of a row. Raises KeyError if there is none of this key."""
    primary = schema.PRIMARY_KEYS.get(table, "id")
    changes = ", ".join(f"{name} = :{name}" for name in columns)
    sql = f"update {table} set {changes} where {primary} = :{primary}"
    if db.execute(sql, {**columns, primary: key}).rowcount != 1:
        raise KeyError(f"no {key} in {table}")
