"""Which devices this machine has, and an exclusive lease on one: one timed trial per device."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GLANCE_SECONDS = 0.1  # between two looks at a device that another process holds

FAILURES_IN_A_ROW = 2  # on a device, before it is suspected


class LeaseAbandoned(Exception):
    """The wait for a device was stopped from outside."""


class NoDeviceLeft(Exception):
    """All devices have been set aside."""


class Lease(str):
    """The name of a leased device, and the descriptor of the lock that holds it.

    Whoever inherits the descriptor prolongs the lease: a supervisor that outlives its organization
    keeps its device to itself until its trial has ended.
    """

    lock: int


@dataclass(eq=False)
class _Waiting:
    """One that stands in line."""

    urgent: bool | None


class Devices:
    """The devices of a lab, each given to one trial at a time, in the order of asking.

    What takes seconds (``short``) goes before what takes a trial's time. Of that, what is ``urgent``
    (True) goes before what is not (False) and asked last; where it is None, nobody goes before it
    and it before nobody. ``names`` are the devices in use: one on which `FAILURES_IN_A_ROW` things
    go wrong is looked at, and may be set aside.
    Who holds a device holds the lock on its file in ``folder``, which shuts out threads and
    processes alike; the threads of one process wait for it in one line.

    Raises:
        ValueError: there is no name, or one twice.
    """

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        if not names or len(set(names)) < len(names):
            raise ValueError(f"devices need names, each once, not {list(names)}")
        folder.mkdir(parents=True, exist_ok=True)
        self.names = self.all_names = tuple(names)
        self._folder = folder
        self._line: list[_Waiting] = []
        self._short_line: list[_Waiting] = []
        self._failures: dict[str, list[str]] = {name: [] for name in names}
        self._losses = dict.fromkeys(names, 0)
        self._moved = threading.Condition()

    @contextmanager
    def lease(
        self,
        stop: threading.Event | None = None,
        *,
        short: bool = False,
        urgent: bool | None = None,
    ) -> Iterator[Lease]:
        """A device, for as long as the block lasts; first come, first served among equals.

        Raises:
            LeaseAbandoned: ``stop`` was set while waiting.
            NoDeviceLeft: all have been set aside.
        """
        line = self._short_line if short else self._line
        lease = self._wait(stop or threading.Event(), line, _Waiting(urgent))
        try:
            yield lease
        finally:
            os.close(lease.lock)
            with self._moved:
                self._moved.notify_all()

    def failed(self, name: str, source_sha: str) -> bool:
        """Remember that a source did not complete there; True once too many have in a row.

        The same source again, right after itself, is no further one.
        """
        with self._moved:
            failures = self._failures[name]
            if source_sha not in failures[-1:]:
                failures.append(source_sha)
            return len(failures) >= FAILURES_IN_A_ROW

    def lost(self, name: str) -> bool:
        """Remember that a trial was lost there, by no fault of its source; True once too often."""
        with self._moved:
            self._losses[name] += 1
            return self._losses[name] >= FAILURES_IN_A_ROW

    def succeeded(self, name: str) -> None:
        """Forget what went wrong on a device: it was not in a row."""
        with self._moved:
            self._failures[name].clear()
            self._losses[name] = 0

    def set_aside(self, name: str) -> None:
        """Give a device to nobody any more."""
        with self._moved:
            self.names = tuple(each for each in self.names if each != name)
            self._moved.notify_all()

    def _wait(self, stop: threading.Event, line: list[_Waiting], me: _Waiting) -> Lease:
        with self._moved:
            place = len(line)
            while me.urgent and place and line[place - 1].urgent is False:
                place -= 1
            line.insert(place, me)
            try:
                while not stop.is_set():
                    if not self.names:
                        raise NoDeviceLeft
                    is_next = (self._short_line or self._line)[0] is me
                    if is_next and (lease := self._take()):
                        return lease
                    self._moved.wait(GLANCE_SECONDS)
                raise LeaseAbandoned
            finally:
                line.remove(me)
                self._moved.notify_all()

    def _take(self) -> Lease | None:
        """The first device that nobody holds, neither a thread here nor another process."""
        return next(filter(None, map(self._lock, self.names)), None)

    def _lock(self, name: str) -> Lease | None:
        path = self._folder / f"{re.sub(r'[^A-Za-z0-9]', '-', name)}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        lease = Lease(name)
        lease.lock = descriptor
        return lease


def find_devices(wanted: str = "auto", threads: int = 1) -> list[str]:
    """The devices of this machine: ``cuda:…`` where torch can use one, else ``cpu:…`` slots.

    ``wanted`` is ``auto``, ``cpu`` or ``cuda``. What follows ``cuda:`` goes into
    CUDA_VISIBLE_DEVICES as it stands. There is a slot for each ``threads`` cores that this process
    may use, and always one.
    """
    cuda = _cuda_devices() if wanted in ("auto", "cuda") else []
    if cuda or wanted == "cuda":
        return cuda
    return [f"cpu:{slot}" for slot in range(max(1, len(available_cores()) // threads))]


def available_cores() -> list[int]:
    """The cores that this process may run on."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _cuda_devices() -> list[str]:
    # torch is asked in a process of its own, for it takes seconds, and only where there is
    # something to be found.
    if not (Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi")):
        return []
    question = "import torch; print(torch.cuda.device_count() * torch.cuda.is_available())"
    answer = subprocess.run(
        [sys.executable, "-P", "-c", question], capture_output=True, text=True, check=False
    )
    count = int(answer.stdout.strip() or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else [str(number) for number in range(count)]
    return [f"cuda:{name.strip()}" for name in names[:count]]
