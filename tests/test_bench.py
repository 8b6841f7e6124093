"""A bench of reviewers in a whole organization: each speaks for themselves, the rule decides."""

from __future__ import annotations

from typing import Any

import pytest

from org.bench import carried
from org.config import ReviewRule
from tests.organizations import (
    Organization,
    Organize,
    Said,
    direction,
    idea,
    kept_sources,
    patch,
    review,
    screening,
    work,
)
from tests.sources import SCRIPTED

BENCH = ("careful", "frugal", "bold")


def benched(organize: Organize, rule: ReviewRule, *said: Said, **fields: Any) -> Organization:
    reviewers = [{"name": name, "prompt": "prompt.md"} for name in BENCH]
    judged = {"baseline_runs": 2, "max_seeds": 2, "rule": rule}
    return organize(
        roles={"reviewer": reviewers}, more={"review": judged}, script=list(said), **fields
    )


def screened(*objecting: str) -> list[Said]:
    """What the bench says of a patch: those who object, and the others."""
    return [screening(f"No, says {who}.", approved=who not in objecting, who=who) for who in BENCH]


def reviewed(*objecting: str, asked: tuple[str, ...] = BENCH) -> list[Said]:
    return [
        review(f"Lesson of {who}.", who=who, words=f"{who} explains.", objects=who in objecting)
        for who in asked
    ]


@pytest.mark.parametrize(
    ("rule", "votes", "enough"),
    [
        ("any", [0, 1, 2, 3], [False, True, True, True]),
        ("majority", [0, 1, 2, 3], [False, False, True, True]),
    ],
)
def test_the_rule_says_how_many_of_three_are_enough(
    rule: ReviewRule, votes: list[int], enough: list[bool]
):
    assert [carried(count, 3, rule) for count in votes] == enough


def test_half_of_a_bench_is_no_majority():
    assert not carried(1, 2, "majority")
    assert carried(1, 1, "majority")


def test_by_the_rule_of_any_one_objection_sends_a_patch_back_and_all_are_heard(
    organize: Organize,
):
    organization = benched(
        organize,
        "any",
        *(direction(), idea(), patch("GAIN = 0.0", "GAIN = 9.0"), *screened("frugal")),
        *(patch("GAIN = 0.0", "GAIN = -1.0"), *screened(), *reviewed(asked=("careful",))),
    )
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    _, again = worked.asked("engineer")
    assert again.complaint == "frugal: No, says frugal."
    assert [who for who, kind in organization.said() if kind == "screen"] == [*BENCH, *BENCH]
    assert organization.experiment().lesson == "Lesson of careful."


def test_by_the_rule_of_the_majority_one_objection_is_overruled_and_two_are_not(
    organize: Organize,
):
    organization = benched(
        organize,
        "majority",
        *(direction(), idea(), patch("GAIN = 0.0", "GAIN = 9.0"), *screened("bold", "careful")),
        *(patch("GAIN = 0.0", "GAIN = -1.0"), *screened("bold"), *reviewed(asked=("careful",))),
    )
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    _, again = worked.asked("engineer")
    assert again.complaint == "careful: No, says careful.\nbold: No, says bold."
    assert len(organization.trials(1)) == 1


@pytest.mark.parametrize(
    ("rule", "objecting", "decision"),
    [
        ("any", ["bold"], "discard"),
        ("majority", ["bold"], "keep"),
        ("majority", ["bold", "frugal"], "discard"),
    ],
)
def test_the_rule_also_decides_what_stays_off_the_stack(
    organize: Organize, rule: ReviewRule, objecting: list[str], decision: str
):
    organization = benched(
        organize,
        rule,
        *(direction(), idea(), patch("GAIN = 0.0", "GAIN = 1.0"), *screened()),
        *reviewed(*objecting),
    )
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    experiment = organization.experiment()
    assert experiment.decision == decision
    reason = experiment.reason or ""
    if decision == "discard":
        assert reason.startswith("The reviewers object:")
        assert "bold: bold explains." in reason
        assert "careful" not in reason
        assert kept_sources(organization) == [SCRIPTED]


# --- rounds of objection and revision -----------------------------------------------------------


def objected_to(words: str, gain: float) -> list[Said]:
    return [patch("GAIN = 0.0", f"GAIN = {gain}"), screening(words, approved=False)]


def test_after_the_rounds_of_revision_the_experiment_ends_with_the_objection_as_its_reason(
    organize: Organize,
):
    organization = organize(
        more={"review": {"baseline_runs": 2, "rounds": 1}},
        script=[
            *(direction(), idea(), *objected_to("Too much.", 9.0)),
            *(*objected_to("Still too much.", 8.0), review()),
        ],
    )
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    _, revised = worked.asked("engineer")
    assert revised.complaint == "Too much."
    assert "GAIN = 9.0" in revised.previous
    experiment = organization.experiment()
    assert experiment.decision == "discard"
    assert experiment.reason == "objected to after 1 revision: Still too much."
    assert organization.trials(1) == []


def test_without_a_round_of_revision_the_first_objection_is_the_end(organize: Organize):
    organization = organize(
        more={"review": {"baseline_runs": 2, "rounds": 0}},
        script=[direction(), idea(), *objected_to("Too much.", 9.0), review()],
    )
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    assert organization.experiment().reason == "objected to after 0 revisions: Too much."


def test_a_patch_that_does_not_fit_takes_no_round_away_and_a_new_hypothesis_has_its_own(
    organize: Organize,
):
    tried = [direction(), idea(), patch("GAIN = 0.0", "GAIN = -1.0"), screening(), review()]
    organization = organize(
        experiments=2,
        attempts=4,
        more={"review": {"baseline_runs": 2, "rounds": 1}},
        script=[
            *tried,
            *(direction(), idea(), *objected_to("Too much.", 9.0)),
            patch("GAIN = 0.0", "GAIN = -1.0"),  # tried already: another hypothesis
            *(idea("Another"), *objected_to("Too much again.", 8.0)),
            *(patch("GAIN = 7.0", "GAIN = 6.0"), patch("GAIN = 0.0", "GAIN = -2.0")),
            *(screening(), review()),
        ],
    )
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    assert [outcome for _, outcome, _ in organization.trials(2)] == ["completed"]
