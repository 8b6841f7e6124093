"""Simulates rules of evidence on the same streams of proposals: what they find, and what they claim."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import sqrt
from statistics import fmean, stdev

import click

from benchmarks.rules import RULES, VARIANTS, Outcome
from benchmarks.worlds import WORLDS, Machine, World, proposals

REFERENCE = "greedy"
OURS = "stack"
FALSE_SHARE = 0.05
GAP = 0.3
NULL_PROMOTIONS = 0.1

NOTES = """\
true gain, reported - true: of the incumbent at the end, against the baseline, in σ (the true spread
of one run). certificates: sum of the certified effects - true gain. false: of the promotions, those
truly no better. tried: proposals that the runs were enough for. All rules see the same proposals."""


@dataclass(frozen=True)
class Line:
    """One rule in one world, means over the repetitions; gains in units of its σ."""

    world: World
    rule: str
    outcomes: Sequence[Outcome]

    def mean(self, name: str) -> float:
        """The mean of a field of the outcomes."""
        return fmean(float(getattr(outcome, name)) for outcome in self.outcomes)

    @property
    def true(self) -> float:
        return self.mean("true") / self.world.noise

    @property
    def error(self) -> float:
        """Standard error of the true gain over the repetitions."""
        if len(self.outcomes) < 2:
            return 0.0
        spread = stdev(outcome.true for outcome in self.outcomes) / self.world.noise
        return spread / sqrt(len(self.outcomes))

    @property
    def gap(self) -> float:
        """By how much the reported gain is above the true one."""
        return self.mean("reported") / self.world.noise - self.true

    @property
    def certificates_gap(self) -> float:
        return self.mean("certified") / self.world.noise - self.true

    @property
    def false_share(self) -> float:
        promotions = self.mean("promotions")
        return self.mean("false_promotions") / promotions if promotions else 0.0

    def missed(self, reference: Line) -> list[str]:
        """The targets that this line does not reach, in a word each."""
        if not self.world.improving:
            missed = self.mean("promotions") > NULL_PROMOTIONS
            return ["promotions"] * missed + ["gap"] * (abs(self.gap) > GAP)
        checks = {
            "gain": self.true >= self.world.target * reference.true,
            "false": self.false_share <= FALSE_SHARE,
            "gap": abs(self.gap) <= GAP,
        }
        return [name for name, reached in checks.items() if not reached]


def simulate(world: World, rule: str, runs: int, seed: int) -> Outcome:
    """One repetition; in a world with so many proposals the runs are as many as the rule likes."""
    count = world.proposals or runs
    machine = Machine(world, 100 * count if world.proposals else runs, seed=2 * seed + 1)
    return (RULES | VARIANTS)[rule](machine, proposals(world, count, seed=2 * seed))


def lines(
    worlds: Iterable[World],
    rules: Sequence[str],
    *,
    repetitions: int,
    runs: int,
    seed: int,
    processes: int,
) -> Iterator[Line]:
    """These rules in these worlds; the repetitions of a world have the same seeds for every rule."""
    seeds = range(seed, seed + repetitions)
    with ProcessPoolExecutor(processes) as pool:
        for world in worlds:
            for rule in rules:
                one = partial(simulate, world, rule, runs)
                yield Line(world, rule, tuple(pool.map(one, seeds, chunksize=10)))


def row(line: Line, reference: Line) -> list[str]:
    """A line of the table; which targets are met is said of our own rule only."""
    missed = line.missed(reference)
    met = "" if line.rule != OURS else "no: " + ", ".join(missed) if missed else "yes"
    against = f"{line.true / reference.true:.1%}" if line.world.improving else ""
    certificates = f"{line.certificates_gap:+.2f}" if line.rule == OURS else ""
    return [
        line.world.name,
        line.rule,
        f"{line.true:.2f} ± {line.error:.2f}",
        against,
        f"{line.gap:+.2f}",
        certificates,
        f"{line.mean('promotions'):.3g}",
        f"{line.false_share:.1%}" if line.mean("promotions") else "",
        f"{line.mean('proposals'):.0f}",
        met,
    ]


HEADINGS = (
    "world",
    "rule",
    "true gain",
    "of greedy's",
    "reported - true",
    "certificates",
    "promotions",
    "false",
    "tried",
    "targets met",
)


def table(found: Sequence[Line]) -> str:
    """A Markdown table, the worlds in order."""
    reference = {line.world.name: line for line in found if line.rule == REFERENCE}
    rows = [list(HEADINGS), *(row(line, reference[line.world.name]) for line in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(map(str.ljust, each, widths))} |" for each in rows)


@click.command(
    epilog="""\b
Examples:
  python -m benchmarks.evidence --repetitions 50
  python -m benchmarks.evidence --runs 60 --world rare --world ordinary
"""
)
@click.option("--repetitions", type=click.IntRange(2), default=1000, show_default=True)
@click.option("--runs", type=click.IntRange(20), default=300, show_default=True, help="Budget.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The first one.")
@click.option(
    "--world",
    "chosen",
    type=click.Choice([world.name for world in WORLDS]),
    multiple=True,
    help="Only this one; may be given again.",
)
@click.option("--variants", is_flag=True, help="Also two other ways to tell what a head is worth.")
def main(repetitions: int, runs: int, seed: int, chosen: tuple[str, ...], variants: bool) -> None:
    """Greedy, proof of every change, and the stack: true gain and false claims at equal budget.

    The stack is decided by the functions of `trainer` that decide in an organization.
    """
    worlds = [world for world in WORLDS if not chosen or world.name in chosen]
    rules = [*RULES, *(VARIANTS if variants else ())]
    found = []
    for line in lines(
        worlds,
        rules,
        repetitions=repetitions,
        runs=runs,
        seed=seed,
        processes=os.cpu_count() or 1,
    ):
        found.append(line)
        click.echo(f"{line.world.name}, {line.rule}: {line.true:.2f} σ", err=True)
    click.echo(f"{repetitions} repetitions of {runs} runs, first seed {seed}\n\n{table(found)}\n")
    click.echo(NOTES)


if __name__ == "__main__":
    main()
