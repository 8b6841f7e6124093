"""The trusted process over one trial: starts it, keeps its log, ends it whole, writes trial.json.

``python -m trainer.supervisor FOLDER``, started by `trainer.trial.run_trial`, which says what the
folder holds. It outlives whoever started it and ends on SIGTERM, leaving no trial behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import psutil

from trainer import descendants, sandbox
from trainer.channel import Channel
from trainer.files import write_whole

LOG_HALF_BYTES = 512 << 10  # of what a trial prints, so much is kept of the start and of the end

LOG_SECONDS = 5.0  # for the last of it to be read


class Stopped(Exception):
    """SIGTERM: the trial is not wanted any more."""


class Log:
    """What a trial prints: its first part goes to the file as it comes, its last part at the end.

    A thread reads it, so that a trial never waits for us to be able to print.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._reading, self.writing = os.pipe()
        self._room = LOG_HALF_BYTES
        self._last: deque[bytes] = deque()
        self._last_bytes = 0
        self._left_out_bytes = 0
        self._thread = threading.Thread(target=self._read, name="log", daemon=True)

    def begin(self) -> None:
        """Read from now on; the writing end belongs to the trial alone."""
        os.close(self.writing)
        self._thread.start()

    def end(self) -> None:
        """Write what is left, once nobody is alive who could print more."""
        if self._thread.ident is not None:
            # Without a subreaper (macOS) a daemon may live on and keep its end open.
            self._thread.join(LOG_SECONDS)
        if self._left_out_bytes:
            self._file.write(b"\n[... %d bytes left out ...]\n" % self._left_out_bytes)
        self._file.write(b"".join(self._last))
        self._file.close()

    def _read(self) -> None:
        while part := os.read(self._reading, 1 << 16):
            now, later = part[: self._room], part[self._room :]
            if now:
                self._file.write(now)
                self._file.flush()
                self._room -= len(now)
            if later:
                self._keep_last(later)

    def _keep_last(self, part: bytes) -> None:
        self._last.append(part)
        self._last_bytes += len(part)
        while self._last_bytes - len(self._last[0]) >= LOG_HALF_BYTES:
            dropped = len(self._last.popleft())
            self._last_bytes -= dropped
            self._left_out_bytes += dropped


class TrialProcess:
    """One process that runs train.py in an empty home of its own, with a channel and a log."""

    def __init__(self, folder: Path, request: dict[str, Any], home: str, log: str) -> None:
        """Lay out ``home`` and ``log`` within the trial's folder; `start` starts the process."""
        self.home = folder / home
        self.log = Log(folder / log)
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()
        shutil.copy(folder / "train.py", self.home)
        self._request = request

    def start(self, *, challenge: bool = False) -> TrialProcess:
        """Start the process; its terms, the first message, tell it which of the two it is."""
        ours, its = socket.socketpair()
        self.channel = Channel(ours)
        self.channel.send("setting", {"setting": _terms(self._request), "challenge": challenge})
        self.process = sandbox.start_trial(
            self.home,
            device=self._request["device"],
            threads=self._request["setting"]["threads"],
            channel=its.fileno(),
            log=self.log.writing,
            wall=self._request["wall"],
            memory_gb=self._request["setting"]["memory_gb"],
        )
        its.close()
        self.log.begin()
        return self

    def remain_alone(self) -> None:
        """Kill every process below the supervisor that is not below this one, detached or not."""
        us = psutil.Process()
        while True:
            ours = us.children(recursive=True)
            spared = {self.process.pid}
            with contextlib.suppress(psutil.NoSuchProcess):
                below = psutil.Process(self.process.pid).children(recursive=True)
                spared |= {process.pid for process in below}
            doomed = [process for process in ours if process.pid not in spared]
            if not doomed:
                return
            for process in doomed:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            for process in doomed:  # an orphan becomes our child at once
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, 0)


def supervise(folder: Path) -> None:
    """Run the trial that ``folder`` asks for; trial.json is written last, and whole."""
    (folder / "supervisor.lock").write_text(str(os.getpid()))
    request = json.loads((folder / "request.json").read_text())
    descendants.adopt_orphans()
    smoke = request["smoke"]
    first = TrialProcess(folder, request, "smoke" if smoke else "work", "log.txt")
    second = TrialProcess(folder, request, "challenge", "challenge.txt")
    began_at = time.monotonic()
    try:
        first.start(challenge=smoke)
        # Imported only now: the trial is on its way, and importing torch itself.
        from trainer.smoke import SmokeWatch
        from trainer.trial import Request
        from trainer.watch import Watch

        watch = (SmokeWatch if smoke else Watch)(
            Request.model_validate(request),
            first,
            lambda: second.start(challenge=True),
            began_at,
        )
        watch.until_the_end()
    finally:
        descendants.kill_descendants()
        for each in (first, second):
            each.log.end()
            shutil.rmtree(each.home, ignore_errors=True)
    trial = watch.trial(folder / "log.txt", folder / "challenge.txt")
    (folder / "challenge.txt").unlink()
    write_whole(folder / "trial.json", trial.model_dump_json())


def _terms(request: dict[str, Any]) -> dict[str, object]:
    """The setting as the trial is told it: `trainer.prepare.TrialSetting`."""
    setting = request["setting"]
    return {
        "seed": request["seed"],
        "device": request["device"].partition(":")[0],
        "threads": setting["threads"],
        "sequence_length": setting["sequence_length"],
        "vocabulary": setting["vocabulary"],
        "bos": request["dataset"]["bos"],
        "seconds": setting["seconds"],
    }


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    try:
        supervise(Path(sys.argv[1]))
    except Stopped:
        descendants.kill_descendants()  # it may have come while this was being done
        sys.exit(1)
