"""The discussion of an experiment: every utterance is a message in the notebook, none is paid twice."""

from __future__ import annotations

import time
from typing import Any

from org.briefs import keep_brief
from org.figures import signed
from org.notebook import Message, Notebook
from roles.model import Answer, Brief, Cost, Model, ModelError, Reply
from roles.recorded import as_read
from roles.records import (
    Direction,
    DirectorReads,
    EngineerReads,
    Hypothesis,
    HypothesisReads,
    Prose,
    Record,
    Review,
    Screening,
    ScreeningReads,
)

# Who hears what is said, by what its speaker has read. What is not named here is said to everyone.
LISTENERS: dict[type[Record], str] = {
    DirectorReads: "hypothesis",
    HypothesisReads: "engineer",
    EngineerReads: "reviewer",
    ScreeningReads: "engineer",
}


class OnRecord:
    """A model whose answers are kept: asked again for the same step, it repeats itself for free.

    ``step`` names the place in the experiment, the same on every run of the node that asks;
    ``number`` is the experiment's, which a recorded model goes by.
    """

    def __init__(
        self,
        model: Model,
        notebook: Notebook,
        run: str,
        experiment: str,
        step: str,
        number: int = 0,
    ) -> None:
        self.model = model
        self.notebook = notebook
        self.run = run
        self.experiment = experiment
        self.number = number
        self.step = step

    @property
    def name(self) -> str:
        return self.model.name

    def ask(self, brief: Brief, reply_type: type[Reply]) -> Answer[Reply]:
        """Answer a brief from the notebook, or else from the model.

        Raises:
            ModelError: the model could not be brought to answer; what it cost is on record.
        """
        message_id = id_of(self.experiment, self.step, brief.role)
        kept = self.notebook.message(message_id)
        if kept is not None and kept.reply_json is not None:
            return _answer(kept, reply_type)
        brief = brief.model_copy(update={"experiment": self.number})
        try:
            answer = self.model.ask(brief, reply_type)
        except ModelError as error:
            self._keep_failure(message_id, brief, error)
            raise
        with self.notebook.transaction():  # what was read is there with what was said, or neither
            self.notebook.record_message(self._message(message_id, brief, answer))
        return answer

    def _message(self, message_id: str, brief: Brief, answer: Answer[Reply]) -> Message:
        return Message(
            id=message_id,
            run=self.run,
            experiment=self.experiment,
            time=time.time(),
            speaker=brief.role,
            listener=LISTENERS.get(type(brief.reads), "everyone"),
            kind=self.step.partition(".")[0],
            text=spoken(answer.reply),
            reply_json=answer.reply.model_dump_json(),
            model=answer.model,
            brief_sha=keep_brief(self.notebook, as_read(brief)),
            thinking=answer.thinking,
            **_cost(answer),
        )

    def _keep_failure(self, message_id: str, brief: Brief, error: ModelError) -> None:
        """Keep what was paid for although nothing came of it."""
        cost = error.cost
        if cost is None or not (cost.replies or cost.dollars is None):
            return
        self.notebook.record_message(
            Message(
                id=f"{message_id}/failed at {time.time_ns()}",
                run=self.run,
                experiment=self.experiment,
                time=time.time(),
                speaker=brief.role,
                listener="lab",
                kind=self.step.partition(".")[0],
                text=f"{error}\n{error.words}".strip(),
                model=self.model.name,
                brief_sha=keep_brief(self.notebook, as_read(brief)),
                **_cost(cost),
            )
        )


def _cost(cost: Cost) -> dict[str, Any]:
    """What a call cost, under the notebook's names."""
    names = ("prompt_tokens", "reply_tokens", "counted", "dollars", "most_dollars")
    return cost.model_dump(include={*names, "seconds", "waited_seconds"})


def _answer(message: Message, reply_type: type[Reply]) -> Answer[Reply]:
    return Answer[Reply](
        reply=_asked_least(reply_type).model_validate_json(message.reply_json or "{}"),
        text=message.text,
        model=message.model or "",
        prompt_tokens=message.prompt_tokens,
        reply_tokens=message.reply_tokens,
        seconds=message.seconds or 0.0,
        dollars=message.dollars,
    )


def _asked_least(reply_type: type[Reply]) -> type[Reply]:
    """The record that a reply is, for a type that asks more of it at the moment (`director.leading`).

    What was accepted once stays accepted, although more may be asked of it by now.
    """
    return next(each for each in reply_type.__mro__ if each.__module__ == Record.__module__)


def id_of(experiment: str, step: str, speaker: str) -> str:
    """The id of what someone says at a step of an experiment, known before it is said."""
    return f"{experiment}/{step}/{speaker}"


def say(notebook: Notebook, run: str, experiment: str, step: str, listener: str, text: str) -> None:
    """Keep what the lab itself has to say, once per step: a trial's result, a patch that fails."""
    notebook.record_message(
        Message(
            id=id_of(experiment, step, "lab"),
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
            numbers = " and ".join(f"#{number}" for number in reply.builds_on)
            way = f"{reply.way_out}{f' ({numbers})' if numbers else ''}: " if reply.way_out else ""
            whom = f"{reply.assignee}, look at {reply.category}{', urgent' if reply.urgent else ''}"
            said = f"{whom}: {way}{reply.focus}\n{reply.reason}"
            return f"{said}\nTo the notes of a person: {reply.answer}" if reply.answer else said
        case Hypothesis():
            expected = f"Expected effect {signed(reply.expected_effect)} bpb."
            return f"{reply.title}\n{reply.change}\n{reply.mechanism}\n{expected}"
        case Screening():
            return f"{'Approved' if reply.approved else 'Objection'}: {reply.reason}"
        case Review():
            objection = "This must not go on the stack. " if reply.objects else ""
            wish = "The stack should be certified now. " if reply.certify else ""
            return f"{objection}{wish}{reply.explanation}\nLesson: {reply.lesson}"
        case Prose():
            return reply.text
        case _:
            return reply.model_dump_json()
