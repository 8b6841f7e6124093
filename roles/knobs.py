"""What a move is: a step of one constant either way, or a rewrite of a few lines of code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeGuard

from roles.constants import Value, stands_once
from roles.records import Category

Way = Literal["up", "down"]


@dataclass(frozen=True)
class Times:
    """Multiply or divide: for what is felt on a logarithmic scale. ``whole``: no parts of a step."""

    factor: float
    low: float = 0.0
    high: float = float("inf")
    whole: bool = False

    def taken(self, value: Value, way: Way, size: float) -> Value:
        """The value a step of this size further, None where there is none."""
        if not _number(value) or value == 0 or (self.whole and size != int(size)):
            return None
        scaled = value * self.factor ** (size if way == "up" else -size)
        return _like(value, min(max(scaled, self.low), self.high))


@dataclass(frozen=True)
class Plus:
    """Add or take away: for counts and shares."""

    amount: float
    low: float = 0.0
    high: float = float("inf")

    def taken(self, value: Value, way: Way, size: float) -> Value:
        """The value a step of this size further, None where there is none."""
        if not _number(value):
            return None
        moved = value + self.amount * (size if way == "up" else -size)
        return _like(value, min(max(moved, self.low), self.high))


@dataclass(frozen=True)
class NearOne:
    """Divide or multiply the distance to one: for decays, betas, momentum."""

    factor: float

    def taken(self, value: Value, way: Way, size: float) -> Value:
        """The value a step of this size further, None where there is none."""
        if not isinstance(value, float) or not 0 < value < 1:
            return None
        distance = (1 - value) * self.factor ** (-size if way == "up" else size)
        return _like(value, 1 - distance) if distance < 1 else None


@dataclass(frozen=True)
class Among:
    """Step along a list: for patterns and switches."""

    choices: tuple[Value, ...]

    def taken(self, value: Value, way: Way, size: float) -> Value:
        """The neighbour in the list, None at its end; further or half steps there are none."""
        if value not in self.choices or size != 1:
            return None
        place = self.choices.index(value) + (1 if way == "up" else -1)
        return self.choices[place] if 0 <= place < len(self.choices) else None


Step = Times | Plus | NearOne | Among


def _number(value: Value) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _like(value: int | float, moved: float) -> Value:
    """Rounded as a person would write it; None if that is where we were."""
    new = round(moved) if isinstance(value, int) else float(f"{moved:.3g}")
    return None if new == value else new


@dataclass(frozen=True)
class Turn:
    """Why one would turn a knob this way, and how far val_bpb may fall (bits per byte)."""

    gain: float
    mechanism: str


@dataclass(frozen=True)
class Knob:
    """One constant, how far a step goes, and what speaks for either way.

    ``multiple_of`` and ``divides`` name a constant that must divide the value, or be divided by
    it; ``companions`` are constants that keep their ratio to it. The code asks for all three.
    ``needs`` is a constant and what its value must contain for this one to have any effect.
    """

    name: str
    category: Category
    step: Step
    up: Turn | None = None
    down: Turn | None = None
    multiple_of: str | None = None
    divides: str | None = None
    companions: tuple[str, ...] = ()
    needs: tuple[str, str] | None = None


@dataclass(frozen=True)
class Rewrite:
    """A change of the code itself: lines to find, each block exactly once, and their successors."""

    title: str
    category: Category
    gain: float
    mechanism: str
    edits: tuple[tuple[str, str], ...]

    def applies_to(self, source: str) -> bool:
        """Whether every block stands in the source exactly once, as whole lines."""
        return all(stands_once(find, source) for find, _ in self.edits)
