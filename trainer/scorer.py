"""The trusted val_bpb: token ids go out, logits come back, the true next token stays here."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from trainer import sandbox
from trainer.channel import Channel

CHUNK_BYTES = 1 << 19  # stays in the processor's cache: the fastest size measured for one thread
# Several threads wait for one another between any two chunks: 16 of them are 8 times as fast so.
CHUNK_BYTES_OF_MANY = 8 << 20
BATCH_BYTES = 64 << 20  # logits of one batch, at most, unless a single row is larger
BATCH_BYTES_ON_CUDA = 512 << 20  # a GPU is kept waiting by one row: 5 times as long for each
BATCH_ROWS = 8  # twice as fast on a CPU as 32 rows


class Rejected(Exception):
    """The logits are not what was asked for; the text is the reason."""


# From one position of a batch to another, counted along its rows: their logits (n, V), a copy.
ReadLogits = Callable[[int, int], NDArray[np.float32]]


class Examinee(Protocol):
    """A model that is asked from outside: two batches may be under way at the same time."""

    def ask(self, slot: int, tokens: NDArray[np.int64]) -> None:
        """Hand over token ids (B, T) of one batch; ``slot``, 0 or 1, tells its answer apart."""

    def logits(self, slot: int) -> ReadLogits:
        """What reads the answer to what was asked in ``slot``; it may be used by several threads.

        Raises:
            Rejected: no answer of the right shape came in time.
        """


def surprises(
    examinee: Examinee,
    inputs: NDArray[np.int64],
    targets: NDArray[np.int64],
    *,
    batch_rows: int = BATCH_ROWS,
    threads: int = 1,
) -> NDArray[np.float64]:
    """Bits (R, T) at the true next tokens ``targets`` (R, T) of a model that is shown ``inputs``.

    −log2 softmax at the target, computed in float32 from logits in float32. These are what a trial
    commits itself to.

    Raises:
        Rejected: the answers are unusable; the text says how.
    """
    bits = np.empty(targets.shape)
    firsts = range(0, len(inputs), batch_rows)
    with ThreadPoolExecutor(threads, thread_name_prefix="score") as pool:
        examinee.ask(0, inputs[:batch_rows])
        for number, first in enumerate(firsts):
            # One batch ahead: the model computes it while this one is being scored.
            if number + 1 < len(firsts):
                after = first + batch_rows
                examinee.ask((number + 1) % 2, inputs[after : after + batch_rows])
            wanted = targets[first : first + batch_rows].reshape(-1)
            here = bits[first : first + batch_rows].reshape(-1)
            chunk = CHUNK_BYTES if threads == 1 else CHUNK_BYTES_OF_MANY
            _score(examinee.logits(number % 2), wanted, here, chunk, pool)
    return bits


def _score(
    read: ReadLogits,
    wanted: NDArray[np.int64],
    here: NDArray[np.float64],
    chunk_bytes: int,
    pool: Executor,
) -> None:
    """Fill ``here`` (n,) with the bits at the tokens ``wanted`` (n,), a chunk in each thread."""
    at_once = max(1, chunk_bytes // read(0, 1).nbytes)

    def score(first: int) -> None:
        part = slice(first, first + at_once)
        here[part] = surprise_bits(read(first, min(part.stop, len(wanted))), wanted[part])

    for _ in pool.map(score, range(0, len(wanted), at_once)):
        pass  # what went wrong in a thread is raised here


def bits_per_byte(
    bits: NDArray[np.float64], targets: NDArray[np.int64], token_bytes: NDArray[np.int64]
) -> float:
    """The score of surprises ``bits`` (R, T) at the tokens ``targets`` (R, T).

    The sum over all positions whose token has bytes, divided by these bytes; the measure of
    autoresearch and nanochat.
    """
    sizes = token_bytes[targets]
    return float(bits[sizes > 0].sum() / sizes.sum())


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


def rows_per_batch(sequence_length: int, vocabulary: int, *, on_cpu: bool) -> int:
    """How many rows are asked for at once."""
    most_bytes = BATCH_BYTES if on_cpu else BATCH_BYTES_ON_CUDA
    return max(1, min(BATCH_ROWS, most_bytes // (4 * sequence_length * vocabulary)))


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
        weights: int | None = None,
    ) -> None:
        """Tell the process where its answers go.

        ``weights`` is the descriptor of a file that it must load first; ``answer_seconds`` is how
        long all answers together may take, in wall seconds from now on.

        Raises:
            ChannelError: it is gone, or does not listen; `ask` and `logits` say so, too.
        """
        self._channel = channel
        self._vocabulary = vocabulary
        self._deadline = time.monotonic() + answer_seconds
        self._slot_bytes = 4 * batch_rows * sequence_length * vocabulary
        self._asked: dict[int, tuple[int, ...]] = {}
        self._memory = sandbox.shared_memory(2 * self._slot_bytes)
        shape = (2, batch_rows, sequence_length, vocabulary)
        descriptors = [self._memory] if weights is None else [self._memory, weights]
        channel.send("examine", {"shape": shape}, descriptors)

    def ask(self, slot: int, tokens: NDArray[np.int64]) -> None:
        """See `Examinee.ask`."""
        self._asked[slot] = (*tokens.shape, self._vocabulary)
        self._channel.send("ask", {"slot": slot, "tokens": tokens.tolist()})

    def logits(self, slot: int) -> ReadLogits:
        """See `Examinee.logits`."""
        self._await_answer(slot)

        def read(first: int, last: int) -> NDArray[np.float32]:
            chunk = np.empty((last - first, self._vocabulary), np.float32)
            place = slot * self._slot_bytes + first * 4 * self._vocabulary
            # A copy, made once: what lies in shared memory may change under the reader's eyes.
            if os.preadv(self._memory, [chunk.data], place) != chunk.nbytes:
                raise Rejected("the shared memory for the logits was cut short")
            return chunk

        return read

    def allow(self, seconds: float) -> None:
        """Give it so much more time from now on."""
        self._deadline = time.monotonic() + seconds

    def close(self) -> None:
        """Give the shared memory back."""
        os.close(self._memory)

    def _await_answer(self, slot: int) -> None:
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
