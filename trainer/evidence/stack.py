"""The stack: which change goes on it after one run, what its head is then worth, when it is due."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, sqrt
from statistics import fmean
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from trainer.evidence.certify import MAX_SEEDS, pairs_to_pass
from trainer.evidence.effect import Effect, Scored, shrunk
from trainer.evidence.plateau import on_plateau
from trainer.evidence.spread import Spread

# A patch that removes lines may look worse by this many standard errors of its one run.
SIMPLER_MARGIN = 0.5

CERTIFY_EVERY = 6  # changes that a stack has before it is due by its size
COST_SHARE = 0.06  # of the runs since the last certification, so many may go into the next
PLATEAU_RUNS = 40  # runs that brought nothing, before the stack is proven for that reason


class Placement(BaseModel):
    """Whether a patch goes on the stack and why; effects in bits per byte.

    ``effect_bpb`` is what was measured: one run against the head's value. ``expected_bpb`` is what
    is left of it without luck, by which the head's value moves to ``head_bpb``; a patch that is
    discarded moves nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    says: Literal["stack", "discard"]
    effect_bpb: float
    expected_bpb: float
    head_bpb: float
    reason: str


def place(
    candidate_bpb: float,
    head_bpb: float,
    *,
    error: float,
    history: Sequence[float],
    lines_added: int = 1,
) -> Placement:
    """Judge a patch by one run under the search seed, against what the head is worth there.

    ``error`` is the standard error of that run (`run_error`), ``history`` the ``effect_bpb`` of all
    patches judged before, ``lines_added`` what the patch adds, less what it removes.

    The run that chose a head flatters it. Measuring every new head afresh costs a quarter of the
    progress, and holding on to the lucky run turns small improvements down, up to a fifth of it
    (`benchmarks.evidence --variants`); so the head's value moves by the shrunk effect.
    """
    effect_bpb = candidate_bpb - head_bpb
    better = effect_bpb < 0
    if not better and (lines_added >= 0 or effect_bpb > SIMPLER_MARGIN * error):
        return Placement(
            says="discard",
            effect_bpb=effect_bpb,
            expected_bpb=0.0,
            head_bpb=head_bpb,
            reason="not better than the head on its one run",
        )
    expected_bpb = shrunk(effect_bpb, error, history)
    simpler = f"{-lines_added} lines fewer, and worse by less than {SIMPLER_MARGIN:g} errors"
    return Placement(
        says="stack",
        effect_bpb=effect_bpb,
        expected_bpb=expected_bpb,
        head_bpb=head_bpb + expected_bpb,
        reason="better than the head on its one run" if better else simpler,
    )


def run_error(pair: Spread) -> float:
    """The standard error of one run under a seed whose part is known: half a pair's variance."""
    return pair.bpb / sqrt(2)


def provisional(expected_bpb: Sequence[float], pair: Spread) -> Effect:
    """What a stack is expected to bring, before it is proven; one change or more."""
    return Effect(
        bpb=sum(expected_bpb),
        error=run_error(pair) * sqrt(len(expected_bpb)),
        freedom=pair.freedom,
        seeds=1,
        kind="provisional",
    )


class Value(NamedTuple):
    """What a source is worth under a seed, in bits per byte, and the standard error of that."""

    bpb: float
    error: float

    @property
    def text(self) -> str:
        """As a person reads it: never a value without its uncertainty."""
        return f"{self.bpb:.4f} ± {self.error:.4f}"


def fresh_value(runs: Sequence[Scored], search_seed: int, *, run: Spread, pair: Spread) -> Value:
    """What a source is worth under the search seed, from its fresh runs under several seeds.

    Where a seed moves all sources alike, pairs differ less than two runs do, and its own run under
    that seed says most; where it does not, the mean of all runs does. The weight between them is
    the part of the variance that a seed has in common (best linear prediction of a group's mean:
    Robinson 1991, Statistical Science 6(1)). The error is that of this weighted mean.
    """
    mean = fmean(bpb for _, bpb in runs)
    common = min(max(1 - pair.bpb**2 / (2 * run.bpb**2), 0.0), 1.0)
    own = dict(runs).get(search_seed)
    if own is None:
        return Value(mean, run.bpb * sqrt(1 / len(runs) + common))
    share = (1 - common) * (common + (1 - common) / len(runs))
    return Value(mean + common * (own - mean), run.bpb * sqrt(share))


def moved(value: Value, expected_bpb: Sequence[float], pair: Spread) -> Value:
    """What a source is worth with changes on it that each had one run, by what is left of these."""
    error = run_error(pair) * sqrt(len(expected_bpb))
    return Value(value.bpb + sum(expected_bpb), hypot(value.error, error))


def due(
    expected_bpb: Sequence[float],
    *,
    pair: Spread,
    runs_since: int,
    latest_bpb: Sequence[float],
    runs_left: int | None,
    every: int = CERTIFY_EVERY,
    max_seeds: int = MAX_SEEDS,
) -> Literal["size", "plateau", "end", ""]:
    """Why the stack should be certified now; empty if it should grow.

    ``expected_bpb`` has the expected effect of each change on it. By its size it is due once it has
    ``every`` changes and what its certification will cost is a small share of ``runs_since`` the last
    certification; ``latest_bpb`` is what is expected of each experiment since then, 0 where nothing
    went on the stack: on a plateau the stack will not grow (the notion is that by which the
    director is told to look elsewhere; a certification costs more than that, and waits longer).
    ``runs_left`` (None: nobody knows) is what the budget still allows, of which the certification must not
    be short.
    """
    if not expected_bpb:
        return ""
    runs = 2 * pairs_to_pass(sum(expected_bpb), pair, max_seeds)
    # One pair more than expected, and the trial that is about to be started.
    if runs_left is not None and runs_left < min(runs + 2, 2 * max_seeds) + 1:
        return "end"
    if on_plateau(latest_bpb, run_error(pair), PLATEAU_RUNS):
        return "plateau"
    return "size" if len(expected_bpb) >= every and runs <= COST_SHARE * runs_since else ""
