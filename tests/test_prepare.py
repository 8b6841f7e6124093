"""What train.py sees: the same by hand as in a trial."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import sources
from trainer.dataset import Dataset
from trainer.prepare import Summary
from trainer.setting import Setting
from trainer.trial import run_trial

SUMMARY = Summary(
    val_bpb=1.23456789,
    training_seconds=20.04,
    startup_seconds=1.5,
    total_seconds=24.5,
    peak_memory_mb=512.25,
    num_steps=100,
    total_tokens=2_560_000,
    num_params=1_835_144,
    tokens_per_second=127_744.5,
    mfu_percent=39.8,
)


def test_the_summary_has_the_lines_of_autoresearch() -> None:
    first, *lines = SUMMARY.block(depth=4).splitlines()
    assert first == "---"
    assert dict(line.split(":") for line in lines) == {
        "val_bpb": "          1.234568",
        "training_seconds": " 20.0",
        "total_seconds": "    24.5",
        "peak_vram_mb": "     512.2",
        "mfu_percent": "      39.80",
        "total_tokens_M": "   2.6",
        "num_steps": "        100",
        "num_params_M": "     1.8",
        "depth": "            4",
    }
    unknown = dataclasses.replace(SUMMARY, mfu_percent=None)
    assert "mfu_percent:      unknown\n" in unknown.block(depth=4)


MANY_THINGS = """
import json, time
import torch
from trainer import prepare

def error(call):
    try:
        call()
    except (RuntimeError, ValueError, FloatingPointError) as error:
        return str(error)

setting = prepare.setting()
seen = {"before": prepare.progress(), "rows": error(lambda: prepare.start(0))}
with prepare.warming_up():
    time.sleep(0.2)
batches = prepare.start(2)
seen["waiting"] = prepare.progress()
time.sleep(0.1)
seen["waited"] = prepare.progress()
while prepare.progress() < 0.5:
    next(batches)
seen["working"] = prepare.progress()
seen["not a number"] = error(lambda: prepare.report(12, float("nan")))
seen["again"] = error(lambda: prepare.start(2))
seen["late"] = error(lambda: prepare.warming_up().__enter__())
prepare.report(6, 1000.0)
prepare.report(7, 2.5, tokens=64, parameters=5, flops_per_token=30)
seen["exploded"] = error(lambda: prepare.report(8, 20.0))
modes = set()

def model(tokens):
    modes.add((torch.is_grad_enabled(), tuple(tokens.shape), str(tokens.dtype)))
    return torch.zeros(*tokens.shape, setting.vocabulary, dtype=torch.bfloat16)

summary = prepare.evaluate(model)
seen |= {"modes": list(modes), "steps": summary.num_steps, "seconds": summary.total_seconds}
seen |= {"speed": summary.tokens_per_second, "mfu": summary.mfu_percent}
print(json.dumps(seen))
"""


def test_the_calls_of_prepare_do_what_they_say(
    tiny_setting: Setting, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    setting = tiny_setting.model_copy(update={"seconds": 0.5})
    trial = run_trial(
        MANY_THINGS, seed=3, setting=setting, dataset=tiny_dataset, device="cpu:0", folder=tmp_path
    )
    assert trial.outcome == "completed", trial
    seen = json.loads(trial.log_tail)
    assert seen["before"] == 0
    assert seen["rows"] == "a batch needs at least one row, not 0"
    assert "once" in seen["again"] and "before" in seen["late"]
    assert seen["exploded"] == "the loss exploded to 20 at step 8"
    assert seen["not a number"] == "the loss is nan at step 12"
    # On a CPU it is work that counts, not waiting.
    assert seen["waited"] - seen["waiting"] < 0.1
    assert 0.5 <= seen["working"] <= 1
    assert trial.budget_seconds == pytest.approx(0.5 * seen["working"], abs=0.1)
    assert seen["modes"] == [[False, [8, 32], "torch.int64"]]
    assert (trial.steps, trial.tokens, trial.parameters) == (7, 64, 5)
    assert seen["steps"] == 7 and 0 < seen["seconds"] < trial.total_seconds
    assert [loss for _, loss in trial.loss_curve] == [1000.0, 2.5]
    assert seen["speed"] == trial.tokens_per_second == pytest.approx(64 / trial.training_seconds)
    assert seen["mfu"] is None and trial.mfu_percent is None
    assert 0.2 <= trial.warmup_seconds < trial.startup_seconds
    assert 0 < trial.data_wait_seconds < trial.training_seconds


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user who has nothing prepared yet."""
    return tmp_path_factory.mktemp("home")


def by_hand(source: str, home: Path) -> subprocess.Popen[str]:
    script = home / "script.py"
    script.write_text(source)
    return subprocess.Popen(
        [sys.executable, script],
        env=os.environ | {"HOME": str(home), "SECONDS": "0.5", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_by_hand_a_script_trains_and_is_scored_as_in_a_trial(home: Path) -> None:
    run = by_hand(sources.UNIGRAM, home)
    out, err = run.communicate()
    assert (run.returncode, err) == (0, "")
    lines = out.split("---\n")[1].splitlines()
    assert lines[0].startswith("val_bpb:") and 1 < float(lines[0].split()[1]) < 3


def test_by_hand_a_failure_is_said_and_is_the_exit_code(home: Path) -> None:
    run = by_hand("from trainer import prepare\nprepare.setting()\n" + sources.CRASH, home)
    out, err = run.communicate()
    assert run.returncode == 1
    assert "so far so good" in out and "Traceback" in out
    assert err == "crashed: ValueError: the width must be even\n"


def test_by_hand_ctrl_c_ends_it_all_without_a_traceback(home: Path) -> None:
    source = "from trainer import prepare\nprepare.setting()\nprint('here')\nwhile True: pass"
    run = by_hand(source, home)
    assert run.stdout
    while run.stdout.readline() != "here\n":
        pass
    run.send_signal(signal.SIGINT)
    _, err = run.communicate()
    assert (run.returncode, err) == (130, "")
