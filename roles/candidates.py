"""Which moves are left for a source, and how promising each is after what was tried."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from roles.constants import Constant, Value, literal, spoken
from roles.knobs import Among, Knob, Rewrite, Turn, Way
from roles.moves import REWRITES, knob_for
from roles.records import Category, Digest, Entry, Hypothesis

Edits = tuple[tuple[str, str], ...]

# How far the first, second … try of one way goes, in steps of the knob.
_SIZES = (1.0, 0.5, 2.0, 0.25, 1.5, 3.0)
# What one failed try leaves of the hope for the next one the same way.
_AFTER_FAILURE = 0.25

# The title of a turned constant, as _title writes it.
_TURNED = re.compile(r"(?P<verb>Raise|Lower|Set) (?P<name>\w+) from (?P<old>\S+) to (?P<new>\S+)$")

# NAME = B, NAME to B, NAME from A to B: what a sentence means to do with a constant.
_MEANT = re.compile(r"\b([A-Z][A-Z0-9_]*)\b(?:[^\n]{0,120}? to| =) (\"\w*\"|[^\s,;`]+)")


@dataclass(frozen=True)
class Candidate:
    """A move as it would be made on one source. ``gain``: hoped-for fall of val_bpb, bits per byte."""

    title: str
    category: Category
    change: str
    mechanism: str
    gain: float


@dataclass(frozen=True)
class _Try:
    """An earlier turn of one knob, read back from the title of its experiment."""

    way: Way
    old: str
    new: str
    entry: Entry


def candidates(source: str, constants: Mapping[str, Constant], digest: Digest) -> list[Candidate]:
    """Every move that applies to this source and was not tried yet, rewrites first."""
    titles = {entry.title for entry in digest.entries}
    found = [
        Candidate(
            title=rewrite.title,
            category=rewrite.category,
            change=_lines_meant(rewrite),
            mechanism=rewrite.mechanism,
            gain=rewrite.gain,
        )
        for rewrite in REWRITES
        if rewrite.title not in titles and rewrite.applies_to(source)
    ]
    for constant in constants.values():
        knob = knob_for(constant)
        if knob is not None:
            found.extend(_turns(knob, constants, _tries(knob, digest), digest.noise_bpb))
    return found


def _lines_meant(rewrite: Rewrite) -> str:
    """Where a rewrite begins, in the few words that a digest has room for."""
    first, *others = [find.strip().splitlines()[0] for find, _ in rewrite.edits]
    return f"Rewrite `{first}`" + (f" and {len(others)} places that follow." if others else ".")


def _tries(knob: Knob, digest: Digest) -> list[_Try]:
    found = []
    for entry in digest.entries:
        said = _TURNED.match(entry.title)
        if said is not None and said["name"] == knob.name:
            way = _way(knob, said["verb"], said["old"], said["new"])
            found.append(_Try(way, said["old"], said["new"], entry))
    return found


def _way(knob: Knob, verb: str, old: str, new: str) -> Way:
    """Which way a turn went; for words it is the order of the knob's choices that says so."""
    if isinstance(knob.step, Among):
        order = [literal(choice) for choice in knob.step.choices]
        known = old in order and new in order
        return "down" if known and order.index(new) < order.index(old) else "up"
    return "down" if verb == "Lower" else "up"


def _turns(
    knob: Knob, constants: Mapping[str, Constant], tries: list[_Try], noise_bpb: float
) -> Iterator[Candidate]:
    """At most one candidate each way; none while another desk turns the same knob."""
    if any(tried.entry.decision is None for tried in tries) or _idle(knob, constants):
        return
    constant = constants[knob.name]
    seen = {spoken(constant.values)} | {text for tried in tries for text in (tried.old, tried.new)}
    ways: tuple[tuple[Way, Turn | None], ...] = (("up", knob.up), ("down", knob.down))
    for way, turn in ways:
        for size in _SIZES:
            values = _turned(knob, constant, way, size)
            if turn is None or values is None or spoken(values) in seen:
                continue
            if edits_to(constant, values, constants) is None:
                continue
            along = "".join(f", {name} in the same ratio" for name in knob.companions)
            yield Candidate(
                title=_title(knob, constant, values, way),
                category=knob.category,
                change=f"{knob.name} = {spoken(values)}{along}.",
                mechanism=turn.mechanism + _told(tries),
                gain=_gain(turn, way, tries, noise_bpb),
            )
            break


def _idle(knob: Knob, constants: Mapping[str, Constant]) -> bool:
    """Whether turning the knob would change nothing, for want of what it needs."""
    if knob.needs is None or knob.needs[0] not in constants:
        return False
    name, part = knob.needs
    return not all(part in str(value) for value in constants[name].values)


def _turned(knob: Knob, constant: Constant, way: Way, size: float) -> tuple[Value, ...] | None:
    """The knob's values a step further; None unless there is a step for every device."""
    steps = tuple(knob.step.taken(value, way, size) for value in constant.values)
    return None if None in steps else steps


def _title(knob: Knob, constant: Constant, values: tuple[Value, ...], way: Way) -> str:
    words = all(isinstance(value, str | bool | None) for value in values)
    verb = "Set" if words else "Raise" if way == "up" else "Lower"
    return f"{verb} {knob.name} from {spoken(constant.values)} to {spoken(values)}"


def _told(tries: list[_Try]) -> str:
    """What this notebook already says about the knob, to stand after the mechanism."""
    said = [
        f"{tried.old} to {tried.new}: {tried.entry.decision}{_effect(tried.entry)}"
        for tried in tries[-3:]
    ]
    return f" So far: {'; '.join(said)}." if said else ""


def _effect(entry: Entry) -> str:
    if entry.effect is None:
        return ""
    return f", {entry.effect:+.4f}" + (f" ± {entry.error:.4f}" if entry.error is not None else "")


def _gain(turn: Turn, way: Way, tries: list[_Try], noise_bpb: float) -> float:
    """The table's gain after this notebook's experience with the knob."""
    if not tries:
        return turn.gain
    last = tries[-1].entry
    if last.holds and tries[-1].way == way:
        return max(turn.gain, -(last.effect or 0.0) / 2)
    failures = sum(tried.way == way and not tried.entry.holds for tried in tries)
    if failures:
        return turn.gain * _AFTER_FAILURE**failures
    if last.holds:
        return turn.gain * _AFTER_FAILURE  # it would undo what was kept
    clearly_worse = last.effect is not None and last.effect > 2 * noise_bpb
    return turn.gain * (1.5 if clearly_worse else 0.5)


def edits_for(
    hypothesis: Hypothesis, source: str, constants: Mapping[str, Constant]
) -> Edits | None:
    """The edits of a hypothesis on this source, wherever its lines stand by now; None if unknown.

    A rewrite is found by its title; a constant by any sentence of title or change that names it
    and its new value (``NAME from A to B``, ``NAME to B``, ``NAME = B``).
    """
    for rewrite in REWRITES:
        if rewrite.title == hypothesis.title:
            return rewrite.edits if rewrite.applies_to(source) else None
    meant = values_meant(hypothesis, constants)
    return None if meant is None else edits_to(*meant, constants)


def values_meant(
    hypothesis: Hypothesis, constants: Mapping[str, Constant]
) -> tuple[Constant, tuple[Value, ...]] | None:
    """The constant that a hypothesis turns, and its new values."""
    for text in (hypothesis.title, hypothesis.change):
        for said in _MEANT.finditer(text):
            constant = constants.get(said[1])
            values = None if constant is None else _read(said[2].rstrip("."), constant)
            if constant is not None and values is not None and values != constant.values:
                return constant, values
    return None


def edits_to(
    constant: Constant, values: tuple[Value, ...], constants: Mapping[str, Constant]
) -> Edits | None:
    """The edits that give a constant these values, its companions turned along; None if they do
    not fit what the code asks for."""
    edits = [(constant.statement, constant.rewritten(values))]
    knob = knob_for(constant)
    if knob is None:
        return tuple(edits)
    divisor, whole = constants.get(knob.multiple_of or ""), constants.get(knob.divides or "")
    if divisor is not None and not _divide(divisor.values, values):
        return None
    if whole is not None and not _divide(values, whole.values):
        return None
    for companion in (constants[name] for name in knob.companions if name in constants):
        along = _in_ratio(companion.values, values, constant.values)
        if along is None:
            return None
        edits.append((companion.statement, companion.rewritten(along)))
    return tuple(edits)


def _divide(parts: tuple[Value, ...], wholes: tuple[Value, ...]) -> bool:
    """Whether each of the parts goes evenly into its whole; one may stand for all devices."""
    pairs = zip_longest(parts, wholes, fillvalue=(parts if len(parts) == 1 else wholes)[0])
    return all(
        isinstance(part, int) and isinstance(whole, int) and part > 0 and whole % part == 0
        for part, whole in pairs
    )


def _in_ratio(
    values: tuple[Value, ...], new: tuple[Value, ...], old: tuple[Value, ...]
) -> tuple[Value, ...] | None:
    """values * new / old where all of them are whole numbers and stay so, else None."""
    along = list[Value]()
    for value, after, before in zip_longest(values, new, old):
        if not (isinstance(value, int) and isinstance(after, int) and isinstance(before, int)):
            return None
        if before == 0 or value * after % before or value * after < before:
            return None
        along.append(value * after // before)
    return tuple(along)


def _read(text: str, constant: Constant) -> tuple[Value, ...] | None:
    """Values from their spoken form: one for all devices, or one each."""
    try:
        values = tuple(ast.literal_eval(part) for part in text.split("/"))
    except (ValueError, SyntaxError):
        return None
    if len(values) == 1:
        values *= len(constant.values)
    return values if len(values) == len(constant.values) else None
