"""One fixed-budget training run of one source with one seed, and what became of it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from trainer import descendants, sandbox
from trainer.dataset import Dataset
from trainer.devices import Lease
from trainer.files import write_whole
from trainer.setting import Setting

Outcome = Literal["completed", "crashed", "timed_out", "rejected"]

# What a trial sees of us, what its seconds are counted by and buy, and what its score is made by.
PINNED_CODE = (
    "prepare.py",
    "loader.py",
    "packing.py",
    "scorer.py",
    "challenge.py",
    "pace.py",
    "clock.py",
    "watch.py",
)

HOMES = ("work", "smoke", "challenge")  # where in its folder the processes of a trial work

GLANCE_SECONDS = 0.02  # between two looks at whether a supervisor is done
TERM_SECONDS = 10.0  # a supervisor that has not ended by then is killed


class TrialAbandoned(Exception):
    """The trial was stopped from outside before its end; run again, it starts afresh."""


class TrialLost(Exception):
    """The supervisor died and left no trial: our fault, or the machine's, never train.py's."""


class Trial(BaseModel):
    """What is known of a trial once it has ended, taken outside of it but for what is named below.

    ``val_bpb`` (bits per byte) is None unless the outcome is ``completed``. The seconds are wall
    seconds, except ``budget_seconds``: what the clock of the budget counted (processor seconds
    per thread on a CPU). ``tokens_per_second`` is per wall second of training, ``mfu_percent`` is
    None where the device's peak or the FLOPs per token are unknown. ``steps``, ``tokens``,
    ``parameters``, ``loss_curve`` (share of budget spent, training loss in nats per token), the
    FLOPs per token behind the MFU, ``warmup_seconds`` (within the start-up), ``data_wait_seconds``
    (within the training), and on CUDA ``peak_memory_mb``, are the trial's own word, for telemetry
    only.
    ``audit_bpb`` is the same as ``val_bpb`` on the audit split, where that was asked for.
    ``challenge_seconds`` passed while a second process was asked again (see `trainer.challenge`),
    ``challenge_bits`` is by how much a surprise differed then, at most. ``wall`` is what the trial
    was run behind: ``bubblewrap``, ``landlock`` or ``none``; ``precedence`` how it went before
    other programs (see `trainer.pace`). ``pins`` are the SHA-256 of everything fixed that a score
    depends on, the clock's code among it: trials under different pins are never compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source_sha: str
    seed: int
    device: str
    outcome: Outcome
    reason: str = ""
    val_bpb: float | None = None
    audit_bpb: float | None = None
    wall: str = "none"
    precedence: str = "none"
    budget_seconds: float = 0.0
    startup_seconds: float = 0.0
    warmup_seconds: float = 0.0
    training_seconds: float = 0.0
    data_wait_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    challenge_seconds: float = 0.0
    challenge_bits: float = 0.0
    total_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    steps: int = 0
    tokens: int = 0
    parameters: int = 0
    tokens_per_second: float = 0.0
    mfu_percent: float | None = None
    loss_curve: tuple[tuple[float, float], ...] = ()
    log_tail: str = ""
    pins: dict[str, str] = {}


class Request(BaseModel):
    """What a supervisor is asked to do, as it lies in request.json beside the source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source_sha: str
    seed: int
    device: str
    setting: Setting
    dataset: Dataset
    pins: dict[str, str]
    wall: str = "none"
    audit: bool = False
    order_seed: int | None = None
    precedence: bool = True
    smoke: bool = False

    def asks_the_same(self, other: Request) -> bool:
        """Whether both ask for the same trial; where, with which cache and wall, is no matter."""

        return self._asked() == other._asked()

    def _asked(self) -> Request:
        """Without what is no matter; of the text only what it is counts, which its pins say."""
        dataset = self.dataset.model_copy(update={"folder": Path(), "corpus": ""})
        besides = {"device": "", "pins": {}, "wall": "", "dataset": dataset}
        return self.model_copy(update=besides)


def run_trial(
    source: str,
    *,
    seed: int,
    setting: Setting,
    dataset: Dataset,
    device: str,
    folder: Path,
    wall: str = "auto",
    audit: bool = False,
    order_seed: int | None = None,
    precedence: bool = True,
    smoke: bool = False,
    stop: threading.Event | None = None,
) -> Trial:
    """Train ``source`` for the setting's budget on ``device`` and have its model scored.

    A folder holds one trial, and asking again is harmless: what has finished there is read, what
    is still running (also when whoever started it was killed) is waited for, what died is started
    afresh. Afterwards the folder has request.json, train.py, log.txt and trial.json.
    ``wall`` is what it runs behind, "auto" the best that there is (see `sandbox.find_wall`). With
    ``audit`` the audit split is scored as well, and the trial does not learn of it. ``order_seed``
    is for the order of the training text, in place of ``seed``. With ``precedence`` a trial on a CPU
    goes before other programs (see `trainer.pace`). ``smoke`` is for `trainer.smoke` alone: nothing
    is trained.
    On return, and with every error, no process of the trial is left.

    Raises:
        TrialAbandoned: ``stop`` was set first; there is no trial.json.
        TrialLost: the supervisor died.
        sandbox.NoWall: there is none here, and "none" was not asked for.
        ValueError: the folder holds another trial.
    """
    stop = stop or threading.Event()
    folder.mkdir(parents=True, exist_ok=True)
    request = Request(
        source_sha=_sha(source.encode()),
        seed=seed,
        device=str(device),
        setting=setting,
        dataset=dataset,
        pins=pins(setting, dataset, precedence=precedence),
        wall=sandbox.find_wall() if wall == "auto" else wall,
        audit=audit,
        order_seed=order_seed,
        precedence=precedence,
        smoke=smoke,
    )
    with (folder / "supervisor.lock").open("a+") as lock:
        _wait_for_supervisor(lock, stop)  # one may be at work here for a run that was killed
        _refuse_another(folder, request)
        if trial := finished(folder):
            return trial
        _await_strays(folder)  # of a supervisor that was killed just now
        if stop.is_set():
            raise TrialAbandoned(str(folder))
        supervisor = _start_supervisor(folder, request, source, lock, device)
    return _await_trial(folder, supervisor, stop)


def finished(folder: Path) -> Trial | None:
    """The trial that a folder holds, if it has ended."""
    path = folder / "trial.json"
    return Trial.model_validate_json(path.read_text()) if path.exists() else None


def annul(folder: Path) -> Path:
    """Put a trial that says nothing of its source out of the way, to be run afresh; where it is now."""
    places = (folder.with_name(f"{folder.name}-void-{number}") for number in count(1))
    return folder.rename(next(place for place in places if not place.exists()))


def pins(setting: Setting, dataset: Dataset, *, precedence: bool) -> dict[str, str]:
    """The SHA-256 of all that two trials must have in common to be compared."""
    code = {name: _sha(Path(__file__).with_name(name).read_bytes()) for name in PINNED_CODE}
    terms = {"setting": setting.model_dump_json(), "precedence": str(precedence)}
    return dataset.pins | code | {name: _sha(text.encode()) for name, text in terms.items()}


def _start_supervisor(
    folder: Path, request: Request, source: str, lock: IO[str], device: str
) -> subprocess.Popen[bytes]:
    """Start the supervisor; it inherits the locks on the folder and on the device.

    They are held for as long as it lives, whatever becomes of us.
    """
    (folder / "train.py").write_bytes(source.encode())
    write_whole(folder / "request.json", request.model_dump_json(indent=1))
    lock.truncate(0)  # the number of an earlier supervisor would mislead `_end_supervisor`
    held = [lock.fileno(), *([device.lock] if isinstance(device, Lease) else [])]
    with (folder / "supervisor.txt").open("wb") as said:
        return subprocess.Popen(
            # -P: nothing is imported from a folder that a trial might write to.
            [sys.executable, "-P", "-m", "trainer.supervisor", str(folder.resolve())],
            env=sandbox.clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            pass_fds=held,
            start_new_session=True,
        )


def _await_trial(folder: Path, supervisor: subprocess.Popen[bytes], stop: threading.Event) -> Trial:
    """Wait until a supervisor has ended; the trial that it leaves. Raises as `run_trial` does."""
    with (folder / "supervisor.lock").open("a+") as lock:
        _wait_for_supervisor(lock, stop)
    supervisor.wait()
    if trial := finished(folder):
        return trial
    _await_strays(folder)
    if stop.is_set():
        raise TrialAbandoned(str(folder))
    said = (folder / "supervisor.txt").read_text(errors="replace").strip().splitlines()
    raise TrialLost(f"the supervisor of {folder} died: {said[-1] if said else 'silently'}")


def _wait_for_supervisor(lock: IO[str], stop: threading.Event) -> None:
    """Wait until no supervisor holds the lock; when ``stop`` is set, end the one that does."""
    stopped_at: float | None = None
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        if not stop.wait(GLANCE_SECONDS):
            continue
        stopped_at = stopped_at or time.monotonic()
        patient = time.monotonic() - stopped_at < TERM_SECONDS
        _end_supervisor(lock, signal.SIGTERM if patient else signal.SIGKILL)
        time.sleep(GLANCE_SECONDS)


def _end_supervisor(lock: IO[str], how: signal.Signals) -> None:
    """Signal the process that wrote its number into the lock, if it has come to that yet."""
    lock.seek(0)
    if number := lock.read().strip():
        with contextlib.suppress(ProcessLookupError):  # gone since; the lock will say so
            os.kill(int(number), how)


def _await_strays(folder: Path) -> None:
    """What works elsewhere in the folder is a person's, who looks at the log."""
    descendants.await_strays(*(folder / home for home in HOMES))


def _refuse_another(folder: Path, request: Request) -> None:
    try:
        before = Request.model_validate_json((folder / "request.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, ValidationError):
        return  # nothing was asked yet, or what was is torn: by a power cut, or an earlier version
    if not before.asks_the_same(request):
        raise ValueError(f"{folder} holds another trial; give every trial a folder of its own")


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
