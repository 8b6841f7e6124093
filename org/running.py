"""`python -m org run` as a person meets it: what is announced, what Ctrl-C does, what is said at the end."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, cast

from rich.console import Console
from rich.text import Text

from org.asking import asking_here
from org.config import Config
from org.config_reading import load_config
from org.desk import run
from org.figures import counted
from org.lab import Lab, Stopped
from org.opening import open_lab
from org.plain import one_line
from org.recorded import recorded_models
from org.steering import GO_ON, by, paused_by, wind_down
from org.telling.reports import experiments_report
from org.telling.terminal import Terminal
from org.trouble import Patient, telling_trouble

DEPARTED = 3  # the exit code of a replay in which something else was said to someone
INTERRUPTED = 130  # the exit code of a command that Ctrl-C ended

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
    with telling_trouble(folder), open_lab(config, folder, terminal) as lab:
        console.print(Text(terms(lab)), soft_wrap=True)
        with terminal, stopping_gently(lab), asking_here(lab, console):
            try:
                leave_imports_alone()
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
        if short := lab.purse.short:
            text = f"No further call fits into budget.dollars: {short}"
            console.print(Text(text, style="red"), soft_wrap=True)
        if any(model.departure for model in replayed):
            return DEPARTED
        bought_nothing = short and not lab.purse.spent
        return 1 if reasons or bought_nothing else 0


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
