"""Training batches on a device, packed from documents; knows how long they were waited for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.packing import Tokens, pack

BATCHES_AHEAD_ON_CUDA = 2


class Loader(Iterator[tuple[torch.Tensor, torch.Tensor]]):
    """Pairs (x, y) of int64 (rows, sequence_length) on a device; y is x one token on.

    ``waited_seconds`` is the time that the consumer has spent in here for data so far. The thread
    that packs ahead, if there is one, ends with ``close()``, with the ``with`` block, or when the
    loader is no longer referred to.
    """

    def __init__(
        self, host: Generator[torch.Tensor, None, None], device: torch.device, ahead: int
    ) -> None:
        """Take ``host`` batches (rows, sequence_length + 1) to ``device``, ``ahead`` in a thread."""
        self.waited_seconds = 0.0
        self._host = host
        self._device = device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._ready: deque[Future[torch.Tensor]] = deque()
        for _ in range(ahead):
            self._pack_another()

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        begun = time.perf_counter()
        if self._ready:
            batch = self._ready.popleft().result()
            self._pack_another()
        else:
            batch = next(self._host)
        self.waited_seconds += time.perf_counter() - begun
        # The copy is ordered before what the consumer does on its stream. The pinned memory is
        # not written again before it is done: PyTorch's allocator for it waits for the copy.
        batch = batch.to(self._device, non_blocking=True)
        return batch[:, :-1].contiguous(), batch[:, 1:].contiguous()

    def close(self) -> None:
        """End the thread; nothing more can be asked for."""
        self._thread.shutdown(cancel_futures=True)
        self._ready.clear()
        self._host.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _pack_another(self) -> None:
        # The thread gets the generator, not self: it must not keep the loader alive.
        self._ready.append(self._thread.submit(next, self._host))


def batches(
    tokens: Tokens,
    offsets: NDArray[np.int64],
    *,
    rows: int,
    sequence_length: int,
    bos: int,
    seed: int,
    device: str,
    ahead: int | None = None,
) -> Loader:
    """Training batches for ever, in an order that the seed decides; see `pack`.

    ``tokens`` and ``offsets`` are as `pack` takes them: best memory-mapped. ``ahead`` batches are
    packed beforehand by a thread. By default that is done on CUDA only, while the GPU computes. On
    a CPU packing a batch takes microseconds, and a thread would take them from the same cores:
    there only tests ask for it, which have no GPU.
    """
    target = torch.device(device)
    if target.type == "cuda" and target.index is None:
        target = torch.device("cuda", torch.cuda.current_device())
    packed = pack(tokens, offsets, sequence_length=sequence_length, bos=bos, seed=seed)
    if ahead is None:
        ahead = BATCHES_AHEAD_ON_CUDA if target.type == "cuda" else 0
    return Loader(_host_batches(packed, rows, target), target, ahead)


def _host_batches(
    packed: Iterator[Tokens], rows: int, device: torch.device
) -> Generator[torch.Tensor, None, None]:
    """Batches (rows, sequence_length + 1) in this machine's memory, pinned if they are for a GPU."""
    for first in packed:
        stacked = np.stack([first, *islice(packed, rows - 1)])
        batch = torch.from_numpy(stacked.astype(np.int64))
        if device.type == "cuda":  # a thread has a current GPU of its own: say which is meant
            with torch.cuda.device(device):
                batch = batch.pin_memory()
        yield batch
