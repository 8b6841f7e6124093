"""A person sees what happened and what happens now, and no text of a model moves the terminal."""

import io
from typing import get_args

import pytest
from rich.console import Console

from org.notebook import Experiment
from org.stack import Proof
from org.telling.terminal import Terminal
from roles.records import Decision
from trainer.evidence.certify import Certification
from trainer.evidence.stack import Value
from trainer.trial import Trial

HEAD = Value(1.5, 0.004)
PROOF = Proof(
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
    step = Certification.model_validate({"says": says, "reason": "so it is", "effect": effect})
    told = seen(lambda terminal: terminal.certified(PROOF, step))
    assert words in told
    assert "so it is" in told


def test_a_certification_that_ends_without_a_pair_says_why():
    step = Certification(says="fail", reason="the head has no score under a fresh seed")
    told = seen(lambda terminal: terminal.certified(PROOF, step))
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
