"""A discussion, told again from the notebook: who said what to whom, when, and at what cost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from org.figures import clock, counted, day_and_clock, duration, money
from org.notebook import Experiment, Message, Notebook
from org.notes import Note
from org.plain import one_line, plain
from org.reports import COLOURS
from org.results import numbered
from org.stack import Proof
from org.steering import Order
from trainer.trial import Trial

LOOK_SECONDS = 0.5  # between two looks at a notebook that another process writes

# What is new in the notebook since the last look: of the experiments of some numbers, and of what
# belongs to none of them (the baseline, certifications) what ended since a moment.
NEW_EXPERIMENTS = """
    select * from experiments where number > :last and number between :first and :final
    order by number"""
NEW_MESSAGES = """
    select m.* from messages m join experiments e on e.id = m.experiment
    where m.number > :last and e.number between :first and :final order by m.number"""
NEW_NOTES = """
    select n.* from notes n left join experiments e on e.id = n.experiment
    where n.number > :last and (e.number between :first and :final or n.time >= :since)
    order by n.number"""
NEW_ORDERS = "select * from orders where number > :last and time >= :since order by number"
NEW_TRIALS = """
    select t.rowid as number, t.experiment, t.purpose, t.ended, t.trial_json
    from trials t left join experiments e on e.id = t.experiment
    where t.rowid > :last and (e.number between :first and :final
        or t.experiment is null and t.ended >= :since) order by t.rowid"""
NEW_PROOFS = """
    select * from certifications
    where number > :last and says is not null and ended >= :since order by number"""


@dataclass(frozen=True)
class Event:
    """Something that happened at a Unix time, in an experiment or before the first of them.

    ``aside`` is what it took; ``text`` is what was said. What ``begins`` has a line of its own.
    """

    time: float
    experiment: Experiment | None
    what: str
    begins: bool = False
    style: str = "bold"
    aside: str = ""
    text: str = ""


def replay(
    notebook: Notebook, number: int | None = None, *, follow: bool = False
) -> Iterator[RenderableType]:
    """The discussion of an experiment, or everything that happened in the lab, as it went.

    With ``follow`` it is listened to as it goes on in another process: see `overhear`.

    Raises:
        LabError: the notebook has no experiment of this number.
    """
    if number is not None:
        numbered(notebook, number)
    if follow:
        yield from overhear(notebook, number)
        return
    events, _ = _Ear(notebook, number or 0, number).listen()
    yield from map(_told, events)


def overhear(
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
        events, over = ear.listen()
        yield from map(_told, events)
        if over:
            said = (
                "The run has ended."
                if number is None
                else f"No more is said of experiment {number}."
            )
            yield Text(said, "dim")
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
        self._range = {
            "first": first,
            "final": first if only is not None else 2**62,
            "since": inf if only is not None else self._beginning(first),
        }
        questions = (NEW_EXPERIMENTS, NEW_MESSAGES, NEW_NOTES, NEW_ORDERS, NEW_TRIALS, NEW_PROOFS)
        self._heard = dict.fromkeys(questions, 0)
        self._experiments: dict[str | None, Experiment] = {}
        self._open: set[str] = set()

    def _beginning(self, first: int) -> float:
        """When an experiment began, or now if it has yet to; 0 for the whole notebook."""
        if not first:
            return 0.0
        sql = "select started from experiments where number = :first"
        rows = self._notebook.rows(sql, {"first": first})
        return float(rows[0]["started"]) if rows else time.time()

    def listen(self) -> tuple[list[Event], bool]:
        """What happened since it last listened, in the order of time; and whether that was all."""
        with self._notebook.transaction():  # all questions are put to one state of the notebook
            events = [*self._experiment_events(), *self._message_events(), *self._trial_events()]
            events += [*self._person_events(), *self._proof_events()]
            run = self._notebook.latest_run()
        over = run is not None and run.ended is not None
        if self._only is not None:  # the last run may have ended without a verdict on it
            over = over or not self._open
        return sorted(events, key=lambda event: event.time), over

    def _new(self, question: str) -> list[dict[str, Any]]:
        rows = self._notebook.rows(question, self._range | {"last": self._heard[question]})
        if rows:
            self._heard[question] = rows[-1]["number"]
        return rows

    def _experiment_events(self) -> Iterator[Event]:
        """Experiments that have begun, and verdicts."""
        still_open = [self._notebook.experiment(each) for each in sorted(self._open)]
        begun = [Experiment(**row) for row in self._new(NEW_EXPERIMENTS)]
        for experiment in begun:
            self._experiments[experiment.id] = experiment
            self._open.add(experiment.id)
            what = f"experiment {experiment.number}, {experiment.desk}"
            yield Event(experiment.started, experiment, what, begins=True)
        for experiment in (*still_open, *begun):
            if experiment.decision is not None:
                self._open.remove(experiment.id)
                yield Event(
                    experiment.ended or experiment.started,
                    experiment,
                    f"verdict: {experiment.decision}",
                    style=f"bold {COLOURS[experiment.decision]}",
                    text=experiment.reason or "",
                )

    def _message_events(self) -> Iterator[Event]:
        for row in self._new(NEW_MESSAGES):
            message = Message(**row)
            what = f"{message.speaker} → {message.listener}"
            experiment = self._experiments[message.experiment]
            yield Event(
                message.time,
                experiment,
                what,
                style="bold" if message.model else "cyan",
                aside=" · ".join(_price(message)),
                text=message.text,
            )

    def _person_events(self) -> Iterator[Event]:
        for row in self._new(NEW_NOTES):
            note = Note(**row)
            what = f"{note.author} → director"
            yield Event(note.time, None, what, style="bold magenta", aside="a note", text=note.text)
        for row in self._new(NEW_ORDERS):
            order = Order(**row)
            yield Event(
                order.time, None, f"{order.author} → the run: {order.what}", style="bold magenta"
            )

    def _trial_events(self) -> Iterator[Event]:
        for row in self._new(NEW_TRIALS):
            trial = Trial.model_validate_json(row["trial_json"])
            outcome = trial.outcome.replace("_", " ")
            came_to = outcome if trial.val_bpb is None else f"val_bpb {trial.val_bpb:.4f}"
            yield Event(
                row["ended"],
                self._experiments.get(row["experiment"]),
                f"{row['purpose']} trial: {came_to}",
                style="red" if trial.val_bpb is None else "cyan",
                aside=f"seed {trial.seed} · {trial.device} · {duration(trial.total_seconds)}",
                text=trial.reason,
            )

    def _proof_events(self) -> Iterator[Event]:
        for row in self._new(NEW_PROOFS):
            proof = Proof(**row)
            passed = proof.says == "pass"
            yield Event(
                row["ended"],
                None,
                f"certification {proof.number} {'passed' if passed else 'failed'}",
                style="bold green" if passed else "bold yellow",
                aside=f"{counted(proof.size, 'change')} · {one_line(proof.why)}",
                text=f"{proof.effect.text}: {proof.reason}" if proof.effect else proof.reason,
            )


def _price(message: Message) -> Iterator[str]:
    """Which model it was, and what its reply cost; what is unknown is said to be."""
    if message.model is None:
        return
    yield one_line(message.model)
    if message.prompt_tokens is None or message.reply_tokens is None:
        yield "tokens unknown"
    elif message.prompt_tokens or message.reply_tokens:
        yield f"{message.prompt_tokens:,} + {message.reply_tokens:,} tokens"
    if message.seconds:
        yield f"{message.seconds:.1f} s"
    if message.dollars is None:
        yield "cost unknown"
    elif message.dollars:
        yield money(message.dollars)


def _told(event: Event) -> RenderableType:
    """An event for a terminal: a line of who and when, and what was said under it."""
    if event.begins:
        title = Text(f"{event.what}, {day_and_clock(event.time)}", "bold")
        return Group(Rule(title, align="left", style="dim"), Text())
    since = f"+{duration(event.time - event.experiment.started)}" if event.experiment else ""
    number = f"#{event.experiment.number}" if event.experiment else ""
    head = Text(f"{clock(event.time)}  {since:>7}  {number:<5}", "dim")
    head.append(one_line(event.what), f"not dim {event.style}")
    said = plain(event.text).strip()
    body = Text(event.aside, "dim", overflow="fold")
    if event.aside and said:
        body.append("\n")
    body.append(said, "not dim")
    return Group(head, Padding(body, (0, 0, 1, 4), expand=False))
