"""Whether the machine was steady: a run that was disturbed, and a drift over many runs."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt
from statistics import median
from typing import NamedTuple

HISTORY_RUNS = 5  # fewer say nothing about what is usual
STEADY_SHARE = 0.02  # runs of one source differ by this much in speed on a quiet machine
FAR = 4.0  # robust standard deviations

# So much more or less speed is worth about as much as the noise of one run, and is looked for in
# the median of five runs, whose own error is 2 to 3 %.
DRIFT_SHARE = 0.04
SURE = 2.0  # standard errors


class Timed(NamedTuple):
    """A run of a source: its seed, its tokens per second (None: unknown), whether as a reference."""

    seed: int
    rate: float | None
    is_reference: bool


def disturbed(rate: float, history: Sequence[float]) -> bool:
    """Whether the machine was visibly slower or faster in a run than it was in earlier ones.

    Rates are shares of a core that runs of any source got, or tokens per second of one source. The
    distance is taken in logarithms, in robust standard deviations, of which a quiet machine's
    unsteadiness is the least.
    """
    if len(history) < HISTORY_RUNS:
        return False
    logs = [log(each) for each in history]
    return abs(log(rate) - median(logs)) > FAR * max(_deviation(logs), STEADY_SHARE)


def drift(then: Sequence[float], latest: Sequence[float]) -> float | None:
    """By which share the machine has become faster (or, negative, slower); None if it has hardly.

    Both are rates, in tokens per second of budget, of runs of whatever sources were tried: then,
    when the reference was measured, and just now. Medians are compared, in logarithms, since one
    source may well be twice as fast as the next. The error of a median of n normal values is 1.25
    standard deviations / √n.
    """
    if min(len(then), len(latest)) < HISTORY_RUNS:
        return None
    before, now = ([log(each) for each in rates] for rates in (then, latest))
    shift = median(now) - median(before)
    error = 1.25 * sqrt(sum(_deviation(logs) ** 2 / len(logs) for logs in (before, now)))
    return exp(shift) - 1 if abs(shift) > max(DRIFT_SHARE, SURE * error) else None


def same_speed(rate: float | None, other: float | None) -> bool:
    """Whether two runs of one source, in tokens per second, tell of no drift."""
    return not rate or not other or abs(log(rate / other)) <= DRIFT_SHARE


def states(runs: Sequence[Timed]) -> list[int]:
    """Under which state of the machine each run of one source was made, from 0 on, in their order.

    A run as reference answers a drift: where it is as fast as an earlier one under its seed, the
    machine is as it was then, else it is as it never was before. All other runs are made on the
    machine as it was last known to be.
    """
    found: list[int] = []
    for run in runs:
        before = (
            []
            if not run.is_reference
            else [
                (state, same_speed(run.rate, each.rate))
                for state, each in zip(found, runs, strict=False)
                if each.seed == run.seed
            ]
        )
        alike = [state for state, is_same in before if is_same]
        if before:
            found.append(alike[-1] if alike else max(found) + 1)
        else:
            found.append(found[-1] if found else 0)
    return found


def _deviation(logs: Sequence[float]) -> float:
    """A robust standard deviation: 1.4826 times the median absolute deviation.

    Rousseeuw and Croux 1993, JASA 88(424).
    """
    middle = median(logs)
    return 1.4826 * median(abs(each - middle) for each in logs)
