"""The notebook as a role sees it: what matters most, cut to a bounded number of tokens."""

from __future__ import annotations

from collections.abc import Callable

from roles.records import Digest, Entry

# What an entry costs beyond its own words: its number, decision and effect, and the markup.
ENTRY_OVERHEAD_TOKENS = 40


def make_digest(
    program: str,
    entries: list[Entry],
    *,
    baseline_bpb: float,
    incumbent_bpb: float,
    head_bpb: float,
    stacked: int,
    noise_bpb: float,
    terms: str,
    count_tokens: Callable[[str], int],
    at_most_tokens: int,
) -> Digest:
    """Choose the entries that fit, the most telling first, and put them back in order.

    Open experiments come before all others, so that nobody repeats them; then what is kept or on
    the stack, the latest experiments, near misses and crashes in turn, so that failures have their place too.
    """
    room = at_most_tokens
    chosen: list[Entry] = []
    for entry in _most_telling_first(entries):
        room -= ENTRY_OVERHEAD_TOKENS + count_tokens(_words(entry))
        if room < 0:
            break
        chosen.append(entry)
    return Digest(
        program=program,
        baseline_bpb=baseline_bpb,
        incumbent_bpb=incumbent_bpb,
        head_bpb=head_bpb,
        stacked=stacked,
        noise_bpb=noise_bpb,
        terms=terms,
        entries=tuple(sorted(chosen, key=lambda entry: entry.number)),
        left_out=len(entries) - len(chosen),
    )


def _words(entry: Entry) -> str:
    return " ".join((entry.title, entry.change, entry.summary, entry.reason, entry.lesson))


def _most_telling_first(entries: list[Entry]) -> list[Entry]:
    newest_first = sorted(entries, key=lambda entry: -entry.number)
    near_misses = sorted(
        (
            entry
            for entry in entries
            if entry.decision in ("discard", "dropped") and entry.effect is not None
        ),
        key=lambda entry: entry.effect or 0.0,
    )
    shelves = [
        [entry for entry in newest_first if entry.decision in ("keep", "provisional")],
        newest_first,
        near_misses,
        [entry for entry in newest_first if entry.decision == "crash"],
    ]
    order = [entry for entry in newest_first if entry.decision is None]
    longest = max(len(shelf) for shelf in shelves)
    order += [shelf[i] for i in range(longest) for shelf in shelves if i < len(shelf)]
    return list({entry.number: entry for entry in order}.values())
