"""What was read before each reply, word for word: kept line by line, as most lines come again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from sqlite_utils import Database

from org.notebook import Notebook
from org.writing import insert
from roles.recorded import sha_of

ASKED_TOGETHER = 1000  # lines; SQLite takes 32,766 values in a question


def keep_brief(notebook: Notebook, text: str) -> str:
    """Keep a text that a role has read; its SHA-256.

    A line is stored once, whatever texts it is in, and a text as the numbers of its lines: what a
    new brief adds to the notebook is little more than what is new in it.
    """
    sha, lines = sha_of(text), text.split("\n")
    each = list(dict.fromkeys(lines))
    with notebook.transaction() as db:
        numbers = _found(db, each)
        for line in each:
            if line not in numbers:
                numbers[line] = insert(db, "lines", {"text": line})
        spans = " ".join(_spans(numbers[line] for line in lines))
        insert(db, "briefs", {"sha": sha, "lines": spans}, ignore=True)
    return sha


def _found(db: Database, lines: list[str]) -> dict[str, int]:
    """The numbers of those lines that are stored."""
    numbers: dict[str, int] = {}
    for start in range(0, len(lines), ASKED_TOGETHER):
        some = lines[start : start + ASKED_TOGETHER]
        marks = ", ".join("?" * len(some))
        numbers |= db.execute(f"select text, number from lines where text in ({marks})", some)
    return numbers


def brief_text(notebook: Notebook, sha: str) -> str | None:
    """What was read, by its SHA-256; None where it was not kept."""
    rows = notebook.rows("select lines from briefs where sha = :sha", {"sha": sha})
    if not rows:
        return None
    numbers = list(_numbers(rows[0]["lines"]))
    found = notebook.rows(
        "select number, text from lines where number in (select value from json_each(:numbers))",
        {"numbers": json.dumps(numbers)},
    )
    texts = {row["number"]: row["text"] for row in found}
    return "\n".join(texts[number] for number in numbers)


def _spans(numbers: Iterable[int]) -> Iterator[str]:
    """Numbers that follow one another, as the first of them and how many: `7` or `12+368`."""
    first, count = -1, 0
    for number in numbers:
        if count and number == first + count:
            count += 1
            continue
        if count:
            yield _span(first, count)
        first, count = number, 1
    if count:
        yield _span(first, count)


def _span(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}+{count}"


def _numbers(spans: str) -> Iterator[int]:
    for span in spans.split():
        first, _, count = span.partition("+")
        yield from range(int(first), int(first) + int(count or 1))
