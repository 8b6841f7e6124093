"""The noise of a lab, pooled over everything that was measured under the same terms."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean

from org.notebook import Notebook
from org.stack import proofs
from trainer.evidence.effect import Run, paired
from trainer.evidence.spread import Spread, pooled, pooled_pairs, usual_spread
from trainer.setting import ProfileName

FRESH_RUNS = """
    select source_sha, seed, val_bpb from trials
    where purpose in ('baseline', 'certify') and outcome = 'completed' order by rowid"""


def run_spread(notebook: Notebook, profile: ProfileName) -> Spread:
    """How far two runs of one source lie apart, in bits per byte.

    Raises:
        statistics.StatisticsError: no baseline was measured yet.
    """
    groups = _groups(notebook)
    baseline = fmean(notebook.baseline_runs())
    scores = [[bpb for _, bpb in runs] for runs in groups.values()]
    return pooled(scores, usual_spread(baseline, profile))


def pair_spread(notebook: Notebook, profile: ProfileName) -> Spread:
    """How far the difference of two sources under one seed lies from that under another."""
    groups = _groups(notebook)
    pairs = [
        differences
        for proof in proofs(notebook)
        if (differences := paired(groups[proof.source_sha], groups[proof.incumbent_sha]))
    ]
    return pooled_pairs(pairs, run_spread(notebook, profile))


def _groups(notebook: Notebook) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = defaultdict(list)
    for row in notebook.rows(FRESH_RUNS):
        groups[row["source_sha"]].append((row["seed"], row["val_bpb"]))
    return groups
