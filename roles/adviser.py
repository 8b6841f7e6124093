"""An adviser: speaks at its moment, to everyone who speaks after it."""

from __future__ import annotations

from roles.model import Answer, Brief, Model
from roles.records import AdviserReads, Prose


def advise(model: Model, role: str, prompt: str, reads: AdviserReads) -> Answer[Prose]:
    """Ask an adviser, by its name in org.yaml, for its advice.

    Raises:
        ModelError: no text could be had.
    """
    return model.ask(Brief(role=role, prompt=prompt, reads=reads), Prose)
