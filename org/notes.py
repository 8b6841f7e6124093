"""Notes of a person to the director: left at any time, read by the next one, answered once."""

from __future__ import annotations

import getpass
import time

from org.lab import LabError
from org.notebook import Notebook, Row
from org.writing import insert
from roles import records

# What has no answer yet, and is not before the director of another experiment that is open.
FREE = """answered is null and (experiment is null or experiment = :experiment
    or exists (select 1 from experiments where id = notes.experiment and decision is not null))"""


class Note(Row):
    """What a person wants the director to hear. Times are Unix seconds.

    ``experiment`` is the one whose director has it before them, and once it is ``answered`` the one
    whose direction answers it; an ``answer`` of "" says that the director had nothing to say to it.
    """

    number: int
    time: float
    author: str
    text: str
    experiment: str | None = None
    answered: float | None = None
    answer: str = ""

    def as_read(self) -> records.Note:
        """The note as a role reads it."""
        return records.Note(author=self.author, text=self.text)


def this_person() -> str:
    """Who sits here: the login name, or ``you`` where there is none."""
    try:
        return getpass.getuser()[:40] or "you"
    except (OSError, KeyError):
        return "you"


def leave_note(notebook: Notebook, text: str, author: str) -> Note:
    """Keep a note for the next director.

    Raises:
        LabError: it says nothing, or is too long to be read beside everything else.
    """
    text = text.strip()
    if not text:
        raise LabError("the note is empty; nothing was left")
    if len(text) > records.PARAGRAPH_CHARACTERS:
        raise LabError(
            f"a note has at most {records.PARAGRAPH_CHARACTERS} characters, this one has {len(text)}; what is"
            " longer belongs in program.md, which is read again before every experiment"
        )
    with notebook.transaction() as db:
        left = {"time": time.time(), "author": author, "text": text, "answer": ""}
        number = insert(db, "notes", left)
    return Note(number=number, **left)


def take_notes(notebook: Notebook, experiment_id: str) -> list[Note]:
    """Put every note that nobody has answered before the director of this experiment."""
    with notebook.transaction() as db:
        db.execute(f"update notes set experiment = :experiment where {FREE}", _of(experiment_id))
    return notes_of(notebook, experiment_id)


def notes_of(notebook: Notebook, experiment_id: str) -> list[Note]:
    """The notes that the director of an experiment has read, or is to read."""
    sql = "select * from notes where experiment = :experiment order by number"
    return [Note(**row) for row in notebook.rows(sql, _of(experiment_id))]


def answer_notes(notebook: Notebook, experiment_id: str, answer: str) -> None:
    """Write the answer to what this director has read; what has one already keeps it."""
    with notebook.transaction() as db:
        db.execute(
            "update notes set answer = :answer, answered = :now"
            " where experiment = :experiment and answered is null",
            {**_of(experiment_id), "answer": answer, "now": time.time()},
        )


def waiting_notes(notebook: Notebook) -> list[Note]:
    """The notes without an answer, the oldest first."""
    rows = notebook.rows("select * from notes where answered is null order by number")
    return [Note(**row) for row in rows]


def latest_answered(notebook: Notebook) -> tuple[Note, int] | None:
    """The note that was answered last, and the number of the experiment that did."""
    rows = notebook.rows(
        "select n.*, e.number as answered_in from notes n join experiments e on e.id = n.experiment"
        " where n.answered is not null order by n.answered desc, n.number desc limit 1"
    )
    return (Note(**rows[0]), int(rows[0]["answered_in"])) if rows else None


def _of(experiment_id: str) -> dict[str, str]:
    return {"experiment": experiment_id}
