"""A run that was disturbed, and a machine that drifts."""

from __future__ import annotations

import random
from itertools import pairwise
from math import exp

import pytest

from trainer.evidence.steady import Timed, disturbed, drift, states


def test_a_run_at_half_the_usual_speed_was_disturbed_and_one_a_little_slower_was_not() -> None:
    history = [40_000.0, 40_400.0, 39_700.0, 40_100.0, 39_900.0, 40_200.0]
    assert disturbed(20_000.0, history)
    assert disturbed(80_000.0, history)
    assert not disturbed(38_500.0, history)


def test_on_a_machine_that_is_always_unsteady_a_slow_run_is_nothing_special() -> None:
    history = [40_000.0, 25_000.0, 33_000.0, 21_000.0, 38_000.0, 29_000.0]
    assert not disturbed(20_000.0, history)


def test_without_a_history_nothing_counts_as_disturbed() -> None:
    assert not disturbed(1.0, [40_000.0] * 4)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_machine_that_became_slower_or_faster_has_drifted(factor: float) -> None:
    then = [40_000.0, 40_400.0, 39_700.0, 30_000.0, 39_900.0]
    assert drift(then, [factor * rate for rate in then]) == pytest.approx(factor - 1)


def test_one_slow_candidate_is_no_drift() -> None:
    then = [40_000.0, 40_400.0, 39_700.0, 40_100.0, 39_900.0]
    assert drift(then, [40_000.0, 40_100.0, 20_000.0, 39_800.0, 40_200.0]) is None


def test_candidates_of_every_speed_hide_a_small_drift_and_not_a_large_one() -> None:
    then = [40_000.0, 25_000.0, 33_000.0, 61_000.0, 38_000.0]
    assert drift(then, [0.9 * rate for rate in then]) is None
    assert drift(then, [0.3 * rate for rate in then]) is not None


def test_a_steady_machine_is_seldom_thought_to_drift() -> None:
    chance = random.Random(1)
    windows = [[exp(chance.gauss(0.0, 0.02)) for _ in range(5)] for _ in range(2001)]
    seen = [drift(one, other) for one, other in pairwise(windows)]
    assert sum(each is not None for each in seen) < 0.02 * len(seen)


def test_of_fewer_runs_nothing_is_said() -> None:
    assert drift([1.0] * 4, [9.0] * 5) is None
    assert drift([1.0] * 5, [9.0] * 4) is None


def test_a_reference_at_another_speed_opens_a_state_and_one_at_an_earlier_speed_goes_back() -> None:
    runs = [
        Timed(3, 40_000.0, False),
        Timed(3, 34_000.0, True),
        Timed(1000, 34_000.0, False),
        Timed(1000, 50_000.0, True),
        Timed(1000, 34_500.0, True),
        Timed(1001, 34_000.0, False),
    ]
    assert states(runs) == [0, 1, 1, 2, 1, 1]


def test_where_no_speed_is_known_the_machine_is_as_it_was() -> None:
    assert states([Timed(1, None, False), Timed(1, 40_000.0, True), Timed(1, 0.0, True)]) == [0] * 3
