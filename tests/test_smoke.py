"""A smoke test: what cannot run is found out in seconds, without text, training or a score."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.organizations import processes_about
from tests.sources import CRASH, NO_MODEL, SCRIPTED, SLEEP, UNIGRAM, wrong_answer
from trainer import smoke
from trainer.dataset import Dataset
from trainer.setting import Setting
from trainer.smoke import can_run_beside, smoke_test
from trainer.trial import Trial, TrialAbandoned

AHEAD = wrong_answer("9 * torch.nn.functional.one_hot(tokens.roll(-1, 1), V).float()")
LATE = f"""
from trainer import prepare
for _ in prepare.start(rows=4):
    if prepare.progress() >= 0.99:
        raise ArithmeticError("only at the very end")
{SCRIPTED}"""


@pytest.fixture
def tested(tiny_setting: Setting, tiny_dataset: Dataset, tmp_path: Path):
    def test(source: str, **terms: object) -> Trial:
        return smoke_test(
            source,
            setting=tiny_setting.model_copy(update=terms),
            dataset=tiny_dataset,
            device="cpu",
            folder=tmp_path / "smoke",
        )

    return test


@pytest.mark.parametrize("source", [SCRIPTED, UNIGRAM], ids=["untrained", "trained"])
def test_what_runs_completes_without_a_score_and_leaves_nothing(tested, tmp_path, source):
    trial = tested(source)
    assert (trial.outcome, trial.val_bpb, trial.steps) == ("completed", None, 0)
    assert not (tmp_path / "smoke").exists()
    assert processes_about(tmp_path) == []


@pytest.mark.parametrize(
    ("source", "outcome", "reason"),
    [
        (CRASH, "crashed", "ValueError: the width must be even"),
        (LATE, "crashed", "ArithmeticError: only at the very end"),
        (NO_MODEL, "crashed", "train.py ended without handing over a model"),
        (wrong_answer("torch.zeros(*tokens.shape, V + 1)"), "rejected", "logits of shape"),
        (
            wrong_answer("torch.full((*tokens.shape, V), float('nan'))"),
            "rejected",
            "not all finite",
        ),
        (AHEAD, "rejected", "not causal"),
    ],
    ids=["crash", "late", "no model", "shape", "not finite", "not causal"],
)
def test_what_cannot_run_says_why(tested, source: str, outcome: str, reason: str):
    trial = tested(source)
    assert trial.outcome == outcome
    assert reason in trial.reason


def test_what_never_comes_to_a_model_is_ended(tested):
    trial = tested(SLEEP, startup_seconds=1.0)
    assert trial.outcome == "timed_out"
    assert trial.reason.startswith("stuck: no model after")


def test_it_can_be_stopped(tiny_setting: Setting, tiny_dataset: Dataset, tmp_path: Path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(TrialAbandoned):
        smoke_test(
            SLEEP,
            setting=tiny_setting,
            dataset=tiny_dataset,
            device="cpu",
            folder=tmp_path / "smoke",
            stop=stop,
        )
    assert processes_about(tmp_path) == []


def test_it_runs_beside_trials_only_on_cores_that_they_leave(monkeypatch):
    monkeypatch.setattr(smoke, "available_cores", lambda: [0, 1, 2, 3])
    assert can_run_beside(devices=3, threads=1)
    assert not can_run_beside(devices=4, threads=1)
    assert can_run_beside(devices=1, threads=2)
    assert not can_run_beside(devices=1, threads=3)
