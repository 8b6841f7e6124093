"""A trial, run for real: what it is given, what becomes of it, and that nothing of it is left."""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests import sources
from trainer.challenge import challenge
from trainer.clock import Clock, processor_seconds
from trainer.dataset import Dataset, evaluation_rows
from trainer.loader import batches
from trainer.pace import MALLOC_VARIABLES, give_precedence
from trainer.packing import pack
from trainer.sandbox import trial_environment
from trainer.scorer import surprises
from trainer.setting import Setting
from trainer.trial import PINNED_CODE, Trial, TrialAbandoned, TrialLost, run_trial
from trainer.watch import Watch

Try = Callable[..., Trial]


@pytest.fixture
def attempt(tiny_setting: Setting, tiny_dataset: Dataset, tmp_path: Path) -> Try:
    """Run a source under seed 1 in a folder of its own; ``terms`` replace those of the setting."""

    def run(
        source: str, folder: str = "trial", stop: threading.Event | None = None, **terms: Any
    ) -> Trial:
        return run_trial(
            source,
            seed=1,
            setting=tiny_setting.model_copy(update=terms),
            dataset=tiny_dataset,
            device="cpu:0",
            folder=tmp_path / folder,
            stop=stop,
        )

    return run


def alive(marker: str) -> list[psutil.Process]:
    """The processes that have ``marker`` in their command line or folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if marker in " ".join([process.cwd(), *process.cmdline()]):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def names(processes: list[psutil.Process]) -> list[str]:
    """What processes are called, but for those that have ended since."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(process.name())
    return found


def eventually(happened: Callable[[], Any]) -> Any:
    """Wait for what must happen; the test's own time-out is the only limit."""
    while not (outcome := happened()):
        time.sleep(0.01)
    return outcome


@pytest.fixture
def uniform_bpb(tiny_setting: Setting, tiny_dataset: Dataset) -> float:
    """What a model scores that knows nothing: all tokens equally likely."""
    rows = evaluation_rows(
        tiny_dataset, "validation", tiny_setting.sequence_length, tiny_setting.evaluation_tokens
    )
    sizes = np.load(tiny_dataset.token_bytes)[rows[:, 1:]]
    return float(math.log2(tiny_setting.vocabulary) * (sizes > 0).sum() / sizes.sum())


def test_a_model_that_knows_nothing_scores_exactly_the_vocabulary(
    attempt: Try, uniform_bpb: float
) -> None:
    trial = attempt(sources.UNIFORM)
    assert trial.outcome == "completed", trial
    assert trial.val_bpb == pytest.approx(uniform_bpb, rel=1e-6)
    assert trial.steps == trial.tokens == trial.budget_seconds == 0


def test_a_trial_that_learns_is_told_its_score_and_everything_about_it_is_recorded(
    attempt: Try, tmp_path: Path, tiny_dataset: Dataset, uniform_bpb: float
) -> None:
    trial = attempt(sources.UNIGRAM)
    assert trial.outcome == "completed" and trial.reason == ""
    assert trial.val_bpb and trial.val_bpb < uniform_bpb - 0.3
    assert (trial.steps, trial.tokens, trial.parameters) == (20, 20 * 8 * 32, 300)
    assert trial.loss_curve and trial.seed == 1 and trial.device == "cpu:0"
    assert f"val_bpb:          {trial.val_bpb:.6f}" in trial.log_tail
    parts = trial.startup_seconds + trial.training_seconds + trial.evaluation_seconds
    assert 0 < parts <= trial.total_seconds
    assert trial.peak_memory_mb > 50
    assert tiny_dataset.pins.items() < trial.pins.items()
    folder = tmp_path / "trial"
    assert Trial.model_validate_json((folder / "trial.json").read_text()) == trial
    assert (folder / "train.py").read_text() == sources.UNIGRAM
    assert trial.log_tail in (folder / "log.txt").read_text()
    assert attempt(sources.UNIGRAM, "same seed").val_bpb == trial.val_bpb


@pytest.mark.parametrize(
    "decides",
    [
        *(Clock, processor_seconds, Watch, give_precedence),
        *(batches, pack, surprises, challenge),
    ],
)
def test_the_code_that_decides_how_much_is_learned_and_how_it_is_scored_is_pinned(
    decides: Any,
) -> None:
    assert Path(inspect.getfile(decides)).name in PINNED_CODE


def test_a_trial_gets_its_memory_in_the_way_that_is_pinned(tmp_path: Path) -> None:
    for device in ("cpu:0", "cuda:0"):
        given = trial_environment(tmp_path, device, threads=1)
        assert MALLOC_VARIABLES.items() <= given.items()


PEEK = """
import json, os, sys
from trainer import prepare
setting = prepare.setting()

def content(path):
    try:
        return open(path).read()
    except OSError:
        return "refused"

before = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
x, y = next(prepare.start(rows=3))
print(json.dumps({
    "environment": dict(os.environ),
    "parent": content(f"/proc/{os.getppid()}/environ"),
    "stdin": sys.stdin.read(),
    "terminal": content("/dev/tty"),
    "open": before,
    "shapes": [list(x.shape), list(y.shape), str(x.dtype)],
    "shifted": bool((x[:, 1:] == y[:, :-1]).all()),
    "starts": x[:, 0].tolist(),
    "setting": [setting.seed, setting.device, setting.threads],
}))
"""


def test_a_trial_gets_its_terms_and_its_text_but_no_key_and_no_terminal(
    attempt: Try, tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-you")
    trial = attempt(PEEK)
    seen = json.loads((tmp_path / "trial" / "log.txt").read_text())
    assert trial.reason == "train.py ended without handing over a model"
    assert "sk-not-for-you" not in json.dumps(seen)
    assert seen["environment"]["HOME"] == str(tmp_path / "trial" / "work")
    assert seen["environment"]["OMP_NUM_THREADS"] == "1"
    assert seen["environment"]["CUDA_VISIBLE_DEVICES"] == ""
    cache = tmp_path / "trial" / "work" / "compiled" / "inductor"  # gone with the trial
    assert seen["environment"]["TORCHINDUCTOR_CACHE_DIR"] == str(cache)
    assert seen["stdin"] == "" and seen["terminal"] == "refused"
    assert not any(str(tiny_dataset.folder) in name for name in seen["open"])
    assert seen["shapes"] == [[3, 32], [3, 32], "torch.int64"]
    assert seen["shifted"] and seen["starts"] == [tiny_dataset.bos] * 3
    assert seen["setting"] == [1, "cpu", 1]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (sources.NO_MODEL, "train.py ended without handing over a model"),
        (sources.CRASH, "ValueError: the width must be even"),
        (sources.losses(5.7, float("nan")), "FloatingPointError: the loss is nan at step 2"),
        (sources.losses(5.7, 5.8, 17.2), "FloatingPointError: the loss exploded to 17.2 at step 3"),
        (sources.NOT_PYTHON, "SyntaxError: invalid syntax"),
        ("import sys; sys.exit('no such optimizer')", "no such optimizer"),
        ("import os; os._exit(3)", "exit code 3"),
        ("import os; os.abort()", "killed by SIGABRT"),
    ],
)
def test_a_crash_is_a_trial_with_its_reason(attempt: Try, source: str, reason: str) -> None:
    trial = attempt(source)
    assert trial.outcome == "crashed" and trial.val_bpb is None
    assert trial.reason.startswith(reason)


GREEDY = """
import time
hoard = []
for _ in range(64):
    hoard.append(b"x" * (1 << 24))
time.sleep(1000)
"""


@pytest.mark.parametrize(
    ("source", "how"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed, most likely by the kernel"),
        ("x = bytearray(1 << 60)", "MemoryError"),
        ("import torch; torch.empty(1 << 60)", "RuntimeError: .*can't allocate memory.*"),
        ("import torch; raise torch.OutOfMemoryError('CUDA out of memory.')", ".*OutOfMemoryErr.*"),
        (GREEDY, "a trial may have 0.5 GB"),
    ],
)
def test_running_out_of_memory_is_a_reason_of_its_own_with_the_peak(
    attempt: Try, source: str, how: str
) -> None:
    trial = attempt(source, memory_gb=0.5 if source == GREEDY else 4.0)
    assert trial.outcome == "crashed"
    assert re.fullmatch(rf"out of memory: peak \d+ MB \({how}\)", trial.reason), trial.reason
    if source == GREEDY:
        assert trial.peak_memory_mb > 512


def test_a_trial_that_crashes_leaves_its_last_step_and_its_curve(attempt: Try) -> None:
    trial = attempt(sources.losses(5.7, 5.6, 5.5, float("inf")))
    assert trial.outcome == "crashed" and trial.steps == 3
    assert trial.loss_curve[-1][1] == 5.5


def test_a_trial_from_before_there_was_telemetry_can_be_read() -> None:
    old = {"source_sha": "s", "seed": 1, "device": "cpu:0", "outcome": "completed", "val_bpb": 1.5}
    trial = Trial.model_validate(old)
    assert trial.mfu_percent is None and trial.tokens_per_second == trial.warmup_seconds == 0


def test_what_goes_wrong_after_the_score_does_not_take_it_away(
    attempt: Try, uniform_bpb: float
) -> None:
    trial = attempt(sources.UNIFORM + "raise KeyError('depth')")
    assert trial.outcome == "completed" and trial.val_bpb == pytest.approx(uniform_bpb)
    assert trial.reason == "after its score: KeyError: 'depth'"


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("exit()", "train.py ended without answering for its model"),
        ("torch.zeros(*tokens.shape, V - 1)", "logits of shape (8, 32, 299); (8, 32, 300) were"),
    ],
)
def test_without_an_answer_there_is_no_score(attempt: Try, expression: str, reason: str) -> None:
    trial = attempt(sources.wrong_answer(expression))
    assert trial.outcome == ("crashed" if expression == "exit()" else "rejected")
    assert trial.val_bpb is None and trial.reason.startswith(reason)


BUSY = """
import os, subprocess, sys
if sys.argv[1:] or {children}:
    if not sys.argv[1:]:
        subprocess.Popen([sys.executable, "train.py", "child"]).wait()
    while True: pass
while True: pass
"""


@pytest.mark.parametrize("children", [0, 1])
def test_processor_time_beyond_the_budget_ends_a_trial_also_when_a_child_spends_it(
    attempt: Try, children: int, tmp_path: Path
) -> None:
    trial = attempt(BUSY.format(children=children), startup_seconds=1.0)
    assert trial.outcome == "timed_out"
    assert trial.reason.endswith(" s spent; the budget is 0.2 s")
    assert trial.budget_seconds > 1.2
    assert not alive(str(tmp_path))


def test_a_trial_that_only_waits_is_ended_as_stuck(attempt: Try) -> None:
    trial = attempt(sources.SLEEP, seconds=0.02, startup_seconds=0.02)
    assert trial.outcome == "timed_out" and trial.reason.startswith("stuck: only 0.0 s of its budg")


def test_start_up_beyond_the_allowance_is_charged(attempt: Try) -> None:
    source = """
import os
from trainer import prepare
prepare.start(rows=1)
print(1000 * prepare.progress())
os._exit(0)
"""
    trial = attempt(source, startup_seconds=0.001, seconds=1000.0)
    charged = float(trial.log_tail)
    assert charged > 0.2  # importing torch takes longer everywhere
    assert trial.budget_seconds == pytest.approx(charged, abs=0.1)


def test_a_flood_of_output_is_cut_in_the_middle_and_cleaned_for_its_readers(
    attempt: Try, tmp_path: Path
) -> None:
    source = r"""
print("first")
for _ in range(3000): print("x" * 1023)
print("\x1b[31mred\x1b[0m\x07 \ud83d".encode("utf-8", "surrogatepass").decode("latin-1"))
print("last")
"""
    trial = attempt(source)
    log = (tmp_path / "trial" / "log.txt").read_bytes()
    assert log.startswith(b"first\n") and log.endswith(b"last\n") and b"bytes left out" in log
    assert len(log) < 1.3 * 2**20
    assert "\x1b" not in trial.log_tail and "\x07" not in trial.log_tail
    assert "red" in trial.log_tail


DAEMON = """
import os, subprocess, sys, time
if sys.argv[1:]:
    time.sleep(1000)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, os.path.abspath("train.py"), "daemon"])
    os._exit(0)
os.wait()
time.sleep(0.2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper")
def test_nothing_survives_a_trial_not_even_a_daemon(attempt: Try, tmp_path: Path) -> None:
    assert attempt(DAEMON).outcome == "crashed"
    assert not alive(str(tmp_path))
    assert not (tmp_path / "trial" / "work").exists()


GARBAGE = {
    "the channel's own words in the wrong place": (
        'channel.send("answer", {"slot": 0})',
        "on its channel: 'answer' means nothing here",
    ),
    "a report of nonsense": (
        'channel.send("report", {"step": -1, "tokens": "many"})',
        "on its channel: step: Input should be greater than or equal to 0",
    ),
    "bytes": ('end.send(b"garbage, and a lot of it")', "on its channel: a message of 1734439522"),
    "no JSON": ('end.send(b"\\0\\0\\0\\1{")', "on its channel: a message that is not JSON"),
    "half a message, and then nothing": ('end.send(b"\\0\\0\\0\\7{")', "stuck: "),
    "hanging up": ("end.close()", "it closed its channel and went on"),
}


@pytest.mark.parametrize(("line", "reason"), GARBAGE.values(), ids=GARBAGE.keys())
def test_whatever_a_trial_says_on_its_channel_it_only_ends_itself(
    attempt: Try, line: str, reason: str
) -> None:
    source = f"""
import os, socket, time
from trainer.channel import Channel
end = socket.socket(fileno=int(os.environ["TRIAL_CHANNEL"]))
channel = Channel(end)
{line}
time.sleep(1000)
"""
    trial = attempt(source, seconds=0.05, startup_seconds=0.05)
    assert trial.outcome == ("timed_out" if reason == "stuck: " else "rejected")
    assert trial.reason.startswith(reason)


def test_asking_again_reads_what_is_there_and_another_trial_needs_another_folder(
    attempt: Try, tmp_path: Path
) -> None:
    first = attempt(sources.CRASH)
    (tmp_path / "trial" / "log.txt").unlink()
    assert attempt(sources.CRASH) == first
    assert not (tmp_path / "trial" / "log.txt").exists()
    with pytest.raises(ValueError, match="holds another trial"):
        attempt(sources.NO_MODEL)


def test_what_was_asked_but_is_torn_is_asked_anew(attempt: Try, tmp_path: Path) -> None:
    """As after a power cut, or a disk that was full when it was written by an earlier version."""
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "request.json").write_text('{"source_sha": "12')
    assert attempt(sources.CRASH).outcome == "crashed"


def test_a_disk_that_is_full_when_a_trial_is_asked_for_leaves_nothing_torn(
    attempt: Try, tmp_path: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            attempt(sources.CRASH)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert not (tmp_path / "trial" / "request.json").exists()
    assert attempt(sources.CRASH).outcome == "crashed"


def test_a_trial_is_the_same_in_another_cache(
    attempt: Try, tiny_setting: Setting, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    first = attempt(sources.CRASH)
    moved = shutil.copytree(tiny_dataset.folder, tmp_path / "cache")
    again = run_trial(
        sources.CRASH,
        seed=1,
        setting=tiny_setting,
        dataset=tiny_dataset.model_copy(update={"folder": moved}),
        device="cpu:0",
        folder=tmp_path / "trial",
    )
    assert again == first


def test_who_looks_into_the_folder_of_a_trial_is_left_alone(attempt: Try, tmp_path: Path) -> None:
    (tmp_path / "trial").mkdir()
    with subprocess.Popen(["sleep", "1000"], cwd=tmp_path / "trial") as reader:
        assert attempt(sources.CRASH).outcome == "crashed"
        assert reader.poll() is None
        reader.kill()


# They end only when a file appears in their folder: the one place where a trial looks.
WAIT = """
import os, time
while not os.path.exists("enough"): time.sleep(0.01)
"""


# The same, beside a sleeper that has left its parent's session.
WAIT_BESIDE_A_SLEEPER = f"""
import subprocess
subprocess.Popen(["sleep", "1000"], start_new_session=True)
{WAIT}"""


def let_go(folder: Path) -> threading.Thread:
    """End the trial that waits in a folder, as soon as it is there."""

    def touch() -> None:
        eventually((folder / "work" / "train.py").exists)
        (folder / "work" / "enough").touch()

    thread = threading.Thread(target=touch)
    thread.start()
    return thread


def test_a_trial_that_is_stopped_is_gone_and_can_be_run_again(attempt: Try, tmp_path: Path) -> None:
    stop = threading.Event()
    home = str(tmp_path / "trial" / "work")

    def give_up() -> None:
        eventually(lambda: "sleep" in names(alive(home)))
        stop.set()

    threading.Thread(target=give_up).start()
    with pytest.raises(TrialAbandoned):
        attempt(WAIT_BESIDE_A_SLEEPER, stop=stop)
    assert not alive(str(tmp_path))
    assert not (tmp_path / "trial" / "trial.json").exists()
    with pytest.raises(TrialAbandoned):
        attempt(WAIT_BESIDE_A_SLEEPER, stop=stop)
    letting = let_go(tmp_path / "trial")
    assert attempt(WAIT_BESIDE_A_SLEEPER).outcome == "crashed"
    letting.join()


ORGANIZATION = """
import sys
from pathlib import Path
from trainer.dataset import load_dataset
from trainer.setting import Setting
from trainer.trial import run_trial
setting, dataset, folder, source = sys.argv[1:]
run_trial(source, seed=1, setting=Setting.model_validate_json(setting), device="cpu:0",
          dataset=load_dataset(Path(dataset)), folder=Path(folder))
"""


def test_after_kill_9_a_running_trial_is_waited_for_and_not_run_twice(
    attempt: Try, tiny_setting: Setting, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    source = "import os; print(os.urandom(4).hex(), flush=True)" + WAIT
    folder = tmp_path / "trial"
    arguments = [tiny_setting.model_dump_json(), str(tiny_dataset.folder), str(folder), source]
    organization = subprocess.Popen([sys.executable, "-c", ORGANIZATION, *arguments])
    log = folder / "log.txt"
    said = eventually(lambda: log.exists() and log.read_text().strip())
    organization.kill()
    organization.wait()
    assert alive(str(folder / "work"))
    let_go(folder).join()
    assert attempt(source).reason == "train.py ended without handing over a model"
    assert log.read_text().split() == [said]


def test_a_dead_supervisor_takes_its_trial_along_and_is_no_fault_of_train_py(
    attempt: Try, tmp_path: Path
) -> None:
    folder = tmp_path / "trial"

    def murder() -> None:
        eventually(lambda: alive(str(folder / "work")))
        os.kill(int((folder / "supervisor.lock").read_text()), signal.SIGKILL)

    threading.Thread(target=murder).start()
    with pytest.raises(TrialLost):
        attempt(WAIT)
    eventually(lambda: not alive(str(folder)))
    (folder / "work" / "train.py").unlink()  # of the one that was killed
    letting = let_go(folder)
    assert attempt(WAIT).outcome == "crashed"
    letting.join()
