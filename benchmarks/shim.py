"""What autoresearch's train.py imports from its `prepare`, over this project's dataset and rows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from trainer.dataset import Dataset, evaluation_rows
from trainer.loader import batches
from trainer.scorer import rows_per_batch
from trainer.setting import Setting


class Terms(BaseModel):
    """What the peer is given: the same as a trial of ours with this seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    setting: Setting
    dataset: Dataset
    seed: int
    device: str


class Told(BaseModel):
    """What was seen of a peer's training from inside its process; times as in `Figures`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    val_bpb: float
    parameters: int
    tokens: int
    started_at: float  # wall time since the epoch
    budget_seconds: float
    training_seconds: float
    evaluation_seconds: float


class Shim:
    """Stands for tokenizer, loader and evaluation, and notes when each was called."""

    def __init__(self, folder: Path) -> None:
        """``folder`` holds terms.json; told.json is written there."""
        self._told = folder / "told.json"
        self._terms = Terms.model_validate_json((folder / "terms.json").read_text())
        self.sequence_length = self._terms.setting.sequence_length
        self.seconds = self._terms.setting.seconds
        self._started_at, self._budget_start, self._tokens = 0.0, 0.0, 0

    # The names below are those of the peer's own interface.

    def from_directory(self) -> Shim:
        return self

    def get_vocab_size(self) -> int:
        return self._terms.dataset.vocabulary

    def get_bos_token_id(self) -> int:
        return self._terms.dataset.bos

    def make_dataloader(
        self, tokenizer: Shim, rows: int, sequence_length: int, split: str
    ) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Our own training batches of the ``split`` train; the epoch is not counted."""
        if split != "train":
            raise ValueError(f"only training batches are handed out, not {split}")
        loader = batches(
            np.memmap(self._terms.dataset.train_tokens, dtype="<u2", mode="r"),
            np.fromfile(self._terms.dataset.train_offsets, dtype="<i8"),
            rows=rows,
            sequence_length=sequence_length,
            bos=self._terms.dataset.bos,
            seed=self._terms.seed,
            device=self._terms.device,
        )
        for x, y in loader:
            if self._started_at:
                self._tokens += x.numel()  # the one before has been trained on
            else:
                self._started_at, self._budget_start = time.time(), self._clock()
            yield x, y, 1

    def evaluate_bpb(self, model: nn.Module, tokenizer: Shim, rows: int) -> float:
        """The model's own loss on the rows that a trial of ours is scored on, in bits per byte."""
        budget_seconds, began_at = self._clock() - self._budget_start, time.time()
        val_bpb = self._bits_per_byte(model)
        inner: nn.Module = getattr(model, "_orig_mod", model)  # inside what torch.compile returns
        told = Told(
            val_bpb=val_bpb,
            parameters=sum(p.numel() for p in inner.parameters()),
            tokens=self._tokens,
            started_at=self._started_at,
            budget_seconds=budget_seconds,
            training_seconds=began_at - self._started_at,
            evaluation_seconds=time.time() - began_at,
        )
        self._told.write_text(told.model_dump_json())
        return val_bpb

    @torch.no_grad()
    def _bits_per_byte(self, model: nn.Module) -> float:
        dataset, setting = self._terms.dataset, self._terms.setting
        rows = evaluation_rows(
            dataset, "validation", setting.sequence_length, setting.evaluation_tokens
        )
        sizes = torch.from_numpy(np.load(dataset.token_bytes)).to(self._terms.device)
        nats = size = 0.0
        at_once = rows_per_batch(
            setting.sequence_length, dataset.vocabulary, on_cpu=self._terms.device == "cpu"
        )
        for first in range(0, len(rows), at_once):
            part = torch.from_numpy(rows[first : first + at_once]).to(self._terms.device)
            targets = part[:, 1:].contiguous()
            loss = model(part[:, :-1].contiguous(), targets, reduction="none").view(-1)
            counted = sizes[targets.view(-1)]
            nats += (loss * (counted > 0)).sum(dtype=torch.float64).item()
            size += counted.sum().item()
        return nats / math.log(2) / size

    def _clock(self) -> float:
        if self._terms.device == "cuda":
            torch.cuda.synchronize()
            return time.monotonic()
        return time.process_time() / self._terms.setting.threads


def attention(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool, window_size: tuple[int, int]
) -> Tensor:
    """Causal attention as flash attention's interface has it; all tensors (B, T, heads, width).

    A query sees ``window_size[0]`` keys before its own, all of them if that is negative.
    """
    T, left = q.size(1), window_size[0]
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    mask = None
    if 0 <= left < T - 1:
        mask = torch.ones(T, T, dtype=torch.bool, device=q.device).tril().triu(-left)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    return y.transpose(1, 2)
