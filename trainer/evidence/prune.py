"""Is it no worse? Of what is simpler: a pruned source, and a stack whose changes all remove lines."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from trainer.evidence.certify import MIN_SEEDS, Judgement, next_run, paired_effect
from trainer.evidence.effect import Scored
from trainer.evidence.spread import Spread
from trainer.evidence.student import t_below

LITTLE = 0.5  # expected effect of a change in spreads of one run, below which it is doubted
MARGIN = 1.0  # in the same unit: what all that is removed together may cost
SURE = 0.9  # that it costs less


class Support(BaseModel):
    """What speaks for one change by itself: its expected effect (`stack.Placement`), and its price."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    change: str
    expected_bpb: float
    lines_added: int


def doubtful(changes: Sequence[Support], run: Spread) -> tuple[str, ...]:
    """The changes to try to do without, jointly: they add lines and do little, as far as is known."""
    little = -LITTLE * run.bpb
    return tuple(
        each.change for each in changes if each.lines_added > 0 and each.expected_bpb > little
    )


def prune(
    pruned: Sequence[Scored],
    incumbent: Sequence[Scored],
    *,
    seeds: Sequence[int],
    run: Spread,
    pair: Spread,
) -> Judgement:
    """Say what the test of a pruned source needs next; on ``pass`` it becomes the incumbent.

    The pruned source stands in the place of the head. ``seeds`` may be those of the certification
    that made the incumbent: the pruned source was not chosen by them, and the incumbent's runs are
    there.
    """
    words = ("not needed, within the margin", "needed: worse without")
    return _no_worse(pruned, incumbent, seeds, run, pair, *words)


def simplify(
    head: Sequence[Scored],
    incumbent: Sequence[Scored],
    *,
    seeds: Sequence[int],
    run: Spread,
    pair: Spread,
) -> Judgement:
    """Say what the certification of a head needs next whose changes all remove lines.

    Simpler at equal score is a win: such a head has to be no worse, by the margin of pruning, and
    not better, which it hardly ever is.
    """
    words = ("no worse, and simpler", "worse by more than the margin")
    return _no_worse(head, incumbent, seeds, run, pair, *words)


def _no_worse(
    simpler: Sequence[Scored],
    incumbent: Sequence[Scored],
    seeds: Sequence[int],
    run: Spread,
    pair: Spread,
    passes: str,
    fails: str,
) -> Judgement:
    """It passes when on all seeds it is surely worse by less than the margin, if at all.

    That is a test of non-inferiority (Wellek 2010). It fails as soon as it looks worse by more.
    """
    effect = paired_effect(simpler, incumbent, run, pair)
    margin = MARGIN * run.bpb
    if effect is not None and effect.seeds >= MIN_SEEDS and effect.bpb >= margin:
        return Judgement(says="fail", reason=fails, effect=effect)
    if step := next_run(simpler, incumbent, seeds, effect):
        return step
    if effect is None:
        return Judgement(says="fail", reason="no seed gave a pair of scores")
    sure = t_below((margin - effect.bpb) / effect.error, effect.freedom)
    if sure >= SURE:
        proven = effect.model_copy(update={"kind": "certified"})
        return Judgement(says="pass", reason=passes, effect=proven)
    return Judgement(says="fail", reason="not surely within the margin", effect=effect)
