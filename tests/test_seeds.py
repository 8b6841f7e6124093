"""A source that ignores its seed is found by what it scores."""

from __future__ import annotations

from trainer.evidence.seeds import ignores_seed
from trainer.trial import Trial


def trial(seed: int, val_bpb: float, steps: int = 100) -> Trial:
    return Trial(
        source_sha="s",
        seed=seed,
        device="cpu:0",
        outcome="completed",
        val_bpb=val_bpb,
        steps=steps,
    )


def test_the_same_score_under_two_seeds_shows_that_the_seed_is_ignored():
    assert ignores_seed([trial(1, 1.25), trial(2, 1.25)])
    assert not ignores_seed([trial(1, 1.25), trial(2, 1.2500001)])


def test_one_seed_twice_or_a_model_without_training_shows_nothing():
    assert not ignores_seed([trial(1, 1.25), trial(1, 1.25)])
    assert not ignores_seed([trial(1, 8.0, steps=0), trial(2, 8.0, steps=0)])
