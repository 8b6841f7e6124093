"""What a trial may see and touch, and how it is made to end: all that depends on the system.

On Linux this holds in full; elsewhere (macOS) the parts without a counterpart do nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from trainer.channel import CHANNEL_VARIABLE

# What a process below us may know of our environment: how to find programs and libraries, and the
# language. No key, no token, no address is among them.
ALLOWED_VARIABLES = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "CUDA_HOME",
    "CC",
    "CXX",
)

# glibc otherwise hands large blocks back to the kernel at once, and every step faults them in
# again: 12 to 15 % more steps on a CPU, an evaluation shorter by a quarter (train.py, 6 s budget).
MALLOC_VARIABLES = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(1 << 26),
}

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform == "linux"


def clean_environment() -> dict[str, str]:
    """Our environment, cut down to what is allowed, so that imports of this package still work."""
    known = {name: os.environ[name] for name in ALLOWED_VARIABLES if name in os.environ}
    return known | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


def trial_environment(home: Path, device: str, threads: int, compile_cache: Path) -> dict[str, str]:
    """The whole environment of a trial that lives in ``home`` and may use one device.

    ``compile_cache`` outlives the trial: what torch.compile made for one source is found again by
    every other whose graph is the same. It is shared by all trials of a lab, and what lies in it is
    run: a trial that writes there what another will find could speak for it. It is a cache for
    programs that one's own organization wrote, and no part of the wall around a trial.
    """
    kind, _, number = device.partition(":")
    count = str(threads)
    own = {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "TORCHINDUCTOR_COMPILE_THREADS": count,
        "TORCHINDUCTOR_CACHE_DIR": str(compile_cache / "inductor"),
        "TRITON_CACHE_DIR": str(compile_cache / "triton"),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": number if kind == "cuda" else "",
    }
    return clean_environment() | MALLOC_VARIABLES | own


def start_trial(
    home: Path, *, device: str, threads: int, compile_cache: Path, channel: int, log: int
) -> subprocess.Popen[bytes]:
    """Start ``python train.py`` in ``home`` as a session of its own that dies when we do.

    ``channel`` and ``log`` are the descriptors of its end of the channel and of its output.
    """
    us = os.getpid()
    environment = trial_environment(home, device, threads, compile_cache)
    return subprocess.Popen(
        [sys.executable, "train.py"],
        cwd=home,
        env=environment | {CHANNEL_VARIABLE: str(channel)},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=[channel],
        start_new_session=True,
        preexec_fn=lambda: _enter(us),  # no thread runs here yet
    )


def adopt_orphans() -> None:
    """Become the parent of whatever our children leave behind, so that it can be ended."""
    if _LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_descendants() -> None:
    """Kill every process below this one, detached or not, and return when the last is gone.

    An orphan becomes our child at once (see `adopt_orphans`), so while anything is left we have a
    child; each turn kills all that is there and waits for one of them.
    """
    while True:
        for process in _descendants():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def processor_seconds() -> float:
    """Processor seconds of all processes below this one: the living, and the dead once reaped."""
    ended = psutil.Process().cpu_times()
    seconds = ended.children_user + ended.children_system
    for process in _descendants():
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds += sum(process.cpu_times()[:4])
    return float(seconds)


def memory_mb() -> float:
    """Resident memory of all living processes below this one, in MiB."""
    total = 0
    for process in _descendants():
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / 2**20


def peak_memory_of_the_dead_mb() -> float:
    """The most that one of the processes below us, now ended, had resident, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak / (2**10 if _LINUX else 2**20)


def shared_memory(size_bytes: int) -> int:
    """A descriptor of anonymous memory of a fixed size, to be shared with a trial.

    What a trial shares it may also change at any time: read it with `os.preadv` into memory of
    your own, never through a mapping, and look only at the copy.
    """
    if not _LINUX:
        with tempfile.TemporaryFile() as file:
            os.ftruncate(file.fileno(), size_bytes)
            return os.dup(file.fileno())
    descriptor = os.memfd_create("trial", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size_bytes)
    seals = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def _descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _enter(parent: int) -> None:
    """Have this process killed when its parent ends, and killed first when memory is short.

    Runs between fork and exec.
    """
    if not _LINUX:
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above: no signal will ever come
        os._exit(1)
