"""Telemetry: bounded whatever a trial reports, and unknown where nothing is known."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from trainer.telemetry import CURVE_POINTS, Curve, device_model, digest, peak_flops_per_second
from trainer.trial import Trial

TRIAL = Trial(
    source_sha="s",
    seed=1,
    device="cuda:0",
    outcome="completed",
    startup_seconds=41.0,
    warmup_seconds=30.0,
    training_seconds=300.0,
    data_wait_seconds=0.25,
    evaluation_seconds=8.0,
    total_seconds=350.0,
    peak_memory_mb=45_000.0,
    steps=953,
    tokens=499_646_464,
    tokens_per_second=1_665_488.2,
    mfu_percent=39.84,
    loss_curve=tuple((n / 100, 9.0 - n / 20) for n in range(101)),
)


@pytest.mark.parametrize("count", [0, 1, 2, CURVE_POINTS, CURVE_POINTS + 1, 12_345])
def test_a_curve_is_thinned_evenly_and_ends_where_training_did(count: int) -> None:
    curve = Curve()
    for number in range(count):
        curve.add((number / count, 2.0))
    shares = [share for share, _ in curve.points()]
    assert len(shares) <= CURVE_POINTS and shares == sorted(set(shares))
    if count:
        assert (shares[0], shares[-1]) == (0, (count - 1) / count)
        steps = {round((b - a) * count) for a, b in pairwise(shares[:-1])}
        assert len(steps) <= 1


@pytest.mark.parametrize(
    ("model", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA GB200", 2500e12),
        ("NVIDIA A1000", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("", None),
    ],
)
def test_a_peak_is_that_of_the_very_device_or_unknown(model: str, peak: float | None) -> None:
    assert peak_flops_per_second(model) == peak


def test_a_driver_is_asked_for_the_model_of_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text('#!/bin/sh\n[ "$1" = --id=2 ] && echo "NVIDIA H200"\n')
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert device_model("cuda:2") == "NVIDIA H200"
    assert device_model("cuda:7") == device_model("cpu:2") == ""


def test_a_digest_says_it_all_in_one_bounded_paragraph() -> None:
    assert digest(TRIAL) == (
        "953 steps, 499,646,464 tokens, 1,665,488 tokens/s; MFU 39.8 %. Peak memory 45,000 MB. "
        "Start-up 41.0 s (warming up 30.0 s), training 300.0 s (waiting for data 0.25 s), "
        "evaluation 8.0 s, exit 1.0 s. Loss in nats per token at shares of the budget: 9 at 0 %, "
        "8.3 at 14 %, 7.6 at 28 %, 6.9 at 42 %, 6.15 at 57 %, 5.45 at 71 %, 4.75 at 85 %, "
        "4 at 100 %. The trial's own word: steps, tokens, loss, FLOPs, warming up, waiting, "
        "peak memory."
    )
    boast = TRIAL.model_copy(
        update={
            "steps": 2**53,
            "tokens": 2**63 - 1,
            "tokens_per_second": 1e300,
            "peak_memory_mb": 1e300,
            "mfu_percent": 1e300,
            "loss_curve": ((-1e300, -1e300),) * CURVE_POINTS,
        }
    )
    assert len(digest(boast)) <= 1500


def test_a_digest_of_a_trial_that_never_trained_claims_nothing() -> None:
    told = digest(Trial(source_sha="s", seed=1, device="cpu:0", outcome="crashed"))
    assert "tokens/s" not in told and "Loss" not in told


def test_without_a_peak_the_mfu_is_unknown() -> None:
    assert "MFU unknown." in digest(TRIAL.model_copy(update={"mfu_percent": None}))
