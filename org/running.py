"""`python -m org run` as a person meets it: what is announced, what Ctrl-C does, what is said at the end."""

from __future__ import annotations

import errno
import gc
import io
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, TextIO, cast

from rich.console import Console
from rich.text import Text

from org.asking import asking_here
from org.config import Config, load_config
from org.desk import run
from org.figures import counted
from org.lab import Lab, LabError, Stopped
from org.notebook import BUSY_SECONDS
from org.opening import open_lab
from org.plain import one_line
from org.recorded import recorded_models
from org.reports import experiments_report
from org.steering import GO_ON, by, paused_by, wind_down
from org.terminal import Terminal

DEPARTED = 3  # the exit code of a replay in which something else was said to someone
INTERRUPTED = 130  # the exit code of a command that Ctrl-C ended

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# What a disk says that can take nothing more, or nothing at all.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
DISK_OF_SQLITE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)


def run_here(config_path: Path, folder: Path | None) -> int:
    """Run an organization on this terminal; the exit code.

    Raises:
        ConfigError, LabError, LineageError, CorpusError, DownloadError: it cannot run.
    """
    config = load_config(config_path)
    where = "" if config_path == Path("org.yaml") else f" --config {config_path}"
    where += f" --lab {folder}" if folder else ""
    folder = folder or config.lab
    console = Console(file=cast(IO[str], Patient(sys.stdout)), highlight=False)
    terminal = Terminal(console)
    console.print(Text(who_answers(config)), soft_wrap=True)
    with open_lab(config, folder, terminal) as lab:
        console.print(Text(terms(lab)), soft_wrap=True)
        with terminal, stopping_gently(lab), asking_here(lab, console):
            try:
                leave_imports_alone()
                with telling_trouble(folder):
                    reasons = run(lab)
            except Stopped:
                reasons = []
        if lab.notebook.incumbent() is not None:
            console.print(experiments_report(lab.notebook))
        replayed = recorded_models(lab)
        for model in replayed:
            console.print(Text(f"\n{one_line(model.summary())}"), soft_wrap=True)
        if lab.stop.is_set():
            console.print(Text(f"\nStopped. To go on: python -m org run{where}"), soft_wrap=True)
            if order := paused_by(lab.notebook):
                still = f"It is paused {by(order)}; before that: {GO_ON}{where}"
                console.print(Text(still), soft_wrap=True)
            return INTERRUPTED
        console.print(Text(f"\nTo go on:\n{further(where)}"), soft_wrap=True)
        for reason in reasons:
            console.print(Text(f"A desk closed early: {one_line(reason)}", style="red"))
        if any(model.departure for model in replayed):
            return DEPARTED
        return 1 if reasons else 0


def leave_imports_alone() -> None:
    """Let the garbage collector not look through what is there by now and stays: 75 ms each time."""
    gc.collect()
    gc.freeze()


def who_answers(config: Config) -> str:
    """Which model stands behind each role."""
    by_model: dict[str, list[str]] = {}
    for role in config.roles.everyone:
        choice = config.model_of(role)
        name = "playbook (no language model)" if choice.kind == "playbook" else choice.name
        by_model.setdefault(name, []).append(role.name)
    return "; ".join(f"{', '.join(roles)}: {model}" for model, roles in by_model.items())


def terms(lab: Lab) -> str:
    """Where the run lives, what it may spend, and on what."""
    done = lab.notebook.experiments_count() - len(lab.notebook.experiments(closed=False))
    budget, setting = lab.config.budget, lab.setting
    limits = [f"{budget.experiments} experiments"] if budget.experiments else []
    limits += [f"{budget.hours:g} hours"] if budget.hours else []
    limits += [f"{budget.dollars:g} dollars"] if budget.dollars else []
    return (
        f"Lab {lab.folder}{f', going on after {done} experiments' if done else ''}:"
        f" {' or '.join(limits)}, {setting.seconds:g} s a trial on {', '.join(lab.devices.names)}"
        f" (profile {setting.profile}), {_desks(lab)},"
        f" {'no sandbox' if lab.wall == 'none' else f'sandbox {lab.wall}'}"
    )


@contextmanager
def stopping_gently(lab: Lab) -> Iterator[None]:
    """The first Ctrl-C lets the trials at hand finish, the second abandons them.

    So does a request to end (SIGTERM). A terminal that goes away says so twice, if a shell goes
    with it, and abandons nothing.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP and lab.stop.is_set():
            return
        wind_down(lab, now=lab.stop.is_set())

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def telling_trouble(folder: Path) -> Iterator[None]:
    """What no program can do anything about is told in one line; what is on record stays there.

    Raises:
        LabError: in place of an error of the disk, or of a notebook that another program locks.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        kind = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF  # the rest says more of it
        if kind in DISK_OF_SQLITE:
            raise LabError(_disk_trouble(folder, error)) from error
        if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            held = f"another program has locked the notebook of {folder} for {BUSY_SECONDS:g} s"
            raise LabError(f"{held}; end it, then the same command goes on") from error
        raise
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise LabError(_disk_trouble(folder, error)) from error


def _disk_trouble(folder: Path, error: Exception) -> str:
    free_gb = shutil.disk_usage(folder).free / 2**30
    return (
        f"the lab {folder} cannot be written: {one_line(str(error))} ({free_gb:.1f} GB are free);"
        " make room, then the same command goes on"
    )


class Patient(io.TextIOBase):
    """A terminal that may go away, or a pipe that nobody reads any more: what is said then is lost.

    A run must not end because nobody listens.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.gone = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._file.encoding

    def isatty(self) -> bool:
        return not self.gone and self._file.isatty()

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, text: str) -> int:
        if not self.gone:
            try:
                self._file.write(text)
                self._file.flush()
            except (OSError, ValueError):
                self._leave()
        return len(text)

    def _leave(self) -> None:
        """What the file holds back must not be an error either when Python ends."""
        self.gone = True
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())


def _desks(lab: Lab) -> str:
    return "desks as needed" if lab.config.desks == "auto" else counted(lab.config.desks, "desk")


def further(where: str) -> str:
    """The commands that a person wants after a run."""
    commands = {
        f"notebook{where} show N": "everything about experiment N",
        f"replay{where} N": "who said what to whom",
        f"diff{where}": "the kept train.py against the baseline",
        f"run{where}": "more experiments, on top of what was kept",
    }
    width = max(len(command) for command in commands)
    return "\n".join(
        f"  python -m org {command:<{width}}  {what}" for command, what in commands.items()
    )
