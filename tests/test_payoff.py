"""Who should have the next experiment: what pays off is asked for more, and nobody is forgotten."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from org.notebook import Notebook
from org.payoff import explores, paid_off, suggestion
from roles.records import Person
from tests.notebooks import short_night
from trainer.evidence.payoff import Payoff, drawn_payoffs

PEOPLE = (
    Person(name="optimizer", focus="optimizer, schedule and regularisation"),
    Person(name="architect", focus="architecture"),
)


# --- the rule ---------------------------------------------------------------------------------


def chosen(rates: dict[str, float], seconds: dict[str, float], rounds: int = 300) -> Counter[str]:
    """How often each is chosen in a world where each succeeds at its rate, by one bit per byte."""
    world, draw = Random(1), Random(2)
    done = {name: Payoff(name=name) for name in rates}
    for _ in range(rounds):
        drawn = drawn_payoffs(list(done.values()), draw)
        name = max(drawn, key=lambda each: drawn[each])
        success = world.random() < rates[name]
        before = done[name]
        done[name] = Payoff(
            name=name,
            tried=before.tried + 1,
            credit=before.credit + success,
            gained_bpb=before.gained_bpb + success,
            device_seconds=before.device_seconds + seconds[name],
        )
    return Counter({name: each.tried for name, each in done.items()})


def test_who_succeeds_more_often_is_asked_more_and_the_others_still_now_and_then() -> None:
    asked = chosen(
        {"good": 0.4, "poor": 0.05, "bad": 0.05}, dict.fromkeys(["good", "poor", "bad"], 20)
    )
    assert asked["good"] > 200
    assert min(asked.values()) >= 3


def test_of_two_who_succeed_alike_the_one_who_costs_less_is_asked_more() -> None:
    asked = chosen({"quick": 0.2, "slow": 0.2}, {"quick": 10, "slow": 60})
    assert asked["quick"] > 2 * asked["slow"]


def test_before_anything_is_known_all_are_alike() -> None:
    draws = [drawn_payoffs([Payoff(name="a"), Payoff(name="b")], Random(n)) for n in range(400)]
    assert 150 < sum(drawn["a"] > drawn["b"] for drawn in draws) < 250


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.1, 10), (0.25, 25), (1.0, 100)])
def test_the_share_that_explores_is_kept_to_and_evenly_spread(share: float, expected: int) -> None:
    exploring = [number for number in range(1, 101) if explores(number, share)]
    assert len(exploring) == expected
    gaps = {after - before for before, after in pairwise(exploring)}
    assert len(gaps) <= 1


# --- the notebook -----------------------------------------------------------------------------


def test_the_record_counts_what_was_certified_what_is_on_the_stack_and_what_it_cost(
    tmp_path: Path,
) -> None:
    with closing(short_night(tmp_path / "notebook.sqlite")) as notebook:
        everything = notebook.experiments()
        optimizer, architect = paid_off(notebook, PEOPLE, before=len(everything) + 1)
        closed = [each for each in everything if each.decision is not None]
        gain = notebook.rows("select effect_json from certifications where says = 'pass'")
    assert architect.tried == 0
    assert (optimizer.tried, optimizer.kept, optimizer.stacked) == (len(closed), 1, 1)
    assert f'"bpb":{optimizer.certified_bpb}' in gain[0]["effect_json"]
    assert optimizer.expected_bpb < 0
    assert 0 < optimizer.doubt < 0.5


def test_only_what_came_before_an_experiment_counts_so_that_it_is_told_the_same_again(
    tmp_path: Path,
) -> None:
    with closing(short_night(tmp_path / "notebook.sqlite")) as notebook:
        last = notebook.experiments()[-1]
        assert [each.tried for each in paid_off(notebook, PEOPLE, before=1)] == [0, 0]
        assert [each.tried for each in paid_off(notebook, PEOPLE, before=2)] == [1, 0]
        assert _suggested(notebook, last) == _suggested(notebook, last)
        explored = suggestion(notebook, PEOPLE, last, 1.0, [])
    assert (explored.assignee, explored.category) == ("architect", "architecture")


def _suggested(notebook: Notebook, experiment) -> str:
    record = paid_off(notebook, PEOPLE, before=experiment.number)
    return suggestion(notebook, PEOPLE, experiment, 0.0, record).assignee


def test_exploring_takes_the_category_of_theirs_that_was_tried_least(tmp_path: Path) -> None:
    with closing(short_night(tmp_path / "notebook.sqlite")) as notebook:
        last = notebook.experiments()[-1]
        explored = suggestion(notebook, PEOPLE[:1], last, 1.0, [])
    assert explored.category == "regularisation"  # the one that is open has a higher number
    assert "explores" in explored.reason
