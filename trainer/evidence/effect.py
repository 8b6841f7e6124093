"""What a change is worth: effect, its uncertainty, and what is left of it without its luck."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean
from typing import Literal

from pydantic import BaseModel, ConfigDict

from trainer.evidence.spread import Spread
from trainer.evidence.student import t_below, t_quantile

Kind = Literal["certified", "not certified", "provisional", "single run"]

Scored = tuple[int, float]  # what a trial scored: its seed, and val_bpb in bits per byte

SURE = 0.99  # of two estimates that one is taken whose bound at this level is nearer

# Before there is a history, every mixture on this grid is as likely as the next: the share of
# the changes that do something, and how far these spread, in standard errors of one measurement.
SHARES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
SIZES = (0.5, 1.0, 2.0, 4.0, 8.0)


class Effect(BaseModel):
    """Candidate minus reference in bits per byte; negative is an improvement.

    ``error`` is the standard error of ``bpb``, ``freedom`` the degrees of freedom behind it,
    ``seeds`` how many runs of the candidate count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bpb: float
    error: float
    freedom: float
    seeds: int
    kind: Kind

    @property
    def probability(self) -> float:
        """That the candidate is truly better, all effects being equally likely beforehand."""
        return t_below(-self.bpb / self.error, self.freedom)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The effect lies in here with this probability, by Student's t."""
        reach = t_quantile((1 + level) / 2, self.freedom) * self.error
        return self.bpb - reach, self.bpb + reach

    @property
    def text(self) -> str:
        """As a person reads it: never an effect without its uncertainty and its standing."""
        number = f"{self.bpb:+.4f}".replace("-", "−")
        seeds = "" if self.kind == "single run" else f", {self.seeds} seed{'s'[: self.seeds > 1]}"
        return f"{number} ± {self.error:.4f} ({self.kind}{seeds})"


def paired(candidate: Sequence[Scored], reference: Sequence[Scored]) -> list[float]:
    """Candidate minus reference under each seed that both ran, in the candidate's order."""
    of_reference = dict(reference)
    return [bpb - of_reference[seed] for seed, bpb in candidate if seed in of_reference]


def effect_of(
    candidate: Sequence[Scored],
    reference: Sequence[Scored],
    *,
    run: Spread,
    pair: Spread,
    kind: Kind,
) -> Effect:
    """The effect of a candidate, in pairs or from all runs of both sides, whichever is surer.

    ``run`` is the spread of one run, ``pair`` that of a paired difference (see `trainer.evidence.spread`).

    Raises:
        statistics.StatisticsError: the candidate has no run, or the reference has none.
    """
    unpaired = Effect(
        bpb=fmean(bpb for _, bpb in candidate) - fmean(bpb for _, bpb in reference),
        error=run.bpb * sqrt(1 / len(candidate) + 1 / len(reference)),
        freedom=run.freedom,
        seeds=len(candidate),
        kind=kind,
    )
    differences = paired(candidate, reference)
    if not differences:
        return unpaired
    in_pairs = Effect(
        bpb=fmean(differences),
        error=pair.bpb / sqrt(len(differences)),
        freedom=pair.freedom,
        seeds=len(differences),
        kind=kind,
    )
    return min(in_pairs, unpaired, key=_reach)


def _reach(effect: Effect) -> float:
    """Half the width of the interval: large where the noise itself is hardly known."""
    return t_quantile(SURE, effect.freedom) * effect.error


def shrunk(effect_bpb: float, error: float, history: Sequence[float]) -> float:
    """What to expect of an effect that was measured with this error, in bits per byte.

    ``history`` are the effects measured so far, with the same error. A change does nothing (the
    spike) or something of normally distributed size (the slab): how often and how much is learned
    from those of the history that have the same sign, so that many large failures do not make a
    small success more credible. The mean over all mixtures of a grid, each weighted by how well it
    explains the history. Empirical Bayes with a spike and a slab: Johnstone and Silverman 2004,
    Annals of Statistics 32(4); that it undoes the luck of a winner: Efron 2011, JASA 106(496).
    """
    import numpy as np

    sign = -1.0 if effect_bpb < 0 else 1.0
    seen = np.array([each for each in history if each * sign > 0] + [effect_bpb]) / error
    share, size = np.array(SHARES)[:, None, None], np.array(SIZES)[None, :, None]
    nothing = (1 - share) * np.exp(-(seen**2) / 2)
    wide = 1 + size**2
    something = share * np.exp(-(seen**2) / 2 / wide) / np.sqrt(wide)
    fit = np.log(nothing + something + 1e-300).sum(axis=2)
    weight = np.exp(fit - fit.max())
    real = (something / (nothing + something + 1e-300))[..., -1]
    kept = real * (1 - 1 / wide[..., 0])
    return float(effect_bpb * (weight * kept).sum() / weight.sum())


def tempered(effect: Effect, history: Sequence[Effect]) -> Effect:
    """A certified effect without the luck of having been the one that passed.

    ``history`` are the effects of all certifications so far, failed ones too, this one among them.
    Empirical Bayes with a normal distribution around zero: Efron and Morris 1973, JASA 68(341). The
    error stays: what is learned from so short a history is itself uncertain.
    """
    signal = max(fmean(each.bpb**2 - each.error**2 for each in history), 0.0)
    return effect.model_copy(update={"bpb": effect.bpb * signal / (signal + effect.error**2)})
