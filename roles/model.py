"""The one door to a model: a brief goes in, a reply of the type that was asked for comes out."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from roles.records import Reads, Record

Reply = TypeVar("Reply", bound=Record)


class Brief(Record):
    """Everything a model is told: who it is, its prompt, and what it reads.

    ``role`` is the name in org.yaml; ``prompt`` the text of the role's .md file.
    """

    role: str
    prompt: str
    reads: Reads


class Answer(Record, Generic[Reply]):
    """A reply and what it cost.

    ``text`` is what the model wrote, word for word (of the last attempt); tokens, and dollars, are
    sums over all attempts that the reply took, None where unknown (never 0 for unknown).
    """

    reply: Reply
    text: str
    model: str
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    seconds: float = 0.0
    dollars: float | None = None


class ModelError(Exception):
    """A model could not be brought to answer; the message says what was tried, in one line."""


class Model(Protocol):
    """Whoever answers: a language model, a playbook, a script."""

    @property
    def name(self) -> str:
        """What stands behind the role, as the run announces it."""

    def ask(self, brief: Brief, reply_type: type[Reply]) -> Answer[Reply]:
        """Answer a brief.

        Raises:
            ModelError: no reply of this type could be had.
        """
