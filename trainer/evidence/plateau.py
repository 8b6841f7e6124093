"""A plateau: whether the latest experiments have brought anything, in evidence and not in counts alone."""

from __future__ import annotations

from collections.abc import Sequence

# So many experiments, and what is expected of them together in standard errors of one run, below
# which nothing is. In simulation twelve are on a plateau 9 times in 10 where no change does
# anything, half of the time where few help a little, 1 time in 8 where one in five helps much.
WINDOW = 12
LEAST = 0.25


def expected_gain(expected_bpb: Sequence[float], window: int = WINDOW) -> float:
    """What the latest experiments together are expected to have taken off val_bpb (positive: better).

    ``expected_bpb`` has for each experiment, in order, the posterior mean of its effect in bits per
    byte (`trainer.evidence.effect.shrunk`); 0 where nothing came of it: discarded, crashed, dropped by a
    certification. What simplifies at a price counts as nothing.
    """
    return sum(max(-each, 0.0) for each in expected_bpb[-window:])


def on_plateau(expected_bpb: Sequence[float], error: float, window: int = WINDOW) -> bool:
    """Whether the latest ``window`` experiments are expected to have brought as good as nothing.

    ``error`` is the standard error of one run (`trainer.evidence.stack.run_error`). Counting
    failures would not do: in noise a lucky run interrupts every row of them, and is shrunk to almost
    nothing by the history of its like (Johnstone and Silverman 2004, Annals of Statistics 32(4)).
    """
    return len(expected_bpb) >= window and expected_gain(expected_bpb, window) < LEAST * error
