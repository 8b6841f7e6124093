"""The clock of a trial: how much of its budget is spent, taken from outside of it."""

from __future__ import annotations

import contextlib
import time

import psutil

from trainer.setting import Setting


class Clock:
    """The budget of a trial, taken from outside: processor time on a CPU, wall time on a GPU.

    Processor seconds count per thread of the setting. ``began_at`` is when the trial was started,
    ``started_at`` and ``stopped_at`` when this clock was, in seconds of `time.monotonic`.
    """

    def __init__(self, setting: Setting, on_cpu: bool, began_at: float) -> None:
        self._setting = setting
        self._on_cpu = on_cpu
        self.began_at = began_at
        self.started_at: float | None = None
        self.stopped_at: float | None = None
        self._startup = 0.0
        self._spent = 0.0

    def start(self) -> float:
        """The trial is about to see training text; gives the seconds charged for its start-up."""
        self.started_at = time.monotonic()
        self._startup = self._reading()
        return self._charged(self._startup)

    def stop(self) -> None:
        """The trial has handed over its model, or has ended; only the first stop counts."""
        if self.stopped_at is None:
            self._spent = self.spent()
            self.stopped_at = time.monotonic()

    def spent(self) -> float:
        """Seconds of the budget that are gone."""
        if self.stopped_at is not None:
            return self._spent
        reading = self._reading()
        if self.started_at is None:
            return self._charged(reading)
        return self._charged(self._startup) + reading - self._startup

    def _charged(self, startup: float) -> float:
        return max(0.0, startup - self._setting.startup_seconds)

    def _reading(self) -> float:
        if self._on_cpu:
            return processor_seconds() / self._setting.threads
        return time.monotonic() - self.began_at


def processor_seconds() -> float:
    """Processor seconds of all processes below this one: the living, and the dead once reaped."""
    us = psutil.Process()
    ended = us.cpu_times()
    seconds = ended.children_user + ended.children_system
    for process in us.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds += sum(process.cpu_times()[:4])
    return float(seconds)
