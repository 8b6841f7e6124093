"""What the playbook's director can read in a person's note: the name of a role, category or constant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import get_args

from roles.moves import KNOBS
from roles.records import PARAGRAPH_CHARACTERS, Category, Note, Person

_CATEGORIES: tuple[Category, ...] = get_args(Category)
_QUOTED = 60  # characters of a note in the answer to it
_TELLING = 5  # letters that a word of a focus has at least, if a note is to be recognised by it

# Words that may turn a sentence around: what it names is then perhaps what it does not want.
_AGAINST = re.compile(
    r"\b(not|no|never|none|stop|avoid|without|leave|except|instead|rather|less|enough|fewer)\b|n['’]t\b",
    re.IGNORECASE,
)
# How a focus says which constant a person asks for; the playbook's hypothesis reads it there.
_ASKED = re.compile(r"A person asks for ([A-Z][A-Z0-9_]*)\.")


@dataclass(frozen=True)
class Wish:
    """What a note names: who should look, where, and which constant to turn; what is not named is empty."""

    assignee: str = ""
    categories: tuple[Category, ...] = ()
    constant: str = ""

    @property
    def spoken(self) -> str:
        where = self.constant and f"{self.constant}, in {self.categories[0]}"
        parts = (where or " or ".join(self.categories), self.assignee and f"by {self.assignee}")
        return " ".join(part for part in parts if part)


def heed(
    notes: tuple[Note, ...], people: tuple[Person, ...], spent: set[Category]
) -> tuple[Wish, str]:
    """The first wish that can be followed, empty if there is none, and the answer to all notes.

    ``spent`` are the categories in which nothing is left to try. Nothing is guessed: a note that
    names nothing, or may speak against what it names, is answered with that.
    """
    followed, answers = Wish(), list[str]()
    for note in notes:
        wish = _wish(note.text, people)
        if _AGAINST.search(note.text):
            said = (
                "I am code: I read which role, category or constant a note names, not what it says"
                " against one. I cannot follow it."
            )
        elif wish == Wish():
            said = (
                "I am code, and no role, category or constant that I know is named in it."
                " I cannot follow it."
            )
        elif wish.categories and spent.issuperset(wish.categories):
            said = f"I know of nothing left to try in {' or '.join(wish.categories)}."
        elif followed != Wish():
            said = "One thing at a time: please say it again after this experiment."
        else:
            followed, said = wish, f"I follow it: {wish.spoken}."
        answers.append(f"“{_shortened(note.text)}” {said}")
    return followed, "\n".join(answers)[:PARAGRAPH_CHARACTERS]


def asks_for(constant: str) -> str:
    """The sentence of a focus that hands the wish for a constant on; "" for none."""
    return f"A person asks for {constant}. " if constant else ""


def asked_for(focus: str) -> str:
    """The constant that a person asks for, by the focus of a direction; "" for none."""
    found = _ASKED.match(focus)
    return found[1] if found else ""


def _wish(text: str, people: tuple[Person, ...]) -> Wish:
    said = text.casefold()
    named = [person for person in people if _names(said, person.name.casefold())]
    if not named:
        named = [person for person in people if _telling(person, people) & set(_words(said))]
    knob = next((knob for knob in KNOBS if _names_constant(text, knob.name)), None)
    categories = [each for each in _CATEGORIES if _names(said, each)]
    if knob is not None:
        categories = [knob.category]
    elif named and not categories:
        categories = [each for each in _CATEGORIES if each in named[0].focus.casefold()]
    return Wish(
        assignee=named[0].name if named else "",
        categories=tuple(categories),
        constant=knob.name if knob else "",
    )


def _names(text: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text) is not None


def _names_constant(text: str, name: str) -> bool:
    """Whether a text has the name as the source does, or as a person says it: `weight decay`."""
    aloud = name.replace("_", " ").casefold()
    return _names(text, name) or ("_" in name and _names(text.casefold(), aloud))


def _telling(person: Person, people: tuple[Person, ...]) -> set[str]:
    """The words by which a focus differs from all the others', categories apart."""
    others = {word for each in people if each != person for word in _words(each.focus)}
    own = {word for word in _words(person.focus) if len(word) >= _TELLING}
    return own - others - set(_CATEGORIES)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _QUOTED else f"{text[: _QUOTED - 1]}…"
