"""A person is asked before a patch is tried; questions and answers are messages in the notebook."""

from __future__ import annotations

import time

from org.discussion import id_of
from org.lab import LabError
from org.notebook import Message, Notebook, Row
from roles.quoting import at_most
from roles.records import PARAGRAPH_CHARACTERS, Screening

KIND = "approve"  # of such messages; it is the place of the chart

# What the lab has asked and nobody answered, in experiments that go on. Who answers a step is `person`.
WAITING = f"""
    select q.id, q.run, q.experiment, q.time, e.number, e.title
    from experiments e join messages q on q.experiment = e.id
    where e.decision is null and q.kind = '{KIND}' and q.speaker = 'lab' and not exists (
        select 1 from messages a
        where a.id = substr(q.id, 1, length(q.id) - length('lab')) || 'person')
    order by q.number"""


class Question(Row):
    """A patch that waits for a person since ``time`` (Unix seconds): of experiment ``number``."""

    id: str
    run: str
    experiment: str
    time: float
    number: int
    title: str | None = None

    @property
    def step(self) -> str:
        return self.id.split("/")[1]

    @property
    def spoken(self) -> str:
        """The question in one line, with how to answer it from anywhere."""
        number = self.number
        return (
            f"Experiment {number} waits for a person: {self.title or 'a patch'} (python -m org diff"
            f' {number} shows it; python -m org approve {number}, or reject {number} "reason")'
        )


def questions(notebook: Notebook) -> list[Question]:
    """The patches that wait for a person, the oldest first."""
    return [Question(**row) for row in notebook.rows(WAITING)]


def answer_to(notebook: Notebook, experiment: str, step: str) -> Screening | None:
    """What a person has answered at a step of an experiment, if anyone has yet."""
    message = notebook.message(id_of(experiment, step, "person"))
    if message is None:
        return None
    return Screening.model_validate_json(message.reply_json or "")


def answer(
    notebook: Notebook, number: int | None, author: str, *, approved: bool, reason: str = ""
) -> Question:
    """Answer for the patch of an experiment, or of the only one that waits.

    Raises:
        LabError: it does not wait for a person, or it is not clear which is meant.
    """
    with notebook.transaction():
        question = _meant(questions(notebook), number)
        said = at_most(reason.strip(), PARAGRAPH_CHARACTERS)
        screening = Screening(approved=approved, reason=said)
        notebook.record_message(
            Message(
                id=id_of(question.experiment, question.step, "person"),
                run=question.run,
                experiment=question.experiment,
                time=time.time(),
                speaker=author,
                listener="engineer",
                kind=KIND,
                text="Approved." if approved else f"Rejected: {screening.reason}",
                reply_json=screening.model_dump_json(),
            )
        )
    return question


def _meant(waiting: list[Question], number: int | None) -> Question:
    those = ", ".join(str(question.number) for question in waiting)
    if number is None and len(waiting) == 1:
        return waiting[0]
    if number is None and waiting:
        raise LabError(f"say which: the patches of experiments {those} wait for a person")
    for question in waiting:
        if question.number == number:
            return question
    which = "" if number is None else f" of experiment {number}"
    those = f"; those of {those} do" if those else ""
    raise LabError(f"no patch{which} waits for a person{those}")
