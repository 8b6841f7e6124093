"""A discussion told again: who said what to whom, when, at what cost; also while it goes on."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from org.discussion import say
from org.figures import clock
from org.lab import LabError
from org.notebook import Message, Notebook
from org.telling.replay import replay
from roles.records import Verdict
from tests.notebooks import PLAYBOOK, RUN, Night


@pytest.fixture
def notebook(told_night: Notebook) -> Notebook:
    return told_night


def shown(*parts: RenderableType) -> str:
    """What a terminal of 80 columns shows, without the blanks at the ends of lines."""
    file = io.StringIO()
    console = Console(file=file, width=80)
    for part in parts:
        console.print(part)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def test_one_experiment_is_told_in_order_from_direction_to_verdict(notebook: Notebook):
    told = shown(*replay(notebook, 1))
    heads = (
        "director → hypothesis",
        "optimizer → engineer",
        "engineer → reviewer",
        "reviewer → engineer",
        "candidate trial: val_bpb 1.2301",
        "reviewer → everyone",
        "verdict: keep",
    )
    at = [told.index(head) for head in heads]
    assert at == sorted(at)
    assert "#2" not in told
    assert "baseline trial" not in told


def test_everything_is_told_with_the_baseline_first_and_every_experiment_after_it(
    notebook: Notebook,
):
    told = shown(*replay(notebook, None))
    assert told.count("baseline trial: val_bpb") == 3
    at = [told.index(f"experiment {number}, ") for number in range(1, 8)]
    assert told.index("baseline trial") < at[0]
    assert at == sorted(at)


def test_certifications_are_told_where_they_ended_with_what_they_say(notebook: Notebook):
    told = shown(*replay(notebook, None))
    at = [
        told.index(words)
        for words in (
            *("experiment 1, ", "certify trial: val_bpb 1.2318", "certification 1 passed"),
            *("experiment 5, ", "certification 2 failed", "experiment 6, "),
        )
    ]
    assert at == sorted(at)
    assert told.count("certify trial: val_bpb") == 10
    assert "+0.0007 ± 0.0007 (not certified, 2 seeds): no better on fresh seeds" in told
    assert "1 change · end of the run" in told


def test_of_one_experiment_no_certification_is_told_but_what_it_said_of_it(notebook: Notebook):
    told = shown(*replay(notebook, 5))
    assert "certify trial" not in told and "certification 2" not in told
    assert "Certification 2: no better on fresh seeds" in told


def test_no_line_is_wider_than_the_terminal(notebook: Notebook):
    assert max(map(len, shown(*replay(notebook, None)).splitlines())) <= 80


def test_tokens_and_cost_are_said_where_known_and_unknown_is_not_zero(notebook: Notebook):
    told = " ".join(shown(*replay(notebook, 1)).split())
    assert "openai:large · 1,200 + 90 tokens · 1.5 s · $0.01" in told
    assert "tokens unknown · 1.5 s · cost unknown" in told
    assert "$0.00" not in told


def test_a_playbook_is_named_and_costs_no_word(notebook: Notebook):
    utter(notebook, text="Next, the schedule.", model=PLAYBOOK, cost=0)
    _, price, *_ = shown(list(replay(notebook, 7))[-1]).splitlines()
    assert price.strip() == PLAYBOOK


def test_an_utterance_says_when_it_was_and_how_long_after_the_beginning(notebook: Notebook):
    message = utter(notebook, text="Well?", after_seconds=75)
    head, *_ = shown(list(replay(notebook, 7))[-1]).splitlines()
    assert head.startswith(clock(message.time))
    assert "+75 s" in head


def test_what_models_wrote_is_neither_markup_nor_control_codes(notebook: Notebook):
    utter(notebook, text="\x1b[2J[red]no[/red] \x1b]0;owned\x07[/]\x00done", model="\x1b[1mm[b]")
    told = shown(*replay(notebook, None))
    assert "[red]no[/red] [/]done" in told
    assert "owned" not in told
    assert not any(ord(c) < 32 and c != "\n" for c in told)


def test_a_crashed_trial_tells_its_reason_and_what_the_lab_said(notebook: Notebook):
    told = shown(*replay(notebook, 3))
    assert "candidate trial: crashed" in told
    assert "ZeroDivisionError: division by zero" in told
    assert "lab → engineer" in told


def test_an_experiment_that_is_not_there_is_one_clear_line(notebook: Notebook):
    for follow in (False, True):
        with pytest.raises(LabError, match="99") as caught:
            list(replay(notebook, 99, follow=follow))
        assert "\n" not in str(caught.value)


def test_an_empty_notebook_has_nothing_to_tell(tmp_path: Path):
    notebook = Notebook(tmp_path / "empty.sqlite")
    assert list(replay(notebook, None)) == []
    notebook.close()


def test_following_hears_what_another_connection_writes_until_the_run_has_ended(
    notebook: Notebook,
):
    open_one = notebook.experiments(closed=False)[0]
    told = replay(notebook, None, follow=True)
    assert "experiment 7" in shown(*(next(told) for _ in range(3)))

    other = Notebook(notebook.path)
    say(other, RUN, open_one.id, "train.1.1", "engineer", "It does not apply any more.")
    assert "It does not apply any more." in shown(next(told))
    other.close_experiment(open_one.id, Verdict(decision="discard", reason="no gain"))
    assert "verdict: discard" in shown(next(told))
    night = Night(other)
    night.head = other.experiments()[5].candidate_sha or ""
    night.certify((1.2281, 1.2284, 1.2280), (1.2318, 1.2316, 1.2312))
    assert [shown(next(told)).split()[1:3] for _ in range(6)] == [["certify", "trial:"]] * 6
    assert "certification 3 passed" in shown(next(told))
    say(other, RUN, open_one.id, "review", "everyone", "Good night.")
    other.end_run(RUN)
    other.close()
    last = shown(*told)
    assert "Good night." in last
    assert last.endswith("The run has ended.")


def test_following_holds_no_lock_between_two_looks(notebook: Notebook):
    told = replay(notebook, None, follow=True)
    next(told)
    assert not notebook.db.conn.in_transaction
    told.close()


def test_following_one_experiment_ends_with_its_verdict(notebook: Notebook):
    assert shown(*replay(notebook, 1, follow=True)).endswith("No more is said of experiment 1.")


def test_following_an_experiment_without_a_verdict_ends_with_its_run(notebook: Notebook):
    notebook.end_run(RUN)
    assert shown(*replay(notebook, 7, follow=True)).endswith("No more is said of experiment 7.")


def utter(
    notebook: Notebook,
    text: str,
    model: str = "openai:large",
    cost: int | None = None,
    after_seconds: float = 3600,
) -> Message:
    """The last thing that is said in the open experiment."""
    experiment = notebook.experiments(closed=False)[0]
    message = Message(
        id=f"{experiment.id}/hypothesize.9/optimizer",
        run=RUN,
        experiment=experiment.id,
        time=experiment.started + after_seconds,
        speaker="optimizer",
        listener="engineer",
        kind="hypothesize",
        text=text,
        model=model,
        prompt_tokens=cost,
        reply_tokens=cost,
        dollars=cost,
    )
    notebook.record_message(message)
    return message
