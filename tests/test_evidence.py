"""Whether a change is better is computed, by a rule that one lucky run does not pass."""

import pytest

from trainer.evidence import noise, weigh

INCUMBENT = [2.000, 2.010, 1.990]
NOISE = noise(INCUMBENT)


def test_noise_is_the_spread_of_the_baseline_over_its_runs():
    assert noise(INCUMBENT) == pytest.approx(0.01)


def test_noise_of_a_single_run_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        noise([2.0])


def test_a_run_within_the_noise_is_discarded_at_once():
    assert weigh([1.991], INCUMBENT, NOISE).says == "discard"


def test_a_run_beyond_the_noise_must_be_confirmed():
    evidence = weigh([1.97], INCUMBENT, NOISE)
    assert evidence.says == "confirm"
    assert evidence.effect == pytest.approx(-0.03)


def test_a_lucky_run_that_a_fresh_one_does_not_confirm_is_discarded():
    assert weigh([1.97, 2.0], INCUMBENT, NOISE).says == "discard"


def test_a_confirmed_change_is_kept_and_only_its_fresh_run_counts():
    evidence = weigh([1.90, 1.97], INCUMBENT, NOISE)
    assert evidence.says == "keep"
    assert evidence.effect == pytest.approx(-0.03)
    assert evidence.candidate_bpb == 1.97


def test_the_uncertainty_shrinks_with_runs_on_either_side():
    few = weigh([1.97], [2.0], NOISE).standard_error
    many = weigh([1.97], INCUMBENT, NOISE).standard_error
    assert few == pytest.approx(NOISE * 2**0.5)
    assert many == pytest.approx(NOISE * (1 + 1 / 3) ** 0.5)


def test_without_noise_only_a_better_score_is_kept():
    assert weigh([2.0], [2.0, 2.0], 0.0).says == "discard"
    assert weigh([1.9, 1.9], [2.0, 2.0], 0.0).says == "keep"


def test_the_evidence_is_never_told_without_its_uncertainty():
    assert "±" in weigh([1.97], INCUMBENT, NOISE).text
