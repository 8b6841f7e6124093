"""The loader: batches on a device, and a thread that never outlives its use."""

from __future__ import annotations

import gc
import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.loader import Loader, batches
from trainer.packing import pack

BOS = 999
SIZES = np.random.default_rng(0).integers(2, 60, size=500)
OFFSETS = np.concatenate([[0], np.cumsum(SIZES)]).astype(np.int64)
TOKENS = np.random.default_rng(1).integers(0, BOS, size=OFFSETS[-1]).astype(np.uint16)
TOKENS[OFFSETS[:-1]] = BOS


def loader(seed: int = 1, device: str = "cpu", ahead: int | None = None) -> Loader:
    return batches(
        TOKENS,
        OFFSETS,
        rows=8,
        sequence_length=32,
        bos=BOS,
        seed=seed,
        device=device,
        ahead=ahead,
    )


def first(loaded: Loader, count: int = 50) -> torch.Tensor:
    return torch.stack([torch.stack(pair) for pair in islice(loaded, count)])


def packing_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("loader")}


def test_targets_are_the_inputs_one_token_on() -> None:
    with loader() as loaded:
        x, y = next(loaded)
        assert x.shape == y.shape == (8, 32)
        assert x.dtype == y.dtype == torch.int64
        assert x.is_contiguous()
        assert y.is_contiguous()
        assert (x[:, 0] == BOS).all()
        assert torch.equal(x[:, 1:], y[:, :-1])


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_batches_are_the_packed_rows_whether_or_not_a_thread_packs_them(ahead: int) -> None:
    rows = pack(TOKENS, OFFSETS, sequence_length=32, bos=BOS, seed=1)
    expected = torch.tensor(np.stack(list(islice(rows, 400))).astype(np.int64)).view(50, 8, 33)
    with loader(ahead=ahead) as loaded:
        found = first(loaded)
    assert torch.equal(found[:, 0], expected[:, :, :-1])
    assert torch.equal(found[:, 1], expected[:, :, 1:])


def test_equal_seeds_give_equal_batches_and_other_seeds_other_batches() -> None:
    with loader(1) as one, loader(1) as again, loader(2) as other:
        seen = first(one)
        assert torch.equal(seen, first(again))
        assert not torch.equal(seen, first(other))


def test_memory_mapped_tokens_give_the_same_batches(tmp_path: Path) -> None:
    TOKENS.tofile(tmp_path / "tokens")
    mapped = np.memmap(tmp_path / "tokens", dtype=np.uint16, mode="r")
    from_file = batches(mapped, OFFSETS, rows=8, sequence_length=32, bos=BOS, seed=1, device="cpu")
    with from_file, loader() as loaded:
        assert torch.equal(first(from_file), first(loaded))


def test_a_batch_given_out_is_not_written_again() -> None:
    with loader(ahead=2) as loaded:
        x, _ = next(loaded)
        before = x.clone()
        first(loaded)
        assert torch.equal(x, before)


def test_on_a_cpu_there_is_no_thread() -> None:
    before = packing_threads()
    with loader() as loaded:
        first(loaded)
        assert packing_threads() == before


def test_closing_ends_the_thread_and_the_batches() -> None:
    before = packing_threads()
    loaded = loader(ahead=2)
    next(loaded)
    assert len(packing_threads() - before) == 1
    loaded.close()
    assert packing_threads() == before
    assert list(loaded) == []


def test_a_loader_that_nobody_needs_ends_its_thread() -> None:
    before = packing_threads()
    loaded = loader(ahead=2)
    next(loaded)
    (thread,) = packing_threads() - before
    del loaded
    gc.collect()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_the_time_spent_waiting_is_counted() -> None:
    for ahead in (0, 2):
        with loader(ahead=ahead) as loaded:
            assert loaded.waited_seconds == 0
            next(loaded)
            once = loaded.waited_seconds
            assert once > 0
            next(loaded)
            assert loaded.waited_seconds > once


@pytest.mark.parametrize("ahead", [0, 2])
def test_what_goes_wrong_in_packing_is_raised_where_the_batch_is_asked_for(ahead: int) -> None:
    nothing = batches(
        TOKENS,
        OFFSETS[:1],
        rows=8,
        sequence_length=32,
        bos=BOS,
        seed=1,
        device="cpu",
        ahead=ahead,
    )
    with nothing, pytest.raises(ValueError, match="no document"):
        next(nothing)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_on_cuda_are_those_on_the_cpu() -> None:
    with loader() as here, loader(device="cuda") as there:
        seen = first(there)
        assert seen.is_cuda
        assert torch.equal(seen.cpu(), first(here))
