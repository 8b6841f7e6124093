"""A smoke test: does a train.py run at its real shapes? A few steps on made-up batches, in seconds.

It runs as the second process of a trial does (see `trainer.prepare.evaluate`): made-up batches,
progress from 0 by way of 0.99 to 1, nothing compiled, no text of the corpus; behind the same wall.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from trainer.challenge import challenge
from trainer.dataset import Dataset
from trainer.devices import available_cores
from trainer.scorer import surprises
from trainer.setting import Setting
from trainer.trial import Request, Trial, run_trial
from trainer.watch import GRACE_SECONDS, SECOND_PATIENCE, Ending, Watch

SEED = 1
BUDGET_SHARE = 0.1  # of a trial's budget for the steps: one that needs more would make few of them


def smoke_test(
    source: str,
    *,
    setting: Setting,
    dataset: Dataset,
    device: str,
    folder: Path,
    wall: str = "auto",
    stop: threading.Event | None = None,
) -> Trial:
    """Start ``source`` under the terms of a trial, let it make its steps, and ask its model a batch.

    ``completed`` says that it came so far; else reason and log_tail say why not, as for a trial.
    There is never a score. ``folder`` is as for `run_trial`, and gone afterwards.

    Raises:
        TrialAbandoned: ``stop`` was set first.
        TrialLost: the supervisor died.
        sandbox.NoWall: there is none here, and "none" was not asked for.
    """
    trial = run_trial(
        source,
        seed=SEED,
        setting=setting,
        dataset=dataset,
        device=device,
        folder=folder,
        wall=wall,
        precedence=False,
        smoke=True,
        stop=stop,
    )
    shutil.rmtree(folder)
    return trial


def can_run_beside(devices: int, threads: int) -> bool:
    """Whether a smoke test on a CPU leaves so many trials there their cores."""
    return len(available_cores()) >= (devices + 1) * threads


class SmokeWatch(Watch):
    """A watch over a process that makes a few steps and is asked one batch."""

    def __init__(self, request: Request, *others: Any) -> None:
        super().__init__(request, *others)
        terms = request.setting
        self._limit = terms.seconds * BUDGET_SHARE + GRACE_SECONDS
        self._patient_until = self._clock.began_at + SECOND_PATIENCE * (
            terms.startup_seconds + self._limit
        )

    def _pass_through(self) -> None:
        self._train()
        self._answers()
        self._ending = Ending("completed", "it runs")

    def _look(self) -> None:
        super()._look()
        if time.monotonic() > self._patient_until:
            seconds = time.monotonic() - self._clock.began_at
            raise Ending("timed_out", f"stuck: no model after {seconds:.0f} s and a few steps")

    def _answers(self) -> None:
        """Its logits must be there, finite, and blind to what comes after a token."""
        terms, chance = self._setting, np.random.default_rng(SEED)
        shape = (self._batch_rows, terms.sequence_length + 1)
        rows = chance.integers(0, terms.vocabulary, shape)
        rows[:, 0] = self._request.dataset.bos
        how = {"batch_rows": self._batch_rows, "threads": self._threads}
        with contextlib.closing(self._examine(self._channel)) as model:
            said = surprises(model, rows[:, :-1], rows[:, 1:], **how)
            challenge(model, rows, said, most_rows=len(rows), chance=chance, **how)
