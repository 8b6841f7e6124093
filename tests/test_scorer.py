"""The score: exact where it can be known, close to a float64 reference, deaf to tricks."""

from __future__ import annotations

import math
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.channel import Channel
from trainer.scorer import (
    CHUNK_BYTES,
    Examinee,
    ReadLogits,
    Rejected,
    RemoteModel,
    bits_per_byte,
    rows_per_batch,
    surprise_bits,
    surprises,
)

V, T, R = 50, 16, 11
BOS = V - 1


class LocalModel:
    """An examinee in this process, which notes what it was shown."""

    def __init__(self, model: Callable[[NDArray[np.int64]], NDArray[np.float32]]) -> None:
        self.model = model
        self.asked: dict[int, NDArray[np.int64]] = {}
        self.seen: list[NDArray[np.int64]] = []

    def ask(self, slot: int, tokens: NDArray[np.int64]) -> None:
        assert slot not in self.asked, "asked for again before its answer was taken"
        self.asked[slot] = tokens
        self.seen.append(tokens)

    def logits(self, slot: int) -> ReadLogits:
        answer = self.model(self.asked.pop(slot)).reshape(-1, V).astype(np.float32)
        return lambda first, last: answer[first:last].copy()


def score(
    examinee: Examinee,
    rows: NDArray[np.int64],
    token_bytes: NDArray[np.int64],
    batch_rows: int = 8,
    threads: int = 1,
) -> float:
    targets = rows[:, 1:]
    return bits_per_byte(
        surprises(examinee, rows[:, :-1], targets, batch_rows=batch_rows, threads=threads),
        targets,
        token_bytes,
    )


@pytest.fixture
def rows() -> NDArray[np.int64]:
    rows = np.random.default_rng(1).integers(0, V - 1, (R, T + 1))
    rows[:, 0] = BOS
    rows[3, 7] = BOS
    return rows


@pytest.fixture
def token_bytes() -> NDArray[np.int64]:
    sizes = np.random.default_rng(2).integers(1, 9, V)
    sizes[BOS] = 0
    return sizes


def test_a_uniform_model_needs_log2_of_the_vocabulary_per_token_that_has_bytes(
    rows: NDArray[np.int64], token_bytes: NDArray[np.int64]
) -> None:
    uniform = LocalModel(lambda tokens: np.full((*tokens.shape, V), 3.0))
    bpb = score(uniform, rows, token_bytes)
    targets = rows[:, 1:]
    assert bpb == pytest.approx(
        math.log2(V) * (targets != BOS).sum() / token_bytes[targets].sum(), rel=1e-6
    )


def test_the_score_agrees_with_a_float64_reference_whatever_the_batches(
    rows: NDArray[np.int64], token_bytes: NDArray[np.int64]
) -> None:
    table = np.random.default_rng(3).normal(0, 8, (V, V)).astype(np.float32)
    exact = table.astype(np.float64)
    bits = (np.log2(np.exp(exact).sum(axis=1))[:, None] - exact / math.log(2))[
        rows[:, :-1], rows[:, 1:]
    ]
    expected = bits[rows[:, 1:] != BOS].sum() / token_bytes[rows[:, 1:]].sum()
    for batch_rows, threads in ((1, 1), (2, 3), (4, 1), (R, 2), (100, 4)):
        model = LocalModel(lambda tokens: table[tokens])
        scored = score(model, rows, token_bytes, batch_rows, threads)
        assert scored == pytest.approx(expected, rel=1e-6)


def test_many_threads_score_many_chunks_as_one_does(
    rows: NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.scorer.CHUNK_BYTES_OF_MANY", CHUNK_BYTES)
    wide = np.random.default_rng(4).normal(0, 2, (V, 40_000)).astype(np.float32)  # 3 to a chunk

    class WideModel(LocalModel):
        def logits(self, slot: int) -> ReadLogits:
            answer = wide[self.asked.pop(slot).reshape(-1)]
            return lambda first, last: answer[first:last].copy()

    one, many = (
        surprises(WideModel(lambda tokens: tokens), rows[:, :-1], rows[:, 1:], threads=threads)
        for threads in (1, 4)
    )
    assert (one == many).all() and len(set(one.ravel())) > 100


def test_what_goes_wrong_in_a_thread_is_the_reason(
    rows: NDArray[np.int64], token_bytes: NDArray[np.int64]
) -> None:
    sick = LocalModel(lambda tokens: np.full((*tokens.shape, V), np.nan))
    with pytest.raises(Rejected, match="not all finite"):
        score(sick, rows, token_bytes, threads=3)


def test_the_model_is_shown_every_input_and_never_the_last_target(
    rows: NDArray[np.int64], token_bytes: NDArray[np.int64]
) -> None:
    model = LocalModel(lambda tokens: np.zeros((*tokens.shape, V)))
    score(model, rows, token_bytes, batch_rows=4)
    assert (np.concatenate(model.seen) == rows[:, :-1]).all()


def test_no_logits_make_a_surprise_negative_or_infinite() -> None:
    logits = np.zeros((3, V), np.float32)
    logits[0, 5], logits[1, 5], logits[2, :] = 3e38, -3e38, 3e38
    logits[1, 6] = 3e38
    bits = surprise_bits(logits, np.array([5, 5, 5]))
    assert bits[0] == 0 and bits[1] > 1e38 and bits[2] == pytest.approx(math.log2(V))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_single_logit_that_is_not_finite_is_rejected(value: float) -> None:
    logits = np.zeros((4, V), np.float32)
    logits[2, 7] = value
    with pytest.raises(Rejected, match="not all finite"):
        surprise_bits(logits, np.zeros(4, np.int64))


def test_batches_are_small_and_smaller_where_the_vocabulary_is_large() -> None:
    assert rows_per_batch(256, 2048, on_cpu=True) == 8
    assert rows_per_batch(2048, 8192, on_cpu=True) == 1
    assert rows_per_batch(2048, 8192, on_cpu=False) == 8
    assert rows_per_batch(2048, 65536, on_cpu=False) == 1


# --- over a channel ---------------------------------------------------------------------------


@pytest.fixture
def examined() -> Iterator[Callable[[Callable[[Channel], None]], RemoteModel]]:
    """Make a remote model of a function that plays the trial at the other end of the channel."""
    threads: list[threading.Thread] = []
    channels: list[Channel] = []

    def examine(trial: Callable[[Channel], None]) -> RemoteModel:
        ours, its = socket.socketpair()
        channels.extend([Channel(ours), Channel(its, descriptors=True)])
        threads.append(threading.Thread(target=trial, args=[channels[-1]]))
        threads[-1].start()
        return RemoteModel(
            channels[-2], batch_rows=2, sequence_length=T, vocabulary=V, answer_seconds=0.3
        )

    yield examine
    for channel in channels:
        channel.close()
    for thread in threads:
        thread.join()


def received(channel: Channel) -> dict[str, Any]:
    message = channel.receive(60)
    assert message
    return message


def test_logits_come_back_through_shared_memory_batch_after_batch(
    examined: Callable[[Callable[[Channel], None]], RemoteModel],
    rows: NDArray[np.int64],
    token_bytes: NDArray[np.int64],
) -> None:
    table = np.random.default_rng(3).normal(0, 2, (V, V)).astype(np.float32)

    def answer(channel: Channel) -> None:
        (memory,) = received(channel)["descriptors"]
        for _ in range(math.ceil(R / 2)):
            ask = received(channel)
            logits = table[np.array(ask["tokens"])]
            os.pwrite(memory, logits.tobytes(), ask["slot"] * 2 * T * V * 4)
            channel.send("answer", {"slot": ask["slot"], "shape": logits.shape})
        os.close(memory)

    local = score(LocalModel(lambda tokens: table[tokens]), rows, token_bytes)
    model = examined(answer)
    assert score(model, rows, token_bytes, batch_rows=2) == pytest.approx(local, rel=1e-9)
    model.close()


@pytest.mark.parametrize(
    ("kind", "answer", "reason"),
    [
        ("answer", {"slot": 0, "shape": [2, T, V - 1]}, r"logits of shape \(2, 16, 49\)"),
        ("answer", {"slot": 1, "shape": [2, T, V]}, "out of order"),
        ("answer", {"slot": "0", "shape": None}, "'answer' in place of an answer"),
        ("report", {}, "'report' in place of an answer"),
        (None, {}, "too late"),
    ],
)
def test_an_answer_that_is_none_is_rejected_with_the_reason(
    examined: Callable[[Callable[[Channel], None]], RemoteModel],
    rows: NDArray[np.int64],
    kind: str | None,
    answer: dict[str, object],
    reason: str,
) -> None:
    model = examined(lambda channel: channel.send(kind, answer) if kind else None)
    model.ask(0, rows[:2, :-1])
    with pytest.raises(Rejected, match=reason):
        model.logits(0)
    model.close()
