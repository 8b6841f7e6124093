"""Packing: rows are full, start with BOS, and an epoch holds every token once."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from trainer.packing import WINDOW_ROWS, pack

BOS = 60_000


def documents(*sizes: int) -> tuple[np.ndarray, np.ndarray]:
    """Documents of so many tokens, BOS not counted; all tokens are different: 0, 1, 2, …"""
    numbers = iter(range(BOS))
    tokens = [token for size in sizes for token in (BOS, *(next(numbers) for _ in range(size)))]
    ends = np.cumsum([size + 1 for size in sizes])
    return np.array(tokens, dtype=np.uint16), np.array([0, *ends], dtype=np.int64)


def packed(sizes: tuple[int, ...], length: int, seed: int | None, epochs: int) -> list[list[int]]:
    tokens, offsets = documents(*sizes)
    rows = pack(tokens, offsets, sequence_length=length, bos=BOS, seed=seed, epochs=epochs)
    return [row.tolist() for row in rows]


def test_the_largest_document_that_fits_is_taken() -> None:
    # rows of 8: the 5 (6 with BOS) leaves room for the 1 (2 with BOS); the 3 and the 3 fill another
    assert packed((3, 1, 5, 3), 7, None, 1) == [
        [BOS, 4, 5, 6, 7, 8, BOS, 3],
        [BOS, 9, 10, 11, BOS, 0, 1, 2],
    ]


def test_a_document_is_cut_when_none_fits_and_goes_on_with_a_bos_of_its_own() -> None:
    assert packed((11,), 4, None, 1) == [[BOS, 0, 1, 2, 3], [BOS, 4, 5, 6, 7]]
    assert packed((12, 3), 4, None, 1)[0] == [BOS, 12, 13, 14, BOS]
    assert packed((1, 1), 1, None, 1) == [[BOS, 1], [BOS, 0]]


def test_the_last_row_of_an_epoch_is_filled_up_from_the_next() -> None:
    assert packed((3, 3), 5, None, 1) == [[BOS, 3, 4, 5, BOS, 0]]
    assert packed((3, 3), 5, None, 2) == [
        [BOS, 3, 4, 5, BOS, 0],
        [BOS, 1, 2, BOS, 3, 4],
        [BOS, 0, 1, 2, BOS, 5],
    ]


@pytest.mark.parametrize("length", [1, 2, 7, 64, 500])
def test_every_token_is_in_every_epoch_exactly_once(length: int) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    sizes = tuple(chance.choice((1, 2, 3, 10, 100, 700)) for _ in range(200))
    total = sum(sizes)
    for epochs in (1, 3):
        rows = packed(sizes, length, seed, epochs)
        assert all(row[0] == BOS and len(row) == length + 1 for row in rows)
        counts = Counter(token for row in rows for token in row if token != BOS)
        # only what the last, incomplete row would have held may be missing
        assert max(counts.values()) <= epochs
        assert epochs * total - sum(counts.values()) <= length
        assert sum(epochs - counts[token] for token in range(total)) <= length


def test_an_epoch_does_not_begin_before_the_last_one_is_used_up() -> None:
    sizes = (5, 40, 3, 90, 17, 8)
    first = packed(sizes, 10, 7, 1)
    assert packed(sizes, 10, 7, 4)[: len(first)] == first


def test_equal_seeds_give_equal_rows_and_other_seeds_other_rows() -> None:
    sizes = tuple(range(1, 60))
    assert packed(sizes, 16, 1, 2) == packed(sizes, 16, 1, 2)
    assert packed(sizes, 16, 1, 2) != packed(sizes, 16, 2, 2)


def test_every_epoch_has_an_order_of_its_own() -> None:
    rows = packed((7,) * 100, 7, 3, 2)
    assert sorted(rows[:100]) == sorted(rows[100:])
    assert rows[:100] != rows[100:]


def test_rows_of_one_document_are_not_neighbours_in_training() -> None:
    rows = packed((8 * 700, 8 * 700), 8, 5, 1)
    from_first = [row[1] < 8 * 700 for row in rows]
    changes = sum(a != b for a, b in pairwise(from_first))
    assert len(rows) < WINDOW_ROWS
    assert changes > len(rows) / 3


def test_packing_goes_on_for_ever() -> None:
    tokens, offsets = documents(5, 6, 7)
    rows = pack(tokens, offsets, sequence_length=8, bos=BOS, seed=0)
    assert sum(len(next(rows)) for _ in range(10_000)) == 90_000


def test_no_documents_are_refused() -> None:
    tokens, offsets = documents()
    with pytest.raises(ValueError, match="no document"):
        next(pack(tokens, offsets, sequence_length=8, bos=BOS, seed=0))
