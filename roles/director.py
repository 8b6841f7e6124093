"""The director: from the notebook's digest to what is looked at next, and by whom."""

from __future__ import annotations

import difflib

from roles.model import Answer, Brief, Model
from roles.records import Direction, DirectorReads, Person, Suggestion


def direct(model: Model, role: str, prompt: str, reads: DirectorReads) -> Answer[Direction]:
    """Ask for a direction; the one assigned is then sure to be one of ``reads.people``.

    An unknown assignee is mended here, not asked for again: to a name within what was said, else
    to the one that comes nearest, else to the first of the people, of whom there is at least one.
    Where no person has left a note, there is nothing to answer. Of an experiment that explores,
    assignee and category are settled, and put right in the same way. The answer's text still says
    what the model said.

    Raises:
        ModelError: no direction could be had.
    """
    answer = model.ask(Brief(role=role, prompt=prompt, reads=reads), Direction)
    said = answer.reply
    settled = {"assignee": _whom(said.assignee, reads.people), **_settled(reads.suggestion)}
    settled["answer"] = said.answer.strip() if reads.notes else ""
    return answer.model_copy(update={"reply": said.model_copy(update=settled)})


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
