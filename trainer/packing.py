"""Documents laid into rows of equal length, each row starting with BOS, nothing dropped."""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from itertools import count, groupby, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

BUFFER_DOCUMENTS = 1024  # among how many documents the best fit is looked for
WINDOW_ROWS = 4096  # among how many rows the order is shuffled

Tokens = NDArray[np.integer[Any]]
Piece = tuple[int, int]  # where the tokens after its BOS start, and how many there are


def pack(
    tokens: Tokens,
    offsets: NDArray[np.int64],
    *,
    sequence_length: int,
    bos: int,
    seed: int | None,
    epochs: int | None = None,
) -> Iterator[Tokens]:
    """Rows (sequence_length + 1,) of ``tokens``' own type, for ``epochs`` epochs or for ever.

    ``offsets`` (documents + 1,) say where in ``tokens`` each document's BOS stands, and the end.
    A row is filled with the largest document of a buffer that fits; when none fits, one is cut
    to fill the row, and its rest goes back to the buffer as a piece with a BOS of its own (best-fit
    packing, after Ding et al. 2024, "Fewer Truncations Improve Language Modeling"). An epoch uses
    every token once; its last row is filled up from the next epoch, and left out if there is none.
    The seed decides the order of documents and rows; without one it is the corpus' own, roughly.

    Raises:
        ValueError: there is no document.
    """
    if len(offsets) < 2:
        raise ValueError("there is no document to pack")
    # Slicing a memory map itself is slower than slicing the array that it is.
    tokens, offsets = np.asarray(tokens), np.asarray(offsets)
    # Two sources of chance, because rows are planned a little further than they are shuffled.
    cuts, order = random.Random(f"cuts {seed}"), random.Random(f"order {seed}")
    planned = _plan(_epochs(offsets, seed, epochs), sequence_length + 1, cuts)
    for _, rows_of_epoch in groupby(planned, key=lambda epoch_and_row: epoch_and_row[0]):
        while window := [row for _, row in islice(rows_of_epoch, WINDOW_ROWS)]:
            if seed is not None:
                order.shuffle(window)
            for pieces in window:
                yield _filled(pieces, tokens, sequence_length + 1, bos)


def _epochs(
    offsets: NDArray[np.int64], seed: int | None, epochs: int | None
) -> Iterator[tuple[int, Iterator[Piece]]]:
    """For every epoch its number and all documents in its order."""
    starts, counts = offsets[:-1] + 1, np.diff(offsets) - 1
    for epoch in count() if epochs is None else range(epochs):
        order = np.arange(len(starts))
        if seed is not None:
            np.random.default_rng([seed, epoch]).shuffle(order)
        yield epoch, zip(starts[order].tolist(), counts[order].tolist(), strict=True)


def _plan(
    epochs: Iterator[tuple[int, Iterator[Piece]]], row_length: int, cuts: random.Random
) -> Iterator[tuple[int, list[Piece]]]:
    """What stands in each row, and the epoch in which the row was completed."""
    row, room = list[Piece](), row_length
    for epoch, documents in epochs:
        buffer: list[tuple[int, int]] = []  # sorted: the length with BOS, then the start
        _refill(buffer, documents)
        while buffer:
            fitting = bisect_left(buffer, (room + 1,))
            if fitting:
                length, start = buffer.pop(fitting - 1)
                row.append((start, length - 1))
                room -= length
            else:
                # Any would do. At random neither long nor short documents come early in an epoch.
                length, start = buffer.pop(cuts.randrange(len(buffer)))
                row.append((start, room - 1))
                insort(buffer, (length - room + 1, start + room - 1))
                room = 0
            if not room:
                yield epoch, row
                row, room = [], row_length
            _refill(buffer, documents)


def _refill(buffer: list[tuple[int, int]], documents: Iterable[Piece]) -> None:
    for start, count_ in islice(documents, max(0, BUFFER_DOCUMENTS - len(buffer))):
        insort(buffer, (count_ + 1, start))


def _filled(pieces: list[Piece], tokens: Tokens, row_length: int, bos: int) -> Tokens:
    row = np.empty(row_length, dtype=tokens.dtype)
    column = 0
    for start, count_ in pieces:
        row[column] = bos
        row[column + 1 : column + 1 + count_] = tokens[start : start + count_]
        column += 1 + count_
    return row
