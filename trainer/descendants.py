"""All processes below this one: what they use together, and how they are made to end.

On macOS what a process detached itself from is not below us any more, and is not found.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
import time
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36

STRAY_SECONDS = 5.0  # for the guard of a trial to end it (see `trainer.guard`)
GLANCE_SECONDS = 0.02  # between two looks at whether it has


def adopt_orphans() -> None:
    """Become the parent of whatever our children leave behind, so that it can be ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_descendants() -> None:
    """Kill every process below this one, detached or not, and return when the last is gone.

    An orphan becomes our child at once (see `adopt_orphans`), so while anything is left we have a
    child; each turn kills all that is there and waits for those that ended.
    """
    while True:
        for process in _descendants():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        try:
            os.waitpid(-1, 0)
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return


def number_of(script: str) -> int | None:
    """The process below this one that runs ``python script``, as we know it; the topmost one."""
    for process in _descendants():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.cmdline()[1:] == [script]:
                return int(process.pid)
    return None


def memory_mb() -> float:
    """Resident memory of all living processes below this one, in MiB.

    What several of them share is counted once for each.
    """
    total = 0
    for process in _descendants():
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / 2**20


def process_count() -> int:
    """How many living processes are below this one."""
    return len(_descendants())


def folder_mb(folder: Path) -> float:
    """Disk that a folder takes with all in it, in MiB; links are not followed."""
    blocks = 0
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with contextlib.suppress(OSError):  # gone since, or closed to us
                blocks += os.lstat(os.path.join(place, name)).st_blocks  # noqa: PTH118
    return blocks * 512 / 2**20


def peak_memory_of_the_dead_mb() -> float:
    """The most that one of the processes below us, now ended, had resident, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak / (2**10 if sys.platform == "linux" else 2**20)


def await_strays(*folders: Path) -> None:
    """Return once no process works in a folder: what a killed supervisor has left ends by itself.

    What has not ended after `STRAY_SECONDS` is killed.
    """
    patient_until = time.monotonic() + STRAY_SECONDS
    homes = [folder.resolve() for folder in folders]
    while strays := _working_in(homes):
        if time.monotonic() > patient_until:
            for process in strays:
                with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    process.kill()
        time.sleep(GLANCE_SECONDS)


def _working_in(homes: list[Path]) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        # A folder that was removed since is told as "... (deleted)"; of others' we learn nothing.
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            if any(map(Path(process.cwd()).is_relative_to, homes)):
                found.append(process)
    return found


def _descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)
