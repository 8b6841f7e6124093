"""A process put behind a wall: what it may reach is decided here, and it is started.

Which walls there are is `WALLS`; how each is built, `trainer.bubblewrap` and `trainer.landlock`.
Whether one holds on this machine, `trainer.breakout` tries out.
"""

from __future__ import annotations

import contextlib
import os
import signal
import site
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from trainer import bubblewrap
from trainer.confine import Terms, stage

WALLS = ("bubblewrap", "landlock")  # the best first; "none" is said by a person alone
TRIAL_UID = 59_999  # of nobody by Debian's rules, and within the range that containers are given
TASK_LIMIT = 1024  # processes and threads of a trial

PACKAGE = Path(__file__).resolve().parent

# Besides Python and its libraries. Of /etc only what loading a library and telling the time need;
# of /usr what systems put there, for it may be that a person's own work lies there, too.
SYSTEM_PLACES = (
    *("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store"),
    *("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec"),
    *("/usr/include", "/usr/share", "/usr/local/bin", "/usr/local/lib", "/usr/local/lib64"),
    *("/usr/local/include", "/usr/local/share"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives"),
)
# The nodes of the processors, which torch counts.
SYSTEM_FACTS = ("/sys/devices/system",)
# Where /proc is the host's: facts of the machine, and of no process.
PROC_FACTS = (
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/filesystems"),
    *("/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/osrelease"),
)
# What a trial on a GPU needs besides (https://docs.nvidia.com/cuda/): the devices of all GPUs, of
# which CUDA_VISIBLE_DEVICES says the one to use; CUDA and its driver, where no package manager has
# put them among the libraries; the nodes of the PCI bus, in place of SYSTEM_FACTS; and of /proc.
# `tests/test_cuda.py` sees that it is enough.
CUDA_DEVICES = (
    *(f"/dev/nvidia{number}" for number in range(16)),
    *("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"),
    "/dev/nvidia-caps",
)
GPU_PLACES = ("/usr/local/cuda", "/usr/local/nvidia", "/opt/cuda", "/run/opengl-driver")
GPU_FACTS = ("/sys",)
GPU_PROC_FACTS = ("/proc/driver", "/proc/devices", "/proc/modules", "/proc/version")
COMPILERS = ("CC", "CXX")  # variables that name them
# Packages that a corpus is made of: the text that a trial is scored on is in them.
CORPUS_PACKAGES = "pythonbible*"


def start_inside(
    command: Sequence[str],
    home: Path,
    *,
    wall: str,
    environment: Mapping[str, str],
    output: int,
    devices: Sequence[str] = (),
    data_mb: int | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a command in ``home`` behind a wall: "bubblewrap", "landlock", or "none" at all.

    It may use ``devices`` (none: it runs on a CPU), write its home, and read what Python needs.
    ``output`` and ``pass_fds`` are descriptors. ``data_mb`` bounds the private memory of each of its
    processes, in MiB. On Linux all of it ends when the thread ends that called this, or when its
    first process does; how that ended, `exit_code` says.

    Raises:
        ValueError: the home lies where a trial may read, and other trials with it.
    """
    home, line = home.resolve(), list(command)
    terms: Terms | None = None
    if wall != "none":
        # The folder that this package lies in is not to be listed: it is found from the home.
        (home / PACKAGE.name).symlink_to(PACKAGE)
        terms = _terms(home, wall == "bubblewrap", devices, data_mb)
        environment = _without_unreachable_compilers(environment, terms.readable)
    if wall == "bubblewrap" and terms:
        # Its own, and short: a socket's path has at most 107 characters, and workers have sockets.
        environment = {**environment, "TMPDIR": bubblewrap.SCRATCH[0]}
        line, terms = bubblewrap.command(terms, line), None
    if sys.platform == "linux":
        line = stage("guard", terms, [str(os.getpid()), *line])
    return subprocess.Popen(
        line,
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=pass_fds,
        start_new_session=True,
    )


def _without_unreachable_compilers(
    environment: Mapping[str, str], readable: Sequence[str]
) -> dict[str, str]:
    """The environment, in which torch.compile is led to no compiler that cannot be started."""
    hidden = {
        name
        for name in COMPILERS
        if environment.get(name, "").startswith("/")
        and not any(Path(environment[name]).is_relative_to(place) for place in readable)
    }
    return {name: value for name, value in environment.items() if name not in hidden}


def exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """How a trial ended, −N for signal N as ever; None while it runs.

    The guard, like a shell, says 128 + N in its place.
    """
    code = process.poll()
    return 128 - code if code is not None and 128 < code <= 128 + signal.NSIG else code


def _terms(
    home: Path,
    is_alone: bool,
    devices: Sequence[str],
    data_mb: int | None,
) -> Terms:
    readable = [*SYSTEM_PLACES, *_python_places(home)]
    readable += (*GPU_PLACES, *GPU_FACTS) if devices else SYSTEM_FACTS
    _refuse_within(readable, home)
    uid = _own_user()
    if uid is not None:
        _give(home, uid)
    if not is_alone:
        readable += [*PROC_FACTS, *(GPU_PROC_FACTS if devices else ())]
        # Python's pickle asks for a module named org (of Jython). Installed in place, ours is found
        # and must be readable so far; our own sources are not.
        readable += map(str, PACKAGE.parent.glob("*/__init__.py"))
    return Terms(
        home=str(home),
        readable=tuple(readable),
        writable=bubblewrap.SCRATCH if is_alone else (),
        devices=(*bubblewrap.OWN_DEVICES, *devices),
        hidden=tuple(_corpus_places()),
        is_alone=is_alone,
        on_cpu=not devices,
        # In a namespace of users the trial's own are counted, else all of its user.
        tasks=TASK_LIMIT + (0 if is_alone and uid is None else _tasks_of(uid)),
        data_mb=data_mb,
        uid=uid,
        reads_all=uid is not None and not _are_open([home], is_alone),
    )


def _python_places(home: Path) -> list[str]:
    """The interpreter, the libraries and this package."""
    known = [sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages(), str(PACKAGE)]
    for name in ("LD_LIBRARY_PATH", "CUDA_HOME"):
        for place in os.environ.get(name, "").split(":"):
            # It may be written carelessly; what a trial needs is not in a folder around its own.
            if place.startswith("/") and not home.is_relative_to(Path(place).resolve()):
                known.append(place)
    return list(dict.fromkeys(known))


def _corpus_places() -> Iterator[str]:
    for folder in dict.fromkeys(path for path in sys.path if path):
        yield from map(str, Path(folder).resolve().glob(CORPUS_PACKAGES))


def _refuse_within(readable: Sequence[str], home: Path) -> None:
    for place in readable:
        if home.is_relative_to(Path(place).resolve()):
            raise ValueError(f"trials may read {place}: no lab can be in it, as {home} is")


def _own_user() -> int | None:
    """The user that a trial becomes where we are root.

    None: it stays the user that we are. As root it keeps no capability, but processes of root are
    bounded by no limit of the kernel, only by the supervisor.
    """
    return TRIAL_UID if os.geteuid() == 0 and _has_user(TRIAL_UID) else None


def _give(folder: Path, uid: int) -> None:
    """Make a folder, and what is in it, a user's own."""
    for _, below, files, descriptor in os.fwalk(folder):
        for name in (*below, *files):
            os.chown(name, uid, uid, dir_fd=descriptor, follow_symlinks=False)
    os.chown(folder, uid, uid)


def _are_open(folders: Sequence[Path], is_alone: bool) -> bool:
    """Whether everyone may pass through to these folders, and to Python."""
    needed = [
        *folders,
        *(Path(place).resolve() for place in (sys.prefix, sys.base_prefix)),
        PACKAGE,
    ]
    # In a mount namespace only the last folder counts, which is mounted where it is needed.
    ways = needed if is_alone else [way for place in needed for way in (place, *place.parents)]
    return all(folder.stat().st_mode & 0o001 for folder in ways)


def _has_user(uid: int) -> bool:
    """Whether a number of a user means something here, which in a container it may not."""
    spans = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(int(first) <= uid < int(first) + int(count) for first, _, count in spans)


def _tasks_of(uid: int | None) -> int:
    """Processes and threads of a user, None our own, on all of this machine."""
    count, user = 0, os.getuid() if uid is None else uid
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # ended since
                if entry.stat().st_uid == user:
                    count += Path(entry.path, "task").stat().st_nlink - 2
    return count
