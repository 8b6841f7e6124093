"""A person sees what happened and what happens now; no text of a model moves the terminal, and one
that stands still holds up nobody."""

import io
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO, get_args

import pytest
from rich.console import Console

from org import trouble
from org.notebook import Experiment
from org.stack import Certification
from org.telling.terminal import Terminal
from org.trouble import Patient
from roles.records import Decision
from tests.organizations import (
    NO_SANDBOX,
    PATIENCE_SECONDS,
    Gates,
    Organization,
    eventually,
    gated,
    processes_about,
    start_run,
)
from trainer.evidence.certify import Judgement
from trainer.evidence.stack import Value
from trainer.trial import Trial

HEAD = Value(1.5, 0.004)
CERTIFICATION = Certification(
    number=2,
    run="r",
    purpose="stack",
    why="size",
    incumbent=1,
    incumbent_sha="a",
    source_sha="b",
    size=6,
    seeds_json="[]",
    run_bpb=0.001,
    run_freedom=9.0,
    pair_bpb=0.001,
    pair_freedom=9.0,
    started=0.0,
)


def seen(act, *, terminal: bool = False) -> str:
    """What is on the screen after ``act`` has used a terminal of 80 columns."""
    console = Console(file=io.StringIO(), width=80, force_terminal=terminal)
    shown = Terminal(console)
    with shown:
        act(shown)
    return console.file.getvalue()


def closed(title: str, decision: str) -> Experiment:
    return Experiment.model_validate(
        {
            "id": "r-1",
            "number": 1,
            "run": "r",
            "desk": "desk 1",
            "title": title,
            "decision": decision,
            "reason": "−0.1 ± 0.01 bpb",
            "started": 0.0,
        }
    )


def test_what_goes_on_the_stack_is_shown_with_its_evidence_and_what_the_head_is_worth():
    told = seen(lambda terminal: terminal.closed(closed("wider", "provisional"), HEAD))
    assert (
        "provisional" in told and "wider" in told and "± 0.01" in told and "1.5000 ± 0.0040" in told
    )


def test_a_discard_leaves_the_head_unmentioned():
    told = seen(lambda terminal: terminal.closed(closed("wider", "discard"), HEAD))
    assert "discard" in told and "head" not in told


@pytest.mark.parametrize(
    ("says", "kind", "words"),
    [
        ("pass", "certified", "certification 2 passed: −0.0100 ± 0.0010 (certified, 3 seeds) bpb"),
        ("fail", "not certified", "certification 2 failed: −0.0100 ± 0.0010 (not certified, 3"),
    ],
)
def test_what_a_certification_says_is_shown_with_its_uncertainty(says: str, kind: str, words: str):
    effect = {"bpb": -0.01, "error": 0.001, "freedom": 9, "seeds": 3, "kind": kind}
    step = Judgement.model_validate({"says": says, "reason": "so it is", "effect": effect})
    told = seen(lambda terminal: terminal.certified(CERTIFICATION, step))
    assert words in told
    assert "so it is" in told


def test_a_certification_that_ends_without_a_pair_says_why():
    step = Judgement(says="fail", reason="the head has no score under a fresh seed")
    told = seen(lambda terminal: terminal.certified(CERTIFICATION, step))
    assert told.strip() == f"certification 2 failed: {step.reason}"


def test_the_longest_decision_leaves_the_titles_in_line():
    lines = [
        seen(lambda terminal, d=decision: terminal.closed(closed("wider", d), HEAD))
        for decision in get_args(Decision)
    ]
    assert {line.index("wider") for line in lines} == {17}


def test_markup_and_escapes_in_a_title_are_text():
    title = "[red]wider[/red]\x1b[2J\x1b]0;owned\x07"
    told = seen(lambda terminal: terminal.closed(closed(title, "discard"), HEAD))
    assert "[red]wider[/red]" in told
    assert "\x1b" not in told


def test_a_crashed_trial_is_shown_with_its_reason():
    trial = Trial(source_sha="s", seed=1, device="cpu:0", outcome="crashed", reason="out of memory")
    assert "crashed: out of memory" in seen(lambda terminal: terminal.measured("trial", trial))


def test_what_desks_do_now_is_shown_on_a_terminal_until_they_have_done_it():
    def act(terminal: Terminal) -> None:
        terminal.doing("desk 1", "experiment 1, train", 20)
        terminal.doing("desk 2", "experiment 2, review")
        terminal.doing("desk 2", "")
        terminal._live.refresh()

    told = seen(act, terminal=True)
    assert "experiment 1, train" in told and "20 s of it training" in told
    assert "experiment 2" not in told


# --- a terminal that stands still -----------------------------------------------------------------

CTRL_S, CTRL_Q = b"\x13", b"\x11"


@pytest.fixture
def terminal() -> Iterator[tuple[int, TextIO]]:
    """A terminal as its person has it, who reads nothing yet, and as a program has it."""
    ours, its = pty.openpty()
    with open(its, "w") as file:  # noqa: PTH123 - it has no path
        yield ours, file
        os.close(ours)


def stop(ours: int, patient: Patient) -> None:
    """Ctrl-S, which a terminal heeds in its own time."""
    os.write(ours, CTRL_S)

    def stands_still() -> bool:
        patient.write(".")
        return patient.stands_still

    eventually(stands_still)


def read_until(ours: int, last: str) -> str:
    """What a person sees on a terminal, up to some words."""
    seen = b""
    while last.encode() not in seen:
        seen += os.read(ours, 1 << 16)
    return seen.decode().replace("\r\n", "\n")


def test_a_terminal_that_nobody_reads_holds_up_no_desk_and_shows_all_when_it_is_read(
    terminal: tuple[int, TextIO],
):
    ours, its = terminal
    console = Console(file=Patient(its), width=80, force_terminal=True)

    def desk(name: str) -> None:
        for number in range(200):
            shown.note(f"{name} says {number}: {'x' * 200}")

    with Terminal(console) as shown:
        shown.doing("desk 1", "experiment 1, train")
        names = [f"desk {number}" for number in range(4)]
        desks = [threading.Thread(target=desk, args=[name], daemon=True) for name in names]
        for each in desks:
            each.start()
        eventually(lambda: not any(each.is_alive() for each in desks))
    shown.note("the last")
    told = read_until(ours, "the last")
    for name in names:
        numbers = [line.split()[3] for line in told.splitlines() if f"{name} says" in line]
        assert numbers == [f"{number}:" for number in range(200)]


def test_what_is_said_to_a_terminal_that_stands_still_for_long_is_kept_as_far_as_there_is_room(
    terminal: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trouble, "KEPT_PARTS", 10)
    ours, its = terminal
    patient = Patient(its)
    stop(ours, patient)
    for number in range(30):
        patient.write(f"message {number}\n")
    os.write(ours, CTRL_Q)
    told = read_until(ours, "message 29\r\n").splitlines()
    assert told[-10:] == [f"message {number}" for number in range(20, 30)]
    assert told[-11] == "[... 20 messages left out, as nobody read them ...]"
    eventually(lambda: not patient.stands_still)


def test_a_live_display_pushes_nothing_out_that_was_said_to_a_terminal_that_stands_still(
    terminal: tuple[int, TextIO],
):
    ours, its = terminal
    patient = Patient(its)
    with Terminal(Console(file=patient, width=80, force_terminal=True)) as shown:
        stop(ours, patient)
        shown.note("said")
        kept = len(patient._unwritten)
        shown._live.refresh()
        assert len(patient._unwritten) == kept
        os.write(ours, CTRL_Q)
        read_until(ours, "said")


def test_what_is_said_is_there_before_who_said_it_goes_on():
    ours, its = os.pipe()
    with open(its, "w") as pipe:  # noqa: PTH123 - it has no path
        patient = Patient(pipe)
        for number in range(100):
            patient.write(f"patient {number}\n")
            os.write(its, b"other %d\n" % number)
        told = os.read(ours, 1 << 16).decode().splitlines()
    os.close(ours)
    assert told == [f"{who} {number}" for number in range(100) for who in ("patient", "other")]


def test_a_pipe_that_does_not_wait_is_waited_for_and_nothing_is_lost():
    ours, its = os.pipe()
    os.set_blocking(its, False)
    text = "".join(f"{number}\n" for number in range(50_000))
    with open(its, "w") as pipe, open(ours) as reading:  # noqa: PTH123 - they have no path
        patient = Patient(pipe)
        patient.write(text)
        threading.Thread(target=patient.write, args=["end\n"]).start()
        assert "".join(iter(reading.readline, "end\n")) == text
        assert not patient.gone


def test_a_program_ends_though_its_terminal_stands_still_and_shows_the_last_if_it_goes_on(
    terminal: tuple[int, TextIO],
):
    ours, its = terminal
    says = "import sys; from org import trouble; trouble.Patient(sys.stdout).write('the last')"
    os.write(ours, CTRL_S)
    assert subprocess.run([sys.executable, "-c", says], stdout=its, check=False).returncode == 0
    waits = says.replace("; trouble.Patient", "; trouble.LAST_SECONDS = 60.0; trouble.Patient")
    process = subprocess.Popen([sys.executable, "-c", waits], stdout=its)
    os.write(ours, CTRL_Q)
    assert "the last" in read_until(ours, "the last")
    assert process.wait() == 0


def test_a_program_whose_terminal_is_slow_ends_when_all_is_shown(terminal: tuple[int, TextIO]):
    ours, its = terminal
    patient = Patient(its)
    os.write(ours, CTRL_S)
    text = "".join(f"{number} {'x' * 70}\n" for number in range(2000))
    patient.write(text)
    assert patient.stands_still
    os.write(ours, CTRL_Q)
    at_the_end = threading.Thread(target=patient._show_the_last, daemon=True)
    at_the_end.start()
    told, given_up = "", []
    while len(told) < len(text):  # which takes longer than the patience with any piece of it
        if not at_the_end.is_alive() and not patient._is_done():
            given_up.append(len(told))
        told += os.read(ours, 4096).decode().replace("\r", "")
        time.sleep(0.1)
    assert told == text
    assert given_up == []


def test_a_run_whose_terminal_stands_still_works_on_and_heeds_a_request_to_end(
    organize: Callable[..., Organization], gates: Gates, terminal: tuple[int, TextIO]
):
    ours, its = terminal
    organization = organize(source=gated(gates.folder), more=NO_SANDBOX, script=[])
    gates.shut("gain 0.0 seed 2")
    os.write(ours, CTRL_S)
    process = start_run(organization, stdout=its, stderr=its)
    try:
        gates.wait_until_begun("gain 0.0 seed 2")
        process.send_signal(signal.SIGTERM)
        gates.open("gain 0.0 seed 2")
        assert process.wait(PATIENCE_SECONDS) == 130
    finally:
        process.kill()
        process.wait()
    assert [outcome for _, outcome, _ in organization.trials()] == ["completed"] * 2
    assert processes_about(organization.folder) == []
