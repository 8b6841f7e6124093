"""Replies read from a list, behind the door to models: fails when the list runs out or misfits."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from roles.model import Answer, Brief, ModelRefused, Reply
from roles.records import Prose, Record

# What may stand in a script for a reply: the record, its fields, or, for Prose, its text.
Scripted = Record | Mapping[str, Any] | str


class ScriptExhausted(ModelRefused):
    """A role was asked for more than the script has for it."""


class ScriptMisfit(ModelRefused):
    """The script, or one reply in it, is not what was asked for."""


class ScriptedModel:
    """Gives each role its replies in their order; shared by any number of threads.

    A script is a list of (role, reply). It knows nothing of what was said before a restart: who
    resumes a lab calls `skip` with the number of replies that are recorded already.
    """

    def __init__(self, replies: Iterable[tuple[str, Scripted]], name: str = "scripted") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._replies: dict[str, list[Scripted]] = {}
        for role, reply in replies:
            self._replies.setdefault(role, []).append(reply)
        self._given = dict.fromkeys(self._replies, 0)

    @classmethod
    def read(cls, path: Path) -> ScriptedModel:
        """Read a script from YAML: a list whose items are each ``role: reply``.

        A reply is a mapping of a record's fields or, for prose, a text.

        Raises:
            ScriptMisfit: the file cannot be read, or is no such list.
        """
        try:
            items = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ScriptMisfit(f"script {path}: {' '.join(str(error).split())}") from error
        if not isinstance(items, list):
            raise ScriptMisfit(f"script {path}: a list is expected, of items `role: reply`")
        return cls((_item(path, at, item) for at, item in enumerate(items, 1)), f"scripted:{path}")

    @property
    def name(self) -> str:
        """``scripted``, and where from."""
        return self._name

    def ask(self, brief: Brief, reply_type: type[Reply]) -> Answer[Reply]:
        """The role's next reply; one that does not fit is not used up.

        Raises:
            ScriptExhausted: there is none left.
            ScriptMisfit: it is not of the type asked for.
        """
        role = brief.role
        with self._lock:
            given, replies = self._given.get(role, 0), self._replies.get(role, [])
            if given >= len(replies):
                raise ScriptExhausted(
                    f"{self.name}: {role!r} is asked for reply {given + 1}, a "
                    f"{reply_type.__name__}, but the script has {len(replies)} for it{self._roles(role)}"
                )
            what = f"{self.name}: reply {given + 1} of {role!r}"
            reply = _fitted(replies[given], reply_type, what)
            self._given[role] = given + 1
        text = reply.text if isinstance(reply, Prose) else reply.model_dump_json()
        return Answer(reply=reply, text=text, model=self.name)

    def skip(self, role: str, count: int) -> None:
        """Have a role's first ``count`` replies count as given; those given already are not undone.

        Raises:
            ScriptExhausted: the script has fewer: it is not the one that was begun with.
        """
        with self._lock:
            there = len(self._replies.get(role, []))
            if count > there:
                raise ScriptExhausted(
                    f"{self.name}: {count} replies of {role!r} are recorded, but the script has {there}"
                )
            if count:
                self._given[role] = max(self._given[role], count)

    def remaining(self) -> dict[str, int]:
        """How many replies are left, for each role that has any."""
        with self._lock:
            left = {role: len(self._replies[role]) - given for role, given in self._given.items()}
        return {role: count for role, count in left.items() if count}

    def _roles(self, role: str) -> str:
        """For a role that the script does not know: those that it does."""
        return "" if role in self._replies else f" (it has {', '.join(self._replies) or 'nothing'})"


def _item(path: Path, position: int, item: object) -> tuple[str, Scripted]:
    if isinstance(item, dict) and len(item) == 1:
        ((role, reply),) = item.items()
        if isinstance(role, str) and isinstance(reply, dict | str):
            return role, reply
    raise ScriptMisfit(
        f"script {path}: item {position} should be `role: reply`, where the reply is a text or a "
        f"mapping; it is {str(item)[:80]!r}"
    )


def _fitted(reply: Scripted, reply_type: type[Reply], what: str) -> Reply:
    if isinstance(reply, reply_type):
        return reply
    if isinstance(reply, Record) and issubclass(reply_type, type(reply)):
        reply = reply.model_dump()  # a narrower kind is asked for: it may be one
    if isinstance(reply, Record):
        raise ScriptMisfit(
            f"{what} should be a {reply_type.__name__}; it is a {type(reply).__name__}"
        )
    if isinstance(reply, str) and reply_type is not Prose:
        raise ScriptMisfit(
            f"{what} should be a {reply_type.__name__}; it is the text {reply[:80]!r}"
        )
    try:
        return reply_type.model_validate({"text": reply} if isinstance(reply, str) else reply)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise ScriptMisfit(f"{what} should be a {reply_type.__name__}; {wrong}") from error
