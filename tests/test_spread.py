"""Noise: pooled over groups, with a prior."""

from __future__ import annotations

import random
from math import sqrt

import pytest

from trainer.evidence.spread import (
    OTHER_FREEDOM,
    Spread,
    discounted,
    is_other,
    pooled,
    pooled_pairs,
    usual_spread,
)

PRIOR = Spread(bpb=0.005, freedom=2.0)


def test_many_groups_show_the_noise_whatever_their_means_are() -> None:
    random.seed(1)
    means = [random.uniform(1.0, 2.0) for _ in range(200)]
    groups = [[random.gauss(mean, 0.02) for _ in range(4)] for mean in means]
    measured = pooled(groups, PRIOR)
    assert measured.bpb == pytest.approx(0.02, rel=0.06)
    assert measured.freedom == 2 + 200 * 3


def test_a_group_of_one_changes_nothing() -> None:
    assert pooled([[1.3], [9.9]], PRIOR) == PRIOR


def test_three_equal_baselines_do_not_make_the_noise_vanish() -> None:
    measured = pooled([[1.36, 1.36, 1.36]], usual_spread(1.36, "cpu"))
    assert 0.002 < measured.bpb < 0.006
    assert pooled([[0.98, 0.98, 0.98]], usual_spread(0.98, "gpu")).bpb < 0.0006


def test_three_wild_baselines_are_believed_more_than_the_prior() -> None:
    assert pooled([[1.30, 1.36, 1.42]], usual_spread(1.36, "cpu")).bpb > 0.04


def test_without_pairs_two_runs_are_taken_as_independent() -> None:
    assert pooled_pairs([], PRIOR).bpb == pytest.approx(sqrt(2) * PRIOR.bpb)


def test_pairs_that_agree_closely_bring_the_spread_of_pairs_down() -> None:
    pairs = [[-0.0040, -0.0042, -0.0041, -0.0039]] * 5
    assert pooled_pairs(pairs, PRIOR).bpb < 0.5 * PRIOR.bpb


def test_what_is_known_of_other_sources_gives_way_to_what_is_measured_now() -> None:
    random.seed(2)
    others = [[random.gauss(1.36, 0.010) for _ in range(4)] for _ in range(100)]
    prior = discounted(pooled(others, PRIOR))
    assert prior.bpb == pytest.approx(0.010, rel=0.1)
    assert prior.freedom == OTHER_FREEDOM
    now = [[random.gauss(1.20, 0.002) for _ in range(4)] for _ in range(20)]
    assert pooled(now, prior).bpb < 0.0055
    assert pooled(now, pooled(others, PRIOR)).bpb > 0.009
    assert discounted(PRIOR) == PRIOR


def test_pairs_of_other_sources_weigh_less_than_those_of_now() -> None:
    wide, close = [[-0.02, 0.02, 0.0, 0.01]] * 20, [[-0.004, -0.0042, -0.0041]] * 20
    together = pooled_pairs([*wide, *close], PRIOR)
    assert pooled_pairs(close, PRIOR, wide).bpb < 0.7 * together.bpb


@pytest.mark.parametrize(
    ("bpb", "told"), [(1.36, False), (1.31, False), (1.25, True), (1.45, True)]
)
def test_another_source_is_one_that_scores_quite_differently(bpb: float, told: bool) -> None:
    assert is_other(bpb, 1.36) == told
