"""Made-up worlds to try rules of evidence in: a stream of proposals, and runs that are noisy.

All values are in units of the spread of one run; lower is better, as with val_bpb.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

BASELINE = 100.0  # where val_bpb stands; only differences matter
BLOCK = 512  # random numbers drawn at once


@dataclass(frozen=True)
class World:
    """How often proposals help or harm, by how much, and what is wrong with the noise.

    Sizes are means of exponential distributions, in σ. ``noise`` is the true spread of one run,
    where rules are told 1. ``common`` is the part of its variance that a seed gives to all sources
    alike, ``inherited`` how much of the rest a patched source has from the one it was put on.
    ``drift`` is the spread of a slow common movement of all runs (its memory: 20 runs), ``swell``
    how far the noise itself wanders, in logarithms.
    """

    name: str
    improving: float
    improvement: float
    harming: float = 0.3
    harm: float = 4.0
    noise: float = 1.0
    common: float = 0.0
    inherited: float = 0.0
    drift: float = 0.0
    swell: float = 0.0
    target: float = 0.95
    proposals: int | None = None


WORLDS = (
    World("rare", improving=0.08, improvement=1.0),
    World("ordinary", improving=0.2, improvement=1.0),
    World("large", improving=0.2, improvement=3.0, target=0.92),
    World("large and common", improving=0.4, improvement=3.0, target=0.92),
    World("noise twice as assumed", improving=0.2, improvement=1.0, noise=2.0),
    World("drifting machine", improving=0.2, improvement=1.0, drift=1.0),
    World("drifting noise", improving=0.2, improvement=1.0, swell=0.5),
    World("seeds in common, rare", improving=0.08, improvement=1.0, common=0.65),
    World("seeds in common", improving=0.2, improvement=1.0, common=0.65),
    World("inherited luck", improving=0.2, improvement=1.0, common=0.65, inherited=0.5),
    World("null edits", improving=0.0, improvement=0.0, harming=0.0, proposals=200),
    World(
        "null edits, noise doubled",
        improving=0.0,
        improvement=0.0,
        harming=0.0,
        noise=2.0,
        proposals=200,
    ),
    World(
        "null edits, seeds in common",
        improving=0.0,
        improvement=0.0,
        harming=0.0,
        common=0.65,
        inherited=0.5,
        proposals=200,
    ),
)


def proposals(world: World, count: int, seed: int) -> list[float]:
    """The true effects of a stream of proposals, the same for every rule."""
    generator = np.random.default_rng(seed)
    kind, size = generator.random(count), generator.exponential(1.0, count)
    effects = np.where(kind < world.improving, -world.improvement * size, 0.0)
    harmful = kind > 1 - world.harming
    return [float(each) for each in np.where(harmful, world.harm * size, effects)]


@dataclass(frozen=True, eq=False)
class Source:
    """A train.py of a made-up world: its true value, and whose patch of whom it is."""

    number: int
    value: float
    parent: Source | None = None


class Machine:
    """Runs sources with seeds until the budget of runs is spent; a run again gives the same luck.

    ``runs_left`` may fall below zero for a rule that does not look.
    """

    def __init__(self, world: World, runs: int, seed: int) -> None:
        self.world = world
        self.runs_left = runs
        self._generator = np.random.default_rng(seed)
        self._numbers = self._draw()
        self._sources = 0
        self._of_seed: dict[int, float] = {}
        self._luck: dict[tuple[int, int], float] = {}
        self._drift = 0.0
        self._swell = 0.0

    def baseline(self) -> Source:
        """The first source."""
        return Source(0, BASELINE)

    def patched(self, parent: Source, effect: float) -> Source:
        """A source with one more change."""
        self._sources += 1
        return Source(self._sources, parent.value + effect, parent)

    def run(self, source: Source, seed: int) -> float:
        """One run: the true value, the seed's part, the source's own luck with it, the machine's."""
        self.runs_left -= 1
        world = self.world
        memory = math.exp(-1 / 20)
        fresh = math.sqrt(1 - memory**2)
        if world.drift:
            self._drift = memory * self._drift + fresh * world.drift * next(self._numbers)
        if world.swell:
            self._swell = memory * self._swell + fresh * world.swell * next(self._numbers)
        luck = math.sqrt(1 - world.common) * self._own(source, seed)
        if world.common:
            if seed not in self._of_seed:
                self._of_seed[seed] = next(self._numbers)
            luck += math.sqrt(world.common) * self._of_seed[seed]
        return source.value + world.noise * math.exp(self._swell) * luck + self._drift

    def _own(self, source: Source, seed: int) -> float:
        """What a source's luck under a seed is, less what all sources have of it."""
        if not self.world.common:
            return next(self._numbers)  # no seed is kept: every run is luck anew
        if (source.number, seed) not in self._luck:
            own = next(self._numbers)
            if self.world.inherited and source.parent is not None:
                share = self.world.inherited
                parent = self._own(source.parent, seed)
                own = math.sqrt(share) * parent + math.sqrt(1 - share) * own
            self._luck[source.number, seed] = own
        return self._luck[source.number, seed]

    def _draw(self) -> Iterator[float]:
        while True:
            yield from self._generator.standard_normal(BLOCK).tolist()
