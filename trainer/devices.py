"""Which devices this machine has, and an exclusive lease on one: one timed trial per device."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trainer.locks import holder_of, lock

GLANCE_SECONDS = 0.1  # between two looks at a device that another process holds

SAID_FROM_SECONDS = 10.0  # shorter waits for another lab are nobody's concern

# A device has two locks: of who uses it, and of who is the next.
USED, AWAITED = "lock", "next"
VERBS = {USED: "uses", AWAITED: "is the next to use"}

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
    processes alike; the threads of one process wait for it in one line. Among processes, who holds
    the second lock of a device is the next to have it: so who leases it over and over lets others
    have it in between. A slot of a CPU is a number, no core: labs with as many threads for a trial
    share the cores without two trials on one.
    ``lab`` is what other processes hear of this one, and ``told`` is told which of them it waits for.

    Raises:
        ValueError: there is no name, or one twice.
    """

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        *,
        lab: Path | None = None,
        told: Callable[[str], None] = lambda text: None,
    ) -> None:
        if not names or len(set(names)) < len(names):
            raise ValueError(f"devices need names, each once, not {list(names)}")
        folder.mkdir(parents=True, exist_ok=True)
        self.names = self.all_names = tuple(names)
        self._folder = folder
        self._told = told
        self._lab = lab
        self._leased: set[str] = set()
        self._places: dict[str, int] = {}  # descriptors of the locks by which we are the next
        self._refused: dict[str, Path] = {}  # by which lock of others, when we last looked
        self._say_from: dict[str, float] = {}  # seconds of waiting from which it is said again
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
            with self._moved:
                os.close(lease.lock)
                self._leased.discard(lease)
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
            self._give_up_places()  # others may have it; the rest are asked for again
            self._moved.notify_all()

    def _wait(self, stop: threading.Event, line: list[_Waiting], me: _Waiting) -> Lease:
        since = time.monotonic()
        with self._moved:
            place = len(line)
            while me.urgent and place and line[place - 1].urgent is False:
                place -= 1
            line.insert(place, me)
        try:
            while not stop.is_set():
                with self._moved:
                    if not self.names:
                        raise NoDeviceLeft
                    is_next = (self._short_line or self._line)[0] is me
                    if is_next and (lease := self._take()):
                        return lease
                    self._moved.wait(GLANCE_SECONDS)
                    news = self._news(time.monotonic() - since) if is_next else ""
                if news:  # with no lock held: a terminal may take its time
                    self._told(news)
            raise LeaseAbandoned
        finally:
            with self._moved:
                line.remove(me)
                if not (self._line or self._short_line):
                    self._give_up_places()
                self._moved.notify_all()

    def _take(self) -> Lease | None:
        """The first device that nobody holds, neither a thread here nor another process."""
        self._refused = {}
        for name in self.names:
            if name in self._leased:
                continue  # and no place: after us it is another's turn
            if self._hold_place(name) and (held := self._lock(name, USED)) is not None:
                self._give_up_places()
                self._leased.add(name)
                lease = Lease(name)
                lease.lock = held
                return lease
        return None

    def _hold_place(self, name: str) -> bool:
        """Be the next to have a device, if no other process is."""
        if name not in self._places and (held := self._lock(name, AWAITED)) is not None:
            self._places[name] = held
        return name in self._places

    def _lock(self, name: str, kind: str) -> int | None:
        path = self._folder / f"autoresearch-org-{re.sub(r'[^A-Za-z0-9]', '-', name)}.{kind}"
        if (held := lock(path, self._lab)) is None:
            self._refused[name] = path
        return held

    def _give_up_places(self) -> None:
        while self._places:
            os.close(self._places.popitem()[1])

    def _news(self, waited_seconds: float) -> str:
        """Whom we wait for, if that is worth saying: once, and again when it takes far longer."""
        if waited_seconds < SAID_FROM_SECONDS:
            return ""
        text = ", or ".join(
            f"{name}, which {holder_of(path)} {VERBS[path.suffix[1:]]}"
            for name, path in self._refused.items()
        )
        if not text or waited_seconds < self._say_from.get(text, SAID_FROM_SECONDS):
            return ""
        self._say_from[text] = 2 * waited_seconds
        return f"waiting for {text}"


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
