"""The notebook as a role sees it: what matters most, cut to a bounded number of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice, zip_longest

from org.notebook import Notebook
from roles.records import Digest, Entry

# What an entry costs beyond its own words: its number, decision and effect, and the markup.
ENTRY_OVERHEAD_TOKENS = 40

# So many entries, and numbers of each shelf, are read at a time while there is room.
READ_TOGETHER = 25

# The notebook on shelves, each the most telling first, of which a page is read at a time. Where there
# are two decisions on one, each is found by itself, so that an index has the order.
OPEN = """
    select number from experiments where decision is null and category is not null
    order by number desc limit :page offset :skip"""
SHELVES = (
    """select * from (select number from experiments where decision = 'keep'
        order by number desc limit :page + :skip)
    union all select * from (select number from experiments where decision = 'provisional'
        order by number desc limit :page + :skip)
    order by number desc limit :page offset :skip""",
    """select number from experiments where category is not null
    order by number desc limit :page offset :skip""",
    """select number from (
        select * from (select number, effect from experiments where decision = 'discard'
            and effect is not null order by effect, number limit :page + :skip)
        union all select * from (select number, effect from experiments where decision = 'dropped'
            and effect is not null order by effect, number limit :page + :skip))
    order by effect, number limit :page offset :skip""",
    """select number from experiments where decision = 'crash' and category is not null
    order by number desc limit :page offset :skip""",
)

# Experiments of known direction but one: numbers have no gaps, and few are of unknown direction.
COUNT = """
    select (select max(number) from experiments)
        - (select count(*) from experiments where category is null and number != :besides)
        - exists (select 1 from experiments where number = :besides) as count"""


def make_digest(
    notebook: Notebook,
    program: str,
    *,
    besides: int,
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
    the stack, the latest experiments, near misses and crashes in turn, so that failures have their
    place too. The experiment of the number ``besides`` is left out.
    """
    room = at_most_tokens
    chosen: list[Entry] = []
    for entry in _most_telling_first(notebook, besides):
        room -= ENTRY_OVERHEAD_TOKENS + count_tokens(_words(entry))
        if room < 0:
            break
        chosen.append(entry)
    (directed,) = notebook.rows(COUNT, {"besides": besides})
    return Digest(
        program=program,
        baseline_bpb=baseline_bpb,
        incumbent_bpb=incumbent_bpb,
        head_bpb=head_bpb,
        stacked=stacked,
        noise_bpb=noise_bpb,
        terms=terms,
        entries=tuple(sorted(chosen, key=lambda entry: entry.number)),
        left_out=(directed["count"] or 0) - len(chosen),
    )


def _words(entry: Entry) -> str:
    return " ".join((entry.title, entry.change, entry.summary, entry.reason, entry.lesson))


def _most_telling_first(notebook: Notebook, besides: int) -> Iterator[Entry]:
    in_turn = chain.from_iterable(zip_longest(*(_numbers(notebook, shelf) for shelf in SHELVES)))
    order = _once(chain(_numbers(notebook, OPEN), in_turn), {besides})
    while together := list(islice(order, READ_TOGETHER)):
        read = {entry.number: entry for entry in notebook.entries(together)}
        yield from (read[number] for number in together)


def _numbers(notebook: Notebook, shelf: str) -> Iterator[int]:
    """The experiments on a shelf; what is not asked for is not read."""
    skip = 0
    while rows := notebook.rows(shelf, {"page": READ_TOGETHER, "skip": skip}):
        yield from (row["number"] for row in rows)
        skip += READ_TOGETHER


def _once(numbers: Iterable[int | None], seen: set[int]) -> Iterator[int]:
    for number in numbers:
        if number is not None and number not in seen:
            seen.add(number)
            yield number
