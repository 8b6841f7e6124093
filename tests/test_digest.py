"""What the roles see of the notebook is bounded, and failures keep their place in it."""

from org.digest import ENTRY_OVERHEAD_TOKENS, make_digest
from roles.records import Digest, Entry


def entry(number: int, decision: str | None = "discard", effect: float | None = 0.01) -> Entry:
    return Entry.model_validate(
        {
            "number": number,
            "title": f"change {number}",
            "category": "optimizer",
            "decision": decision,
            "effect": effect,
        }
    )


def digest_of(entries: list[Entry], at_most: int) -> Digest:
    """Room for so many entries: here every entry costs its overhead and one token."""
    return make_digest(
        "find out",
        entries,
        baseline_bpb=2.0,
        incumbent_bpb=1.9,
        head_bpb=1.88,
        stacked=2,
        noise_bpb=0.01,
        terms="20 s",
        count_tokens=lambda text: 1,
        at_most_tokens=at_most * (ENTRY_OVERHEAD_TOKENS + 1),
    )


def numbers(digest: Digest) -> list[int]:
    return [entry.number for entry in digest.entries]


def test_everything_is_in_it_while_it_fits_in_the_order_of_the_experiments():
    digest = digest_of([entry(3), entry(1), entry(2)], at_most=3)
    assert numbers(digest) == [1, 2, 3]
    assert digest.left_out == 0


def test_what_did_not_fit_is_counted():
    digest = digest_of([entry(number) for number in range(1, 101)], at_most=10)
    assert len(digest.entries) == 10
    assert digest.left_out == 90


def test_open_experiments_come_first_so_that_nobody_repeats_them():
    entries = [entry(1, decision=None, effect=None), *(entry(n) for n in range(2, 50))]
    assert numbers(digest_of(entries, at_most=1)) == [1]


def test_what_is_on_the_stack_outlives_later_discards_as_what_is_proven_does():
    entries = [entry(1, "provisional", -0.01), *(entry(n, "discard", 0.02) for n in range(2, 104))]
    assert 1 in numbers(digest_of(entries, at_most=2))


def test_what_was_dropped_is_a_near_miss_and_no_keep():
    entries = [
        *(entry(number, "keep", -0.05) for number in range(1, 5)),
        entry(5, "dropped", -0.01),
        *(entry(number, "discard", 0.02) for number in range(6, 104)),
    ]
    assert 5 not in numbers(digest_of(entries, at_most=2))
    assert 5 in numbers(digest_of(entries, at_most=3))


def test_the_head_and_what_is_on_the_stack_are_told():
    digest = digest_of([], at_most=1)
    assert (digest.incumbent_bpb, digest.head_bpb, digest.stacked) == (1.9, 1.88, 2)
    assert digest.terms == "20 s"


def test_an_old_keep_a_near_miss_and_a_crash_outlive_a_hundred_later_discards():
    entries = [
        entry(1, "keep", -0.05),
        entry(2, "discard", -0.001),
        entry(3, "crash", None),
        *(entry(number, "discard", 0.02) for number in range(4, 104)),
    ]
    assert {1, 2, 3} <= set(numbers(digest_of(entries, at_most=8)))
