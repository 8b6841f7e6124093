"""The discussion of an experiment: every utterance is a message in the notebook, none is paid twice."""

from __future__ import annotations

import hashlib
import time

from org.figures import signed
from org.notebook import Message, Notebook
from roles.model import Answer, Brief, Model, Reply
from roles.records import Direction, Hypothesis, Prose, Record, Review, Screening

# Who hears what a reply says. What is not named here is said to everyone.
LISTENERS: dict[type[Record], str] = {
    Direction: "hypothesis",
    Hypothesis: "engineer",
    Prose: "reviewer",
    Screening: "engineer",
    Review: "everyone",
}


class OnRecord:
    """A model whose answers are kept: asked again for the same step, it repeats itself for free.

    ``step`` names the place in the experiment, the same on every run of the node that asks.
    """

    def __init__(
        self, model: Model, notebook: Notebook, run: str, experiment: str, step: str
    ) -> None:
        self.model = model
        self.notebook = notebook
        self.run = run
        self.experiment = experiment
        self.step = step

    @property
    def name(self) -> str:
        return self.model.name

    def ask(self, brief: Brief, reply_type: type[Reply]) -> Answer[Reply]:
        """Answer a brief from the notebook, or else from the model.

        Raises:
            ModelError: the model could not be brought to answer.
        """
        message_id = f"{self.experiment}/{self.step}/{brief.role}"
        kept = self.notebook.message(message_id)
        if kept is not None and kept.reply_json is not None:
            return _answer(kept, reply_type)
        answer = self.model.ask(brief, reply_type)
        self.notebook.record_message(self._message(message_id, brief, answer))
        return answer

    def _message(self, message_id: str, brief: Brief, answer: Answer[Reply]) -> Message:
        kind = type(answer.reply)
        return Message(
            id=message_id,
            run=self.run,
            experiment=self.experiment,
            time=time.time(),
            speaker=brief.role,
            listener=LISTENERS.get(kind, "everyone"),
            kind=self.step.partition(".")[0],
            text=spoken(answer.reply),
            reply_json=answer.reply.model_dump_json(),
            model=answer.model,
            brief_sha=hashlib.sha256(brief.model_dump_json().encode()).hexdigest(),
            prompt_tokens=answer.prompt_tokens,
            reply_tokens=answer.reply_tokens,
            seconds=answer.seconds,
            dollars=answer.dollars,
        )


def _answer(message: Message, reply_type: type[Reply]) -> Answer[Reply]:
    return Answer[Reply](
        reply=reply_type.model_validate_json(message.reply_json or "{}"),
        text=message.text,
        model=message.model or "",
        prompt_tokens=message.prompt_tokens,
        reply_tokens=message.reply_tokens,
        seconds=message.seconds or 0.0,
        dollars=message.dollars,
    )


def say(notebook: Notebook, run: str, experiment: str, step: str, listener: str, text: str) -> None:
    """Keep what the lab itself has to say, once per step: a trial's result, a patch that fails."""
    notebook.record_message(
        Message(
            id=f"{experiment}/{step}/lab",
            run=run,
            experiment=experiment,
            time=time.time(),
            speaker="lab",
            listener=listener,
            kind=step.partition(".")[0],
            text=text,
        )
    )


def spoken(reply: Record) -> str:
    """A reply as a person would say it."""
    match reply:
        case Direction():
            return f"{reply.assignee}, look at {reply.category}: {reply.focus}\n{reply.reason}"
        case Hypothesis():
            expected = f"Expected effect {signed(reply.expected_effect)} bpb."
            return f"{reply.title}\n{reply.change}\n{reply.mechanism}\n{expected}"
        case Screening():
            return f"{'Approved' if reply.approved else 'Objection'}: {reply.reason}"
        case Review():
            objection = "I object to keeping this. " if reply.objects else ""
            return f"{objection}{reply.explanation}\nLesson: {reply.lesson}"
        case Prose():
            return reply.text
        case _:
            return reply.model_dump_json()
