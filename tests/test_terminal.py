"""A person sees what happened and what happens now, and no text of a model moves the terminal."""

import io

from rich.console import Console

from org.notebook import Experiment
from org.terminal import Terminal
from trainer.trial import Trial

HEAD_BPB = 1.5


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
    told = seen(lambda terminal: terminal.closed(closed("wider", "provisional"), HEAD_BPB))
    assert "provisional" in told and "wider" in told and "± 0.01" in told and "1.5000" in told


def test_a_discard_leaves_the_head_unmentioned():
    told = seen(lambda terminal: terminal.closed(closed("wider", "discard"), HEAD_BPB))
    assert "discard" in told and "head" not in told


def test_markup_and_escapes_in_a_title_are_text():
    title = "[red]wider[/red]\x1b[2J\x1b]0;owned\x07"
    told = seen(lambda terminal: terminal.closed(closed(title, "discard"), HEAD_BPB))
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
