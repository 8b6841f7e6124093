"""The engineer: from a hypothesis and the source to a patch that applies and compiles."""

from __future__ import annotations

from roles.model import Answer, Brief, Model
from roles.records import EngineerReads, Prose
from trainer.patch import Patch, apply_patch, parse_patch


def write_patch(model: Model, role: str, prompt: str, reads: EngineerReads) -> Answer[Prose]:
    """Ask for a patch, in plain text with SEARCH/REPLACE blocks; it is not yet read.

    Raises:
        ModelError: no text could be had.
    """
    return model.ask(Brief(role=role, prompt=prompt, reads=reads), Prose)


def candidate_source(text: str, source: str) -> tuple[Patch, str]:
    """Read the patch out of an engineer's text and apply it: the patch, and the patched source.

    Raises:
        PatchError: it cannot be read or applied, or what comes of it does not compile; the message
            is the complaint that the engineer reads next.
    """
    patch = parse_patch(text)
    return patch, apply_patch(patch, source)
