"""What happened in a lab, as it is heard from its notebook: all of it, or what is new since the last look."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

from org.claims import claims
from org.figures import counted, duration, money
from org.notebook import Experiment, Message, Notebook
from org.notes import Note
from org.plain import one_line
from org.stack import Certification
from org.steering import Order
from org.telling.reports import COLOURS
from trainer.trial import Trial

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
NEW_CERTIFICATIONS = """
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


class Ear:
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
        lone = (NEW_NOTES, NEW_ORDERS, NEW_LONE_TRIALS, NEW_CERTIFICATIONS)
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
            events += [*self._person_events(), *self._certification_events()]
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

    def _certification_events(self) -> Iterator[Event]:
        new = self._new(NEW_CERTIFICATIONS)
        told = claims(self._notebook) if new else {}
        for certification in (Certification(**row) for row in new):
            passed, effect = certification.says == "pass", told.get(certification.number)
            yield Event(
                certification.ended or 0.0,
                None,
                f"certification {certification.number} {'passed' if passed else 'failed'}",
                style="bold green" if passed else "bold yellow",
                aside=f"{counted(certification.size, 'change')} · {one_line(certification.why)}",
                text=f"{effect.text}: {certification.reason}" if effect else certification.reason,
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
