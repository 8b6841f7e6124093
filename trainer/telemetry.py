"""How a trial went besides its score: the loss curve, how fast, how much of the device, in words.

Most of it is the trial's own word. It explains a score and decides nothing.
"""

from __future__ import annotations

import re
import shutil
import subprocess

from trainer.trial import Trial

CURVE_POINTS = 200  # of a loss curve, at most, that are kept
DIGEST_POINTS = 8  # of them, that are told in words
ASK_SECONDS = 10.0  # for a driver to say which device it has

# Dense bfloat16 FLOP/s, from the makers' data sheets (where these give figures with sparsity, half).
PEAK_FLOPS_PER_SECOND = {
    "A10": 125e12,
    "A100": 312e12,
    "A30": 165e12,
    "A40": 150e12,
    "B200": 2250e12,
    "GB200": 2500e12,
    "GH200": 989e12,
    "H100": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H20": 148e12,
    "H200": 989e12,
    "H200 NVL": 835e12,
    "L4": 121e12,
    "L40": 181e12,
    "L40S": 362e12,
    "RTX 3090": 71e12,
    "RTX 4090": 165e12,
    "RTX 5090": 209e12,
}

Point = tuple[float, float]  # share of the budget spent, training loss in nats per token


class Curve:
    """Points as they come, thinned evenly to a bounded number; the last is always one of them."""

    def __init__(self) -> None:
        self._kept: list[Point] = []
        self._last: Point | None = None
        self._seen = 0
        self._stride = 1

    def add(self, point: Point) -> None:
        """Take the next one, later than all before."""
        self._last = point
        if self._seen % self._stride == 0:
            self._kept.append(point)
        if len(self._kept) == CURVE_POINTS:
            self._kept = self._kept[::2]
            self._stride *= 2
        self._seen += 1

    def points(self) -> tuple[Point, ...]:
        """At most `CURVE_POINTS`, in order."""
        last = () if self._last is None or self._last == self._kept[-1] else (self._last,)
        return (*self._kept, *last)


def peak_flops_per_second(model: str) -> float | None:
    """The peak of a device in FLOP/s by its model name; None where unknown, as for every CPU."""
    if "MIG" in model:  # a share of a GPU, under the name of the whole
        return None
    known = [name for name in PEAK_FLOPS_PER_SECOND if re.search(rf"\b{name}\b", model)]
    return PEAK_FLOPS_PER_SECOND[max(known, key=len)] if known else None


def device_model(device: str) -> str:
    """The model name of a CUDA device as its driver says it; empty for a CPU or where it is silent.

    Asked outside of the trial, through nvidia-smi.
    """
    kind, _, number = device.partition(":")
    smi = shutil.which("nvidia-smi")
    if kind != "cuda" or smi is None:
        return ""
    question = [smi, f"--id={number}", "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(
            question, capture_output=True, text=True, check=True, timeout=ASK_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


def digest(trial: Trial) -> str:
    """All telemetry of a trial in one paragraph of bounded length, its own word marked as such."""
    sentences = [_times(trial)]
    if trial.steps:
        sentences.insert(0, _throughput(trial))
    if trial.loss_curve:
        sentences.append(_losses(trial))
    own = "steps, tokens, loss, FLOPs, warming up, waiting"
    if not trial.device.startswith("cpu"):
        own += ", peak memory"
    return " ".join((*sentences, f"The trial's own word: {own}."))


def _throughput(trial: Trial) -> str:
    mfu = "unknown" if trial.mfu_percent is None else f"{trial.mfu_percent:.3g} %"
    return (
        f"{trial.steps:,} steps, {trial.tokens:,} tokens, {_whole(trial.tokens_per_second)} tokens/s; "
        f"MFU {mfu}."
    )


def _times(trial: Trial) -> str:
    inside = trial.startup_seconds + trial.training_seconds + trial.evaluation_seconds
    return (
        f"Peak memory {_whole(trial.peak_memory_mb)} MB. "
        f"Start-up {trial.startup_seconds:.1f} s (warming up {trial.warmup_seconds:.1f} s), "
        f"training {trial.training_seconds:.1f} s (waiting for data "
        f"{trial.data_wait_seconds:.2f} s), evaluation {trial.evaluation_seconds:.1f} s, "
        f"exit {max(0.0, trial.total_seconds - inside):.1f} s."
    )


def _whole(figure: float) -> str:
    """A whole number; a trial may claim any, and gets no more room for a large one."""
    return f"{figure:,.0f}" if abs(figure) < 1e12 else f"{figure:.3g}"


def _losses(trial: Trial) -> str:
    """The loss at a few shares of the budget, the first and the last point among them."""
    curve = trial.loss_curve
    count = min(DIGEST_POINTS, len(curve))
    places = [number * (len(curve) - 1) // max(1, count - 1) for number in range(count)]
    told = ", ".join(
        f"{curve[place][1]:.4g} at {_whole(100 * curve[place][0])} %" for place in places
    )
    return f"Loss in nats per token at shares of the budget: {told}."
