"""Effects: their uncertainty, their text, and what is left of them without luck."""

from __future__ import annotations

import random
from math import sqrt
from statistics import StatisticsError, fmean

import pytest

from trainer.evidence.effect import Effect, Scored, effect_of, paired, shrunk, tempered
from trainer.evidence.spread import Spread

RUN = Spread(bpb=0.006, freedom=10.0)
CLOSE = Spread(bpb=0.003, freedom=10.0)  # pairs that share most of their noise
APART = Spread(bpb=0.006 * sqrt(2), freedom=4.0)  # pairs that share nothing


def runs(*scores: float, first_seed: int = 1) -> list[Scored]:
    return list(enumerate(scores, start=first_seed))


def effect(bpb: float, error: float = 0.001, freedom: float = 30.0) -> Effect:
    return Effect(bpb=bpb, error=error, freedom=freedom, seeds=5, kind="certified")


def test_an_effect_is_read_with_its_uncertainty_and_standing() -> None:
    certified = effect(-0.0042, 0.0011)
    assert certified.text == "−0.0042 ± 0.0011 (certified, 5 seeds)"
    provisional = certified.model_copy(update={"kind": "provisional", "seeds": 1})
    assert provisional.text == "−0.0042 ± 0.0011 (provisional, 1 seed)"
    single = certified.model_copy(update={"kind": "single run", "bpb": 0.0042})
    assert single.text == "+0.0042 ± 0.0011 (single run)"


def test_a_clear_improvement_is_probable_and_none_is_even() -> None:
    assert effect(-0.01).probability > 0.999
    assert effect(0.0).probability == pytest.approx(0.5)
    assert effect(0.01).probability < 0.001


def test_noise_known_from_few_runs_makes_less_sure_and_the_interval_wider() -> None:
    known, hardly = effect(-0.003, freedom=100.0), effect(-0.003, freedom=2.0)
    assert hardly.probability < known.probability
    assert hardly.interval()[0] < known.interval()[0] < -0.003 < known.interval()[1]


def test_the_interval_holds_the_true_effect_as_often_as_it_says() -> None:
    random.seed(2)
    held = 0
    for _ in range(2000):
        sample = [random.gauss(-1.0, 2.0) for _ in range(4)]
        spread = sqrt(sum((x - fmean(sample)) ** 2 for x in sample) / 3)
        low, high = effect(fmean(sample), spread / 2, freedom=3.0).interval(0.9)
        held += low < -1.0 < high
    assert 0.88 < held / 2000 < 0.92


def test_the_same_seeds_are_paired_and_what_they_share_drops_out() -> None:
    incumbent, head = runs(1.36, 1.40, 1.33), runs(1.35, 1.39, 1.32)
    assert paired(head, incumbent) == pytest.approx([-0.01, -0.01, -0.01])
    found = effect_of(head, incumbent, run=RUN, pair=CLOSE, kind="certified")
    assert found.bpb == pytest.approx(-0.01)
    assert found.error == pytest.approx(0.003 / sqrt(3))
    assert found.seeds == 3


def test_other_seeds_are_compared_by_their_means() -> None:
    found = effect_of(
        runs(1.34, 1.36, first_seed=10), runs(1.36, 1.38), run=RUN, pair=CLOSE, kind="certified"
    )
    assert found.bpb == pytest.approx(-0.02)
    assert found.error == pytest.approx(RUN.bpb)


def test_pairs_that_share_nothing_do_not_waste_the_other_runs() -> None:
    incumbent = runs(1.36, 1.37, 1.35, 1.36, 1.37, 1.35)
    found = effect_of(runs(1.35), incumbent, run=RUN, pair=APART, kind="single run")
    assert found.error == pytest.approx(RUN.bpb * sqrt(1 + 1 / 6))


def test_an_effect_needs_a_run_on_both_sides() -> None:
    with pytest.raises(StatisticsError):
        effect_of(runs(1.3), [], run=RUN, pair=CLOSE, kind="single run")


def winners(true: list[float]) -> tuple[float, float, float]:
    """Mean true, measured and shrunk effect of the best tenth of measurements with an error of 1."""
    measured = [each + random.gauss(0, 1) for each in true]
    best = sorted(range(len(true)), key=measured.__getitem__)[: len(true) // 10]
    after = (shrunk(measured[i], 1.0, measured) for i in best)
    return fmean(true[i] for i in best), fmean(measured[i] for i in best), fmean(after)


def test_of_the_winners_only_what_is_not_luck_is_left() -> None:
    random.seed(3)
    ordinary = [-random.expovariate(1.0) if random.random() < 0.2 else 0.0 for _ in range(600)]
    true, measured, after = winners(ordinary)
    assert measured < true - 0.6
    assert abs(after - true) < 0.35


def test_nothing_is_left_of_winners_among_changes_that_do_nothing() -> None:
    random.seed(4)
    _, measured, after = winners([0.0] * 600)
    assert measured < -1.5
    assert after > -0.35


def test_little_is_taken_from_an_effect_that_is_large_against_the_noise() -> None:
    random.seed(5)
    history = [random.gauss(0, 10) for _ in range(100)]
    assert shrunk(-12.0, 1.0, history) == pytest.approx(-12.0, rel=0.05)


def test_large_failures_do_not_make_a_small_success_credible() -> None:
    random.seed(6)
    nulls = [random.gauss(0, 1) for _ in range(100)]
    failures = [random.uniform(5, 30) for _ in range(100)]
    assert shrunk(-2.0, 1.0, nulls + failures) == pytest.approx(shrunk(-2.0, 1.0, nulls))


def test_a_first_effect_is_shrunk_too_and_keeps_its_sign() -> None:
    assert -0.004 < shrunk(-0.004, 0.004, []) < -0.0002
    assert 0.0002 < shrunk(0.004, 0.004, []) < 0.004


def test_certified_effects_are_tempered_by_how_large_such_effects_are() -> None:
    weak = [effect(-0.0012), effect(0.0009), effect(-0.0011)]
    strong = [effect(-0.0100), effect(-0.0080), effect(-0.0012)]
    assert abs(tempered(weak[0], weak).bpb) < 0.0005
    assert tempered(strong[0], strong).bpb == pytest.approx(-0.0100, rel=0.05)
    assert tempered(weak[0], weak).error == weak[0].error
