"""Replies that were recorded elsewhere, behind the door to models: says where a run departs from them."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Literal

from pydantic import ValidationError

from roles.model import Answer, Brief, Cost, ModelError, ModelRefused, Reply
from roles.records import Prose, Record
from roles.render import NO_EXPERIMENT, NOTEBOOK_SAYS, OPEN, render

SHOWN = 200  # characters of a line that is shown

# Two measurements of one source differ: what departs in numbers alone says nothing of the discussion.
_FIGURE = re.compile(r"[-+−±≥]?\s?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")

# What `roles.render` writes of the other experiments: each of them, a notebook that has none, and
# what follows from how far they are.
_EXPERIMENT = re.compile(r"^- #(\d+) \[[a-z]+\] (\w+).*\n(?:  .*\n)*", re.MULTILINE)
_EMPTY_NOTEBOOK = re.compile(rf"{re.escape(NOTEBOOK_SAYS)}\n\n(`{{3,}})text\n\n?\1")
_BY_OTHERS = re.compile(
    r" On the stack, not proven yet: .* is expected to score \d+\.\d+\."
    r"| \d+ experiments are not shown\."
    r"|^## Whom to assign\n\n.*\n\n?",
    re.MULTILINE,
)

Departing = Literal["words", "figures"]


class RecordEnds(ModelRefused):
    """A role is asked for more than was recorded of it; what is unfinished can go on with another model."""


class Recorded(Record):
    """One answer as it was recorded, in experiment ``experiment`` of its lab.

    ``brief_sha`` is that of what was read (see `sha_of`), "" where that was not recorded.
    ``reply_json`` is None where the model failed; ``text`` then says how.
    """

    role: str
    experiment: int
    brief_sha: str
    text: str
    reply_json: str | None
    thinking: str = ""


class Departure(Record):
    """The first place at which a brief is another one than the recorded: a line of it, then and now."""

    experiment: int
    role: str
    recorded: str
    now: str
    kind: Departing

    @property
    def spoken(self) -> str:
        only = " in figures only" if self.kind == "figures" else ""
        return (
            f"the run departs from the record{only}, in what {self.role} reads in experiment"
            f" {self.experiment}: {_shown(self.now)}, recorded: {_shown(self.recorded)}"
        )


def as_read(brief: Brief) -> str:
    """All that a model is told in a brief, as one text."""
    return f"{brief.prompt}\n\n{render(brief.reads)}"


def sha_of(text: str) -> str:
    """By what two briefs are told apart: the SHA-256 of all that is read."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class RecordedModel:
    """Gives each role its recorded replies, in their order; shared by any number of threads.

    Several desks ask in another order than they did: what was said in the same experiment comes
    first. Of that, or where nothing is left of it of all, the reply to the very same brief is given,
    else to one that differs in figures alone, else the role's next, always of the type that is
    asked for. `say` is told where a brief departs from the recorded one: of words and of figures, the
    first of each. ``brief_of`` gives a recorded brief by its SHA-256, None where it is not known.
    """

    def __init__(
        self,
        replies: Iterable[Recorded],
        name: str,
        brief_of: Callable[[str], str | None] = lambda sha: None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._name = name
        self._brief_of = brief_of
        self._say = say
        self._lock = threading.Lock()
        self._left: dict[str, list[Recorded]] = {}
        for reply in replies:
            self._left.setdefault(reply.role, []).append(reply)
        self._given: dict[str, int] = dict.fromkeys(self._left, 0)
        self._departures: dict[Departing, Departure] = {}
        self._unknown = False
        self._words: dict[str, str | None] = {}

    @property
    def name(self) -> str:
        """``replay``, and of which lab."""
        return self._name

    @property
    def departure(self) -> Departure | None:
        """The first departure in words, if there was one."""
        return self._departures.get("words")

    def ask(self, brief: Brief, reply_type: type[Reply]) -> Answer[Reply]:
        """The recorded reply to this brief, or what comes nearest to it.

        Raises:
            RecordEnds: none of this type is left.
            ModelError: the model failed here when it was recorded.
        """
        with self._lock:
            fitting = [each for each in self._left.get(brief.role, []) if _fits(each, reply_type)]
            if not fitting:
                raise RecordEnds(self._ended(brief.role, reply_type))
            entry = self._take(brief.role, brief.experiment, as_read(brief), fitting)
        if entry.reply_json is None:
            error = ModelError(entry.text.partition("\n")[0])
            error.words = entry.text.partition("\n")[2]
            error.cost = Cost(prompt_tokens=0, reply_tokens=0, dollars=0.0)
            raise error
        reply = reply_type.model_validate_json(entry.reply_json)
        return Answer(
            reply=reply,
            text=reply.text if isinstance(reply, Prose) else entry.reply_json,
            model=self.name,
            thinking=entry.thinking,
            prompt_tokens=0,
            reply_tokens=0,
            dollars=0.0,
        )

    def resume(self, given: Recorded, text: str) -> None:
        """Have a reply count as given: it was, before a restart, to who had read this text.

        Raises:
            RecordEnds: it is not there, or was given: it is not the record that was begun with.
        """
        with self._lock:
            same = [each for each in self._left.get(given.role, []) if _says(each, given)]
            if not same:
                raise RecordEnds(
                    f"{self.name} has not all replies of {given.role!r} that were given"
                )
            self._take(given.role, given.experiment, text, same)

    def summary(self) -> str:
        """What has come of the replay, in a line."""
        given = sum(self._given.values())
        if self._unknown:
            told = "what was read then is not recorded there, so nothing is known of departures"
        elif self._departures:
            told = "; ".join(each.spoken for each in self._departures.values())
        else:
            told = "everyone read what was read then"
        return f"{self.name}: {given} recorded replies were given; {told}"

    def _take(self, role: str, experiment: int, text: str, fitting: list[Recorded]) -> Recorded:
        own = [each for each in fitting if each.experiment == experiment] or fitting
        sha = sha_of(text)
        entry = next((each for each in own if each.brief_sha == sha), None)
        if entry is None:
            entry = own[0] if len(own) == 1 else self._like(own, text)
            self._departs(entry, text)
        # By identity: two replies may be equal.
        self._left[role] = [each for each in self._left[role] if each is not entry]
        self._given[role] += 1
        return entry

    def _like(self, own: list[Recorded], text: str) -> Recorded:
        """The first that answered a brief that differs in figures alone; else the first."""
        words = sha_of(_masked(text))
        return next((each for each in own if self._words_of(each.brief_sha) == words), own[0])

    def _words_of(self, brief_sha: str) -> str | None:
        """By what the words of a recorded brief are told apart; None where they are not recorded."""
        if brief_sha not in self._words:
            recorded = self._brief_of(brief_sha)
            self._words[brief_sha] = None if recorded is None else sha_of(_masked(recorded))
        return self._words[brief_sha]

    def _departs(self, entry: Recorded, text: str) -> None:
        recorded = self._brief_of(entry.brief_sha)
        if recorded is None:
            if not self._unknown:
                self._unknown = True
                self._say(
                    f"{self.name}: what was read then is not recorded; departures stay unseen"
                )
            return
        difference = _difference(*_settled(recorded, text))
        if difference is None:
            return
        kind, before, now = difference
        if kind in self._departures:
            return
        departure = Departure(
            experiment=entry.experiment, role=entry.role, recorded=before, now=now, kind=kind
        )
        self._departures[kind] = departure
        self._say(f"{self.name}: {departure.spoken}")

    def _ended(self, role: str, reply_type: type[Record]) -> str:
        given, left = self._given.get(role, 0), len(self._left.get(role, []))
        rest = f"; {left} of another kind are left" if left else ""
        return (
            f"{self.name} ends here: {role!r} is asked for a {reply_type.__name__} after"
            f" {given} recorded replies{rest}"
        )


def _fits(entry: Recorded, reply_type: type[Record]) -> bool:
    if entry.reply_json is None:
        return True
    try:
        reply_type.model_validate_json(entry.reply_json)
    except ValidationError:
        return False
    return True


def _says(entry: Recorded, given: Recorded) -> bool:
    """Whether a recorded reply is the one that was given; that one may have fields that came later."""
    if entry.reply_json is None or given.reply_json is None:
        return entry.reply_json is given.reply_json
    recorded, said = json.loads(entry.reply_json), json.loads(given.reply_json)
    return bool(said | recorded == said)


def _masked(text: str) -> str:
    return _FIGURE.sub("#", text)


def _settled(recorded: str, now: str) -> tuple[str, str]:
    """Both briefs without what other desks had open when one of them was read.

    How far the others are is a matter of moments, and no desk waits for another. What they have
    put on the stack meanwhile, and whom that makes the director's choice, goes with it.
    """
    stood, stands = (
        {entry[1]: entry[2] for entry in _EXPERIMENT.finditer(text)} for text in (recorded, now)
    )
    every = stood.keys() | stands.keys()
    moving = {each for each in every if OPEN in (stood.get(each, OPEN), stands.get(each, OPEN))}
    if not moving:
        return recorded, now
    return _without(moving, recorded), _without(moving, now)


def _without(numbers: set[str], text: str) -> str:
    """A brief without these experiments, as it would be if they had never been begun."""
    text = _EXPERIMENT.sub(lambda entry: "" if entry[1] in numbers else entry[0], text)
    text = _EMPTY_NOTEBOOK.sub(NO_EXPERIMENT, text)
    return _BY_OTHERS.sub("", text)


def _difference(recorded: str, now: str) -> tuple[Departing, str, str] | None:
    """The first line that differs in words, or else the first that differs in figures; both versions."""
    pairs = [
        (before, after)
        for before, after in zip_longest(recorded.split("\n"), now.split("\n"), fillvalue="")
        if before != after
    ]
    for before, after in pairs:
        if _masked(before) != _masked(after):
            return "words", before, after
    return ("figures", *pairs[0]) if pairs else None


def _shown(line: str) -> str:
    line = " ".join(line.split())
    return f"“{line}”" if len(line) <= SHOWN else f"“{line[:SHOWN]}…”"
