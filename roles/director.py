"""The director: from the notebook's digest to what is looked at next, and by whom."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import create_model, model_validator

from roles.model import Answer, Brief, Model
from roles.records import Direction, DirectorReads, Person, Suggestion, WaysOut


def direct(model: Model, role: str, prompt: str, reads: DirectorReads) -> Answer[Direction]:
    """Ask for a direction; the one assigned is then sure to be one of ``reads.people``.

    An unknown assignee is mended here, not asked for again: to a name within what was said, else
    to the one that comes nearest, else to the first of the people, of whom there is at least one.
    Where no person has left a note, there is nothing to answer. Of an experiment that explores,
    assignee and category are settled, and put right in the same way. The answer's text still says
    what the model said. On a plateau the reply must name one of the ways off it that are open, and
    what that asks for: one that does not is no reply.

    Raises:
        ModelError: no direction could be had.
    """
    wanted = Direction if reads.ways_out is None else leading(reads.ways_out)
    answer = model.ask(Brief(role=role, prompt=prompt, reads=reads), wanted)
    said = answer.reply.model_dump()
    settled: dict[str, Any] = {"assignee": _whom(said["assignee"], reads.people)}
    settled |= _settled(reads.suggestion)
    settled["answer"] = said["answer"].strip() if reads.notes else ""
    if reads.ways_out is None:
        settled |= {"way_out": None, "builds_on": ()}  # nobody asked
    return answer.model_copy(update={"reply": Direction.model_validate(said | settled)})


def leading(ways_out: WaysOut) -> type[Direction]:
    """A direction that leads off a plateau by one of the ways that are open, and by no other."""

    def leads(direction: Direction) -> Direction:
        if wrong := _astray(direction, ways_out):
            raise ValueError(wrong)
        return direction

    way: Any = Literal[ways_out.ways]
    narrower: type[Direction] = create_model(
        "Direction",
        __base__=Direction,
        __doc__=Direction.__doc__,
        __validators__={"leads": model_validator(mode="after")(leads)},  # type: ignore[dict-item]
        way_out=(way, ...),
    )
    return narrower


def _astray(direction: Direction, ways_out: WaysOut) -> str:
    """Why a direction does not do what its way off the plateau asks for; "" if it does."""
    meant = tuple(sorted(direction.builds_on))
    match direction.way_out:
        case "change category" if direction.category in ways_out.stale:
            return f"to change category, take one that is not of {', '.join(ways_out.stale)}"
        case "simplify" if direction.category != "simplification":
            return "to simplify, the category is simplification"
        case "combine near misses":
            pairs = [pair.numbers for pair in ways_out.near_misses]
            if meant not in [tuple(sorted(pair)) for pair in pairs]:
                return f"to combine near misses, builds_on is one of {pairs}"
        case "go back":
            keeps = [(keep.number,) for keep in ways_out.keeps]
            if meant not in keeps:
                return f"to go back, builds_on is one of {keeps}"
    return ""


def _settled(suggestion: Suggestion | None) -> dict[str, str]:
    """What is not the director's to choose."""
    if suggestion is None or suggestion.category is None:
        return {}
    return {"assignee": suggestion.assignee, "category": suggestion.category}


def _whom(said: str, people: tuple[Person, ...]) -> str:
    """The name of the person that is meant."""
    names = {person.name.casefold(): person.name for person in people}
    said = said.casefold()
    near = [name for name in names if name in said] or difflib.get_close_matches(said, names, n=1)
    return names[near[0]] if near else people[0].name
