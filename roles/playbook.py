"""A researcher without a language model behind the door to models; it needs no key.

It makes the moves of ``roles.moves`` in the order that this notebook's results suggest. It
remembers nothing: the same brief gets the same answer, so a resumed run goes on as it would have.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Mapping
from typing import get_args

from roles.bandit import direct, nothing_left
from roles.candidates import Edits, candidates, edits_for, edits_to, values_meant
from roles.constants import Constant, Value, find_constants, spoken
from roles.heeding import asked_for
from roles.model import Answer, Brief, ModelError, Reply
from roles.records import (
    PARAGRAPH_CHARACTERS,
    AdviserReads,
    Category,
    Digest,
    DirectorReads,
    EngineerReads,
    Hypothesis,
    HypothesisReads,
    Prose,
    Record,
    Review,
    ReviewReads,
    Screening,
    ScreeningReads,
)


class Playbook:
    """The moves of an experienced practitioner, chosen by what has paid off so far.

    ``device`` ("cpu", "cuda") says which of the values that train.py holds per device are turned;
    None turns all of them.
    """

    def __init__(self, device: str | None = None) -> None:
        self.device = device

    @property
    def name(self) -> str:
        """What stands behind the role, as the run announces it."""
        return "playbook (no language model)"

    def ask(self, brief: Brief, reply_type: type[Reply]) -> Answer[Reply]:
        """Answer from what the brief reads alone; costs nothing and takes no time.

        Raises:
            ModelError: there is nothing left to try on this source, nobody to give work to, or
                this kind of reply does not belong to what was read.
        """
        reply = self._reply(brief)
        if issubclass(reply_type, type(reply)):  # it may be a narrower kind that is asked for
            reply = reply_type.model_validate(reply.model_dump())
        if not isinstance(reply, reply_type):
            raise ModelError(
                f"the playbook answers {type(brief.reads).__name__} with {type(reply).__name__}, "
                f"not with {reply_type.__name__}"
            )
        text = reply.text if isinstance(reply, Prose) else reply.model_dump_json()
        return Answer[Reply](
            reply=reply, text=text, model=self.name, prompt_tokens=0, reply_tokens=0, dollars=0.0
        )

    def _reply(self, brief: Brief) -> Record:
        match brief.reads:
            case DirectorReads() as reads:
                return direct(reads, _draw(reads.digest))
            case HypothesisReads() as reads:
                constants = find_constants(reads.source, self.device)
                return hypothesize(reads, constants, _draw(reads.digest))
            case EngineerReads() as reads:
                return engineer(reads, find_constants(reads.source, self.device))
            case ScreeningReads() as reads:
                return screen(reads)
            case ReviewReads() as reads:
                return review(reads)
            case AdviserReads() as reads:
                return advise(reads)


def _draw(digest: Digest) -> random.Random:
    """Chance that a second reading of the same notebook repeats."""
    return random.Random(hashlib.sha256(digest.model_dump_json().encode()).digest())


# The hypothesis: the best move left in the direction.


def hypothesize(
    reads: HypothesisReads, constants: Mapping[str, Constant], draw: random.Random
) -> Hypothesis:
    """The most promising move of the category that was not tried yet and was not objected to."""
    if reads.parts:
        return _combination(reads)
    category = reads.direction.category
    everything = candidates(reads.source, constants, reads.digest)
    here = [candidate for candidate in everything if candidate.category == category]
    # Where the digest leaves experiments out, the best move may be one of them: then chance
    # shuffles the order, so that the lab does not come back to the same one every time.
    luck = 0.8 if reads.digest.left_out else 0.0
    hopes = {move.title: move.gain * (1 - draw.uniform(0, luck)) for move in here or everything}
    asked = asked_for(reads.direction.focus)
    ranked = sorted(
        here or everything,
        key=lambda move: (asked not in move.title.split(), -hopes[move.title], draw.random()),
    )
    said = "\n".join(reads.objections)
    left = [move for move in ranked if move.title not in said]
    # An objection that names none of them was to whatever was best at its time.
    left = left[sum(not any(m.title in words for m in ranked) for words in reads.objections) :]
    if not left:
        raise ModelError(
            "the playbook knows nothing to try on this train.py: it turns constants "
            "(NAME = number) and rewrites lines that it knows, and none of these is left"
        )
    best = left[0]
    instead = "" if here else f"{nothing_left(category)} Instead: "
    if asked and asked not in best.title.split():
        instead += f"I know no further way to turn {asked} on this source. Instead: "
    return Hypothesis(
        title=best.title,
        category=best.category,
        change=f"{instead}{best.change}"[:PARAGRAPH_CHARACTERS],
        mechanism=best.mechanism[:PARAGRAPH_CHARACTERS],
        expected_effect=-round(best.gain, 5),
    )


def _combination(reads: HypothesisReads) -> Hypothesis:
    """Near misses put together: what is lost in the noise one by one may show when it adds up."""
    said = [f"#{part.number} {part.title}" for part in reads.parts]
    title = f"Combine {' with '.join(f'#{part.number}' for part in reads.parts)}"
    if any(title in objection for objection in reads.objections):
        raise ModelError(f"the playbook has one way only to put together {', '.join(said)}")
    effects = ", ".join(f"{part.effect:+.4f}" for part in reads.parts)
    return Hypothesis(
        title=title,
        category=reads.direction.category,
        change=f"Together, as they were written: {'; '.join(said)}."[:PARAGRAPH_CHARACTERS],
        mechanism=(
            f"Alone they came to {effects} bpb, too little to tell from nothing. Where they act on "
            "different things their effects add up; if not, both are ties for good."
        ),
        expected_effect=round(min(sum(part.effect for part in reads.parts), 0.0), 5),
    )


# The engineer: the same move, as edits of the source at hand.


def engineer(reads: EngineerReads, constants: Mapping[str, Constant]) -> Prose:
    """The patch; after a complaint another one if there is one, else a no."""
    if reads.parts:
        together = [f"SUMMARY: {reads.hypothesis.title}", *(part.patch for part in reads.parts)]
        return Prose(text=_cannot(reads) if reads.complaint else "\n\n".join(together))
    edits = edits_for(reads.hypothesis, reads.source, constants)
    if edits is None:
        return Prose(text=f"CANNOT: {_cannot(reads)}")
    whole = _patch(edits, reads.hypothesis.title)
    half = _half_way(reads.hypothesis, constants)
    if reads.complaint and reads.previous == whole:
        return Prose(text=half or _cannot(reads))
    if reads.complaint and reads.previous == half:
        return Prose(text=_cannot(reads))
    return Prose(text=whole)


def _patch(edits: Edits, summary: str) -> str:
    blocks = [
        f"<<<<<<< SEARCH\n{find}\n=======\n{replace}\n>>>>>>> REPLACE" for find, replace in edits
    ]
    return "\n\n".join([f"SUMMARY: {summary}", *blocks])


def _cannot(reads: EngineerReads) -> str:
    why = f" The complaint was: {reads.complaint}" if reads.complaint else ""
    return (
        f"I cannot write a patch for “{reads.hypothesis.title}” on this source: the lines it means "
        f"are not there, or I have no other way to write it.{why}"
    )


def _half_way(hypothesis: Hypothesis, constants: Mapping[str, Constant]) -> str | None:
    """The same constant moved half as far, where the whole step was complained of."""
    meant = values_meant(hypothesis, constants)
    if meant is None:
        return None
    constant, values = meant
    halves = tuple(_between(old, new) for old, new in zip(constant.values, values, strict=True))
    if halves in (constant.values, values):
        return None
    edits = edits_to(constant, halves, constants)
    way = f"from {spoken(constant.values)} to {spoken(halves)}"
    return None if edits is None else _patch(edits, f"{constant.name} half as far, {way}")


def _between(old: Value, new: Value) -> Value:
    """Half the way on a logarithmic scale; the new value where there is no such thing."""
    if not isinstance(old, int | float) or not isinstance(new, int | float) or old * new <= 0:
        return new
    middle = math.copysign(math.sqrt(old * new), old)
    return round(middle) if isinstance(old, int) else float(f"{middle:.3g}")


# The reviewer: counts what was changed, and says no more than the evidence.


def screen(reads: ScreeningReads) -> Screening:
    """Object to what changes nothing, and to more than the one change that was announced."""
    removed, added = _changed(reads.diff, "-"), _changed(reads.diff, "+")
    if not removed and not added:
        return Screening(approved=False, reason="The patch changes nothing.")
    names = sorted(_assigned(removed) & _assigned(added))
    announced = f"{reads.hypothesis.title}\n{reads.hypothesis.change}"
    silent = [name for name in names if not re.search(rf"\b{name}\b", announced)]
    if silent and len(names) > 1:
        return Screening(
            approved=False,
            reason=f"One change at a time: the hypothesis does not speak of {', '.join(silent)}.",
        )
    what = ", ".join(names) if names else f"{len(added)} lines in, {len(removed)} lines out"
    return Screening(approved=True, reason=f"It does what “{reads.hypothesis.title}” says: {what}.")


def _changed(diff: str, sign: str) -> list[str]:
    """The lines of a unified diff that went (-) or came (+), without the sign."""
    heads = ("--- ", "+++ ")
    lines = [line for line in diff.splitlines() if not line.startswith(heads)]
    return [line[1:] for line in lines if line.startswith(sign)]


def _assigned(lines: list[str]) -> set[str]:
    return {said[1] for line in lines if (said := re.match(r"([A-Z][A-Z0-9_]*) = ", line))}


def review(reads: ReviewReads) -> Review:
    """What was expected, what was measured, and what to do about it next time."""
    title, expected = reads.hypothesis.title, reads.hypothesis.expected_effect
    explanation = f"{expected:+.4f} bpb was expected of “{title}”. {reads.evidence}"
    match reads.decision:
        case "provisional" | "keep":
            lesson = "It looks better here on one run; the same way may lead further."
        case "discard" if _clearly_worse(reads.evidence):
            lesson = "It does harm here; the opposite may be worth a try."
        case "discard" | "dropped":
            lesson = "No gain to be seen in this noise, which is no proof of harm."
        case "crash":
            lesson = "Not measured: nothing is known of its effect."
    return Review(
        explanation=explanation[:PARAGRAPH_CHARACTERS], lesson=lesson[:PARAGRAPH_CHARACTERS]
    )


def _clearly_worse(evidence: str) -> bool:
    """Whether an effect stands in the evidence that is above zero by two of its standard errors."""
    said = re.search(r"([+-]\d+\.\d+) ± (\d+\.\d+)", evidence)
    return said is not None and float(said[1]) > 2 * float(said[2])


# An adviser: one true remark.


def advise(reads: AdviserReads) -> Prose:
    """What the digest shows at a glance, in numbers."""
    closed = [entry for entry in reads.digest.entries if entry.decision is not None]
    if not closed:
        return Prose(text="Nothing has been tried in this lab yet, so nothing is known to fail.")
    kept = [entry for entry in closed if entry.holds]
    noise = reads.digest.noise_bpb
    ties = sum(
        entry.effect is not None and abs(entry.effect) <= noise
        for entry in closed
        if entry.decision == "discard"
    )
    tried = {entry.category for entry in closed}
    untried = [category for category in get_args(Category) if category not in tried]
    remarks = [
        f"{len(kept)} of {len(closed)} experiments are kept or on the stack.",
        f"{ties} of the discarded lie within the noise of one run ({noise:.4f} bpb): they show no "
        "effect, which is not the same as harm.",
    ]
    if untried:
        remarks.append(f"Not looked at yet: {', '.join(untried)}.")
    return Prose(text=" ".join(remarks))
