"""A whole organization of language models, served over HTTP by a server that speaks the protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.openai_server import Body, OpenAIServer, Turn, asked_for, speaker
from tests.organizations import Organize, kept_sources, plain_experiment, work
from tests.sources import SCRIPTED


@pytest.fixture
def served() -> Iterator[OpenAIServer]:
    """A language model that says, for each role in turn, what a script would."""
    script = plain_experiment("GAIN = 0.0", "GAIN = 1.0")
    replies = {
        "Direction": script[0][1],
        "Hypothesis": script[1][1],
        "Screening": script[3][1],
        "Review": script[4][1] | {"objects": False},
    }

    def answer(body: Body) -> Turn:
        if (wanted := asked_for(body)) == "Prose":
            words: Any = script[2][1] if speaker(body) == "engineer" else "I doubt it."
            return Turn(f"Here it is.\n```\n{words}\n```" if "SEARCH" in words else words)
        return Turn(json.dumps(replies[wanted]))

    with OpenAIServer(answer) as server:
        yield server


def test_language_models_keep_a_change_and_what_they_cost_is_on_record(
    organize: Organize, served: OpenAIServer
):
    model = {"name": "openai:test", "base_url": served.url, "price": [10.0, 100.0]}
    organization = organize(model=model, advisers=[{"name": "skeptic", "before": "engineer"}])
    assert work(organization).reasons == []
    assert organization.experiment().decision == "keep"
    assert kept_sources(organization)[-1] == SCRIPTED.replace("GAIN = 0.0", "GAIN = 1.0")
    assert [speaker(body) for body in served.chats] == [
        *("director", "thinker", "skeptic", "engineer", "reviewer", "reviewer")
    ]
    assert "I doubt it." in served.chats[3]["messages"][1]["content"]
    with organization.notebook() as notebook:
        messages = notebook.messages(organization.experiment().id)
        spent = notebook.dollars_at_most(organization.experiment().run)
    assert {message.model for message in messages} == {f"openai:test at {served.url}"}
    assert {(each.prompt_tokens, each.reply_tokens) for each in messages} == {(11, 7)}
    assert spent == pytest.approx(6 * (11 * 10.0 + 7 * 100.0) / 1e6)
