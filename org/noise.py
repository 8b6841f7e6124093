"""The noise of a lab, pooled over what was measured under the same terms."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from statistics import fmean

from org.notebook import Notebook
from trainer.evidence.effect import Run, paired
from trainer.evidence.spread import Spread, pooled, pooled_pairs, usual_spread
from trainer.setting import ProfileName

HISTORY = 1000  # runs that say how large the noise is, the latest: it is known well by then

FRESH_RUNS = """
    select source_sha, seed, val_bpb from trials
    where purpose in ('baseline', 'certify') and outcome = 'completed'
    order by rowid desc limit :most"""
PAIRS = "select source_sha, incumbent_sha from certifications order by number desc limit :most"

# When this is another, so is the noise.
STATE = """
    select (select rowid from trials where purpose in ('baseline', 'certify')
            and outcome = 'completed' order by rowid desc limit 1) as run,
        (select max(number) from certifications) as pair"""


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
    return _pooled(notebook, profile, state["run"], state["pair"])


@lru_cache(maxsize=1)  # it is asked for many times between two trials
def _pooled(
    notebook: Notebook, profile: ProfileName, last_run: int, last_pair: int
) -> tuple[Spread, Spread]:
    groups: dict[str, list[Run]] = defaultdict(list)
    for row in reversed(notebook.rows(FRESH_RUNS, {"most": HISTORY})):
        groups[row["source_sha"]].append((row["seed"], row["val_bpb"]))
    scores = [[bpb for _, bpb in runs] for runs in groups.values()]
    run = pooled(scores, usual_spread(fmean(notebook.baseline_runs()), profile))
    pairs = [
        differences
        for row in reversed(notebook.rows(PAIRS, {"most": HISTORY}))
        if (differences := paired(groups[row["source_sha"]], groups[row["incumbent_sha"]]))
    ]
    return run, pooled_pairs(pairs, run)
