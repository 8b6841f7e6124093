"""What a role reads, cut to what fits into its model's window, and what was cut is said."""

from __future__ import annotations

from roles.quoting import cut_brief
from roles.records import Reads
from roles.render import render
from roles.tokens import count_tokens

# What is shown of quotes and of the notebook, until it fits; only then is the source cut, too.
SHARES = (0.7, 0.5, 0.35, 0.25, 0.15, 0.1)
LEAST_SHARES = (0.25, 0.1)
NOTICE_TOKENS = 100
LEAST_SOURCE_TOKENS = 200
# Nothing that a role reads has fewer characters per token, on the whole.
CHARACTERS_PER_TOKEN = 2


def fit(reads: Reads, room: int | None) -> str:
    """What a role reads, in about ``room`` tokens; None if there is no end of room.

    Quotes and the notebook are cut first, all by the same share; then the source, from its
    middle; and if all this is not enough, the middle of everything.
    """
    whole = render(reads)
    if room is None or len(whole) <= room * CHARACTERS_PER_TOKEN or count_tokens(whole) <= room:
        return whole
    room -= NOTICE_TOKENS
    for share in SHARES:
        text = render(reads, share)
        if count_tokens(text) <= room:
            return f"{_notice(share)}\n\n{text}"
    source = getattr(reads, "source", "")
    for share in LEAST_SHARES:
        left = room - count_tokens(render(reads, share, 0))
        if source and left >= LEAST_SOURCE_TOKENS:
            characters = left * len(source) // count_tokens(source)
            return _within(reads, share, characters, room)
    return _hard_cut(f"{_notice(LEAST_SHARES[-1])}\n\n{render(reads, LEAST_SHARES[-1], 0)}", room)


def _within(reads: Reads, share: float, characters: int, room: int) -> str:
    """As much of the source as fits: some parts of it have more tokens than others."""
    while count_tokens(text := render(reads, share, characters)) > room:
        characters = characters * 9 // 10
    return f"{_notice(share)} Of train.py the middle is left out.\n\n{text}"


def _hard_cut(text: str, room: int) -> str:
    characters = len(text)
    while count_tokens(shown := cut_brief(text, characters)) > room and characters > 1:
        characters = characters * 9 // 10
    return shown


def _notice(share: float) -> str:
    return (
        "## What was cut\n\nNot all that there is to read fits into your window. Of the notebook "
        f"and of each quote you see about {share:.0%}, the most telling first; where something "
        "is left out, it says so."
    )
