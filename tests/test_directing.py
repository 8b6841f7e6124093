"""How a director assigns in a whole organization: by what has paid off, and now and then by what has not."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from click.testing import CliRunner

from org.cli import main
from org.lab import Lab
from roles.model import Brief
from roles.records import HypothesisReads
from tests.organizations import (
    Organize,
    Said,
    direction,
    eventually,
    idea,
    patch,
    review,
    screening,
    wait_for,
    work,
)
from trainer import smoke


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


def test_what_the_director_calls_urgent_is_tried_before_others_that_wait(
    organize: Organize, monkeypatch: pytest.MonkeyPatch
):
    """Two desks have a patch ready while the one device is in use; the later one is urgent."""
    monkeypatch.setattr(smoke, "available_cores", lambda: [0, 1])  # no smoke test needs the device
    script = [direction(), direction(urgent=True), idea(), idea()]
    script += [patch("GAIN = 0.0", f"GAIN = {gain}") for gain in (-1, -2)]
    script += [screening(), screening(), review(), review()]
    organization = organize(experiments=2, attempts=1, script=script, more={"desks": 2})
    labs: list[Lab] = []
    in_use = threading.Event()

    def hold(brief: Brief) -> None:
        if not in_use.is_set():  # the baseline is measured by now
            wait_for(in_use)
        if isinstance(brief.reads, HypothesisReads) and brief.reads.direction.urgent:
            eventually(lambda: len(labs[0].devices._line) == 1)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work, organization, hold=hold, opened=labs.append)
        eventually(lambda: labs and labs[0].notebook.incumbent())
        with labs[0].devices.lease():
            in_use.set()
            eventually(lambda: len(labs[0].devices._line) == 2)
        assert running.result().reasons == []
    with organization.notebook() as notebook:
        tried = notebook.rows(
            "select e.number, json_extract(e.direction_json, '$.urgent') as urgent from trials t"
            " join experiments e on e.id = t.experiment order by t.rowid"
        )
    assert [row["urgent"] for row in tried] == [1, 0]
    number = str(tried[0]["number"])
    for command in (["notebook", "show"], ["replay"]):
        told = CliRunner().invoke(main, [*command, number, "--lab", str(organization.lab)])
        assert "urgent" in told.output.casefold()


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
