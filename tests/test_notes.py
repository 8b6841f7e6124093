"""A note that a person leaves reaches the next director, and is answered once, with a direction."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from click.testing import CliRunner

from org.cli import main
from org.lab import Lab
from org.notes import Note, leave_note, notes_of, take_notes, waiting_notes
from org.onlooker import Nobody
from roles.records import PARAGRAPH_CHARACTERS, Verdict
from tests.organizations import (
    Organization,
    Organize,
    Said,
    direction,
    eventually,
    idea,
    patch,
    processes_about,
    review,
    screening,
    start_run,
    work,
)
from tests.sources import SCRIPTED


def answering(answer: str, gain: str) -> list[Said]:
    """An experiment that is refused before it costs a trial, by a director who answers a note."""
    role, said = direction()
    directed = (role, {**said, "answer": answer})
    refused = screening("Too small.", approved=False)
    return [directed, idea(gain), patch("GAIN = 0.0", f"GAIN = {gain}"), refused, review()]


def say(organization: Organization, text: str, author: str = "ann") -> None:
    with organization.notebook() as notebook:
        leave_note(notebook, text, author)


def notes(organization: Organization) -> list[Note]:
    with organization.notebook() as notebook:
        return [Note(**row) for row in notebook.rows("select * from notes order by number")]


def asked(organization: Organization, *words: str) -> str:
    command, *others = words
    told = CliRunner().invoke(
        main, [command, "--config", str(organization.config_path), *others], terminal_width=200
    )
    assert told.exit_code == 0, told.output
    return " ".join(told.output.split())


def test_a_note_is_read_by_the_next_director_alone_and_its_answer_is_told_everywhere(
    organize: Organize,
):
    script = answering("nobody asked me", "0.5") + answering("I follow you.", "0.7")
    organization = organize(experiments=3, attempts=1, script=script + answering("", "0.8"))
    organization.experiments = 1
    organization.write()
    first = work(organization)
    (read,) = first.asked("director")
    assert read.notes == ()

    told = asked(organization, "say", "look at the", "gain")
    assert told == "Note 1 waits for the director of the next experiment."
    assert "waiting for the director: look at the gain" in asked(organization, "status")
    organization.experiments = 2
    organization.write()
    second = work(organization)
    assert [[note.text for note in reads.notes] for reads in second.asked("director")] == [
        ["look at the gain"],
        [],
    ]
    (note,) = notes(organization)
    assert (note.answer, note.experiment) == ("I follow you.", organization.experiment(2).id)
    assert "answered in experiment 2: I follow you." in asked(organization, "status")
    for number in ("", "2"):
        told = asked(organization, "replay", *([number] if number else []))
        assert f"{note.author} → director" in told
        assert "To the notes of a person: I follow you." in told
    assert f"note {note.author}: look at the gain" in asked(organization, "notebook", "show", "2")
    told = asked(organization, "replay", "1")
    assert "look at the gain" not in told
    assert "nobody asked me" not in organization.experiment(1).model_dump_json()


def test_what_a_director_has_nothing_to_say_to_is_said_to_be_so(organize: Organize):
    organization = organize(experiments=1, attempts=1, script=answering(" ", "0.5"))

    def leave(lab: Lab) -> None:
        leave_note(lab.notebook, "Well?", "ann")

    work(organization, opened=leave)
    (note,) = notes(organization)
    assert (note.answer, note.answered is None) == ("", False)
    assert "the director had nothing to say to it" in asked(organization, "status")


class StopsBeforeTheHypothesis(Nobody):
    """Ends a run right after the direction; a note is left before it."""

    lab: Lab

    def opened(self, lab: Lab) -> None:
        self.lab = lab
        leave_note(lab.notebook, "the first", "ann")

    def doing(self, desk: str, what: str, seconds: float = 0.0) -> None:
        if "hypothesize" in what:
            self.lab.stop.set()


def test_a_note_that_comes_after_the_director_has_spoken_waits_for_the_next(organize: Organize):
    script = answering("To the first.", "0.5") + answering("To the second.", "0.7")
    organization = organize(experiments=2, attempts=1, script=script)
    stopper = StopsBeforeTheHypothesis()
    work(organization, stopper, opened=stopper.opened)
    # As a kill leaves it that falls between the director's words and the direction.
    (organization.lab / "checkpoints.sqlite").unlink()
    with organization.notebook() as notebook, notebook.transaction() as db:
        db.execute("update experiments set direction_json = null, category = null")
        db.execute("update notes set answered = null, answer = ''")
    say(organization, "the second")
    worked = work(organization)
    assert [[note.text for note in each.notes] for each in worked.asked("director")] == [
        ["the second"]
    ]
    assert [note.answer for note in notes(organization)] == ["To the first.", "To the second."]
    assert (worked.reasons, worked.left) == ([], {})


def test_a_note_before_a_director_who_could_not_be_asked_waits_again(organize: Organize):
    organization = organize(experiments=1, attempts=1, script=answering("", "0.5"))
    work(organization)
    with organization.notebook() as notebook:
        leave_note(notebook, "Hello?", "ann")
        run = notebook.latest_run()
        assert run is not None
        lost, other = (notebook.reserve_experiment(run.id, "desk 1", None) for _ in range(2))
        assert lost is not None and other is not None
        assert len(take_notes(notebook, lost.id)) == 1
        assert take_notes(notebook, other.id) == []
        notebook.close_experiment(lost.id, Verdict(decision="crash", reason="a model failed"))
        assert [note.text for note in waiting_notes(notebook)] == ["Hello?"]
        assert [note.text for note in take_notes(notebook, other.id)] == ["Hello?"]
        assert notes_of(notebook, lost.id) == []


def test_a_note_is_answered_once_also_when_the_run_is_killed_right_after_it(
    organize: Organize,
):
    """Stopped after the direction, then begun by a process that is killed: the answer stays."""
    script = answering("Once.", "0.5")
    organization = organize(experiments=1, attempts=1, script=script[:1])
    stopper = StopsBeforeTheHypothesis()
    work(organization, stopper, opened=stopper.opened)
    (before,) = notes(organization)
    assert before.answer == "Once."
    organization.script = script
    organization.write()
    process = start_run(organization, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: (organization.lab / "lock").read_text() == str(process.pid))
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    eventually(lambda: processes_about(organization.folder) == [])
    worked = work(organization)
    assert worked.asked("director") == []
    assert notes(organization) == [before]
    assert organization.experiment(1).decision == "discard"


def test_a_note_to_the_playbook_is_followed_to_the_constant(organize: Organize):
    constants = "MATRIX_LR = 0.02  # no\nDEPTH = 4  # layers\nprint(MATRIX_LR, DEPTH)\n"
    organization = organize(model="playbook", experiments=1, source=SCRIPTED + constants)

    def leave(lab: Lab) -> None:
        leave_note(lab.notebook, "please try DEPTH", "ann")

    work(organization, opened=leave)
    experiment = organization.experiment(1)
    assert experiment.title is not None and "DEPTH" in experiment.title
    (note,) = notes(organization)
    assert "I follow it: DEPTH, in architecture." in note.answer


@pytest.mark.parametrize("text", ["", "  ", "x" * (PARAGRAPH_CHARACTERS + 1)])
def test_a_note_that_cannot_be_read_is_one_clear_line(text: str, organize: Organize):
    organization = organize(experiments=1, script=[])
    work(organization)
    told = CliRunner().invoke(main, ["say", text, "--lab", str(organization.lab)])
    assert told.exit_code == 2
    assert len(told.output.strip().splitlines()) == 1
    assert notes(organization) == []


def test_without_a_notebook_there_is_nowhere_to_leave_a_note(tmp_path):
    told = CliRunner().invoke(main, ["say", "hello", "--lab", str(tmp_path)])
    assert told.exit_code == 2
    assert "no notebook" in told.output
