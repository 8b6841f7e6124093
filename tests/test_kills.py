"""An organization that is killed at random points, twenty times, loses nothing and doubles nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from trainer.dataset import Dataset

TIMES = 20
SEED = os.environ.get("KILLS_SEED")  # to repeat what a failure has printed


@pytest.mark.timeout(900)
def test_an_organization_that_is_killed_at_random_points_loses_nothing(tiny_dataset: Dataset):
    cache = str(tiny_dataset.folder.parent.parent)
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.kills", "--times", str(TIMES), "--experiments", "1"]
        + (["--seed", SEED] if SEED else []),
        env={**os.environ, "AUTORESEARCH_ORG_CACHE": cache},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"\n{TIMES} kills in " in told.stdout
    assert told.stdout.endswith("nothing lost, nothing doubled, nothing left over\n")
