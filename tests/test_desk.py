"""Desks: what becomes of an experiment, of a desk and of the run when something fails beside it."""

from __future__ import annotations

import threading
from itertools import count
from pathlib import Path

import pytest

from org.lab import LabError
from org.notebook import Experiment
from roles.model import Brief, ModelError
from roles.records import ReviewReads
from tests.organizations import (
    NO_SANDBOX,
    Hears,
    Organize,
    Said,
    direction,
    idea,
    kept_sources,
    patch,
    plain_experiment,
    review,
    screening,
    wait_for,
    work,
)
from tests.sources import SCRIPTED


def refused(gain: float) -> list[Said]:
    """An experiment that is given up before it costs a trial."""
    change = patch("GAIN = 0.0", f"GAIN = {gain}")
    return [direction(), idea(), change, screening("Too small.", approved=False), review()]


def test_a_model_that_fails_after_the_review_changes_nothing_in_the_verdict(organize: Organize):
    organization = organize(
        advisers=[{"name": "historian", "after": "review"}],
        script=plain_experiment("GAIN = 0.0", "GAIN = 1.0"),
    )

    def fails(brief: Brief) -> None:
        if brief.role == "historian":
            raise ModelError("a model: no answer that fits in 3 attempts")

    notes = Hears()
    worked = work(organization, notes, hold=fails)
    assert (worked.reasons, worked.left) == ([], {})
    assert any("experiment 1 is closed; after that a model" in note for note in notes.notes)
    experiment = organization.experiment()
    assert experiment.decision == "keep" and experiment.effect is not None
    assert len(kept_sources(organization)) == 2
    assert organization.faults() == []


def test_what_was_measured_stands_where_the_reviewer_fails(organize: Organize):
    said = plain_experiment("GAIN = 0.0", "GAIN = 1.0")
    organization = organize(script=said)

    def fails(brief: Brief) -> None:
        if isinstance(brief.reads, ReviewReads):
            raise ModelError("a model: no answer that fits in 3 attempts")

    notes = Hears()
    assert work(organization, notes, hold=fails).reasons == []
    assert any("without a word of reviewer, who failed: a model" in note for note in notes.notes)
    assert organization.experiment().decision == "keep"
    assert len(kept_sources(organization)) == 2
    assert organization.faults() == []


def test_an_engineer_may_be_given_any_number_of_attempts(organize: Organize):
    attempts = 250
    misfits = [patch("GAIN = 7.0", "GAIN = 8.0")] * attempts
    organization = organize(attempts=attempts, script=[direction(), idea(), *misfits, review()])
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    assert f"given up after {attempts} attempts" in (organization.experiment().reason or "")


# --- desks that are closed ------------------------------------------------------------------------


def test_another_desk_takes_the_place_of_one_that_was_closed(organize: Organize):
    """One desk waits for its first answer all the while; the other fails three times in a row."""
    desk_closed, last_done, asked = threading.Event(), threading.Event(), count()

    class Noted(Hears):
        def note(self, text: str) -> None:
            super().note(text)
            if "is closed" in text:
                desk_closed.set()

        def closed(self, experiment: Experiment, head_bpb: float) -> None:
            if experiment.number == 5:
                last_done.set()

    def hold(brief: Brief) -> None:
        if next(asked) == 0:
            wait_for(last_done)
        elif not desk_closed.is_set():
            raise ModelError("a model: no answer that fits")

    organization = organize(
        experiments=5, attempts=1, script=refused(0.5) + refused(0.7), more={"desks": "auto"}
    )
    worked = work(organization, Noted(), hold)
    assert (worked.reasons, worked.left) == (["a model: no answer that fits"], {})
    assert organization.experiment(5).desk == "desk 3"
    decisions = [str(organization.experiment(n).decision) for n in (1, 2, 3, 4, 5)]
    assert sorted(decisions) == ["None", "crash", "crash", "discard", "discard"]


def test_what_refuses_one_desk_is_not_asked_by_others_in_its_place(organize: Organize):
    organization = organize(experiments=9, script=[], more={"desks": "auto"})
    assert len(work(organization).reasons) == 2
    with organization.notebook() as notebook:
        assert notebook.experiments_count() == 2


def test_what_is_on_the_stack_is_certified_also_where_a_desk_was_closed(organize: Organize):
    organization = organize(experiments=2, script=plain_experiment("GAIN = 0.0", "GAIN = 1.0"))
    (reason,) = work(organization).reasons
    assert "'director' is asked for reply 2" in reason
    assert organization.experiment(1).decision == "keep"
    assert len(kept_sources(organization)) == 2
    assert organization.faults() == []


# --- the baseline ---------------------------------------------------------------------------------


def test_a_baseline_that_crashed_is_run_again_by_the_next_run(organize: Organize, tmp_path: Path):
    ill = tmp_path / "ill"
    check = f"""
from pathlib import Path
if Path({str(ill)!r}).exists():
    raise MemoryError
"""
    organization = organize(source=check + SCRIPTED, more=NO_SANDBOX, script=[])
    ill.touch()
    for _ in range(2):
        with pytest.raises(LabError, match=r"the baseline .* crashed: .*log\.txt"):
            work(organization)
    ill.unlink()
    (reason,) = work(organization).reasons
    assert "'director' is asked for reply 1" in reason
    assert [each[:2] for each in organization.trials()] == [("baseline", "completed")] * 2
    assert organization.faults() == []
