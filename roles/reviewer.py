"""The reviewer: looks at a patch before it may cost device time, and explains the verdict after."""

from __future__ import annotations

from roles.bounds import trespasses
from roles.model import Answer, Brief, Model
from roles.quoting import plain
from roles.records import Review, ReviewReads, Screening, ScreeningReads
from trainer.source import normalized_sha

_SHOWN = 5  # trespasses in one objection
_WORDS = 160  # characters of each


def screen(model: Model, role: str, prompt: str, reads: ScreeningReads) -> Answer[Screening]:
    """Ask whether a patch is worth a trial; `mechanical_objection` has none, or it was not asked.

    Raises:
        ModelError: no screening could be had.
    """
    return model.ask(Brief(role=role, prompt=prompt, reads=reads), Screening)


def review(model: Model, role: str, prompt: str, reads: ReviewReads) -> Answer[Review]:
    """Ask what is to be learned from an experiment whose decision is computed already.

    Raises:
        ModelError: no review could be had.
    """
    return model.ask(Brief(role=role, prompt=prompt, reads=reads), Review)


def mechanical_objection(candidate: str, source: str) -> str | None:
    """What code alone objects to in a candidate, before any model is asked; None if nothing.

    ``source`` is what the patch was applied to: what that does already is no objection. Both
    compile. Whether another experiment has tried the same program is a question to the notebook,
    by `trainer.source.normalized_sha`.
    """
    if normalized_sha(candidate) == normalized_sha(source):
        return "The patch changes nothing but comments or layout."
    if unseen := _unseen(candidate, source):
        return unseen
    before = trespasses(source)
    new = [(line, what) for what, line in trespasses(candidate).items() if what not in before]
    if not new:
        return None
    # Imports come first: the other lines follow from them.
    new.sort(key=lambda each: (not each[1].startswith("imports"), each))
    shown = "; ".join(f"line {line} {what[:_WORDS]}" for line, what in new[:_SHOWN])
    more = f"; and {len(new) - _SHOWN} more" if len(new) > _SHOWN else ""
    return f"The patched train.py does what is none of its business: {shown}{more}."


def _unseen(candidate: str, source: str) -> str | None:
    """An objection to lines that cannot be shown to a model as they are, so that none could edit them."""
    known = set(source.split("\n"))
    for number, each in enumerate(candidate.split("\n"), start=1):
        if each not in known and plain(each) != each:
            return (
                "The patched train.py has characters that cannot be seen, or marks of a chat "
                f"template, in line {number}: {ascii(each)[:_WORDS]}."
            )
    return None
