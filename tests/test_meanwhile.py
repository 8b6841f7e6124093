"""What a person changes while a run goes on, or between two starts of it, ends no run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from roles.model import Brief
from tests.organizations import (
    Hears,
    Organize,
    patch,
    plain_experiment,
    review,
    screening,
    work,
)


def gone(program: Path) -> None:
    program.unlink(missing_ok=True)


def latin(program: Path) -> None:
    program.write_bytes("größer".encode("latin-1"))


def empty(program: Path) -> None:
    program.write_text("")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(gone, "No such file"), (latin, "not UTF-8"), (empty, "nothing in it")],
)
def test_a_program_that_cannot_be_read_for_a_moment_is_the_one_that_was_read_last(
    organize: Organize, spoil: Callable[[Path], None], why: str
):
    script = [*plain_experiment("GAIN = 0.0", "GAIN = -1.0")]
    script += plain_experiment("GAIN = 0.0", "GAIN = -2.0")
    organization = organize(experiments=2, script=script)
    program, hears = organization.folder / "program.md", Hears()

    def hold(brief: Brief) -> None:
        if brief.role == "thinker":  # the direction was given under it
            spoil(program)

    worked = work(organization, hears, hold)
    assert (worked.reasons, worked.left) == ([], {})
    assert [reads.digest.program for reads in worked.asked("director")] == ["Lower val_bpb.\n"] * 2
    assert any(str(program) in note and why in note for note in hears.notes)


def test_what_was_given_to_a_role_that_is_called_another_name_now_is_done_by_it(
    organize: Organize,
):
    direction, idea, *_ = plain_experiment("GAIN = 0.0", "GAIN = -1.0")
    organization = organize(script=[direction])
    assert work(organization).reasons != []  # the script is over, and an experiment open
    organization.roles = {"hypothesis": [{"name": "dreamer", "prompt": "prompt.md"}]}
    rest = [patch("GAIN = 0.0", "GAIN = -1.0"), screening(), review()]
    organization.script = [direction, ("dreamer", idea[1]), *rest]
    organization.write()
    hears = Hears()
    worked = work(organization, hears)
    assert (worked.reasons, worked.left) == ([], {})
    assert organization.experiment().decision == "discard"
    assert any("no thinker any more; dreamer goes on" in note for note in hears.notes)
    with organization.notebook() as notebook:
        (run,) = notebook.runs()
    assert "dreamer" in json.loads(run.models_json) and '"dreamer"' in run.org_yaml
