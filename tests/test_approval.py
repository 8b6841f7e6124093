"""Before a patch is tried a person is asked, where org.yaml says so; the answer is on record."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from org.approval import Question, answer, answer_to, questions
from org.at_work import AtWork
from org.lab import Lab, LabError
from org.notebook import Notebook
from roles.patience import Patience
from tests.notebooks import Night
from tests.organizations import (
    Organization,
    Organize,
    Start,
    Worked,
    direction,
    ended,
    eventually,
    idea,
    org,
    patch,
    plain_experiment,
    processes_about,
    review,
    screening,
    work,
)

ASKED = {"approval": True}
PLAIN = plain_experiment("GAIN = 0.0", "GAIN = -1.0")


def waiting(organization: Organization) -> list[Question]:
    if not (organization.lab / "checkpoints.sqlite").exists():
        return []  # the notebook may be in the making
    with organization.notebook() as notebook:
        return questions(notebook)


def said_by_people(organization: Organization, number: int = 1) -> list[tuple[str, str]]:
    """Whom a person has answered, and what."""
    with organization.notebook() as notebook:
        messages = notebook.messages(notebook.experiments()[number - 1].id)
    return [
        (each.listener, each.text)
        for each in messages
        if each.kind == "approve" and each.speaker != "lab"
    ]


@contextmanager
def at_work(organization: Organization) -> Iterator[Future[Worked]]:
    """A run that goes on beside us; it is stopped if the test fails."""
    labs: list[Lab] = []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work, organization, opened=labs.append)
        try:
            yield running
        except BaseException:
            for lab in labs:
                lab.stop.set()
            raise


def test_a_patch_is_tried_once_a_person_allows_it_and_goes_back_if_not(organize: Organize):
    again = [patch("GAIN = 0.0", "GAIN = -1.0"), screening()]
    script = [direction(), idea(), patch("GAIN = 0.0", "GAIN = 9.0"), screening(), *again, review()]
    organization = organize(more=ASKED, script=script)
    with at_work(organization) as running:
        eventually(lambda: waiting(organization))
        assert [purpose for purpose, *_ in organization.trials()] == ["baseline", "baseline"]
        assert not (organization.lab / "smoke").exists()
        told = org(organization, "status")[1]
        assert "Experiment 1 waits for a person: Another gain" in told
        assert "+GAIN = 9.0" in org(organization, "diff", "1")[1]
        assert org(organization, "reject", "1", "far", "too", "bold")[0] == 0
        eventually(lambda: waiting(organization))
        assert "goes back" not in org(organization, "status")[1]
        code, told = org(organization, "approve")
        assert (code, told) == (0, "The patch of experiment 1 may be tried.")
        worked = running.result()
    assert (worked.reasons, worked.left) == ([], {})
    assert worked.asked("engineer")[1].complaint == "A person rejects it: far too bold"
    assert organization.experiment().decision == "discard"
    assert said_by_people(organization) == [
        ("engineer", "Rejected: far too bold"),
        ("engineer", "Approved."),
    ]
    assert [each[0] for each in organization.trials()] == ["baseline", "baseline", "candidate"]
    assert "Rejected: far too bold" in org(organization, "replay", "1")[1]
    assert waiting(organization) == []


def test_a_patch_that_is_always_rejected_is_given_up(organize: Organize):
    script = [direction(), idea(), patch("GAIN = 0.0", "GAIN = 9.0"), screening(), review()]
    organization = organize(more=ASKED, attempts=1, script=script)
    with at_work(organization) as running:
        eventually(lambda: waiting(organization))
        org(organization, "reject", "1", "no")
        assert running.result().left == {}
    experiment = organization.experiment()
    assert experiment.decision == "discard"
    assert "A person rejects it: no" in (experiment.reason or "")
    assert organization.trials(1) == []


def test_other_desks_go_on_while_one_waits(organize: Organize):
    change = [direction(), idea(), patch("GAIN = 0.0", "GAIN = 0.5")]
    other = [direction(), idea(), patch("GAIN = 0.0", "GAIN = 0.7")]
    spoken = [screening(), screening("Too small.", approved=False), review(), review()]
    organization = organize(
        more={**ASKED, "desks": 2}, attempts=1, experiments=2, script=[*change, *other, *spoken]
    )
    with at_work(organization) as running:
        (question,) = eventually(lambda: waiting(organization))
        other_number = 3 - question.number
        eventually(
            lambda: (
                len(organization_numbers(organization)) == 2
                and organization.experiment(other_number).decision == "discard"
            )
        )
        assert [each.number for each in waiting(organization)] == [question.number]
        assert organization.experiment(question.number).decision is None
        org(organization, "approve", str(question.number))
        assert running.result().left == {}
    assert len(organization.trials(question.number)) == 1


def organization_numbers(organization: Organization) -> list[int]:
    with organization.notebook() as notebook:
        return [each.number for each in notebook.experiments()]


def test_a_question_outlives_a_kill_and_may_be_answered_before_the_next_run(
    organize: Organize, start: Start
):
    organization = organize(more=ASKED, script=PLAIN)
    first = start(organization)
    eventually(lambda: waiting(organization))
    first.kill()
    first.wait()
    eventually(lambda: processes_about(organization.folder) == [])
    assert [each.number for each in waiting(organization)] == [1]
    assert org(organization, "approve", "1")[0] == 0
    ended(start(organization))
    assert said_by_people(organization) == [("engineer", "Approved.")]
    assert organization.replies_count() == len(PLAIN)
    assert len(organization.trials(1)) == 1


def test_who_sits_at_the_terminal_of_the_run_is_asked_and_answers_there(organize: Organize):
    script = [direction(), idea(), patch("GAIN = 0.0", "GAIN = 9.0"), screening(), review()]
    organization = organize(more=ASKED, attempts=1, script=script)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "org", "run"],
        cwd=organization.folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    heard = ""
    try:
        while "Type y, or n and the reason." not in heard:
            heard += os.read(ours, 65536).decode(errors="replace")
        assert "GAIN = 9.0" in heard
        os.write(ours, b"perhaps\nn far too bold\n")
        try:
            while chunk := os.read(ours, 65536):
                heard += chunk.decode(errors="replace")
        except OSError:  # how a pseudo-terminal says that the other end is closed
            pass
        assert process.wait() == 0, heard
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert said_by_people(organization) == [("engineer", "Rejected: far too bold")]


def test_it_is_clear_which_patch_is_meant_or_it_is_asked(organize: Organize):
    organization = organize(more=ASKED, script=PLAIN)
    with at_work(organization) as running:
        eventually(lambda: waiting(organization))
        with organization.notebook() as notebook:
            for number, words in (
                (7, "no patch of experiment 7 waits for a person; those of 1 do"),
            ):
                with pytest.raises(LabError, match=words):
                    answer(notebook, number, "ann", approved=True)
        org(organization, "approve", "1")
        running.result()
    code, told = org(organization, "approve")
    assert (code, told) == (2, "no patch waits for a person")
    assert org(organization, "reject", "1", "late")[0] == 2


def test_of_a_long_reason_it_is_said_how_much_was_cut(tmp_path: Path):
    with closing(Notebook(tmp_path / "notebook.sqlite")) as notebook:
        night = Night(notebook)
        experiment = night.begin()
        night.lab_says(experiment, "approve.1.1", "person", "May this be tried?")
        answer(notebook, None, "ada", approved=False, reason="No. " * 1000)
        said = answer_to(notebook, experiment.id, "approve.1.1")
    assert said is not None
    assert said.reason.startswith("No. No. ") and said.reason.endswith("characters were cut]")


def test_no_time_is_charged_while_all_experiments_wait_for_a_person():
    now = [0.0]
    patience = Patience(clock=lambda: now[0])
    at_hand = AtWork(patience)
    with at_hand.experiment():
        with at_hand.experiment(), at_hand.waiting():
            now[0] += 10.0  # the other is at work
            assert patience.uncharged_seconds() == 0.0
        with at_hand.waiting():
            now[0] += 100.0
            assert patience.uncharged_seconds() == 100.0
        now[0] += 1000.0
    now[0] += 1000.0  # none at hand
    assert patience.uncharged_seconds() == 100.0
