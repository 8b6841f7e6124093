"""The simulation of the rules: the same words for the same luck, and the order of the rules."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from benchmarks.evidence import Line, main, simulate
from benchmarks.rules import RULES, VARIANTS
from benchmarks.worlds import WORLDS, Machine, World, proposals

NAMED = {world.name: world for world in WORLDS}


def line(world: str, rule: str, repetitions: int = 30, runs: int = 300) -> Line:
    seeds = range(repetitions)
    return Line(NAMED[world], rule, tuple(simulate(NAMED[world], rule, runs, i) for i in seeds))


def test_the_same_seed_gives_the_same_outcome_and_another_seed_another() -> None:
    one, again, other = (simulate(NAMED["ordinary"], "stack", 100, seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_a_stream_of_proposals_has_as_many_improvements_as_its_world_says() -> None:
    stream = proposals(NAMED["ordinary"], 20_000, seed=1)
    assert sum(effect < 0 for effect in stream) / 20_000 == pytest.approx(0.2, abs=0.01)
    assert sum(effect > 0 for effect in stream) / 20_000 == pytest.approx(0.3, abs=0.01)


def test_a_seed_that_sources_have_in_common_moves_them_together() -> None:
    machine = Machine(World("together", 0.0, 0.0, common=1.0), 100, seed=3)
    first = machine.baseline()
    second = machine.patched(first, -2.0)
    differences = [machine.run(second, seed) - machine.run(first, seed) for seed in range(5)]
    assert differences == pytest.approx([-2.0] * 5)
    assert machine.runs_left == 90


def test_luck_that_is_inherited_passes_to_a_patched_source_and_is_kept_by_its_seed() -> None:
    machine = Machine(World("kin", 0.0, 0.0, common=0.01, inherited=1.0), 100, seed=3)
    first = machine.baseline()
    patched = machine.patched(first, -2.0)
    assert machine.run(patched, 7) == pytest.approx(machine.run(first, 7) - 2.0)
    assert machine.run(patched, 7) == machine.run(patched, 7) != machine.run(patched, 8)


def test_where_improvements_are_ordinary_the_stack_finds_as_much_as_greedy_and_proofs_half() -> (
    None
):
    greedy, stack = line("ordinary", "greedy"), line("ordinary", "stack")
    assert stack.true > 0.95 * greedy.true
    for rule in ("confirm each", "Bayes each"):
        assert line("ordinary", rule).true < 0.7 * greedy.true


def test_the_stack_reports_what_is_true_and_greedy_reports_luck() -> None:
    greedy, stack = line("ordinary", "greedy"), line("ordinary", "stack")
    assert greedy.gap > 1.0
    assert abs(stack.gap) < 0.4
    assert abs(stack.certificates_gap) < 0.8
    assert stack.false_share < 0.05
    assert greedy.false_share > 0.3


def test_edits_that_change_nothing_are_kept_by_greed_and_hardly_ever_promoted() -> None:
    assert line("null edits", "greedy").mean("promotions") > 3
    stack = line("null edits", "stack")
    assert stack.mean("promotions") <= 0.1
    assert stack.mean("proposals") == 200


def test_noise_that_is_twice_what_was_assumed_is_noticed() -> None:
    stack = line("noise twice as assumed", "stack")
    assert stack.false_share < 0.05
    assert stack.true > line("noise twice as assumed", "greedy").true


def test_no_rule_spends_more_runs_than_there_are() -> None:
    for rule in (RULES | VARIANTS).values():
        machine = Machine(NAMED["large"], 100, seed=4)
        rule(machine, proposals(NAMED["large"], 100, seed=5))
        assert machine.runs_left == 0


def test_shrinking_beats_a_lucky_and_a_freshly_measured_head() -> None:
    stack = line("ordinary", "stack").true
    assert stack > line("ordinary", "stack, lucky head").true
    assert stack > line("ordinary", "stack, fresh head").true


def test_a_target_that_is_missed_is_named() -> None:
    greedy, null = line("ordinary", "greedy", 4), line("null edits", "greedy", 4)
    assert greedy.missed(greedy) == ["false", "gap"]
    assert null.missed(null) == ["promotions", "gap"]
    confirm = line("ordinary", "confirm each", 4)
    assert "gain" in confirm.missed(greedy)


def test_the_command_prints_a_line_for_each_rule() -> None:
    arguments = ["--repetitions", "2", "--runs", "40", "--world", "rare"]
    printed = CliRunner().invoke(main, arguments, catch_exceptions=False).output
    assert [printed.count(f"| {rule} ") for rule in RULES] == [1, 1, 1, 1]
