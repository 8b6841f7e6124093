"""The one door to a model: a brief goes in, a reply of the type that was asked for comes out."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from roles.records import Reads, Record

Reply = TypeVar("Reply", bound=Record)


class Brief(Record):
    """Everything a model is told: who it is, its prompt, and what it reads.

    ``role`` is the name in org.yaml; ``prompt`` the text of the role's .md file. ``experiment`` is
    the number of the one that it is about, 0 where none is known: a record is found by it, and no
    model is told.
    """

    role: str
    prompt: str
    reads: Reads
    experiment: int = 0


class Cost(Record):
    """What one question cost, over all attempts that it took.

    Tokens and dollars are None where unknown, never 0 for unknown; ``counted`` says that not all
    tokens are the endpoint's own figures, some were counted here, about. ``most_dollars`` is no
    less than what it cost, also where a request was lost on the way and may be billed; None where
    no end to it is known. ``replies`` is how many replies came. ``seconds`` are wall seconds in all; of these ``waited_seconds`` went into
    waiting for an endpoint that was down or asked for patience.
    """

    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    counted: bool = False
    dollars: float | None = None
    most_dollars: float | None = None
    replies: int = 1
    seconds: float = 0.0
    waited_seconds: float = 0.0


class Answer(Cost, Generic[Reply]):
    """A reply and what it cost.

    ``text`` is what the model wrote, word for word (of the last attempt), ``thinking`` what it
    thought aloud before that, for who replays the discussion: no model reads it again.
    """

    reply: Reply
    text: str
    model: str
    thinking: str = ""


class ModelError(Exception):
    """A model could not be brought to answer; the message says what was tried, in one line.

    ``cost`` is what it cost all the same, None if that is unknown altogether; ``words`` is what
    the model wrote last, if it wrote anything.
    """

    cost: Cost | None = None
    words: str = ""


class ModelRefused(ModelError):
    """The endpoint will answer nobody here until a person does something about it.

    A key that is wrong or was revoked, no credit left, no such model: to ask again is no use, and
    what is unfinished can go on once it is put right.
    """


class AskAbandoned(ModelError):
    """A stop was asked for while an endpoint was waited for; nothing is wrong."""


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
