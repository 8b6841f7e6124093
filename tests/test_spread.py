"""Noise: pooled over groups, with a prior."""

from __future__ import annotations

import random
from math import sqrt

import pytest

from trainer.evidence.spread import Spread, pooled, pooled_pairs, usual_spread

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
