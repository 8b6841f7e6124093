"""Trains as train.py does for some processor seconds, and writes down when each step began.

``python -m benchmarks.steps DATASET.json FILE.npy SECONDS``: a line (wall seconds, processor
seconds) for each step and one for the end, after a newline on stdout and one on stdin.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from trainer import train
from trainer.dataset import Dataset
from trainer.loader import batches
from trainer.setting import PROFILES

ROUGHLY = 400  # steps of a whole trial: where the schedules stand does not matter to the clock


def main(dataset: Dataset, seconds: float) -> NDArray[np.float64]:
    """Wall and processor seconds (steps + 1, 2) of training with the CPU profile's sizes."""
    setting = PROFILES["cpu"]
    torch.set_num_threads(setting.threads)
    torch.manual_seed(1)
    train.tune_process()
    trainer = train.Trainer(setting.vocabulary, setting.sequence_length)
    trainer.warm_up()
    loader = batches(
        np.memmap(dataset.train_tokens, dtype="<u2", mode="r"),
        np.memmap(dataset.train_offsets, dtype="<i8", mode="r"),
        rows=train.ROWS,
        sequence_length=setting.sequence_length,
        bos=dataset.bos,
        seed=1,
        device="cpu",
    )
    print(flush=True)
    sys.stdin.readline()
    began_at = time.process_time()
    times: list[tuple[float, float]] = []
    while not times or times[-1][1] - began_at < seconds:
        times.append((time.monotonic(), time.process_time()))
        if times[-1][1] - began_at < seconds:
            trainer.step(loader, min(1.0, len(times) / ROUGHLY))
    return np.array(times)


if __name__ == "__main__":
    described, out, length = sys.argv[1:]
    np.save(out, main(Dataset.model_validate_json(Path(described).read_text()), float(length)))
