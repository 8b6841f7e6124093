"""A language model behind the door: how it is asked, asked again, and what that costs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from roles.endpoint import Endpoint, Said, TooLong, Unable
from roles.fit import CHARACTERS_PER_TOKEN, fit
from roles.model import Answer, Brief, Cost, ModelError, Reply
from roles.patience import Passing, Patience, Wait
from roles.prices import Price, dollars
from roles.purse import Purse
from roles.records import Prose, Record
from roles.replies import UnfitError, apart, read_reply, schema_of, unbounded
from roles.tokens import count_tokens

# A reply is asked for, and if it does not fit once more, with what was wrong with it.
ATTEMPTS = 2
# An internal error may be a way's fault, a time-out the question's: neither is repeated for ever.
INTERNAL_ERRORS = 3
TIMEOUTS = 3
# How often a prompt is made shorter until it fits.
SHORTENINGS = 5
REPEATED_CHARACTERS = 4_000
FRAME_TOKENS = 50  # of a chat template, about
REPLY_ROOM_TOKENS = 2_048

# How a reply is asked for: held to a JSON schema by the endpoint; to one without bounds, which
# OpenAI's strict mode does not know; as the call of a tool; or in so many words. Prose is only
# ever asked for in words.
Way = Literal["schema", "plain_schema", "tool", "words"]
LADDER: tuple[Way, ...] = ("schema", "plain_schema", "tool", "words")
_BOUNDS = ("maxLength", "minimum", "maximum", "exclusiveM", "not permitted", "not supported")

Messages = list[tuple[str, str]]


@dataclass
class Found:
    """What was found out about a model of an endpoint, for the rest of the process.

    ``density`` is by how much it makes more tokens of a text than were counted here.
    """

    way: Way | None = None
    window: int | None = None
    density: float = 1.0


_found: dict[tuple[str, str], Found] = {}


class _WayRefusedError(Exception):
    """The endpoint does not do what a way of asking needs."""


@dataclass
class _Question:
    """One question on its way: what was sent and came so far, and how often nothing came of it.

    ``lost`` requests may be billed; ``late`` were those since the endpoint was known to answer, the
    first of them sent at ``late_since`` by the clock of the patience.
    """

    brief: Brief
    reply_type: type[Record]
    wait: Wait
    came: list[Said] = field(default_factory=list)
    sent: list[Messages] = field(default_factory=list)
    lost: int = 0
    late: int = 0
    late_since: float = 0.0


class ChatModel:
    """A model of an OpenAI-compatible endpoint, shared by any number of threads.

    ``base_url`` None means OPENAI_BASE_URL or else OpenAI itself. ``api_key`` is left out for a
    server that wants none; it is never shown. ``price`` is in dollars per million tokens, of
    prompt and reply, None where unknown. ``window`` is how many tokens of prompt and reply fit
    together; where it is None, it is found out when a prompt turns out to be too long. What else
    is None is left to the endpoint. ``patience`` is how trouble that passes is waited out and
    ``purse`` what each request is paid from, one of each for all models of a run.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        temperature: float | None = None,
        reasoning_effort: str | None = None,
        timeout_seconds: float | None = None,
        max_tokens: int | None = None,
        window: int | None = None,
        extra_body: Mapping[str, Any] | None = None,
        price: Price | None = None,
        patience: Patience | None = None,
        purse: Purse | None = None,
    ) -> None:
        self.endpoint = Endpoint(
            model,
            base_url=base_url,
            api_key=api_key,
            temperature=temperature,
            reasoning_effort=reasoning_effort,
            timeout_seconds=timeout_seconds,
            max_tokens=max_tokens,
            extra_body=extra_body,
        )
        self.max_tokens = max_tokens
        self.price = price
        self.patience = patience or Patience()
        self.purse = purse or Purse()
        self.found = _found.setdefault((self.endpoint.base_url, model), Found())
        self._window = window

    @property
    def name(self) -> str:
        """The model, and where it is unless that is OpenAI; without any credentials in the URL."""
        return self.endpoint.name

    @property
    def window(self) -> int | None:
        """Tokens of prompt and reply that fit together, as far as that is known by now."""
        return min(filter(None, (self._window, self.found.window)), default=None)

    def ask(self, brief: Brief, reply_type: type[Reply]) -> Answer[Reply]:
        """Answer a brief, by the best way of asking that the endpoint supports.

        A way that the endpoint refuses, or by which no fitting reply could be had although the
        way has never worked before, is given up for the next one of the ladder. A string that is
        too long is asked for again; in the last attempt it is cut to its maximum length, and
        ``text`` still has all of it.

        Raises:
            ModelRefused: a person has to do something about it first.
            AskAbandoned: a stop was asked for while it was waited for.
            BudgetSpent: the next request could cost more than the purse has.
            ModelError: nobody answers there, the endpoint refuses, or no reply fits. Each of these
                has its ``cost``.
        """
        started = time.monotonic()
        question = _Question(brief, reply_type, self.patience.waiting(self.name))
        try:
            reply = self._down_the_ladder(question, reply_type)
        except ModelError as error:
            error.cost = self._cost(question, time.monotonic() - started)
            error.words = question.came[-1].text if question.came else ""
            raise
        cost = self._cost(question, time.monotonic() - started)
        spoken, thought = apart(question.came[-1].text)
        return Answer(
            **cost.model_dump(),
            reply=reply,
            text=spoken,
            thinking=question.came[-1].thinking or thought,
            model=self.name,
        )

    def most_dollars(self, brief: Brief, reply_type: type[Record]) -> float | None:
        """No less than what any one request of a question will cost; None if that cannot be known.

        It can be where the price is known and ``max_tokens`` bounds the reply, or all is free.
        """
        if self.price is None:
            return None
        if not any(self.price):
            return 0.0
        if self.max_tokens is None:
            return None
        wanted = max(len(_wanted(way, reply_type)) for way in LADDER)
        read = len(brief.prompt) + len(fit(brief.reads, None)) + wanted
        # Asked again, it is reminded of its reply and told what was wrong with it.
        again = REPEATED_CHARACTERS + 2 * wanted
        prompt_tokens = (read + again) // CHARACTERS_PER_TOKEN + FRAME_TOKENS
        return dollars(self.price, prompt_tokens, self.max_tokens)

    def _ways(self, reply_type: type[Record]) -> Sequence[Way]:
        if reply_type is Prose:
            return ("words",)
        return (self.found.way,) if self.found.way else LADDER

    def _down_the_ladder(self, question: _Question, reply_type: type[Reply]) -> Reply:
        trouble = ""
        for way in self._ways(reply_type):
            if way == "plain_schema" and not self.found.way and not _about_bounds(trouble):
                continue
            try:
                reply = self._converse(question, reply_type, way)
            except (_WayRefusedError, UnfitError) as error:
                trouble = str(error)
                continue
            if reply_type is not Prose:
                self.found.way = way
            return reply
        raise ModelError(f"{self.name}: {self.endpoint.clean(trouble)}")

    def _converse(self, question: _Question, reply_type: type[Reply], way: Way) -> Reply:
        """Ask until a reply fits, each time with what was wrong with the one before."""
        again: Messages = []
        trouble = ""
        for attempt in range(1, ATTEMPTS + 1):
            last = attempt == ATTEMPTS
            said = self._say(question, again, way)
            try:
                if said.note and not last:
                    raise UnfitError("it is not complete")
                return read_reply(said.text, reply_type, shorten=last)
            except UnfitError as error:
                trouble = f"{error} ({said.note})" if said.note else str(error)
            spoken = apart(said.text)[0][:REPEATED_CHARACTERS]
            complaint = f"Your reply could not be used: {trouble}. Reply again, with nothing else."
            again = [("ai", spoken)] if spoken.strip() else []
            again.append(("human", complaint))
        raise UnfitError(f"no fitting reply in {ATTEMPTS} attempts; the last: {trouble}")

    def _say(self, question: _Question, again: Messages, way: Way) -> Said:
        """One reply: passing trouble waited out, a prompt that is too long made shorter.

        Raises:
            _WayRefusedError: another way should be tried.
            ModelError: asking again is no use.
        """
        shortenings = 0
        internal_errors = 0
        while True:
            messages = [*self._opening(question, way, again), *again]
            sent_at = self.patience.clock()
            try:
                said = self._send(question, messages, way)
            except Passing as trouble:
                if trouble.kind == "slow" and self._late(question, sent_at):
                    continue
                if question.late >= TIMEOUTS:
                    raise ModelError(f"{self.name}: {trouble}, {TIMEOUTS} times") from None
                internal_errors += trouble.kind == "error"
                if internal_errors >= INTERNAL_ERRORS and self.found.way != way != "words":
                    raise _WayRefusedError(str(trouble)) from None
                question.wait.out(trouble, sent_at)
                continue
            except TooLong as trouble:
                shortenings += 1
                if shortenings > SHORTENINGS:
                    raise ModelError(f"{self.name}: {trouble}") from None
                self._learn_window(trouble, messages)
                continue
            except Unable as trouble:
                if way == "words":
                    raise ModelError(f"{self.name}: the endpoint refused ({trouble})") from None
                raise _WayRefusedError(str(trouble)) from None
            question.wait.over()
            return said

    def _send(self, question: _Question, messages: Messages, way: Way) -> Said:
        """One request, once the purse has what it can cost at most."""
        most = self.most_dollars(question.brief, question.reply_type)
        with self.purse.open(most) as bill:
            try:
                said = self.endpoint.say(messages, _asked(way, question.reply_type))
            except Passing as trouble:
                if trouble.kind == "slow" and question.lost < TIMEOUTS:  # may be billed
                    bill.dollars = most or 0.0
                raise
            question.came.append(said)
            question.sent.append(messages)
            if self.price:
                bill.dollars = dollars(self.price, *_tokens(said, messages))
        return said

    def _late(self, question: _Question, sent_at: float) -> bool:
        """Count a reply that did not come in time; whether it was because the endpoint hung.

        One that hangs takes a question and says nothing, as a slow one does. So after a few it is
        asked for its models, and while it does not even list those it is waited for as one that is
        down. What it never answered by then it can hardly have begun: no more of it counts as lost.
        """
        question.lost = min(question.lost + 1, TIMEOUTS)
        question.late_since = question.late_since if question.late else sent_at
        question.late += 1
        if question.late < TIMEOUTS:
            return False
        tried_at, hung = question.late_since, False
        while self.endpoint.is_silent():
            hung = True
            question.wait.out(
                Passing("it hangs, and does not even list its models", "down"), tried_at
            )
            tried_at = self.patience.clock()
        if hung:
            question.late = 0
        return hung

    def _opening(self, question: _Question, way: Way, again: Messages) -> Messages:
        """The brief, cut to the window as far as that is known."""
        system = f"Your name here is {question.brief.role}.\n\n{question.brief.prompt}"
        wanted = _wanted(way, question.reply_type)
        room = None
        if window := self.window:
            most = window // 2 if self.max_tokens else window // 4
            replying = min(self.max_tokens or REPLY_ROOM_TOKENS, most)
            room = int((window - replying - FRAME_TOKENS) / self.found.density)
            room -= sum(count_tokens(text) for text in (system, wanted, *(t for _, t in again)))
        return [
            ("system", system),
            ("human", f"{fit(question.brief.reads, room)}\n\n{wanted}".rstrip()),
        ]

    def _learn_window(self, trouble: TooLong, messages: Messages) -> None:
        """Know the window better after an error; what nobody tells is tried out, by steps."""
        counted = sum(count_tokens(text) for _, text in messages)
        if trouble.prompt_tokens:
            self.found.density = max(self.found.density, trouble.prompt_tokens / counted)
        known, told = self.window, trouble.window or self.endpoint.window()
        if told and (known is None or told < known):
            self.found.window = told
        elif known is None:
            self.found.window = int(0.7 * counted)
        elif not trouble.prompt_tokens:
            self.found.density *= 1.3

    def _cost(self, question: _Question, seconds: float) -> Cost:
        """The sum of all replies; unknown if a request was lost and may be billed."""
        prompt_tokens = reply_tokens = 0
        counted = False
        for said, messages in zip(question.came, question.sent, strict=True):
            counted |= said.prompt_tokens is None or said.reply_tokens is None
            read, written = _tokens(said, messages)
            prompt_tokens, reply_tokens = prompt_tokens + read, reply_tokens + written
        paid = dollars(self.price, prompt_tokens, reply_tokens) if self.price else None
        most = self.most_dollars(question.brief, question.reply_type) if question.lost else 0.0
        return Cost(
            prompt_tokens=None if question.lost else prompt_tokens,
            reply_tokens=None if question.lost else reply_tokens,
            counted=counted,
            dollars=None if question.lost else paid,
            most_dollars=None if paid is None or most is None else paid + question.lost * most,
            replies=len(question.came),
            seconds=seconds,
            waited_seconds=question.wait.seconds,
        )


def _tokens(said: Said, messages: Messages) -> tuple[int, int]:
    """Of prompt and reply."""
    return (
        _known(said.prompt_tokens, *(text for _, text in messages)),
        _known(said.reply_tokens, said.text, said.thinking),
    )


def _known(tokens: int | None, *texts: str) -> int:
    """The endpoint's figure, or else our own count."""
    return sum(map(count_tokens, texts)) if tokens is None else tokens


def _about_bounds(trouble: str) -> bool:
    return any(word in trouble for word in _BOUNDS)


def _asked(way: Way, reply_type: type[Record]) -> dict[str, Any]:
    """The request's parameters for one way of asking."""
    if way == "words":
        return {}
    name, schema = reply_type.__name__, schema_of(reply_type)
    if way == "tool":
        function = {"name": name, "description": schema["description"], "parameters": schema}
        # There is one tool, so "required" names it; LM Studio refuses to have it named by an object.
        return {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    held_to = schema if way == "schema" else unbounded(schema)
    json_schema = {"name": name, "schema": held_to, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": json_schema}}


def _wanted(way: Way, reply_type: type[Record]) -> str:
    """The same in words, for the end of the brief."""
    if reply_type is Prose:
        return ""
    if way == "tool":
        return f"Reply by calling {reply_type.__name__}, once."
    schema = json.dumps(schema_of(reply_type), ensure_ascii=False)
    return f"Reply with one JSON object and nothing else. Its JSON schema is:\n{schema}"
