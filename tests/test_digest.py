"""What the roles see of the notebook is bounded, and failures keep their place in it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from org.digest import ENTRY_OVERHEAD_TOKENS, make_digest
from org.notebook import Notebook
from roles.records import Decision, Digest, Hypothesis, Verdict
from tests.notebooks import RUN, Night


class Entered(NamedTuple):
    """An experiment as it is entered here; open without a decision, and of no known direction
    without a category."""

    decision: Decision | None = "discard"
    effect: float | None = 0.01
    is_directed: bool = True


OPEN = Entered(None, None)


def digest_of(
    folder: Path, entered: list[Entered], at_most: int, besides: int | None = None
) -> Digest:
    """Room for so many entries: here every entry costs its overhead and one token.

    It is for the one that is begun after all others, or for the one of the number ``besides``.
    """
    notebook = Notebook(folder / "notebook.sqlite")
    Night(notebook)
    for each in [*entered, Entered(None, None, is_directed=False)]:
        experiment = notebook.reserve_experiment(RUN, "desk 1", None)
        assert experiment is not None
        if each.is_directed:
            hypothesis = Hypothesis(
                title=f"change {experiment.number}",
                category="optimizer",
                change="",
                mechanism="",
                expected_effect=-0.1,
            )
            notebook.set_hypothesis(experiment.id, hypothesis)
        if each.decision:
            verdict = Verdict(decision=each.decision, reason="")
            notebook.close_experiment(experiment.id, verdict, each.effect)
    digest = make_digest(
        notebook,
        "find out",
        besides=len(entered) + 1 if besides is None else besides,
        baseline_bpb=2.0,
        incumbent_bpb=1.9,
        head_bpb=1.88,
        stacked=2,
        noise_bpb=0.01,
        terms="20 s",
        count_tokens=lambda text: 1,
        at_most_tokens=at_most * (ENTRY_OVERHEAD_TOKENS + 1),
    )
    notebook.close()
    return digest


def numbers(digest: Digest) -> list[int]:
    return [entry.number for entry in digest.entries]


def test_everything_is_in_it_while_it_fits_in_the_order_of_the_experiments(tmp_path: Path):
    digest = digest_of(tmp_path, [Entered()] * 3, at_most=3)
    assert numbers(digest) == [1, 2, 3]
    assert digest.left_out == 0


def test_what_did_not_fit_is_counted(tmp_path: Path):
    digest = digest_of(tmp_path, [Entered()] * 100, at_most=10)
    assert len(digest.entries) == 10
    assert digest.left_out == 90


def test_what_has_no_direction_and_whoever_reads_it_are_neither_in_it_nor_counted(tmp_path: Path):
    lost = Entered("crash", None, is_directed=False)
    begun = Entered(None, None, is_directed=False)
    digest = digest_of(tmp_path, [Entered(), lost, OPEN, begun, Entered()], at_most=1, besides=3)
    assert numbers(digest) == [5]
    assert digest.left_out == 1


def test_open_experiments_come_first_so_that_nobody_repeats_them(tmp_path: Path):
    assert numbers(digest_of(tmp_path, [OPEN, *[Entered()] * 48], at_most=1)) == [1]


def test_what_is_on_the_stack_outlives_later_discards_as_what_is_proven_does(tmp_path: Path):
    entered = [Entered("provisional", -0.01), *[Entered("discard", 0.02)] * 102]
    assert 1 in numbers(digest_of(tmp_path, entered, at_most=2))


def test_what_was_dropped_is_a_near_miss_and_no_keep(tmp_path: Path):
    entered = [
        *[Entered("keep", -0.05)] * 4,
        Entered("dropped", -0.01),
        *[Entered("discard", 0.02)] * 98,
    ]
    (tmp_path / "3").mkdir()
    assert 5 not in numbers(digest_of(tmp_path, entered, at_most=2))
    assert 5 in numbers(digest_of(tmp_path / "3", entered, at_most=3))


def test_the_head_and_what_is_on_the_stack_are_told(tmp_path: Path):
    digest = digest_of(tmp_path, [], at_most=1)
    assert (digest.incumbent_bpb, digest.head_bpb, digest.stacked) == (1.9, 1.88, 2)
    assert digest.terms == "20 s"


def test_an_old_keep_a_near_miss_and_a_crash_outlive_a_hundred_later_discards(tmp_path: Path):
    entered = [
        Entered("keep", -0.05),
        Entered("discard", -0.001),
        Entered("crash", None),
        *[Entered("discard", 0.02)] * 100,
    ]
    assert {1, 2, 3} <= set(numbers(digest_of(tmp_path, entered, at_most=8)))
