"""Where the time of a lab goes: spans of devices and desks, and how many desks keep the devices busy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from org.figures import duration
from org.notebook import Notebook, Span, SpanKind
from trainer.trial import Trial

THINKING: tuple[SpanKind, ...] = ("thought", "reviewed")
TRIAL: tuple[SpanKind, ...] = ("started up", "trained", "scored")
DESK_WORK: tuple[SpanKind, ...] = ("thought", "waited", "smoke-tested", *TRIAL, "reviewed")

HISTORY = 20  # experiments that say how long thinking and trials take, the latest
MARGIN = 1.25  # how much more thinking there may be at times than there was on average
DESKS_PER_DEVICE = 4  # at most, and one: more would think about what others have not told yet


def spans_of(
    trial: Trial, trial_id: str, run: str, experiment: str | None, began: float, held_seconds: float
) -> list[Span]:
    """A trial's time on its device, from its lease to its end, in three parts.

    ``held_seconds`` is what we saw of it; one that was taken up again has taken longer.
    """
    held = max(held_seconds, trial.total_seconds)
    scored = trial.evaluation_seconds + trial.challenge_seconds
    # What nobody counts is the way from us to train.py and back.
    started_up = max(held - trial.training_seconds - scored, 0.0)
    parts = zip(TRIAL, (started_up, trial.training_seconds, scored), strict=True)
    spans = []
    for kind, seconds in parts:
        spans.append(
            Span(
                id=f"{trial_id}/{kind}",
                run=run,
                experiment=experiment,
                kind=kind,
                device=trial.device,
                started=began,
                seconds=seconds,
            )
        )
        began += seconds
    return spans


def desks_needed(notebook: Notebook, devices_count: int) -> int:
    """How many desks keep so many devices busy: one for each that trains, and those that think.

    By Little's law as many are thinking at a time as thinking takes longer than a trial, for each
    device; both are measured, over the latest experiments. Until then they count as equally long.
    """
    thinking, training = _latest_seconds(notebook)
    ratio = MARGIN * thinking / training if training else 1.0
    thinkers = max(1, math.ceil(devices_count * ratio))
    return min(devices_count + thinkers, most_desks(devices_count))


def most_desks(devices_count: int) -> int:
    """How many desks there may be at most for so many devices."""
    return DESKS_PER_DEVICE * devices_count + 1


def _latest_seconds(notebook: Notebook) -> tuple[float, float]:
    """What thinking and trials have taken in all in the latest experiments, in seconds.

    A smoke test is part of what a patch needs until it is ready.
    """
    rows = notebook.rows(
        f"""select kind, sum(seconds) as seconds from spans where experiment in (
            select id from experiments where decision is not null
            order by number desc limit {HISTORY})
        group by kind"""
    )
    took = {row["kind"]: row["seconds"] for row in rows}
    return (
        sum(took.get(kind, 0.0) for kind in (*THINKING, "smoke-tested")),
        sum(took.get(kind, 0.0) for kind in TRIAL),
    )


@dataclass(frozen=True)
class Timings:
    """Where the time went. All seconds are wall seconds.

    ``device_seconds`` is how long devices were there to be used, ``device`` what they did of it, by
    kind; ``desk`` what experiments spent it on, devices included.
    """

    trials_count: int
    experiments_count: int
    worked_seconds: float
    device_seconds: float
    device: dict[str, float]
    desk: dict[str, float]

    @property
    def trials_per_hour(self) -> float:
        return 3600 * self.trials_count / self.worked_seconds if self.worked_seconds else 0.0

    @property
    def busy_share(self) -> float:
        """The share of the devices' time that trials had, from their start-up to their score."""
        return sum(self.share(kind) for kind in TRIAL)

    def share(self, kind: SpanKind) -> float:
        """The share of the devices' time that went into something."""
        return self.device.get(kind, 0.0) / self.device_seconds if self.device_seconds else 0.0


def read_timings(notebook: Notebook) -> Timings | None:
    """Where the time of a lab went, over all of its runs; None before anything was timed."""
    device: Counter[str] = Counter()
    desk: Counter[str] = Counter()
    for row in _totals(notebook):
        if row["on_device"]:
            device[row["kind"]] += row["seconds"]
        if row["of_experiment"]:
            desk[row["kind"]] += row["seconds"]
    (run,) = notebook.rows(
        "select total(worked_seconds) as worked, total(device_seconds) as device from runs"
    )
    (count,) = notebook.rows(
        "select (select coalesce(sum(count), 0) from trials_totals) as trials,"
        " (select coalesce(max(number), 0) from experiments) as each"
    )
    if not device or not run["device"]:
        return None
    # A trial that outlived its run was on a device for longer than anybody kept the time.
    missed = max(sum(device.values()) / run["device"], 1.0)
    worked, there = (run[kept] * missed for kept in ("worked", "device"))
    return Timings(count["trials"], count["each"], worked, there, dict(device), dict(desk))


def timing_lines(notebook: Notebook) -> Iterator[str]:
    """How fast it goes, how busy the devices are, and where the rest of the time went, in words."""
    timings = read_timings(notebook)
    if timings is None:
        return
    parts = ", ".join(f"{kind} {timings.share(kind):.1%}" for kind in TRIAL)
    tested = timings.share("smoke-tested")
    idle = max(1 - timings.busy_share - tested, 0.0)
    yield (
        f"{timings.trials_per_hour:.1f} trials an hour; devices busy {timings.busy_share:.1%},"
        f" smoke tests {tested:.1%}, idle {idle:.1%}"
    )
    yield f"Of the devices' time: {parts}"
    each = [
        f"{kind} {duration(timings.desk[kind] / timings.experiments_count)}"
        for kind in DESK_WORK
        if timings.desk.get(kind)
    ]
    if each:
        yield f"An experiment on average: {', '.join(each)}"


def _totals(notebook: Notebook) -> list[dict[str, Any]]:
    return notebook.rows("select kind, on_device, of_experiment, seconds from spans_totals")
