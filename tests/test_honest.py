"""An honest model is never rejected: random small variants of train.py, each trained and scored.

``HONEST_VARIANTS=200 HONEST_SEED=1 python -m pytest tests/test_honest.py`` tries more of them.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from roles.candidates import candidates
from roles.constants import find_constants
from roles.model import Brief
from roles.playbook import Playbook
from roles.records import Digest, EngineerReads, Hypothesis, Prose
from trainer.challenge import TOLERANCE_BITS
from trainer.dataset import Dataset
from trainer.patch import PatchError, apply_patch, parse_patch
from trainer.setting import Setting
from trainer.trial import run_trial

TRAIN = Path(__file__).parents[1] / "trainer" / "train.py"
COUNT = int(os.environ.get("HONEST_VARIANTS", "4"))
SEED = int(os.environ.get("HONEST_SEED", "0"))  # 0: another one every time
MOST_CHANGES = 3
NOTHING_TRIED = Digest(
    program="", baseline_bpb=1.9, incumbent_bpb=1.9, noise_bpb=0.005, entries=(), left_out=0
)


def variant(chance: random.Random) -> tuple[str, list[str]]:
    """A train.py with one to three random moves of the playbook in it, and what they are called."""
    source, titles = TRAIN.read_text(), list[str]()
    for _ in range(chance.randint(1, MOST_CHANGES)):
        moves = candidates(source, find_constants(source, "cpu"), NOTHING_TRIED)
        move = chance.choice(moves)
        hypothesis = Hypothesis(
            title=move.title,
            category=move.category,
            change=move.change,
            mechanism=move.mechanism,
            expected_effect=-move.gain,
        )
        brief = Brief(
            role="engineer", prompt="", reads=EngineerReads(hypothesis=hypothesis, source=source)
        )
        reply = Playbook("cpu").ask(brief, Prose).reply
        try:
            source = apply_patch(parse_patch(reply.text), source)
        except PatchError:
            continue  # two moves about the same lines
        titles.append(move.title)
    return source, titles


@pytest.mark.parametrize("number", range(COUNT))
def test_an_honest_variant_is_never_rejected(
    number: int, tiny_setting: Setting, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    seed = SEED or random.randrange(1, 10**6)
    source, titles = variant(random.Random(f"{seed} {number}"))
    trial = run_trial(
        source,
        seed=1 + number,
        setting=tiny_setting.model_copy(update={"seconds": 0.5}),
        dataset=tiny_dataset,
        device="cpu:0",
        folder=tmp_path / "trial",
    )
    said = f"HONEST_SEED={seed}, variant {number}: {titles}: {trial.outcome} {trial.reason}"
    assert trial.outcome == "completed", said
    assert trial.challenge_bits < TOLERANCE_BITS, said
