"""Is it better? What the trials of a candidate and of the incumbent say together."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Evidence(BaseModel):
    """What the trials say, in bits per byte; a negative effect is an improvement.

    ``candidate_bpb`` is the mean val_bpb of the runs that count for the candidate.
    ``standard_error`` is that of the effect, from the noise of one run and the number of runs on
    both sides. ``says`` is what to do next: confirm by one fresh run, keep, or discard.
    """

    model_config = ConfigDict(frozen=True)

    effect: float
    candidate_bpb: float
    standard_error: float
    candidate_runs: int
    incumbent_runs: int
    says: Literal["confirm", "keep", "discard"]
    reason: str

    @property
    def text(self) -> str:
        """The evidence in one line, never an effect without its uncertainty."""
        runs = f"{self.candidate_runs} against {self.incumbent_runs} runs"
        effect = f"{self.effect:+.4f}".replace("-", "−")
        return f"{effect} ± {self.standard_error:.4f} bpb ({runs}): {self.reason}"


def noise(baseline: Sequence[float]) -> float:
    """Standard deviation of val_bpb of one source over its runs, in bits per byte.

    Raises:
        ValueError: fewer than two runs.
    """
    if len(baseline) < 2:
        raise ValueError("noise needs at least two runs of the baseline")
    return stdev(baseline)


def weigh(candidate: Sequence[float], incumbent: Sequence[float], noise_bpb: float) -> Evidence:
    """Weigh the runs of a candidate against those of the incumbent.

    The first run of the candidate chose it; if it is better than the incumbent's mean by more than
    the noise of one run, a fresh run must confirm that, and only the fresh run counts as its
    effect. All values are val_bpb in bits per byte, at least one on each side.
    """
    mean = fmean(incumbent)
    first, fresh = candidate[0], candidate[1:]
    counted = fmean(fresh) if fresh else first
    runs = len(fresh) or 1
    if first - mean >= -noise_bpb:
        says, reason = "discard", f"not better by more than the noise of one run, {noise_bpb:.4f}"
    elif not fresh:
        says, reason = "confirm", f"better by more than the noise of one run, {noise_bpb:.4f}"
    elif counted - mean >= -noise_bpb:
        says, reason = "discard", "a fresh run under another seed did not confirm it"
    else:
        says, reason = "keep", "a fresh run under another seed confirmed it"
    return Evidence(
        effect=counted - mean,
        candidate_bpb=counted,
        standard_error=noise_bpb * sqrt(1 / runs + 1 / len(incumbent)),
        candidate_runs=runs,
        incumbent_runs=len(incumbent),
        says=says,
        reason=reason,
    )
