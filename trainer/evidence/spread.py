"""Noise: how far two runs of one source lie apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from trainer.setting import ProfileName

# What the spread of one run was found to be, as a share of val_bpb. It weighs as much as three
# runs of one source, so that three lucky baselines cannot make the noise vanish.
USUAL_SHARE: dict[ProfileName, float] = {"cpu": 0.004, "gpu": 0.0004}
PRIOR_FREEDOM = 2.0

# The noise is another once train.py is: what was measured of sources whose val_bpb differs by more
# than this share says less of those that are tried now, and together weighs no more than so many runs.
OTHER_SHARE = 0.05
OTHER_FREEDOM = 10.0


class Spread(BaseModel):
    """A standard deviation in bits per byte, and how many degrees of freedom it rests on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bpb: float
    freedom: float


def usual_spread(baseline_bpb: float, profile: ProfileName) -> Spread:
    """What to take for the spread of one run before any was measured."""
    return Spread(bpb=USUAL_SHARE[profile] * baseline_bpb, freedom=PRIOR_FREEDOM)


def pooled(groups: Iterable[Sequence[float]], prior: Spread) -> Spread:
    """The spread of one run, pooled over groups of runs that differ by nothing but their seed.

    Each group is val_bpb of one source under the same pins, on devices of one kind, while the
    machine was in one state; a group of one contributes nothing. Pooled variance with the prior as
    a scaled inverse chi-squared distribution: Gelman et al., Bayesian Data Analysis (3rd ed. 2013),
    section 2.6.
    """
    squares, freedom = prior.freedom * prior.bpb**2, prior.freedom
    for group in groups:
        mean = fmean(group)
        squares += sum((run - mean) ** 2 for run in group)
        freedom += len(group) - 1
    return Spread(bpb=sqrt(squares / freedom), freedom=freedom)


def discounted(other: Spread) -> Spread:
    """The spread among other sources, as a prior for that among those that are tried now.

    Data from elsewhere count, at a part of their weight: the power prior of Ibrahim and Chen 2000,
    Statistical Science 15(1).
    """
    return other.model_copy(update={"freedom": min(other.freedom, OTHER_FREEDOM)})


def is_other(bpb: float, incumbent_bpb: float) -> bool:
    """Whether a source scores so differently from the incumbent that its noise may be another."""
    return abs(bpb - incumbent_bpb) > OTHER_SHARE * incumbent_bpb


def pooled_pairs(
    differences: Iterable[Sequence[float]], run: Spread, others: Iterable[Sequence[float]] = ()
) -> Spread:
    """The spread of the difference of two sources under one seed, in bits per byte.

    Each group holds such differences of the same two sources; ``others`` are those of sources of
    which `is_other` is true. Until there are some, the two runs are taken as independent: √2 times
    the spread of one run, with the weight of a prior.
    """
    prior = Spread(bpb=sqrt(2) * run.bpb, freedom=PRIOR_FREEDOM)
    return pooled(differences, discounted(pooled(others, prior)))
