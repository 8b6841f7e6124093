"""The real train.py on a real GPU behind each wall; skipped where there is none of them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.organizations import processes_about
from tests.sources import UNIFORM
from trainer.dataset import Dataset, build_dataset
from trainer.devices import find_devices
from trainer.sandbox import wall_problem
from trainer.setting import Setting
from trainer.smoke import smoke_test
from trainer.trial import Trial, run_trial
from trainer.wall import WALLS

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.timeout(300),
]

TRAIN = Path(__file__).parents[1] / "trainer" / "train.py"
SMALLER = {  # what fits a context of 64 and shares a GPU with other tests
    "DEPTH": ("9}", "3}"),
    "BATCH_TOKENS": ("262_144}", "16_384}"),
    "ROWS": ('"cuda": 64}', '"cuda": 128}'),
}

Attempt = Callable[..., Trial]


def smaller(source: str) -> str:
    """The baseline with fewer layers and a smaller batch."""
    lines = source.splitlines(keepends=True)
    for name, (old, new) in SMALLER.items():
        [place] = [n for n, line in enumerate(lines) if line.startswith(f"{name} = ")]
        assert old in lines[place]
        lines[place] = lines[place].replace(old, new)
    return "".join(lines)


@pytest.fixture(scope="module")
def setting(tiny_setting: Setting) -> Setting:
    return tiny_setting.model_copy(
        update={
            "profile": "gpu",
            "sequence_length": 128,
            "evaluation_tokens": 4096,
            "seconds": 3.0,
            "startup_seconds": 120.0,
            "threads": 4,
            "memory_gb": 32.0,
        }
    )


@pytest.fixture(scope="module")
def dataset(setting: Setting, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return build_dataset(setting, tmp_path_factory.mktemp("cache"))


@pytest.fixture(params=WALLS)
def wall(request: pytest.FixtureRequest) -> str:
    if problem := wall_problem(request.param):
        pytest.skip(problem)
    return str(request.param)


@pytest.fixture
def attempt(setting: Setting, dataset: Dataset, wall: str, tmp_path: Path) -> Attempt:
    def run(source: str, run: Attempt = run_trial, **terms: object) -> Trial:
        how = {"seed": 1} if run is run_trial else {}
        return run(
            source,
            **how,
            setting=setting.model_copy(update=terms),
            dataset=dataset,
            device=find_devices("cuda")[0],
            folder=tmp_path / "trial",
            wall=wall,
        )

    return run


def test_the_baseline_learns_and_its_score_holds_before_a_second_process(attempt: Attempt) -> None:
    trial = attempt(smaller(TRAIN.read_text()))
    assert trial.outcome == "completed", f"{trial.reason}\n{trial.log_tail}"
    assert trial.val_bpb is not None and trial.val_bpb < 4  # one that knows nothing: over 5
    assert trial.challenge_bits < 0.25
    assert trial.steps > 10 and trial.peak_memory_mb > 0
    assert trial.warmup_seconds > 0 and trial.training_seconds == pytest.approx(3.0, abs=1.5)


def test_a_smoke_test_makes_its_steps(attempt: Attempt) -> None:
    trial = attempt(smaller(TRAIN.read_text()), run=smoke_test)
    assert trial.outcome == "completed", f"{trial.reason}\n{trial.log_tail}"


def test_a_model_that_looks_ahead_is_rejected(attempt: Attempt) -> None:
    ahead = UNIFORM.replace(
        "prepare.evaluate(lambda tokens: torch.zeros(*tokens.shape, setting.vocabulary))",
        "prepare.evaluate(lambda tokens: 9.0 * torch.nn.functional.one_hot("
        "tokens.roll(-1, 1), setting.vocabulary))",
    )
    trial = attempt(ahead)
    assert (trial.outcome, trial.reason[:10]) == ("rejected", "not causal"), trial.reason


def test_more_memory_than_the_gpu_has_ends_the_trial_and_leaves_none_behind(
    attempt: Attempt,
) -> None:
    greedy = "import torch\nheld = [torch.ones(1 << 30, device='cuda') for _ in range(1000)]\n"
    trial = attempt(greedy)
    assert trial.outcome == "crashed"
    assert "out of memory" in trial.reason.lower()


def test_a_trial_is_given_its_own_gpu_and_no_network(attempt: Attempt) -> None:
    curious = (
        "import socket, torch\n"
        "assert torch.cuda.device_count() == 1\n"
        "try:\n    socket.create_connection(('127.0.0.1', 22), 1)\n"
        "except OSError as error:\n    raise SystemExit(f'shut in: {error}')\n"
    )
    trial = attempt(curious)
    assert "shut in" in trial.log_tail, trial.log_tail


def test_nothing_of_it_is_left_on_the_gpu(attempt: Attempt, tmp_path: Path) -> None:
    attempt("import torch\nheld = torch.ones(1 << 20, device='cuda')\n")
    question = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
    said = subprocess.run(question, capture_output=True, text=True, check=True).stdout
    using = {int(number) for number in said.split()}  # other tests may run here as well
    assert not using & {process.pid for process in processes_about(tmp_path)}
