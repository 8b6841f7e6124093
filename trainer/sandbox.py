"""What a trial may see and touch: its environment, its start, and the wall that it is behind.

On Linux this holds in full; elsewhere (macOS) there is no wall. How the wall is built, see
`trainer.wall`; what a trial's processes use and how they end, `trainer.descendants`.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from trainer import bubblewrap, landlock, seccomp
from trainer.breakout import try_out
from trainer.channel import CHANNEL_VARIABLE
from trainer.pace import HUGE_PAGES, MALLOC_VARIABLES
from trainer.wall import CUDA_DEVICES, WALLS, start_inside

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

PROCESS_LIMIT = 256  # of a trial; looked at from outside
HOME_LIMIT_MB = 8192.0  # of a trial's home; looked at from outside
SPARE_GB = 1.0  # private memory that is reserved and not used: stacks, arenas, what malloc keeps

_LINUX = sys.platform == "linux"


class NoWall(Exception):
    """Nothing on this machine can hold a trial; the text says what to do, in a line."""


def clean_environment() -> dict[str, str]:
    """Our environment, cut down to what is allowed, so that imports of this package still work."""
    known = {name: os.environ[name] for name in ALLOWED_VARIABLES if name in os.environ}
    return known | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


def trial_environment(home: Path, device: str, threads: int) -> dict[str, str]:
    """The whole environment of a trial that lives in ``home`` and may use one device.

    What torch.compile makes stays in the home and goes with it: what lies in a cache is run, and
    may as well be a checkpoint, so that no two trials may ever share one.
    """
    compiled = home / "compiled"
    kind, _, number = device.partition(":")
    count = str(threads)
    own = {
        "HOME": str(home),
        "USER": "trial",  # asked for by torch; who we are is not to be looked up
        "TMPDIR": str(home),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "TORCHINDUCTOR_COMPILE_THREADS": count,
        "TORCHINDUCTOR_CACHE_DIR": str(compiled / "inductor"),
        "TRITON_CACHE_DIR": str(compiled / "triton"),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": number if kind == "cuda" else "",
    }
    pages = HUGE_PAGES if kind == "cpu" else {}
    return clean_environment() | MALLOC_VARIABLES | pages | own


def start_trial(
    home: Path,
    *,
    device: str,
    threads: int,
    channel: int,
    log: int,
    wall: str,
    memory_gb: float | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``python train.py`` in ``home``, behind a wall, as a session that dies when we do.

    ``channel`` and ``log`` are the descriptors of its end of the channel and of its output.
    ``memory_gb`` bounds the private memory of each of its processes, in GiB, on a CPU only: CUDA
    reserves more than it uses. How it ended, `trainer.wall.exit_code` says.

    Raises:
        ValueError: the home lies where a trial may read.
    """
    home = home.resolve()
    environment = trial_environment(home, device, threads)
    environment[CHANNEL_VARIABLE] = str(channel)
    if wall == "landlock":  # a pool of compiling processes needs locks, which lie in /dev/shm
        environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    on_cpu = device.startswith("cpu")
    return start_inside(
        [sys.executable, "train.py"],
        home,
        wall=wall,
        environment=environment,
        output=log,
        devices=() if on_cpu else CUDA_DEVICES,
        data_mb=int(1024 * (memory_gb + SPARE_GB)) if on_cpu and memory_gb else None,
        pass_fds=[channel],
    )


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


def find_wall() -> str:
    """The best wall that holds here, "bubblewrap" or "landlock"; each is tried out once a process.

    Raises:
        NoWall: neither does.
    """
    why = {}
    for wall in WALLS:
        if not (problem := wall_problem(wall)):
            return wall
        why[wall] = problem
    reasons = "; ".join(f"{wall}: {problem}" for wall, problem in why.items())
    raise NoWall(
        "trials cannot be walled in here: install bubblewrap, or say `sandbox: none` in org.yaml "
        f"to run what agents write with all your rights ({reasons})"
    )


@cache
def wall_problem(wall: str) -> str:
    """Why a wall does not hold here, in a line; "" if it does.

    It is tried out once, in 0.3 s: a process inside must fail to reach out, and must manage what a
    trial needs.
    """
    if not _LINUX:
        return "there is none on this system"
    if wall == "bubblewrap" and not bubblewrap.program():
        return "not installed"
    if wall == "landlock" and (known := landlock.version()) < landlock.LEAST_VERSION_ALONE:
        return f"this kernel has version {known}, {landlock.LEAST_VERSION_ALONE} is needed"
    if not seccomp.supported():
        return f"the system calls of {os.uname().machine} are not known here"
    return "; ".join(try_out(wall, clean_environment()))


def explain(wall: str) -> str:
    """What a wall keeps a trial from, in a line."""
    return {
        "bubblewrap": "bubblewrap: a trial has no network, sees its own folder, its device and the "
        "libraries, and no other process",
        "landlock": "Landlock and seccomp: a trial has no network, reads its own folder, its device "
        "and the libraries, and reaches no other process; it can tell whether other files and "
        "processes exist, and has no shared memory by name, so no workers of a DataLoader",
        "none": "none: what agents write runs with all your rights",
    }[wall]
