"""Rules of evidence that the simulation compares: each spends a machine's runs on a stream of proposals."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean

from benchmarks.worlds import Machine, Source
from trainer.evidence.certify import MAX_SEEDS, certify, half
from trainer.evidence.effect import Effect, Scored, effect_of, paired, tempered
from trainer.evidence.spread import PRIOR_FREEDOM, Spread, pooled, pooled_pairs
from trainer.evidence.stack import Placement, due, fresh_value, place, run_error

BASELINE_RUNS = 3
SEARCH_SEED = 1
ASSUMED = Spread(bpb=1.0, freedom=PRIOR_FREEDOM)


@dataclass
class Outcome:
    """What a rule came to, in σ: the gain that is true, and the gain that it reports.

    ``certified`` is the sum of the effects on its certificates, where it writes such.
    ``keeps`` are changes accepted on the way, ``promotions`` incumbents reported as better than the
    one before; the false ones were truly no better.
    """

    true: float = 0.0
    reported: float = 0.0
    certified: float = 0.0
    keeps: int = 0
    false_keeps: int = 0
    promotions: int = 0
    false_promotions: int = 0
    proposals: int = 0


def greedy(machine: Machine, effects: Sequence[float]) -> Outcome:
    """As in autoresearch: one run below the best so far is kept."""
    best = machine.baseline()
    first = best_bpb = machine.run(best, SEARCH_SEED)
    outcome = Outcome()
    for effect in effects:
        if machine.runs_left < 1:
            break
        outcome.proposals += 1
        candidate = machine.patched(best, effect)
        if (bpb := machine.run(candidate, SEARCH_SEED)) < best_bpb:
            best, best_bpb = candidate, bpb
            outcome.keeps += 1
            outcome.false_keeps += effect >= 0
    outcome.promotions, outcome.false_promotions = outcome.keeps, outcome.false_keeps
    outcome.true, outcome.reported = machine.baseline().value - best.value, first - best_bpb
    return outcome


def confirm_each(machine: Machine, effects: Sequence[float]) -> Outcome:
    """One run screens; two under fresh seeds must be better at z > 1.28, and only they count."""
    return _each(machine, effects, first_looks=2, max_runs=3, keep_at=0.9)


def bayes_each(machine: Machine, effects: Sequence[float]) -> Outcome:
    """Runs until the probability of improvement is at least 95 % or below 30 %, at most six."""
    return _each(machine, effects, first_looks=1, max_runs=6, keep_at=0.95)


def _each(
    machine: Machine, effects: Sequence[float], *, first_looks: int, max_runs: int, keep_at: float
) -> Outcome:
    """Prove every change by itself; ``first_looks`` fresh runs come before the first decision."""
    fresh = itertools.count(SEARCH_SEED + 1)
    best = machine.baseline()
    baseline = [(seed, machine.run(best, seed)) for seed in itertools.islice(fresh, BASELINE_RUNS)]
    of_best, outcome = baseline, Outcome()
    groups = [[bpb for _, bpb in baseline]]
    noise = pooled(groups, ASSUMED)
    for effect in effects:
        if machine.runs_left < 1:
            break
        outcome.proposals += 1
        candidate = machine.patched(best, effect)
        if machine.run(candidate, SEARCH_SEED) >= fmean(bpb for _, bpb in of_best):
            continue
        runs: list[Scored] = []
        probability = 0.5
        while len(runs) < max_runs - 1 and machine.runs_left > 0:
            seed = next(fresh)
            runs.append((seed, machine.run(candidate, seed)))
            probability = effect_of(
                runs, of_best, run=noise, pair=noise, kind="certified"
            ).probability
            if len(runs) >= first_looks and not 0.3 < probability < keep_at:
                break
        if runs:
            groups.append([bpb for _, bpb in runs])
        noise = pooled(groups, ASSUMED)
        if probability >= keep_at:
            best, of_best = candidate, runs
            outcome.keeps += 1
            outcome.false_keeps += effect >= 0
    outcome.promotions, outcome.false_promotions = outcome.keeps, outcome.false_keeps
    outcome.true = machine.baseline().value - best.value
    outcome.reported = fmean(b for _, b in baseline) - fmean(b for _, b in of_best)
    return outcome


@dataclass
class StackRule:
    """The rule of this project, by the very functions that the organization calls."""

    machine: Machine
    seeds: Iterator[int] = field(default_factory=lambda: itertools.count(SEARCH_SEED))
    outcome: Outcome = field(default_factory=Outcome)
    fresh: dict[Source, list[Scored]] = field(default_factory=dict)  # runs that chose nothing
    differences: list[list[float]] = field(default_factory=list)
    history: list[float] = field(default_factory=list)
    certifications: list[Effect] = field(default_factory=list)
    stack: list[tuple[Source, float, Placement]] = field(default_factory=list)
    runs_since: int = 0
    latest: list[float] = field(default_factory=list)  # expected of each since the certification
    head_bpb: float = 0.0

    def __post_init__(self) -> None:
        self.baseline = self.incumbent = self.machine.baseline()
        for seed in itertools.islice(self.seeds, BASELINE_RUNS):
            self.run_fresh(self.baseline, seed)
        self.start_over()

    @property
    def head(self) -> Source:
        return self.stack[-1][0] if self.stack else self.incumbent

    def run_fresh(self, source: Source, seed: int) -> None:
        self.fresh.setdefault(source, []).append((seed, self.machine.run(source, seed)))

    def start_over(self) -> None:
        """An empty stack: noise as known by now, a new search seed, and what the head is worth there."""
        groups = [[bpb for _, bpb in runs] for runs in self.fresh.values()]
        self.run = pooled(groups, ASSUMED)
        self.pair = pooled_pairs(self.differences, self.run)
        runs = self.fresh[self.incumbent]
        self.search_seed = runs[-1][0]
        self.head_bpb = fresh_value(runs, self.search_seed, run=self.run, pair=self.pair).bpb
        self.stack = []
        self.runs_since = 0
        self.latest = []

    def due(self) -> bool:
        expected = [placement.expected_bpb for _, _, placement in self.stack]
        why = due(
            expected,
            pair=self.pair,
            runs_since=self.runs_since,
            latest_bpb=self.latest,
            runs_left=self.machine.runs_left,
        )
        return why != ""

    def try_one(self, effect: float) -> None:
        """One proposal: one run of the patched head under the search seed."""
        candidate = self.machine.patched(self.head, effect)
        bpb = self.machine.run(candidate, self.search_seed)
        error = run_error(self.pair)
        placement = place(bpb, self.head_bpb, error=error, history=self.history)
        self.history.append(placement.effect_bpb)
        self.outcome.proposals += 1
        self.runs_since += 1
        self.latest.append(placement.expected_bpb)
        if placement.says == "stack":
            self.stack.append((candidate, effect, placement))
            self.head_bpb = self.value(placement, bpb)
            self.outcome.keeps += 1
            self.outcome.false_keeps += effect >= 0

    def value(self, placement: Placement, bpb: float) -> float:
        """What the new head is worth under the search seed."""
        return placement.head_bpb

    def certify_stack(self) -> None:
        """Certify the whole stack, on failure its first half; what fails is dropped."""
        seeds = list(itertools.islice(self.seeds, MAX_SEEDS))
        failed: list[int] = []
        length = len(self.stack)
        while length:
            head = self.stack[length - 1][0]
            if self.certified(head, seeds):
                self.promote(head)
                break
            failed.append(length)
            length = half(len(self.stack), failed)
        self.start_over()

    def certified(self, head: Source, seeds: Sequence[int]) -> bool:
        """Run what the certification asks for, as long as there are runs; whether the head passed."""
        incumbent = self.incumbent
        while True:
            sides = (self.fresh.get(each, []) for each in (head, incumbent))
            step = certify(*sides, seeds=seeds, run=self.run, pair=self.pair)
            if step.seed is None or self.machine.runs_left < 1:
                break
            self.run_fresh(head if step.side == "head" else incumbent, step.seed)
        if step.effect is not None:
            self.differences.append(paired(self.fresh[head], self.fresh[incumbent]))
            self.certifications.append(step.effect)
        return step.says == "pass"

    def promote(self, head: Source) -> None:
        self.outcome.promotions += 1
        self.outcome.false_promotions += head.value >= self.incumbent.value
        self.outcome.certified -= tempered(self.certifications[-1], self.certifications).bpb
        self.incumbent = head

    def finish(self) -> Outcome:
        self.outcome.true = self.baseline.value - self.incumbent.value
        if self.outcome.promotions:
            before, after = (self.fresh[each] for each in (self.baseline, self.incumbent))
            self.outcome.reported = fmean(bpb for _, bpb in before) - fmean(b for _, b in after)
        return self.outcome


class LuckyHead(StackRule):
    """The same, but a head is worth what the run gave that chose it."""

    def value(self, placement: Placement, bpb: float) -> float:
        return bpb


class FreshHead(StackRule):
    """The same, but every new head is run again, under a fresh seed, which is searched under next."""

    def value(self, placement: Placement, bpb: float) -> float:
        if self.machine.runs_left < 1:
            return bpb
        self.search_seed = next(self.seeds)
        self.runs_since += 1
        return self.machine.run(self.head, self.search_seed)


def _stacked(kind: type[StackRule], machine: Machine, effects: Sequence[float]) -> Outcome:
    """Proposals on the stack until the budget is spent, the last runs for its proof."""
    rule = kind(machine)
    for effect in effects:
        if rule.due():
            rule.certify_stack()
        if machine.runs_left < 1:
            break
        rule.try_one(effect)
    if rule.stack:
        rule.certify_stack()
    return rule.finish()


Rule = Callable[[Machine, Sequence[float]], Outcome]

RULES: dict[str, Rule] = {
    "greedy": greedy,
    "confirm each": confirm_each,
    "Bayes each": bayes_each,
    "stack": partial(_stacked, StackRule),
}

VARIANTS: dict[str, Rule] = {
    "stack, lucky head": partial(_stacked, LuckyHead),
    "stack, fresh head": partial(_stacked, FreshHead),
}
