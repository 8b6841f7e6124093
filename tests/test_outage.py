"""Models that fail in the middle of a run: an outage is waited out, a revoked key stops it clearly."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from org.notebook import Experiment
from org.running import run_here
from tests.openai_server import Body, OpenAIServer, Turn, asked_for, speaker
from tests.organizations import Hears, Organize, of_few_words, wait_for, work
from trainer.evidence.stack import Value

DROPPED = Turn(drop=True)


class Desks(Hears):
    """Knows besides when an experiment was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed_one = threading.Event()

    def closed(self, experiment: Experiment, head: Value) -> None:
        self.closed_one.set()


class Answers:
    """A language model of few words: every idea is another gain, and none is worth a trial.

    ``trouble`` says what comes in place of an answer, None for none.
    """

    def __init__(self, trouble: Callable[[Body], Turn | None] = lambda body: None) -> None:
        self.trouble = trouble
        self.count = 0
        self._lock = threading.Lock()

    def __call__(self, body: Body) -> Turn:
        if (turn := self.trouble(body)) is not None:
            return turn
        with self._lock:
            self.count += 1
        return Turn(of_few_words(asked_for(body), self.count / 1000))


def model_at(server: OpenAIServer) -> dict[str, Any]:
    return {"name": "openai:test", "base_url": server.url, "price": [1.0, 1.0]}


def test_an_outage_is_waited_out_while_the_other_desk_works_and_no_hours_are_charged(
    organize: Organize,
):
    """The director's endpoint goes down after one answer, until the other desk is done."""
    desks, answers = Desks(), Answers()

    def is_back() -> bool:
        return desks.closed_one.is_set() and any("waiting" in note for note in desks.notes)

    def down(body: Body) -> Turn | None:
        if not (directors.count and speaker(body) == "director") or is_back():
            return None
        return DROPPED

    directors = Answers(down)
    with OpenAIServer(directors) as one, OpenAIServer(answers) as other:
        more = {
            "desks": 2,
            "roles": {
                "director": {"prompt": "prompt.md", "model": model_at(one)},
                "hypothesis": [{"name": "thinker", "prompt": "prompt.md"}],
                "engineer": {"prompt": "prompt.md", "attempts": 1},
                "reviewer": {"prompt": "prompt.md"},
            },
        }
        organization = organize(experiments=2, model=model_at(other), more=more)
        began = time.monotonic()
        assert work(organization, desks).reasons == []
        took = time.monotonic() - began
        asked = [request.at for request in one.requests]
    dropped = asked[1:-1]
    assert len(dropped) >= 3
    down_seconds = dropped[-1] - dropped[0]
    with organization.notebook() as notebook:
        (run,) = notebook.runs()
        first, second = notebook.experiments()
    assert (
        min(first.ended or 0, second.ended or 0)
        < dropped[-1]
        < max(first.ended or 0, second.ended or 0)
    )
    assert run.worked_seconds < took - 0.8 * down_seconds
    assert any(re.search("no connection: .*; waiting .* more", note) for note in desks.notes)
    assert any("answers again, after" in note for note in desks.notes)
    assert (directors.count, answers.count) == (2, 8)
    assert organization.faults() == []


@pytest.mark.quick
def test_a_key_that_is_revoked_stops_the_run_clearly_and_once_mended_it_goes_on(
    organize: Organize, capsys: pytest.CaptureFixture[str]
):
    revoked = threading.Event()

    def refuses(body: Body) -> Turn | None:
        if answers.count == 7:
            revoked.set()
        return Turn("revoked", status=401) if revoked.is_set() else None

    answers = Answers(refuses)
    with OpenAIServer(answers) as server:
        organization = organize(
            experiments=4, attempts=1, model=model_at(server), more={"desks": 2}
        )
        assert run_here(organization.config_path, organization.lab) == 1
        said = " ".join(capsys.readouterr().out.split())
        assert said.count("A desk closed early: openai:test") == 2
        assert "the key was refused (HTTP 401)" in said
        assert f"python -m org run --config {organization.config_path}" in said
        assert organization.replies_count() == 7
        assert organization.faults() == []

        answers.trouble = lambda body: None
        assert work(organization).reasons == []
    assert answers.count == organization.replies_count() == 20
    assert [organization.experiment(n).decision for n in (1, 2, 3, 4)] == ["discard"] * 4
    assert organization.faults() == []


def test_a_desk_that_fails_over_and_over_is_closed_and_the_other_goes_on_to_the_end(
    organize: Organize,
):
    """One desk's question is held back until the other has failed three times in a row."""
    desk_closed, first_came = threading.Event(), threading.Event()

    class Noted(Desks):
        def note(self, text: str) -> None:
            super().note(text)
            if "is closed" in text:
                desk_closed.set()

    def garbage(body: Body) -> Turn | None:
        return None if desk_closed.is_set() else Turn("Let me think about it.")

    answers = Answers(garbage)
    with OpenAIServer(answers) as server:
        organization = organize(
            experiments=5, attempts=1, model=model_at(server), more={"desks": 2}
        )

        def hold(brief: object) -> None:
            if not first_came.is_set():
                first_came.set()
                wait_for(desk_closed)

        noted = Noted()
        worked = work(organization, noted, hold=hold)
    (reason,) = worked.reasons
    assert "openai:test" in reason
    assert [note for note in noted.notes if "is closed" in note] == [
        f"{organization.experiment(4).desk} is closed: {reason}"
    ]
    decisions = [organization.experiment(n).decision for n in (1, 2, 3, 4, 5)]
    assert sorted(map(str, decisions)) == ["None", "crash", "crash", "discard", "discard"]
    assert organization.faults() == []

    with OpenAIServer(Answers()) as server:  # what the closed desk left open is gone on with
        organization.model = model_at(server)
        organization.write()
        assert work(organization).reasons == []
    assert None not in [organization.experiment(n).decision for n in (1, 2, 3, 4, 5)]
    assert organization.faults() == []
