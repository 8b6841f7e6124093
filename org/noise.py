"""The noise of a lab, pooled over what was measured under the same terms.

All of a lab is measured under the same pins and on devices of one kind (`org.opening` sees to that;
their models are not on record). A certification may have its runs on any of them, so what they
differ by is part of the noise; what two states of the machine differ by is not (`org.steady`).
What scored quite differently from the incumbent of the day is a prior (`trainer.evidence.spread`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from statistics import fmean

from org.notebook import Notebook
from org.steady import measured
from trainer.evidence.effect import Scored, paired
from trainer.evidence.spread import (
    Spread,
    discounted,
    is_other,
    pooled,
    pooled_pairs,
    usual_spread,
)
from trainer.setting import ProfileName

HISTORY = 1000  # runs that say how large the noise is, the latest: it is known well by then

FRESH_RUNS = """
    select rowid, source_sha, seed, val_bpb from trials
    where purpose in ('baseline', 'certify') and outcome = 'completed'
    order by rowid desc limit :most"""
PAIRS = "select source_sha, incumbent_sha from certifications order by number desc limit :most"
REFERRED = "select source_sha from trials where purpose = 'reference' and outcome = 'completed'"

# When this is another, so is the noise.
STATE = """
    select (select rowid from trials where purpose in ('baseline', 'certify')
            and outcome = 'completed' order by rowid desc limit 1) as run,
        (select max(number) from certifications) as pair,
        (select max(number) from incumbents) as incumbent,
        (select max(rowid) from trials where purpose = 'reference') as reference"""


def run_spread(notebook: Notebook, profile: ProfileName) -> Spread:
    """How far two runs of one source lie apart, in bits per byte.

    Raises:
        statistics.StatisticsError: no baseline was measured yet.
    """
    return _spreads(notebook, profile)[0]


def pair_spread(notebook: Notebook, profile: ProfileName) -> Spread:
    """How far the difference of two sources under one seed lies from that under another.

    Raises:
        statistics.StatisticsError: no baseline was measured yet.
    """
    return _spreads(notebook, profile)[1]


def _spreads(notebook: Notebook, profile: ProfileName) -> tuple[Spread, Spread]:
    (state,) = notebook.rows(STATE)
    return _pooled(notebook, profile, tuple(state.values()))


@lru_cache(maxsize=1)  # it is asked for many times between two trials
def _pooled(
    notebook: Notebook, profile: ProfileName, state: tuple[int | None, ...]
) -> tuple[Spread, Spread]:
    baseline_bpb = fmean(notebook.baseline_runs())
    incumbent = notebook.incumbent()
    incumbent_bpb = incumbent.val_bpb if incumbent else baseline_bpb
    runs: dict[str, list[Scored]] = defaultdict(list)
    groups: dict[tuple[str, int], list[float]] = defaultdict(list)
    states = _states(notebook)
    for row in reversed(notebook.rows(FRESH_RUNS, {"most": HISTORY})):
        runs[row["source_sha"]].append((row["seed"], row["val_bpb"]))
        groups[row["source_sha"], states.get(row["rowid"], 0)].append(row["val_bpb"])
    near, others = _apart(((fmean(group), group) for group in groups.values()), incumbent_bpb)
    run = pooled(near, discounted(pooled(others, usual_spread(baseline_bpb, profile))))
    pairs = [
        (fmean(bpb for _, bpb in runs[row["source_sha"]]), differences)
        for row in reversed(notebook.rows(PAIRS, {"most": HISTORY}))
        if (differences := paired(runs[row["source_sha"]], runs[row["incumbent_sha"]]))
    ]
    near, others = _apart(pairs, incumbent_bpb)
    return run, pooled_pairs(near, run, others)


def _states(notebook: Notebook) -> dict[int, int]:
    """The state of the machine, by the rowid of a run; only of sources that were a reference."""
    referred = {row["source_sha"] for row in notebook.rows(REFERRED)}
    return {run.rowid: run.state for sha in referred for run in measured(notebook, sha)}


def _apart(
    groups: Iterable[tuple[float, list[float]]], incumbent_bpb: float
) -> tuple[list[list[float]], list[list[float]]]:
    """Groups of sources that score as the incumbent does, and of others."""
    near: list[list[float]] = []
    others: list[list[float]] = []
    for bpb, group in groups:
        (others if is_other(bpb, incumbent_bpb) else near).append(group)
    return near, others
