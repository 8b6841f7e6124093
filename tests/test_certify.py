"""Certification: which run is next, when it passes, fails or stops early, and what is cut."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf, sqrt

import pytest

from trainer.evidence.certify import Judgement, Side, certify, half, limit, pairs_to_pass
from trainer.evidence.effect import Scored
from trainer.evidence.spread import Spread

RUN = Spread(bpb=1.0, freedom=40.0)
PAIR = Spread(bpb=sqrt(2), freedom=40.0)
SEEDS = (11, 12, 13, 14, 15)


def carried_out(
    measure: Callable[[Side, int], float], beside: list[Scored] | None = None
) -> tuple[Judgement, list[tuple[Side, int]]]:
    """A certification to its end, and the runs that it asked for."""
    sides: dict[Side, list[Scored]] = {
        "head": [],
        "incumbent": beside if beside is not None else [],
    }
    asked: list[tuple[Side, int]] = []
    while True:
        step = certify(sides["head"], sides["incumbent"], seeds=SEEDS, run=RUN, pair=PAIR)
        if step.says != "more":
            return step, asked
        assert step.side is not None
        assert step.seed is not None
        asked.append((step.side, step.seed))
        sides[step.side].append((step.seed, measure(step.side, step.seed)))


def scripted(head: list[float], incumbent: list[float]) -> Callable[[Side, int], float]:
    return lambda side, seed: (head if side == "head" else incumbent)[SEEDS.index(seed)]


def test_a_large_gain_passes_after_two_pairs_whose_sides_take_turns() -> None:
    step, asked = carried_out(scripted([90.0] * 5, [100.0] * 5))
    assert step.says == "pass"
    assert asked == [("head", 11), ("incumbent", 11), ("incumbent", 12), ("head", 12)]
    assert step.effect is not None
    assert step.effect.text.endswith("(certified, 2 seeds)")
    assert step.effect.bpb == pytest.approx(-10.0)


def test_a_head_that_is_no_better_is_given_up_after_two_pairs() -> None:
    step, asked = carried_out(scripted([100.5, 99.5, 0, 0, 0], [100.0] * 5))
    assert step.says == "fail"
    assert len(asked) == 4


def test_a_gain_that_is_never_sure_takes_all_seeds_and_fails() -> None:
    step, asked = carried_out(scripted([99.5] * 5, [100.0] * 5))
    assert step.says == "fail"
    assert len(asked) == 10
    assert step.effect is not None
    assert step.effect.seeds == 5


def test_a_middling_gain_passes_once_there_are_seeds_enough() -> None:
    step, asked = carried_out(scripted([97.7] * 5, [100.0] * 5))
    assert step.says == "pass"
    assert 4 < len(asked) <= 10


def test_one_pair_never_decides() -> None:
    step = certify([(11, 0.0)], [(11, 100.0)], seeds=SEEDS, run=RUN, pair=PAIR)
    assert step.says == "more"


def test_runs_under_seeds_that_are_there_already_are_not_asked_for_again() -> None:
    beside = [(11, 100.0), (12, 100.0)]
    step, asked = carried_out(scripted([90.0] * 5, [100.0] * 5), beside)
    assert step.says == "pass"
    assert asked == [("head", 11), ("head", 12)]


def test_a_head_that_crashes_under_a_fresh_seed_fails() -> None:
    step, asked = carried_out(scripted([90.0, inf, 90.0, 90.0, 90.0], [100.0] * 5))
    assert step.says == "fail"
    assert "no score" in step.reason
    assert asked[-1] == ("head", 12)


def test_a_pair_whose_incumbent_has_no_score_is_left_out() -> None:
    step, asked = carried_out(scripted([90.0] * 5, [inf, 100.0, 100.0, 100.0, 100.0]))
    assert step.says == "pass"
    assert len(asked) == 6
    assert step.effect is not None
    assert step.effect.seeds == 2


def test_a_noise_that_is_hardly_known_asks_for_more() -> None:
    head, incumbent = ([(seed, bpb) for seed in SEEDS[:2]] for bpb in (94.0, 100.0))
    vague = Spread(bpb=1.0, freedom=2.0), Spread(bpb=sqrt(2), freedom=2.0)
    assert certify(head, incumbent, seeds=SEEDS, run=RUN, pair=PAIR).says == "pass"
    assert certify(head, incumbent, seeds=SEEDS, run=vague[0], pair=vague[1]).says == "more"


def passing(gain: float) -> float:
    """The share of heads that pass, of 1,000 that are better by so much."""

    def measure(side: Side, seed: int) -> float:
        return random.gauss(-gain if side == "head" else 0.0, 1.0)

    return sum(carried_out(measure)[0].says == "pass" for _ in range(1000)) / 1000


def test_of_heads_that_are_no_better_hardly_one_in_a_hundred_passes() -> None:
    random.seed(7)
    assert passing(0.0) < 0.02
    assert passing(3.0) > 0.95


def test_later_looks_ask_for_less() -> None:
    assert [limit(look) for look in (2, 3, 4, 5)] == sorted(map(limit, (2, 3, 4, 5)), reverse=True)
    assert limit(5) == pytest.approx(2.3)


def test_a_proof_is_expected_to_take_fewer_pairs_for_a_larger_gain() -> None:
    assert [pairs_to_pass(gain, PAIR) for gain in (-20.0, -2.0, -0.1, 0.0, 1.0)] == [2, 4, 5, 5, 5]


def test_of_a_stack_that_failed_the_first_half_is_tried_once_and_then_it_is_dropped() -> None:
    assert half(6, [6]) == 3
    assert half(7, [7]) == 4
    assert half(6, [6, 3]) == 0
    assert half(1, [1]) == 0
