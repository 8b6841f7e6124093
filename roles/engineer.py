"""The engineer: from a hypothesis and the source to a patch that applies and compiles."""

from __future__ import annotations

import re

from roles.model import Answer, Brief, Model
from roles.records import EngineerReads, Prose
from trainer.patch import Patch, apply_patch, parse_patch

_REFUSAL = re.compile(r"[\s*#_>`-]*CANNOT[*_]*\s*:[*_]*\s*(\S.*)", re.DOTALL)


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


def refusal(text: str) -> str | None:
    """Why the engineer says that the hypothesis cannot be done; None where it does not say that.

    It is said in the first line, with a reason: ``CANNOT: there is no warm-up to shorten``.
    """
    said = _REFUSAL.match(text)
    return said[1] if said else None
