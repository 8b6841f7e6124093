"""What a role reads, cut to what fits into its model's window, and what was cut is said."""

from __future__ import annotations

from roles.quoting import cut_brief
from roles.records import AdviserReads, Reads, ScreeningReads
from roles.render import render
from roles.tokens import count_tokens

# What is shown of quotes and of the notebook, until it fits; only then is the source cut, too, for
# who has to match its lines. Who only looks at it loses it first.
SHARES = (0.7, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05)
LEAST_SHARES = (0.25, 0.1)
NOTICE_TOKENS = 100
LEAST_SOURCE_TOKENS = 200
CHARACTERS_PER_TOKEN = 2  # of code and prose in Latin letters, rather too few; others have one


def fit(reads: Reads, room: int | None) -> str:
    """What a role reads, in about ``room`` tokens; None if there is no end of room.

    Quotes and the notebook are cut first, all by the same share; then the source, from its
    middle; and if all this is not enough, the middle of everything. Of one who edits nothing the
    source is cut first, and then left out.
    """
    whole = render(reads)
    if room is None or len(whole.encode()) <= room or count_tokens(whole) <= room:
        return whole  # no token is less than a byte
    room -= NOTICE_TOKENS
    edits_nothing = isinstance(reads, AdviserReads | ScreeningReads)
    if edits_nothing and (text := _with_source_cut(reads, 1.0, room)):
        return text
    for share in SHARES:
        text = render(reads, share, 0 if edits_nothing else None)
        if count_tokens(text) <= room:
            return f"{_notice(share)}\n\n{text}"
    for share in LEAST_SHARES:
        if text := _with_source_cut(reads, share, room):
            return text
    return _hard_cut(f"{_notice(LEAST_SHARES[-1])}\n\n{render(reads, LEAST_SHARES[-1], 0)}", room)


def _with_source_cut(reads: Reads, share: float, room: int) -> str:
    """With as much of the source as fits beside the rest; "" where that would be next to nothing."""
    source = getattr(reads, "source", "")
    left = room - count_tokens(render(reads, share, 0))
    if not source or left < LEAST_SOURCE_TOKENS:
        return ""
    characters = left * len(source) // count_tokens(source)
    while count_tokens(text := render(reads, share, characters)) > room:
        characters = characters * 9 // 10  # some parts of it have more tokens than others
    return f"{_notice(share)} Of train.py the middle is left out.\n\n{text}"


def _hard_cut(text: str, room: int) -> str:
    characters = len(text)
    while count_tokens(shown := cut_brief(text, characters)) > room and characters > 1:
        characters = characters * 9 // 10
    return shown


def _notice(share: float) -> str:
    said = "## What was cut\n\nNot all that there is to read fits into your window."
    if share < 1:
        said += (
            f" Of the notebook and of each quote you see about {share:.0%}, the most telling "
            "first; where something is left out, it says so."
        )
    return said
