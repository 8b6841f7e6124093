"""A plateau is where nothing is expected to have been gained, whatever luck interrupts the failures."""

from __future__ import annotations

from random import Random

import pytest

from trainer.evidence.plateau import LEAST, WINDOW, expected_gain, on_plateau
from trainer.evidence.stack import place

ERROR = 0.005


def judged(effects: list[float]) -> list[float]:
    """What is expected of changes with these true effects, judged on one run each as a lab does."""
    chance, history, expected = Random(3), list[float](), list[float]()
    head_bpb = true_bpb = 1.0
    for effect in effects:
        candidate_bpb = true_bpb + effect + chance.gauss(0, ERROR)
        placement = place(candidate_bpb, head_bpb, error=ERROR, history=history)
        if placement.says == "stack":
            true_bpb += effect
        head_bpb = placement.head_bpb
        history.append(placement.effect_bpb)
        expected.append(placement.expected_bpb)
    return expected


def test_before_enough_was_tried_there_is_no_plateau() -> None:
    assert not on_plateau([0.0] * (WINDOW - 1), ERROR)
    assert on_plateau([0.0] * WINDOW, ERROR)


def test_what_is_expected_is_summed_up_over_the_latest_alone_and_losses_do_not_count() -> None:
    expected = [-1.0, *([0.0] * (WINDOW - 2)), 0.5, -0.001]
    assert expected_gain(expected) == pytest.approx(0.001)
    assert expected_gain(expected, window=WINDOW + 1) == pytest.approx(1.001)


def test_what_amounts_to_a_share_of_the_error_is_no_plateau() -> None:
    flat = [0.0] * WINDOW
    assert on_plateau([*flat, -0.9 * LEAST * ERROR], ERROR)
    assert not on_plateau([*flat, -1.1 * LEAST * ERROR], ERROR)


def test_lucky_runs_of_changes_that_do_nothing_do_not_hide_a_plateau() -> None:
    expected = judged([0.0] * 120)
    places = range(40, 120)
    assert sum(any(expected[at - WINDOW : at]) for at in places) > 0.5 * len(places)
    assert sum(on_plateau(expected[:at], ERROR) for at in places) > 0.7 * len(places)


def test_where_one_change_in_five_helps_much_there_is_none() -> None:
    expected = judged([0.0, 0.01, -3 * ERROR, 0.0, 0.02] * 16)
    places = range(WINDOW, 80)
    assert sum(on_plateau(expected[:at], ERROR) for at in places) < 0.1 * len(places)
