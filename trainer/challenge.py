"""Commit, then challenge: does a score follow from the committed weights and the left alone?

Knows surprises and questions; what is asked is any `Examinee`, started elsewhere.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer import sandbox
from trainer.channel import WEIGHTS_FILE
from trainer.scorer import Examinee, Rejected, surprises

Bits = NDArray[np.float64]
Ids = NDArray[np.int64]

# A single surprise may differ by so much: what bfloat16 and another kernel do to a logit. Less than
# that, but always in the trial's favour, is seen on average.
TOLERANCE_BITS = 0.25
GAIN_BITS = 0.002  # per position on average; a gain below it is no gain to any experiment
GAIN_ERRORS = 5.0  # standard errors by which a mean gain must stand out
# Looking ahead at one position in thirty is found in 98 of 100 trials, sooner where it gains.
ROWS_ON_CPU = 128  # of the 256 that a trial of 20 s is scored on: 0.3 s
ROWS_ON_CUDA = 64  # of 1280, which are longer
COPY_BYTES = 1 << 20

ADVICE = (
    "answers must follow from the module's state_dict and the tokens to the left alone; is "
    "something learned kept outside of the state_dict?"
)


@dataclass(frozen=True)
class Questions:
    """Rows (R,) of the evaluation, in random order, each with a changed future.

    ``inputs`` (R, T) are as they were up to and with the position ``cuts`` (R,), and other tokens
    after it.
    """

    rows: Ids
    cuts: Ids
    inputs: Ids


def take_weights(home: Path, limit_bytes: int) -> int:
    """Copy the weights that a trial left in its home: a descriptor of memory that is ours.

    What the trial does to the file from now on is no matter.

    Raises:
        Rejected: what lies there is not a plain file of a bearable size.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        opened = os.open(home / WEIGHTS_FILE, flags)
    except OSError as error:
        raise Rejected(f"{WEIGHTS_FILE} cannot be opened: {error.strerror}") from error
    try:
        about = os.fstat(opened)
        if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1:
            raise Rejected(f"{WEIGHTS_FILE} is not a regular file with a single name")
        if about.st_size > limit_bytes:
            raise Rejected(f"{WEIGHTS_FILE} has {about.st_size} bytes; {limit_bytes} are allowed")
        memory = sandbox.shared_memory(about.st_size)
        place = 0
        while part := os.read(opened, min(COPY_BYTES, about.st_size - place)):
            place += os.pwrite(memory, part, place)
        return memory
    finally:
        os.close(opened)


def challenge(
    examinee: Examinee,
    rows: Ids,
    committed: Bits,
    *,
    batch_rows: int,
    threads: int,
    most_rows: int,
    chance: np.random.Generator,
) -> float:
    """Ask a second process, which has the weights alone, what the first has committed itself to.

    ``rows`` (R, T + 1) and the first process's surprises ``committed`` (R, T) in bits. At most
    ``most_rows`` of them are asked, each with its future changed after a position; up to there
    the surprise at the true next token must be the same. Gives the largest difference in bits.

    Raises:
        Rejected: the model looks to the right (not causal), its answers depend on more than its
            weights and the row (stateful), or they are unusable.
    """
    questions = draw(rows, committed, most_rows, chance)
    numbers, cuts = questions.rows, questions.cuts
    how = {"batch_rows": batch_rows, "threads": threads}
    again = surprises(examinee, questions.inputs, rows[numbers, 1:], **how)
    asked = np.arange(committed.shape[1]) <= cuts[:, None]
    change = np.where(asked, again - committed[numbers], 0.0)
    at_cuts = change[np.arange(len(cuts)), cuts]
    if not (_differs(change[asked]) or _differs(at_cuts)):
        return float(np.abs(change).max())
    # Before causality is blamed: is the answer to the very same row the same?
    numbers = chance.permutation(numbers)
    repeated = surprises(examinee, rows[numbers, :-1], rows[numbers, 1:], **how)
    drift = repeated - committed[numbers]
    if _differs(drift.ravel()):
        raise Rejected(f"stateful ({_worst(numbers, committed, drift, 'asked again')}): {ADVICE}")
    if not _differs(change[asked]) or np.abs(change).max() <= TOLERANCE_BITS:
        change = np.where(np.arange(committed.shape[1]) == cuts[:, None], change, 0.0)
    where = _worst(questions.rows, committed, change, "asked again with another future")
    raise Rejected(f"not causal ({where})")


def draw(rows: Ids, committed: Bits, most_rows: int, chance: np.random.Generator) -> Questions:
    """Choose rows, positions and other futures, as nobody can foresee.

    Half of the positions are uniform, half lean to where the surprise was small: that is where
    looking ahead shows. The other tokens are drawn from all that ``rows`` (R, T + 1) have.
    """
    numbers = chance.permutation(len(rows))[:most_rows]
    inputs = rows[numbers, :-1]
    count, length = inputs.shape
    # After the last position there is nothing to change.
    weight = np.cumsum(1 / (0.1 + committed[numbers, : length - 1]), axis=1)
    leaning = (weight < chance.random((count, 1)) * weight[:, -1:]).sum(axis=1)
    uniform = chance.integers(0, length - 1, count)
    cuts = np.where(chance.random(count) < 0.5, uniform, leaning)
    other = chance.choice(rows[:, 1:].ravel(), inputs.shape)
    # Every token is another one than before, or there would be nothing to notice.
    other = np.where(other == inputs, (inputs + 1) % (int(rows.max()) + 1), other)
    changed = np.where(np.arange(length) > cuts[:, None], other, inputs)
    return Questions(rows=numbers, cuts=cuts, inputs=changed)


def _differs(change: Bits) -> bool:
    """Whether second answers are too far from the first, or on average worse than chance allows."""
    error = float(change.std()) / len(change) ** 0.5
    gain = float(change.mean())
    return float(np.abs(change).max()) > TOLERANCE_BITS or gain > max(
        GAIN_BITS, GAIN_ERRORS * error
    )


def _worst(numbers: Ids, committed: Bits, change: Bits, how: str) -> str:
    """Where the answers differ most, in words; ``change`` (n, T) belongs to rows ``numbers``."""
    index, position = np.unravel_index(np.abs(change).argmax(), change.shape)
    row = int(numbers[index])
    bits = committed[row, position]
    return (
        f"row {row}, position {position}: committed {bits:.2f} bits, "
        f"{how} {bits + change[index, position]:.2f} bits"
    )
