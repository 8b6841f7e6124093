"""Replies that were recorded elsewhere, behind the door to models: says where a run departs from them."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Literal

from pydantic import ValidationError

from roles.model import Answer, Brief, Cost, ModelError, ModelRefused, Reply
from roles.records import Prose, Record
from roles.render import render

SHOWN = 200  # characters of a line that is shown

# Two measurements of one source differ: what departs in numbers alone says nothing of the discussion.
_FIGURE = re.compile(r"[-+−±≥]?\s?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")

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

    Where several desks ask in another order than they did, the reply to the very same brief comes
    first. A brief that was never answered gets the role's next reply of the type that is asked
    for, and `say` is told where it departs from the recorded one: of words and of figures, the
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

    @property
    def name(self) -> str:
        """``replay``, and of which lab."""
        return self._name

    @property
    def departure(self) -> Departure | None:
        """The first departure in words, if there was one."""
        return self._departures.get("words")

    def ask(self, brief: Brief, reply_type: type[Reply]) -> Answer[Reply]:
        """The reply to this brief, or else the role's next.

        Raises:
            RecordEnds: none of this type is left.
            ModelError: the model failed here when it was recorded.
        """
        with self._lock:
            fitting = [each for each in self._left.get(brief.role, []) if _fits(each, reply_type)]
            if not fitting:
                raise RecordEnds(self._ended(brief.role, reply_type))
            entry = self._take(brief.role, as_read(brief), fitting)
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

    def resume(self, role: str, text: str) -> None:
        """Have what answered this text count as given: it was, before a restart.

        Raises:
            RecordEnds: nothing is left of the role: it is not the record that was begun with.
        """
        with self._lock:
            if not (left := self._left.get(role)):
                raise RecordEnds(f"{self.name} has fewer replies of {role!r} than were given")
            self._take(role, text, left)

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

    def _take(self, role: str, text: str, fitting: list[Recorded]) -> Recorded:
        sha = sha_of(text)
        same = next((each for each in fitting if each.brief_sha == sha), None)
        entry = same or fitting[0]
        if same is None:
            self._departs(entry, text)
        # By identity: two replies may be equal.
        self._left[role] = [each for each in self._left[role] if each is not entry]
        self._given[role] += 1
        return entry

    def _departs(self, entry: Recorded, text: str) -> None:
        recorded = self._brief_of(entry.brief_sha)
        if recorded is None:
            if not self._unknown:
                self._unknown = True
                self._say(
                    f"{self.name}: what was read then is not recorded; departures stay unseen"
                )
            return
        kind, before, now = _difference(recorded, text)
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


def _difference(recorded: str, now: str) -> tuple[Departing, str, str]:
    """The first line that differs in words, or else the first that differs in figures; both versions."""
    pairs = [
        (before, after)
        for before, after in zip_longest(recorded.split("\n"), now.split("\n"), fillvalue="")
        if before != after
    ]
    for before, after in pairs:
        if _FIGURE.sub("#", before) != _FIGURE.sub("#", after):
            return "words", before, after
    return "figures", *pairs[0]


def _shown(line: str) -> str:
    line = " ".join(line.split())
    return f"“{line}”" if len(line) <= SHOWN else f"“{line[:SHOWN]}…”"
