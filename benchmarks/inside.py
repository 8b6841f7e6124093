"""The evaluation as a trial that is trusted would do it: in its own process, with torch's own loss.

``python -m benchmarks.inside`` reads its terms from standard input and prints wall seconds.
"""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict

from trainer.dataset import Dataset, evaluation_rows
from trainer.sandbox import trial_environment
from trainer.scorer import rows_per_batch
from trainer.setting import Setting


class InsideTerms(BaseModel):
    """What is evaluated, and where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: Path
    setting: Setting
    dataset: Dataset
    device: str


def inside_seconds(terms: InsideTerms) -> float:
    """Wall seconds of the evaluation in a fresh process with a trial's environment.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    with tempfile.TemporaryDirectory() as home:
        environment = trial_environment(Path(home), terms.device, terms.setting.threads)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.inside"],
            input=terms.model_dump_json(),
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return float(json.loads(done.stdout))


def evaluate(terms: InsideTerms) -> float:
    """Bits per byte of an untrained model, for the seconds that it takes; those are returned."""
    definitions = runpy.run_path(str(terms.train), run_name="definitions")  # __main__ would train
    definitions["tune_process"]()
    setting, device = terms.setting, definitions["DEVICE"]
    model = definitions["GPT"](setting.vocabulary, setting.sequence_length).to(device)
    rows = evaluation_rows(
        terms.dataset, "validation", setting.sequence_length, setting.evaluation_tokens
    )
    sizes = torch.from_numpy(np.load(terms.dataset.token_bytes)).to(device)
    tokens = torch.from_numpy(rows).to(device)
    batch_rows = rows_per_batch(setting.sequence_length, setting.vocabulary, on_cpu=device == "cpu")
    began_at = time.monotonic()
    nats, size = torch.zeros((), device=device), 0
    with torch.inference_mode():
        for batch in torch.split(tokens, batch_rows):
            logits, targets = model(batch[:, :-1]).float(), batch[:, 1:]
            losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            nats += (losses * (sizes[targets].flatten() > 0)).sum()
            size += int(sizes[targets].sum())
    bits = nats.item() / size  # .item() waits for the device
    assert bits > 0
    return time.monotonic() - began_at


if __name__ == "__main__":
    seconds = evaluate(InsideTerms.model_validate_json(sys.stdin.read()))
    print(json.dumps(seconds))
