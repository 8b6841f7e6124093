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
from dataclasses import dataclass
from typing import get_args

from roles.candidates import Edits, candidates, edits_for, edits_to, values_meant
from roles.constants import Constant, Value, find_constants, spoken
from roles.heeding import asked_for, asks_for, heed
from roles.model import Answer, Brief, ModelError, Reply
from roles.moves import KNOBS, REWRITES
from roles.records import (
    PARAGRAPH_CHARACTERS,
    AdviserReads,
    Category,
    Digest,
    Direction,
    DirectorReads,
    EngineerReads,
    Entry,
    Hypothesis,
    HypothesisReads,
    Person,
    Prose,
    Record,
    Review,
    ReviewReads,
    Screening,
    ScreeningReads,
    WayOut,
    WaysOut,
)

_CATEGORIES: tuple[Category, ...] = get_args(Category)
_DEAD_ENDS = 3  # in a row and in one category, before the director looks elsewhere


class Playbook:
    """The moves of an experienced practitioner, chosen by what has paid off so far.

    ``device`` ("cpu", "cuda") says which of the values that train.py holds per device are turned;
    None turns all of them. ``seed`` settles what is otherwise a tie.
    """

    def __init__(self, device: str | None = None, seed: int = 0) -> None:
        self.device = device
        self.seed = seed

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
                return direct(reads, self._draw(reads.digest))
            case HypothesisReads() as reads:
                constants = find_constants(reads.source, self.device)
                return hypothesize(reads, constants, self._draw(reads.digest))
            case EngineerReads() as reads:
                return engineer(reads, find_constants(reads.source, self.device))
            case ScreeningReads() as reads:
                return screen(reads)
            case ReviewReads() as reads:
                return review(reads)
            case AdviserReads() as reads:
                return advise(reads)

    def _draw(self, digest: Digest) -> random.Random:
        """Chance that a second reading of the same notebook repeats."""
        read = f"{self.seed} {len(digest.entries)} {digest.model_dump_json()}"
        return random.Random(hashlib.sha256(read.encode()).digest())


# The director: a small bandit over categories.


@dataclass(frozen=True)
class _Record:
    """How one category has done so far. ``gained``: bits per byte that its keeps took off."""

    category: Category
    tried: int
    kept: int
    gained: float
    hope: float
    promise: float


def direct(reads: DirectorReads, draw: random.Random) -> Direction:
    """The category that promises most per experiment, of those of whom it is suggested to assign.

    On a plateau the first of the ways that lead off it and have something left to try.
    """
    if not reads.people:
        raise ModelError("the playbook's director has nobody to give work to")
    entries = reads.digest.entries
    records = [_record(category, reads.digest) for category in _CATEGORIES]
    busy = {entry.category for entry in entries if entry.decision is None}
    weary = _dead_end(entries)
    spent = {category for category in _CATEGORIES if _nothing_left(category) in _changes(entries)}
    wish, answer = heed(reads.notes, reads.people, spent)
    wanted = [record for record in records if record.category in wish.categories]
    way, builds_on, there = _way_off(reads.ways_out, spent)
    away: set[Category | None] = {*busy, *spent, weary} if len(there) > 1 else set()
    within = [record for record in records if record.category in there]
    free = [record for record in within if record.category not in away] or within
    theirs = _suggested_categories(reads)
    suggested = [record for record in free if record.category in theirs]
    ranked = sorted(
        wanted or suggested or free, key=lambda record: (-record.promise, draw.random())
    )
    best = ranked[0]
    whom = reads.suggestion if suggested and not wanted else None
    remarks = [f"off the plateau: {way}"] if way else []
    remarks += [f"a person asks for {wish.spoken}"] if wish.spoken else []
    remarks.append(_standing(best))
    if whom:
        remarks.append(f"{whom.assignee}: {whom.reason}")
    if len(ranked) > 1:
        remarks.append(f"next best is {_standing(ranked[1])}")
    if weary is not None:
        remarks.append(f"{weary} rests: its last {_DEAD_ENDS} were dead ends")
    if busy:
        remarks.append(f"open on other desks: {', '.join(sorted(busy))}")
    return Direction(
        category=best.category,
        focus=asks_for(wish.constant) + _focus(best, reads.digest),
        assignee=wish.assignee
        or (whom.assignee if whom else _assignee(reads.people, best.category, len(entries))),
        reason="; ".join(remarks)[:PARAGRAPH_CHARACTERS],
        answer=answer,
        way_out=way,
        builds_on=builds_on,
    )


def _way_off(
    ways_out: WaysOut | None, spent: set[Category]
) -> tuple[WayOut | None, tuple[int, ...], tuple[Category, ...]]:
    """A way off the plateau, the experiments that it builds on, and where it leads."""
    if ways_out is None:
        return None, (), _CATEGORIES
    for way in ways_out.ways:
        match way:
            case "change category":
                fresh = [each for each in _CATEGORIES if each not in ways_out.stale]
                if left := [each for each in fresh if each not in spent]:
                    return way, (), tuple(left)
            case "simplify" if "simplification" not in spent:
                return way, (), ("simplification",)
            case "combine near misses":
                pair = ways_out.near_misses[0]
                return way, pair.numbers, (pair.first.category,)
            case "go back":
                return way, (ways_out.keeps[0].number,), _CATEGORIES
    # Nothing is left anywhere: the hypothesis will say so.
    return "change category", (), tuple(c for c in _CATEGORIES if c not in ways_out.stale)


def _suggested_categories(reads: DirectorReads) -> tuple[Category, ...]:
    """Where whom it is suggested to assign looks, or is told to; nowhere without a suggestion."""
    if reads.suggestion is None:
        return ()
    if reads.suggestion.category is not None:
        return (reads.suggestion.category,)
    name = reads.suggestion.assignee
    return next((each.categories for each in reads.people if each.name == name), ())


def _record(category: Category, digest: Digest) -> _Record:
    """Payoff per experiment, with the best untried move as one experiment seen beforehand.

    Past gains count half: a category's best ideas come first. The optimism is UCB1's (Auer,
    Cesa-Bianchi and Fischer 2002), in units of the noise.
    """
    tries = [entry for entry in digest.entries if entry.category == category]
    kept = [entry for entry in tries if entry.holds]
    gained = sum(max(0.0, -(entry.effect or 0.0)) for entry in kept)
    hope = _hope(category, {entry.title for entry in digest.entries})
    doubt = math.sqrt(math.log(1 + len(digest.entries)) / (1 + len(tries)))
    return _Record(
        category=category,
        tried=len(tries),
        kept=len(kept),
        gained=gained,
        hope=hope,
        promise=(hope + gained / 2) / (1 + len(tries)) + digest.noise_bpb * doubt,
    )


def _hope(category: Category, titles: set[str]) -> float:
    """The best gain that the table still has in a category."""
    turned = {words[1] for title in titles if len(words := title.split()) > 1}
    gains = [
        rewrite.gain
        for rewrite in REWRITES
        if rewrite.category == category and rewrite.title not in titles
    ]
    for knob in KNOBS:
        if knob.category == category and knob.name not in turned:
            gains += [turn.gain for turn in (knob.up, knob.down) if turn is not None]
    return max(gains, default=0.0005)


def _dead_end(entries: tuple[Entry, ...]) -> Category | None:
    """The category in which the last few closed experiments all came to nothing."""
    last = [entry for entry in entries if entry.decision is not None][-_DEAD_ENDS:]
    failed = len(last) == _DEAD_ENDS and not any(entry.holds for entry in last)
    return last[0].category if failed and len({entry.category for entry in last}) == 1 else None


def _nothing_left(category: Category) -> str:
    """What the hypothesis says, and the director heeds, when a category is worked out."""
    return f"Nothing is left to try in {category} on this source."


def _changes(entries: tuple[Entry, ...]) -> str:
    return "\n".join(entry.change for entry in entries)


def _standing(record: _Record) -> str:
    if not record.tried:
        return f"{record.category}: untried, its best move may be worth {record.hope:.4f} bpb"
    gained = f" for {-record.gained:+.4f} bpb" if record.kept else ""
    return (
        f"{record.category}: {record.kept} of {record.tried} kept{gained}, "
        f"promise {record.promise:.4f} bpb per experiment"
    )


def _focus(record: _Record, digest: Digest) -> str:
    """What whoever is assigned should know of the category."""
    tries = [entry for entry in digest.entries if entry.category == record.category]
    if not tries:
        return f"Begin with {record.category}: nothing is known of it in this lab yet."
    last = tries[-1]
    if last.holds:
        return f"“{last.title}” looks better; see whether the same way leads further."
    return f"After “{last.title}” try something else in {record.category}, or the other way."


def _assignee(people: tuple[Person, ...], category: Category, turn: int) -> str:
    """Whose focus names the category; else one without a focus; else each in turn."""
    for group in (
        [person for person in people if category in person.focus.lower()],
        [person for person in people if not person.focus],
        list(people),
    ):
        if group:
            return group[turn % len(group)].name
    raise ModelError("the playbook's director has nobody to give work to")


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
    instead = "" if here else f"{_nothing_left(category)} Instead: "
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
    untried = [category for category in _CATEGORIES if category not in tried]
    remarks = [
        f"{len(kept)} of {len(closed)} experiments are kept or on the stack.",
        f"{ties} of the discarded lie within the noise of one run ({noise:.4f} bpb): they show no "
        "effect, which is not the same as harm.",
    ]
    if untried:
        remarks.append(f"Not looked at yet: {', '.join(untried)}.")
    return Prose(text=" ".join(remarks))
