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

from org.claims import claims
from org.figures import clock, counted, day_and_clock, duration, money
from org.notebook import Experiment, Message, Notebook
from org.notes import Note
from org.plain import one_line, plain
from org.stack import Proof
from org.steering import Order
from org.telling.reports import COLOURS
from org.telling.results import numbered
from trainer.trial import Trial

TOLD = 10  # experiments, unless all are asked for; and so many are read at a time
LOOK_SECONDS = 0.5  # between two looks at a notebook that another process writes

# What is new in the notebook since the last look: of the experiments of some numbers, and of what
# belongs to none of them (the baseline, certifications) what ended since a moment. SQLite is to go
# from the experiments to what belongs to them: a cross join is in the order in which it is written.
NEW_EXPERIMENTS = """
    select * from experiments where number > :last and number between :first and :final
    order by number"""
NEW_MESSAGES = """
    select m.* from experiments e cross join messages m on m.experiment = e.id
    where m.number > :last and e.number between :first and :final order by m.number"""
NEW_NOTES = """
    select n.* from notes n left join experiments e on e.id = n.experiment
    where n.number > :last and (e.number between :first and :final or n.time >= :since and n.time < :until)
    order by n.number"""
NEW_ORDERS = """
    select * from orders where number > :last and time >= :since and time < :until order by number"""
NEW_TRIALS = """
    select t.rowid as number, t.experiment, t.purpose, t.ended, t.trial_json
    from experiments e cross join trials t on t.experiment = e.id
    where t.rowid > :last and e.number between :first and :final order by t.rowid"""
NEW_LONE_TRIALS = """
    select rowid as number, experiment, purpose, ended, trial_json from trials
    where rowid > :last and experiment is null and ended >= :since and ended < :until
    order by ended"""
NEW_PROOFS = """
    select * from certifications
    where number > :last and says is not null and ended >= :since and ended < :until
    order by number"""


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
    notebook: Notebook,
    number: int | None = None,
    *,
    follow: bool = False,
    everything: bool = False,
) -> Iterator[RenderableType]:
    """The discussion of an experiment, or of the latest and all that happened meanwhile, as it went.

    With ``everything`` it begins with the first experiment.
    With ``follow`` it is listened to as it goes on in another process: see `overhear`.

    Raises:
        LabError: the notebook has no experiment of this number.
    """
    if number is not None:
        numbered(notebook, number)
    if follow:
        yield from overhear(notebook, number)
        return
    if number is not None:
        events = iter(_Ear(notebook, number, number).listen()[0])
    else:
        first = 1 if everything else _first_told(notebook)
        events = _everything(notebook, first)
        if first > 1:
            yield Text(f"From experiment {first} on; --all begins with the first.\n", "dim")
    yield from map(_told, events)


def _first_told(notebook: Notebook) -> int:
    return max(notebook.experiments_count() - TOLD + 1, 1)


def _everything(notebook: Notebook, first: int) -> Iterator[Event]:
    """All that happened, from an experiment on, a few of them at a time.

    What happened after the next ones began is kept until they are heard, too.
    """
    kept: list[Event] = []
    since = 0.0 if first == 1 else None
    for begin in range(first, max(notebook.experiments_count(), 1) + 1, TOLD):
        ear = _Ear(notebook, begin, begin + TOLD - 1, since)
        kept = sorted([*kept, *ear.listen()[0]], key=lambda event: event.time)
        yield from (event for event in kept if event.time < ear.until)
        kept, since = [event for event in kept if event.time >= ear.until], ear.until
    yield from kept


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
    first = _first_to_follow(notebook) if number is None else number
    ear = _Ear(notebook, first, number, None if first else 0.0)
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

    It listens to the experiments from one number to another, or on without end, and, unless it is
    to one alone, to what happened besides: ``since`` a moment (by default when the first of them
    began) and ``until`` the next one after them began.
    """

    def __init__(
        self, notebook: Notebook, first: int, final: int | None, since: float | None = None
    ) -> None:
        self._notebook = notebook
        self._only = first == final
        self.until = inf if final is None else self._beginning(final + 1, inf)
        self._range = {
            "first": first,
            "final": 2**62 if final is None else final,
            "since": self._beginning(first, time.time()) if since is None else since,
            "until": -inf if self._only else self.until,
        }
        lone = (NEW_NOTES, NEW_ORDERS, NEW_LONE_TRIALS, NEW_PROOFS)
        self._heard = dict.fromkeys((NEW_EXPERIMENTS, NEW_MESSAGES, NEW_TRIALS, *lone), 0)
        self._experiments: dict[str | None, Experiment] = {}
        self._open: set[str] = set()

    def _beginning(self, number: int, otherwise: float) -> float:
        """When an experiment began; something else if it has yet to."""
        sql = "select started from experiments where number = :number"
        rows = self._notebook.rows(sql, {"number": number})
        return float(rows[0]["started"]) if rows else otherwise

    def listen(self) -> tuple[list[Event], bool]:
        """What happened since it last listened, in the order of time; and whether that was all."""
        with self._notebook.transaction():  # all questions are put to one state of the notebook
            events = [*self._experiment_events(), *self._message_events(), *self._trial_events()]
            events += [*self._person_events(), *self._proof_events()]
            run = self._notebook.latest_run()
        over = run is not None and run.ended is not None
        if self._only:  # the last run may have ended without a verdict on it
            over = over or not self._open
        return sorted(events, key=lambda event: event.time), over

    def _new(self, question: str) -> list[dict[str, Any]]:
        rows = self._notebook.rows(question, self._range | {"last": self._heard[question]})
        if rows:
            self._heard[question] = max(row["number"] for row in rows)
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
        for row in (*self._new(NEW_TRIALS), *self._new(NEW_LONE_TRIALS)):
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
        new = self._new(NEW_PROOFS)
        told = claims(self._notebook) if new else {}
        for proof in (Proof(**row) for row in new):
            passed, effect = proof.says == "pass", told.get(proof.number)
            yield Event(
                proof.ended or 0.0,
                None,
                f"certification {proof.number} {'passed' if passed else 'failed'}",
                style="bold green" if passed else "bold yellow",
                aside=f"{counted(proof.size, 'change')} · {one_line(proof.why)}",
                text=f"{effect.text}: {proof.reason}" if effect else proof.reason,
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
