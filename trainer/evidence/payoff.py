"""Who should have the next experiment: what each one's experiments have brought for their device time."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from pydantic import BaseModel, ConfigDict


class Payoff(BaseModel):
    """What the finished experiments of one line of work have come to.

    ``credit`` is how many of the ``tried`` made it better, a doubtful one counted as the
    probability that it did. ``gained_bpb`` is what they took off val_bpb without their luck, in
    bits per byte (positive is better), ``device_seconds`` what all that were tried have cost.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    tried: int = 0
    credit: float = 0.0
    gained_bpb: float = 0.0
    device_seconds: float = 0.0


def drawn_payoffs(payoffs: Sequence[Payoff], draw: Random) -> dict[str, float]:
    """What the next experiment of each may bring per device second: one draw from what is possible.

    Who does the experiment with the highest draw is chosen as often as it is likely to be the best
    choice: Thompson sampling (Thompson 1933, Biometrika 25; Chapelle and Li 2011, NIPS 24). The
    rate of success is drawn from its Beta posterior after a uniform prior. The size of a success
    and the cost of an experiment are means, each with one observation of what is usual for all
    added, so that who has little to show is not judged by it. Before anything was gained all
    sizes are alike, before anything was paid all costs are.
    """
    size = _ratio(sum(p.gained_bpb for p in payoffs), sum(p.credit for p in payoffs))
    seconds = _ratio(sum(p.device_seconds for p in payoffs), sum(p.tried for p in payoffs))
    drawn = {}
    for each in payoffs:
        credit = min(each.credit, each.tried)
        rate = draw.betavariate(1 + credit, 1 + each.tried - credit)
        own_size = (size + each.gained_bpb) / (1 + credit) if size else 1.0
        own_seconds = (seconds + each.device_seconds) / (1 + each.tried) if seconds else 1.0
        drawn[each.name] = rate * own_size / own_seconds
    return drawn


def _ratio(amount: float, count: float) -> float:
    """The mean, or 0 for nothing."""
    return amount / count if count > 0 else 0.0
