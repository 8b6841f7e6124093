"""The stack: what goes on it, what its head is worth, and when it is due."""

from __future__ import annotations

from math import sqrt

import pytest

from trainer.evidence.spread import Spread
from trainer.evidence.stack import due, fresh_value, moved, place, provisional, run_error

RUN = Spread(bpb=0.005, freedom=10.0)
APART = Spread(bpb=0.005 * sqrt(2), freedom=10.0)
CLOSE = Spread(bpb=0.001, freedom=10.0)
ERROR = 0.005
HEAD = 1.3600

DUE = {"pair": APART, "runs_since": 100, "latest_bpb": [], "runs_left": 1000}


def test_what_is_better_than_the_head_goes_on_and_what_is_not_does_not() -> None:
    better = place(1.3550, HEAD, error=ERROR, history=[])
    assert better.says == "stack"
    assert better.effect_bpb == pytest.approx(-0.0050)
    worse = place(1.3601, HEAD, error=ERROR, history=[])
    assert worse.says == "discard"
    assert worse.head_bpb == HEAD


def test_a_lucky_run_does_not_become_the_value_of_the_new_head() -> None:
    placement = place(1.3550, HEAD, error=ERROR, history=[])
    assert 1.3555 < placement.head_bpb < HEAD
    assert placement.head_bpb == pytest.approx(HEAD + placement.expected_bpb)


def test_a_patch_that_removes_lines_may_look_a_little_worse() -> None:
    assert place(1.3620, HEAD, error=ERROR, history=[], lines_added=-3).says == "stack"
    assert place(1.3640, HEAD, error=ERROR, history=[], lines_added=-3).says == "discard"
    assert place(1.3620, HEAD, error=ERROR, history=[], lines_added=0).says == "discard"
    assert "3 lines fewer" in place(1.3620, HEAD, error=ERROR, history=[], lines_added=-3).reason


def test_where_seeds_have_nothing_in_common_a_source_is_worth_the_mean_of_its_runs() -> None:
    runs = [(1, 1.36), (2, 1.38), (3, 1.34)]
    assert fresh_value(runs, 2, run=RUN, pair=APART).bpb == pytest.approx(1.36)


def test_where_seeds_move_all_alike_a_source_is_worth_its_run_under_the_search_seed() -> None:
    runs = [(1, 1.36), (2, 1.38), (3, 1.34)]
    assert fresh_value(runs, 2, run=RUN, pair=CLOSE).bpb == pytest.approx(1.38, abs=0.001)
    assert fresh_value(runs, 9, run=RUN, pair=CLOSE).bpb == pytest.approx(1.36)


def test_what_a_source_is_worth_is_the_surer_the_more_it_was_run_and_the_less_is_on_it() -> None:
    runs = [(1, 1.36), (2, 1.38), (3, 1.34), (4, 1.36)]
    one, four = (fresh_value(runs[:n], 1, run=RUN, pair=APART) for n in (1, 4))
    assert (one.error, four.error) == (pytest.approx(0.005), pytest.approx(0.0025))
    assert fresh_value(runs, 1, run=RUN, pair=CLOSE).error < 0.001
    assert fresh_value(runs, 9, run=RUN, pair=CLOSE).error > 0.005
    stacked = moved(four, [-0.002, -0.001], APART)
    assert stacked.text == "1.3570 ± 0.0075"
    assert moved(four, [], APART) == four


def test_a_provisional_gain_is_read_as_such() -> None:
    assert run_error(APART) == pytest.approx(0.005)
    text = provisional([-0.002, -0.001, -0.001, -0.001], APART).text
    assert text == "−0.0050 ± 0.0100 (provisional, 1 seed)"


def test_a_stack_is_due_by_its_size_once_it_is_large_enough() -> None:
    assert due([-0.01] * 5, **DUE) == ""
    assert due([-0.01] * 6, **DUE) == "size"
    assert due([-0.01] * 2, **DUE, every=2) == "size"


def test_a_stack_whose_proof_costs_too_much_for_its_time_grows_on() -> None:
    assert due([-0.01] * 6, **DUE | {"runs_since": 20}) == ""
    assert due([-0.001] * 6, **DUE) == ""


def test_a_stack_is_due_when_nothing_has_gone_on_it_for_long() -> None:
    assert due([-0.001], **DUE | {"latest_bpb": [0.0] * 40}) == "plateau"
    assert due([-0.001], **DUE | {"latest_bpb": [0.0] * 39}) == ""


def test_luck_that_was_shrunk_to_nothing_does_not_put_the_proof_off_and_a_gain_does() -> None:
    lucky = [0.0] * 20 + [-0.0001] + [0.0] * 19
    assert due([-0.0001], **DUE | {"latest_bpb": lucky}) == "plateau"
    gained = [0.0] * 20 + [-0.01] + [0.0] * 19
    assert due([-0.01], **DUE | {"latest_bpb": gained}) == ""


def test_at_the_end_enough_runs_are_left_for_the_proof() -> None:
    assert due([-0.02], **DUE | {"runs_left": 6}) == "end"
    assert due([-0.02], **DUE | {"runs_left": 12}) == ""
    assert due([-0.001], **DUE | {"runs_left": 10}) == "end"
    assert due([-0.001], **DUE | {"runs_left": None}) == ""


def test_an_empty_stack_is_never_due() -> None:
    assert due([], **DUE | {"latest_bpb": [0.0] * 1000, "runs_left": 0}) == ""
