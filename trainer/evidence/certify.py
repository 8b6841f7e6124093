"""Certification: is the head truly better than the incumbent? Fresh seeds, in pairs, no more than needed."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isfinite, sqrt
from typing import Literal

from pydantic import BaseModel, ConfigDict

from trainer.evidence.effect import Effect, Scored, effect_of
from trainer.evidence.spread import Spread
from trainer.evidence.student import normal_below

Side = Literal["head", "incumbent"]

# The last look passes at this many standard errors, earlier looks at more.
LAST_LIMIT = 2.3
MIN_SEEDS = 2  # one run proves nothing, however far off it lies
MAX_SEEDS = 5


class Judgement(BaseModel):
    """What the fresh runs say so far, and what to do next.

    On ``more`` run ``side`` under ``seed``. ``effect`` is None before the first pair, and where a
    run that crashed decided.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    says: Literal["more", "pass", "fail"]
    reason: str
    effect: Effect | None = None
    side: Side | None = None
    seed: int | None = None


SEEDS_EACH = 10  # that a certification may ever have: the next one's begin so much later


def limit(look: int, max_seeds: int = MAX_SEEDS) -> float:
    """How many standard errors better the head must be after so many pairs, to pass.

    Looking often must not make a pass by luck likelier: early looks ask for more, as in O'Brien
    and Fleming 1979, Biometrics 35(3).
    """
    return LAST_LIMIT * sqrt(max_seeds / look)


def pairs_to_pass(expected_bpb: float, pair: Spread, max_seeds: int = MAX_SEEDS) -> int:
    """How many pairs it will take to prove an effect of this size; ``max_seeds`` if it never does."""
    needed = LAST_LIMIT * sqrt(max_seeds) * pair.bpb / max(-expected_bpb, 1e-12)
    return ceil(min(max(needed, MIN_SEEDS), max_seeds))


def certify(
    head: Sequence[Scored],
    incumbent: Sequence[Scored],
    *,
    seeds: Sequence[int],
    run: Spread,
    pair: Spread,
) -> Judgement:
    """Say what a certification needs next, from the fresh runs of head and incumbent so far.

    ``seeds`` are those of this certification, in order, as many as may be spent; neither side was
    ever chosen by a run under one of them. A run without a score is (seed, inf): the head's ends
    the certification, the incumbent's leaves that pair out. From the second pair on the head
    passes by probability (Student's t: a noise known from few runs asks for more), or fails once
    it is no better.
    """
    effect = paired_effect(head, incumbent, run, pair)
    if effect is not None and effect.seeds >= MIN_SEEDS:
        if effect.probability >= normal_below(limit(effect.seeds, len(seeds))):
            proven = effect.model_copy(update={"kind": "certified"})
            return Judgement(says="pass", reason="better on fresh seeds", effect=proven)
        if effect.bpb >= 0:
            return Judgement(says="fail", reason="no better on fresh seeds", effect=effect)
    if step := next_run(head, incumbent, seeds, effect):
        return step
    return Judgement(says="fail", reason="not surely better on all seeds", effect=effect)


def next_run(
    head: Sequence[Scored], incumbent: Sequence[Scored], seeds: Sequence[int], effect: Effect | None
) -> Judgement | None:
    """The first run that is missing, in the order in which they should be made; None if none is.

    A head that has no score ends it here. The sides take turns at going first, so that a machine
    that drifts steadily favours neither.
    """
    if any(not isfinite(bpb) for _, bpb in head):
        return Judgement(says="fail", reason="the head has no score under a fresh seed")
    of_head, of_incumbent = dict(head), dict(incumbent)
    for place, seed in enumerate(seeds):
        missing: list[Side] = []
        if seed not in of_head:
            missing.append("head")
        if seed not in of_incumbent:
            missing.append("incumbent")
        if missing:
            side = missing[-1 if place % 2 else 0]
            reason = f"seed {place + 1} of up to {len(seeds)}"
            return Judgement(says="more", reason=reason, effect=effect, side=side, seed=seed)
    return None


def paired_effect(
    head: Sequence[Scored], incumbent: Sequence[Scored], run: Spread, pair: Spread
) -> Effect | None:
    """The effect over the seeds that both have a score for: only these were run side by side.

    Until it has passed it is not certified, and says so.
    """
    both = {seed for seed, bpb in head if isfinite(bpb)}
    both &= {seed for seed, bpb in incumbent if isfinite(bpb)}
    if not both:
        return None
    sides = ([each for each in side if each[0] in both] for side in (head, incumbent))
    return effect_of(*sides, run=run, pair=pair, kind="not certified")


def half(size: int, failed: Sequence[int]) -> int:
    """How many of the first changes of a failed stack to certify next; 0 to drop it.

    ``failed`` are the lengths that failed so far, the whole stack first. A merge queue bisects to
    find the one change that breaks; here there is no such one, and every test costs runs. So the
    first half is tried, once, under the same fresh seeds (the incumbent's runs are there already),
    and what does not pass is dropped: going on found no more in the simulation.
    """
    return (size + 1) // 2 if list(failed) == [size] and size > 1 else 0
