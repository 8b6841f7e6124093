"""Stopping early: only what no trial that ended well ever was like."""

from __future__ import annotations

import random

import pytest

from trainer.evidence.hopeless import MIN_TRIALS, behind, hopeless, limit

HEAD = [(0.0, 7.0), (0.1, 4.0), (0.3, 3.0), (1.0, 2.5)]


def curve(distance: float, until: float = 0.25) -> list[tuple[float, float]]:
    return [(share, loss + distance) for share, loss in [(0.0, 7.0), (0.1, 4.0), (until, 3.25)]]


@pytest.fixture
def well() -> list[float]:
    generator = random.Random(9)
    return [generator.gauss(0.02, 0.03) for _ in range(MIN_TRIALS)]


def test_the_distance_is_taken_at_the_same_share_of_the_budget() -> None:
    assert behind(curve(0.1), HEAD) == pytest.approx(0.1)
    assert behind(HEAD, HEAD) == 0.0


def test_nothing_is_said_before_a_curve_has_come_so_far() -> None:
    assert behind(curve(5.0, until=0.19), HEAD) is None
    assert behind([], HEAD) is None
    assert behind(HEAD, []) is None


def test_a_disaster_is_stopped_and_what_is_somewhat_behind_is_not(well: list[float]) -> None:
    assert hopeless(curve(1.0), HEAD, well)
    assert not hopeless(curve(0.08), HEAD, well)
    assert not hopeless(curve(-1.0), HEAD, well)


def test_none_of_those_that_ended_well_would_have_been_stopped(well: list[float]) -> None:
    far = limit([*well, 0.5])
    assert far is not None
    assert far > 0.5


def test_the_limit_lies_far_outside_of_what_curves_were_seen_to_do() -> None:
    far = limit([0.0, 1.0] * 25)
    assert far == pytest.approx(0.5 + 4 * 0.505, abs=0.01)


def test_nothing_is_stopped_while_little_is_known(well: list[float]) -> None:
    assert not hopeless(curve(100.0), HEAD, well[1:])


def test_of_trials_that_end_well_fewer_than_two_in_a_hundred_are_stopped() -> None:
    generator = random.Random(10)
    stopped = 0
    for _ in range(200):
        far = limit([generator.gauss(0, 1) for _ in range(MIN_TRIALS)])
        assert far is not None
        stopped += sum(generator.gauss(0, 1) > far for _ in range(100))
    assert stopped / 20_000 < 0.002
