"""The noise of a lab: that of the sources of the day, other ones as a prior."""

from __future__ import annotations

import pytest

from org.noise import run_spread
from org.notebook import Notebook
from tests.notebooks import RUN, Night, completed, incumbent


def certified(notebook: Notebook, text: str, *scores: float) -> str:
    """A source with these scores in a certification."""
    sha = notebook.keep_source(text)
    for seed, score in enumerate(scores, start=1000):
        trial = completed(sha, seed, score)
        notebook.record_trial(f"certify-{sha[:12]}-{seed}", RUN, None, "certify", trial)
    return sha


def test_once_the_incumbent_scores_quite_differently_the_noise_is_estimated_anew(
    notebook: Notebook,
) -> None:
    Night(notebook).measure_baseline()
    for number in range(20):
        certified(notebook, f"wild {number}", 1.22, 1.26, 1.20, 1.28)
    wild = run_spread(notebook, "cpu").bpb
    assert wild == pytest.approx(0.036, abs=0.002)
    tame = [certified(notebook, f"tame {n}", 1.100, 1.101, 1.099, 1.100) for n in range(5)]
    assert run_spread(notebook, "cpu").bpb > 0.9 * wild  # they are not what is tried now
    with notebook.transaction() as db:
        row = incumbent(2, tame[0], None, 1.1).model_dump()
        db.table("incumbents").insert({"run": RUN, **row})
    told = run_spread(notebook, "cpu")
    assert told.freedom == 25  # ten of the others, three of each of five sources
    assert told.bpb < 0.7 * wild
