"""The playbook's director: a small bandit over categories, and the ways off a plateau."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import get_args

from roles.heeding import asks_for, heed
from roles.model import ModelError
from roles.moves import KNOBS, REWRITES
from roles.records import (
    PARAGRAPH_CHARACTERS,
    Category,
    Digest,
    Direction,
    DirectorReads,
    Entry,
    Person,
    WayOut,
    WaysOut,
)

_CATEGORIES: tuple[Category, ...] = get_args(Category)
_DEAD_ENDS = 3  # in a row and in one category, before the director looks elsewhere


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
    spent = {category for category in _CATEGORIES if nothing_left(category) in _changes(entries)}
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


def nothing_left(category: Category) -> str:
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
