"""No worse: which changes are doubted, and when a source does as well without them, or simpler."""

from __future__ import annotations

import random
from math import inf, sqrt

from trainer.evidence.effect import Scored
from trainer.evidence.prune import Support, doubtful, prune, simplify
from trainer.evidence.spread import Spread

RUN = Spread(bpb=1.0, freedom=40.0)
PAIR = Spread(bpb=sqrt(2), freedom=40.0)
SEEDS = (11, 12, 13, 14, 15)
INCUMBENT = [(seed, 100.0) for seed in SEEDS]


def runs(*scores: float) -> list[Scored]:
    return list(zip(SEEDS, scores, strict=False))


def test_only_changes_that_add_lines_and_do_little_are_doubted() -> None:
    changes = [
        Support(change="little", expected_bpb=-0.1, lines_added=2),
        Support(change="much", expected_bpb=-2.0, lines_added=40),
        Support(change="free", expected_bpb=-0.1, lines_added=0),
        Support(change="simpler", expected_bpb=0.2, lines_added=-3),
    ]
    assert doubtful(changes, RUN) == ("little",)


def test_a_source_that_is_as_good_without_them_becomes_the_incumbent() -> None:
    step = prune(runs(100.0, 99.9, 100.1, 100.0, 99.8), INCUMBENT, seeds=SEEDS, run=RUN, pair=PAIR)
    assert step.says == "pass"
    assert step.effect is not None
    assert step.effect.seeds == 5


def test_it_takes_all_seeds_to_say_that_a_change_is_not_needed() -> None:
    step = prune(runs(99.0, 99.0, 99.0), INCUMBENT, seeds=SEEDS, run=RUN, pair=PAIR)
    assert (step.says, step.side, step.seed) == ("more", "head", 14)


def test_what_is_clearly_worse_without_them_stops_early() -> None:
    assert prune(runs(102.0, 101.0), INCUMBENT, seeds=SEEDS, run=RUN, pair=PAIR).says == "fail"


def test_what_is_near_the_margin_stays_as_it_was() -> None:
    step = prune(runs(*[100.6] * 5), INCUMBENT, seeds=SEEDS, run=RUN, pair=PAIR)
    assert step.says == "fail"


def test_a_pruned_source_without_a_score_is_not_taken() -> None:
    step = prune(runs(100.0, inf), INCUMBENT, seeds=SEEDS, run=RUN, pair=PAIR)
    assert step.says == "fail"


def test_a_head_that_only_removes_lines_has_to_be_no_worse_by_the_same_margin() -> None:
    same = (100.0, 99.9, 100.1, 100.0, 99.8)
    for scores in (same, (102.0, 101.0), (100.6,) * 5, (99.0, 99.0)):
        asked, pruned = (
            rule(runs(*scores), INCUMBENT, seeds=SEEDS, run=RUN, pair=PAIR)
            for rule in (simplify, prune)
        )
        assert (asked.says, asked.effect) == (pruned.says, pruned.effect)
    assert simplify(runs(*same), INCUMBENT, seeds=SEEDS, run=RUN, pair=PAIR).reason == (
        "no worse, and simpler"
    )


def removed(harm: float) -> float:
    """How often changes that are worth so much are removed, of 500 times."""
    count = 0
    for _ in range(500):
        incumbent = runs(*(random.gauss(0.0, 1.0) for _ in SEEDS))
        pruned = runs(*(random.gauss(harm, 1.0) for _ in SEEDS))
        count += prune(pruned, incumbent, seeds=SEEDS, run=RUN, pair=PAIR).says == "pass"
    return count / 500


def test_changes_that_are_needed_are_hardly_ever_removed_and_needless_ones_often() -> None:
    random.seed(8)
    assert removed(1.5) < 0.05
    assert removed(0.0) > 0.5
