"""Desks: what becomes of an experiment, of a desk and of the run when something fails beside it."""

from __future__ import annotations

from collections.abc import Callable

from org.onlooker import Nobody
from org.verifying import verify
from roles.model import Brief, ModelError
from tests.organizations import (
    Organization,
    kept_sources,
    plain_experiment,
    work,
)

Organize = Callable[..., Organization]


class Notes(Nobody):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def faults(organization: Organization) -> list[str]:
    return [finding.text for finding in verify(organization.lab) if not finding.ok]


def test_a_model_that_fails_after_the_review_changes_nothing_in_the_verdict(organize: Organize):
    organization = organize(
        advisers=[{"name": "historian", "after": "review"}],
        script=plain_experiment("GAIN = 0.0", "GAIN = 1.0"),
    )

    def fails(brief: Brief) -> None:
        if brief.role == "historian":
            raise ModelError("a model: no answer that fits in 3 attempts")

    notes = Notes()
    worked = work(organization, notes, hold=fails)
    assert (worked.reasons, worked.left) == ([], {})
    assert any("experiment 1 is closed; after that a model" in note for note in notes.notes)
    experiment = organization.experiment()
    assert experiment.decision == "keep" and experiment.effect is not None
    assert len(kept_sources(organization)) == 2
    assert faults(organization) == []
