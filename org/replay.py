"""A discussion, told again from the notebook: who said what to whom, when, and at what cost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from org.figures import clock, day_and_clock, duration, money
from org.notebook import Experiment, Message, Notebook
from org.plain import one_line, plain
from org.reports import COLOURS
from org.results import numbered
from trainer.trial import Trial

LOOK_SECONDS = 0.5  # between two looks at a notebook that another process writes

# What is new in the notebook since the last look, of the experiments of some numbers. The runs of
# the baseline count as those of an experiment 0.
NEW_EXPERIMENTS = """
    select * from experiments where number > :last and number between :first and :final
    order by number"""
NEW_MESSAGES = """
    select m.* from messages m join experiments e on e.id = m.experiment
    where m.number > :last and e.number between :first and :final order by m.number"""
NEW_TRIALS = """
    select t.rowid as number, t.experiment, t.purpose, t.ended, t.trial_json
    from trials t left join experiments e on e.id = t.experiment
    where t.rowid > :last and coalesce(e.number, 0) between :first and :final order by t.rowid"""


@dataclass(frozen=True)
class Event:
    """Something that happened at a Unix time, in an experiment or before the first of them.

    ``aside`` is what it took; ``text`` is what was said.
    """

    time: float
    experiment: Experiment | None
    what: str
    style: str = "bold"
    aside: str = ""
    text: str = ""


def replay(notebook: Notebook, number: int | None = None) -> Iterator[RenderableType]:
    """The discussion of an experiment, or everything that happened in the lab, as it went.

    Raises:
        LabError: the notebook has no experiment of this number.
    """
    if number is not None:
        numbered(notebook, number)
    yield from map(_told, _Ear(notebook, number or 0, number).listen())


def follow(
    notebook: Notebook, number: int | None = None, stop: threading.Event | None = None
) -> Iterator[RenderableType]:
    """The discussion as it goes on in another process, until the run or the experiment has ended.

    It begins where the oldest experiment that is still open began, or the one that is asked for.
    Between two looks nothing is held, so that the run is never kept waiting. A run that was
    stopped has not ended: it may go on. Setting ``stop`` ends the following.

    Raises:
        LabError: the notebook has no experiment of this number.
    """
    stop = stop or threading.Event()
    if number is not None:
        numbered(notebook, number)
    ear = _Ear(notebook, _first_to_follow(notebook) if number is None else number, number)
    while True:
        with notebook.transaction():  # one state of the notebook for all questions
            events, over = ear.listen(), ear.is_over()
        yield from map(_told, events)
        if over:
            yield Text(
                "The run has ended." if number is None else "The experiment has ended.", "dim"
            )
        if over or stop.wait(LOOK_SECONDS):
            return


def _first_to_follow(notebook: Notebook) -> int:
    """The number of the oldest open experiment, or of the next one; 0 before the first."""
    (row,) = notebook.rows(
        "select (select min(number) from experiments where decision is null) as open,"
        " (select max(number) + 1 from experiments) as next"
    )
    return row["open"] or row["next"] or 0


class _Ear:
    """Listens to a notebook: knows what it has heard, and hears what is new.

    It listens to the experiments from number ``first`` on, or to ``only`` one.
    """

    def __init__(self, notebook: Notebook, first: int, only: int | None) -> None:
        self._notebook = notebook
        self._only = only
        self._range = {"first": first, "final": first if only is not None else 2**62}
        self._heard = {NEW_EXPERIMENTS: 0, NEW_MESSAGES: 0, NEW_TRIALS: 0}
        self._experiments: dict[str | None, Experiment] = {}
        self._open: list[str] = []

    def listen(self) -> list[Event]:
        """What happened since it last listened, in the order of time."""
        events: list[Event] = []
        for row in self._new(NEW_EXPERIMENTS):
            experiment = Experiment(**row)
            self._experiments[experiment.id] = experiment
            self._open.append(experiment.id)
            events.append(Event(experiment.started, experiment, experiment.desk))
        for row in self._new(NEW_MESSAGES):
            events.append(_message_event(Message(**row), self._experiments[row["experiment"]]))
        for row in self._new(NEW_TRIALS):
            events.append(_trial_event(row, self._experiments.get(row["experiment"])))
        events += self._verdicts()
        return sorted(events, key=lambda event: event.time)

    def is_over(self) -> bool:
        """Whether nothing new can come."""
        if self._only is not None:
            return not self._open
        run = self._notebook.latest_run()
        return run is not None and run.ended is not None

    def _new(self, question: str) -> list[dict[str, Any]]:
        rows = self._notebook.rows(question, self._range | {"last": self._heard[question]})
        if rows:
            self._heard[question] = rows[-1]["number"]
        return rows

    def _verdicts(self) -> Iterator[Event]:
        for experiment in map(self._notebook.experiment, tuple(self._open)):
            if experiment.decision is not None:
                self._open.remove(experiment.id)
                what, style = f"verdict: {experiment.decision}", COLOURS[experiment.decision]
                ended = experiment.ended or experiment.started
                yield Event(ended, experiment, what, f"bold {style}", text=experiment.reason or "")
