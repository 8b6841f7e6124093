"""The hypothesis role: from a direction and the source to one change that should lower val_bpb."""

from __future__ import annotations

from roles.model import Answer, Brief, Model
from roles.records import Hypothesis, HypothesisReads


def hypothesize(model: Model, role: str, prompt: str, reads: HypothesisReads) -> Answer[Hypothesis]:
    """Ask one of the hypothesis roles, by its name in org.yaml, for a hypothesis.

    Raises:
        ModelError: no hypothesis could be had.
    """
    return model.ask(Brief(role=role, prompt=prompt, reads=reads), Hypothesis)
