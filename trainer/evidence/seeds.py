"""Whether a source uses the seed that it is given."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.trial import Trial


def ignores_seed(trials: Sequence[Trial]) -> bool:
    """Whether trained trials of one source under different seeds came to the very same score.

    Two seeds give two orders of the text and two first weights; a source whose score is the same to
    the last digit has set a seed of its own. Trials that report no step prove nothing.
    """
    trained = {trial.seed: trial.val_bpb for trial in trials if trial.steps and trial.val_bpb}
    return len(set(trained.values())) < len(trained)
