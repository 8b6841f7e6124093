"""A run as a person sees it: a line for everything that happened, and one for what happens now."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from org.notebook import Experiment
from org.plain import one_line
from org.stack import Certification
from org.telling.reports import COLOURS
from trainer.evidence.certify import Judgement
from trainer.evidence.stack import Value
from trainer.trial import Trial

INDENT = (0, 0, 0, 5)  # cells before what is said of an experiment: right under its decision

PAST = {"pass": "passed", "fail": "failed"}


class _Live(Live):
    """Draws nothing on a terminal that stands still: it would push out what was said there."""

    def refresh(self) -> None:
        if not getattr(self.console.file, "stands_still", False):
            super().refresh()


class Terminal:
    """An onlooker that prints; on a terminal it also shows what each desk is doing.

    Use it as a context manager around the run. Texts of models and trials are shown as they are,
    never read as markup.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lock = threading.Lock()
        self._doing: dict[str, tuple[str, float, float]] = {}
        self._live = _Live(
            console=console, refresh_per_second=2, transient=True, get_renderable=self._now
        )

    def __enter__(self) -> Terminal:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        self.console.print(Text(one_line(text), style="dim"))

    def doing(self, desk: str, what: str, seconds: float = 0.0) -> None:
        with self._lock:
            if what:
                self._doing[desk] = (what, time.monotonic(), seconds)
            else:
                self._doing.pop(desk, None)

    def measured(self, what: str, trial: Trial) -> None:
        self.console.print(Text(f"  {what}: {_outcome(trial)}", style="dim"))

    def closed(self, experiment: Experiment, head: Value) -> None:
        decision = experiment.decision or "open"
        line = Text(f"#{experiment.number:<3} ")
        line.append(f"{decision:<11}", style=COLOURS.get(decision, "default"))
        line.append(f" {one_line(experiment.title or '(no hypothesis)')}")
        self.console.print(line)
        reason = Text(one_line(experiment.reason or ""), style="dim")
        self.console.print(Padding(reason, INDENT))
        if decision == "provisional":
            expected = Text(f"the head is expected to score {head.text}", style="yellow")
            self.console.print(Padding(expected, INDENT))

    def certified(self, certification: Certification, judgement: Judgement) -> None:
        passed = judgement.says == "pass"
        style = "bold green" if passed else "yellow"
        effect = f"{judgement.effect.text} bpb, " if judgement.effect else ""
        line = Text(
            f"certification {certification.number} {PAST[judgement.says]}: {effect}{judgement.reason}",
            style=style,
        )
        self.console.print(line)

    def _now(self) -> Table:
        """What the desks are doing, one row each."""
        rows = Table.grid(padding=(0, 2))
        with self._lock:
            doing = sorted(self._doing.items())
        for desk, (what, since, expected) in doing:
            spent = time.monotonic() - since
            training = f", {expected:g} s of it training" if expected else ""
            rows.add_row(
                Text(desk, style="cyan"), Text(what), Text(f"{spent:.0f} s{training}", "dim")
            )
        return rows


def _outcome(trial: Trial) -> str:
    if trial.val_bpb is None:
        return f"{trial.outcome.replace('_', ' ')}: {one_line(trial.reason)}"
    return (
        f"val_bpb {trial.val_bpb:.4f}"
        f" ({trial.steps} steps, {trial.total_seconds:.0f} s, seed {trial.seed})"
    )
