"""Which trials may be stopped early: only what is hopelessly behind the head's own curve."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

Curve = Sequence[tuple[float, float]]  # share of the budget spent, training loss in nats per token

SHARE = 0.2  # of the budget, at which a trial is looked at, once
FAR = 4.0  # standard deviations behind where trials lie that end well
MIN_TRIALS = 50  # that ended well; before, nothing is known of how curves mislead


def behind(curve: Curve, head: Curve, share: float = SHARE) -> float | None:
    """How far a trial is behind one of the head at a share of the budget, in nats per token.

    None while either curve does not reach so far. Straight lines between the points.
    """
    if not curve or not head or min(curve[-1][0], head[-1][0]) < share:
        return None
    return _loss(curve, share) - _loss(head, share)


def limit(well: Sequence[float]) -> float | None:
    """How far behind is hopeless, from how far behind trials were that ended well; None: unknown.

    ``well`` are what `behind` gave for completed trials that came out no worse than a run of the
    head, by more than the noise. Schedules bend curves without moving their ends, so the limit
    lies far outside of what they were seen to do: only disasters are beyond it.
    """
    if len(well) < MIN_TRIALS:
        return None
    deviation = stdev(well)
    return max(fmean(well) + FAR * deviation, max(well) + deviation)


def hopeless(curve: Curve, head: Curve, well: Sequence[float]) -> bool:
    """Whether a trial cannot any more reach the head, by what is known so far.

    The curves are the trials' own word; a trial that lies here only loses or wastes its own time.
    """
    distance, far = behind(curve, head), limit(well)
    return distance is not None and far is not None and distance > far


def _loss(curve: Curve, share: float) -> float:
    import numpy as np

    shares, losses = [share for share, _ in curve], [loss for _, loss in curve]
    return float(np.interp(share, shares, losses))
