"""How a director assigns in a whole organization: by what has paid off, and now and then by what has not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.organizations import (
    Organization,
    Said,
    direction,
    idea,
    patch,
    review,
    screening,
    work,
)

Organize = Callable[..., Organization]


def two_thinkers(exploration: float) -> dict[str, Any]:
    """Two hypothesis roles, each with a focus, and a director who explores so much."""
    return {
        "director": {"prompt": "prompt.md", "exploration": exploration},
        "hypothesis": [
            {"name": "thinker", "prompt": "prompt.md", "focus": "optimizer and schedule"},
            {"name": "dreamer", "prompt": "prompt.md", "focus": "attention"},
        ],
    }


def one(assignee: str, who: str, old: str, new: str) -> list[Said]:
    """An experiment that the director gives to one and that another then does."""
    return [direction(assignee), idea(new, who), patch(old, new), screening(), review()]


def test_the_director_sees_what_each_has_brought_and_decides(organize: Organize):
    organization = organize(
        experiments=2,
        roles=two_thinkers(exploration=0),
        script=[
            *one("thinker", "thinker", "GAIN = 0.0", "GAIN = 1.0"),
            *one("dreamer", "dreamer", "GAIN = 1.0", "GAIN = 0.5"),
        ],
    )
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    first, second = worked.asked("director")
    assert [each.tried for each in first.paid_off] == [0, 0]
    thinker, dreamer = second.paid_off
    assert (thinker.name, thinker.tried, thinker.stacked) == ("thinker", 1, 1)
    assert thinker.expected_bpb < 0 < thinker.device_seconds
    assert (dreamer.name, dreamer.tried) == ("dreamer", 0)
    assert {first.suggestion.assignee, second.suggestion.assignee} <= {"thinker", "dreamer"}
    assert first.suggestion.category is None


def test_an_experiment_that_explores_goes_to_who_was_tried_least_whatever_the_director_says(
    organize: Organize,
):
    organization = organize(
        experiments=2,
        roles=two_thinkers(exploration=0.5),
        script=[
            *one("thinker", "thinker", "GAIN = 0.0", "GAIN = -1.0"),
            *one("thinker", "dreamer", "GAIN = 0.0", "GAIN = -0.5"),
        ],
    )
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    _, second = worked.asked("director")
    assert (second.suggestion.assignee, second.suggestion.category) == ("dreamer", "attention")
    (reads,) = worked.asked("dreamer")
    assert (reads.direction.assignee, reads.direction.category) == ("dreamer", "attention")


def test_the_playbook_gives_the_work_to_whom_the_record_suggests(organize: Organize):
    everywhere = two_thinkers(exploration=0)
    for role in everywhere["hypothesis"]:
        del role["focus"]  # so that there is always something left to do for whom it is suggested
    organization = organize(experiments=3, model="playbook", roles=everywhere)
    worked = work(organization)
    assert worked.reasons == []
    suggested = [each.suggestion.assignee for each in worked.asked("director")]
    proposed = [brief.role for brief in worked.briefs if brief.role in ("thinker", "dreamer")]
    assert proposed == suggested
