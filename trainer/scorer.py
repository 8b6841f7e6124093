"""The trusted val_bpb: token ids go out, logits come back, the true next token stays here."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from trainer import sandbox
from trainer.channel import Channel

CHUNK_BYTES = 1 << 19  # stays in the processor's cache: the fastest size measured
BATCH_BYTES = 64 << 20  # logits of one batch, at most, unless a single row is larger
BATCH_ROWS = 8  # twice as fast on a CPU as 32 rows


class Rejected(Exception):
    """The logits are not what was asked for; the text is the reason."""


class Examinee(Protocol):
    """A model that is asked from outside: two batches may be under way at the same time."""

    def ask(self, slot: int, tokens: NDArray[np.int64]) -> None:
        """Hand over token ids (B, T) of one batch; ``slot``, 0 or 1, tells its answer apart."""

    def logits(self, slot: int) -> Iterator[NDArray[np.float32]]:
        """The answer to what was asked in ``slot``: logits (n, V), position by position.

        Raises:
            Rejected: no answer of the right shape came in time.
        """


def score(
    examinee: Examinee,
    rows: NDArray[np.int64],
    token_bytes: NDArray[np.int64],
    batch_rows: int = BATCH_ROWS,
) -> float:
    """Bits per byte of the model on ``rows`` (R, T + 1): inputs are all but the last column.

    Sums −log2 softmax at the true next token over all positions whose next token has bytes, and
    divides by these bytes; the measure of autoresearch and nanochat. Computed in float32 from
    logits in float32, summed in float64.

    Raises:
        Rejected: the answers are unusable; the text says how.
    """
    batches = [rows[first : first + batch_rows] for first in range(0, len(rows), batch_rows)]
    bits = 0.0
    examinee.ask(0, batches[0][:, :-1])
    for number, batch in enumerate(batches):
        # One batch ahead: the model computes it while this one is being scored.
        if number + 1 < len(batches):
            examinee.ask((number + 1) % 2, batches[number + 1][:, :-1])
        targets = batch[:, 1:].reshape(-1)
        counts = token_bytes[targets] > 0
        first = 0
        for logits in examinee.logits(number % 2):
            here = slice(first, first + len(logits))
            bits += float(surprise_bits(logits, targets[here])[counts[here]].sum())
            first = here.stop
    return bits / float(token_bytes[rows[:, 1:]].sum())


def surprise_bits(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """−log2 softmax(logits)[target] for logits (n, V), which are overwritten, and targets (n,).

    Raises:
        Rejected: a logit is not finite.
    """
    # NumPy, not torch: as fast here (0.14 s for 65k tokens of 2048), and imported in a tenth of
    # the time.
    highest = logits.max(axis=1, keepdims=True)
    if not (np.isfinite(highest).all() and np.isfinite(logits.min(axis=1)).all()):
        raise Rejected("the logits are not all finite")
    chosen = logits[np.arange(len(targets)), targets].astype(np.float64) - highest[:, 0]
    with np.errstate(over="ignore"):  # further apart than float32 can say: its exp is 0 as well
        np.subtract(logits, highest, out=logits)
    np.exp(logits, out=logits)
    nats: NDArray[np.float64] = np.log(logits.sum(axis=1), dtype=np.float64) - chosen
    return nats * (1 / math.log(2))


def rows_per_batch(sequence_length: int, vocabulary: int) -> int:
    """How many rows are asked for at once."""
    return max(1, min(BATCH_ROWS, BATCH_BYTES // (4 * sequence_length * vocabulary)))


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    kind: str
    slot: int
    shape: list[int]


class RemoteModel:
    """The model inside a trial, asked over its channel; its logits come through shared memory."""

    def __init__(
        self,
        channel: Channel,
        *,
        batch_rows: int,
        sequence_length: int,
        vocabulary: int,
        answer_seconds: float,
    ) -> None:
        self._channel = channel
        self._vocabulary = vocabulary
        self._deadline = time.monotonic() + answer_seconds
        self._slot_bytes = 4 * batch_rows * sequence_length * vocabulary
        self._asked: dict[int, tuple[int, ...]] = {}
        self._memory = sandbox.shared_memory(2 * self._slot_bytes)
        shape = (2, batch_rows, sequence_length, vocabulary)
        channel.send("examine", {"shape": shape}, [self._memory])

    def ask(self, slot: int, tokens: NDArray[np.int64]) -> None:
        """See `Examinee.ask`."""
        self._asked[slot] = (*tokens.shape, self._vocabulary)
        self._channel.send("ask", {"slot": slot, "tokens": tokens.tolist()})

    def logits(self, slot: int) -> Iterator[NDArray[np.float32]]:
        """See `Examinee.logits`."""
        rows, length, vocabulary = self._await_answer(slot)
        positions = rows * length
        at_once = max(1, CHUNK_BYTES // (4 * vocabulary))
        for first in range(0, positions, at_once):
            chunk = np.empty((min(at_once, positions - first), vocabulary), np.float32)
            place = slot * self._slot_bytes + first * 4 * vocabulary
            # A copy, made once: what lies in shared memory may change under the reader's eyes.
            if os.preadv(self._memory, [chunk.data], place) != chunk.nbytes:
                raise Rejected("the shared memory for the logits was cut short")
            yield chunk

    def close(self) -> None:
        """Give the shared memory back."""
        os.close(self._memory)

    def _await_answer(self, slot: int) -> tuple[int, ...]:
        message = self._channel.receive(self._deadline - time.monotonic())
        if message is None:
            raise Rejected("the model's answers came too late")
        try:
            answer = _Answer.model_validate(message)
        except ValidationError as error:
            raise Rejected(f"{message['kind']!r} in place of an answer") from error
        if answer.slot != slot:
            raise Rejected("the model's answers came out of order")
        expected = self._asked[slot]
        if tuple(answer.shape) != expected:
            raise Rejected(f"logits of shape {tuple(answer.shape)}; {expected} were asked for")
        return expected
