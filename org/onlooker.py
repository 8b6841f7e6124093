"""Who watches a run: told what happens as it happens; a terminal, or nobody."""

from __future__ import annotations

from typing import Protocol

from org.notebook import Experiment
from org.stack import Certification
from trainer.evidence.certify import Judgement
from trainer.evidence.stack import Value
from trainer.trial import Trial


class Onlooker(Protocol):
    """Called from the threads of all desks; must be quick and must not raise."""

    def note(self, text: str) -> None:
        """Something a person should know: one line, kept on the screen."""

    def doing(self, desk: str, what: str, seconds: float = 0.0) -> None:
        """What a desk does now ("" for nothing more), and its seconds of training, if it trains."""

    def measured(self, what: str, trial: Trial) -> None:
        """A trial has ended."""

    def closed(self, experiment: Experiment, head: Value) -> None:
        """An experiment has its verdict; what the head is expected to score now."""

    def certified(self, certification: Certification, judgement: Judgement) -> None:
        """A certification has passed or failed."""


class Nobody:
    """Watches nothing."""

    def note(self, text: str) -> None:
        pass

    def doing(self, desk: str, what: str, seconds: float = 0.0) -> None:
        pass

    def measured(self, what: str, trial: Trial) -> None:
        pass

    def closed(self, experiment: Experiment, head: Value) -> None:
        pass

    def certified(self, certification: Certification, judgement: Judgement) -> None:
        pass
