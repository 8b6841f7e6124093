"""What the tests of language models share: a brief, a good reply, a model at a local server.

A model here has a clock of its own, which only waiting moves: hours pass in no time.
"""

from __future__ import annotations

import itertools
import json
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from roles.chat import ChatModel
from roles.model import Brief, ModelError
from roles.patience import Patience
from roles.records import AdviserReads, Digest, Record, Screening
from tests.openai_server import OpenAIServer

KEY = "sk-this-is-a-secret-0123456789"
BRIEF = Brief(
    role="reviewer",
    prompt="You look at patches.",
    reads=AdviserReads(
        digest=Digest(program="Be bold.", baseline_bpb=2.0, incumbent_bpb=1.9, noise_bpb=0.01),
        moment="after the trial",
        discussion="nothing yet",
    ),
)
GOOD = json.dumps({"approved": True, "reason": "small and clear"})
numbers = itertools.count()


@dataclass
class Clock:
    """Seconds that pass only by waiting, and how long each pause was."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def pause(self, stop: threading.Event, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.now += seconds
        return stop.is_set()

    def patience(self, stop: threading.Event | None = None, **settings: Any) -> Patience:
        return Patience(stop, self.said.append, pause=self.pause, clock=self.time, **settings)

    def time(self) -> float:
        return self.now


def model_at(server: OpenAIServer, **settings: Any) -> ChatModel:
    """A model of its own for each test: what is found out about one is remembered."""
    settings = {"api_key": KEY, "patience": Clock().patience(), **settings}
    return ChatModel(f"m{next(numbers)}", base_url=server.url, **settings)


def ways(server: OpenAIServer) -> list[str]:
    """How each request asked for its reply."""
    return [
        "json_schema" if "response_format" in body else "tool" if "tools" in body else "text"
        for body in server.chats
    ]


def failure(
    model: ChatModel, reply_type: type[Record] = Screening, brief: Brief = BRIEF
) -> ModelError:
    """The error with which a question ends."""
    with pytest.raises(ModelError) as raised:
        model.ask(brief, reply_type)
    return raised.value
