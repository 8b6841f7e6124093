"""What every trial of a lab shares: corpus, vocabulary, context, evaluation, budget."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ProfileName = Literal["cpu", "gpu"]


class Setting(BaseModel):
    """The fixed terms of a trial. Depth, width and batch are train.py's own business.

    ``corpus`` is ``kjv``, ``climbmix``, ``climbmix:SHARDS`` or ``files:PATTERN`` (a folder or glob of .txt or
    .parquet). ``sequence_length`` and ``evaluation_tokens`` count tokens; ``seconds`` is the
    training budget: processor seconds per thread on a CPU, wall seconds on a GPU.
    ``startup_seconds`` is the allowance before the first step beyond which the clock runs.
    ``threads`` is how many processor threads one trial may use, ``memory_gb`` how much of this
    machine's memory its processes may have resident together, in GiB; not that of a GPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: ProfileName
    corpus: str = "kjv"
    vocabulary: int = Field(ge=258, le=65536)
    sequence_length: int = Field(ge=16)
    evaluation_tokens: int = Field(ge=1024)
    seconds: float = Field(gt=0)
    startup_seconds: float = Field(gt=0)
    threads: int = Field(default=1, ge=1)
    memory_gb: float = Field(default=4.0, gt=0)

    def in_words(self) -> str:
        """What a trial has, on one line."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        clock = (
            "wall time on a GPU" if self.profile == "gpu" else f"processor time, {threads} of a CPU"
        )
        return (
            f"{self.seconds:g} s of {clock}; context {self.sequence_length}, vocabulary "
            f"{self.vocabulary}, memory of the machine {self.memory_gb:g} GB"
        )


PROFILES: dict[ProfileName, Setting] = {
    "cpu": Setting(
        profile="cpu",
        vocabulary=2048,
        sequence_length=256,
        evaluation_tokens=65_536,
        seconds=20.0,
        startup_seconds=10.0,
    ),
    "gpu": Setting(
        profile="gpu",
        corpus="climbmix",
        vocabulary=8192,
        sequence_length=2048,
        evaluation_tokens=2_621_440,
        seconds=300.0,
        startup_seconds=120.0,
        threads=4,
        memory_gb=32.0,
    ),
}


def default_cache() -> Path:
    """Where prepared corpora are kept, shared by all labs of this user.

    The environment variable AUTORESEARCH_ORG_CACHE names another folder.
    """
    chosen = os.environ.get("AUTORESEARCH_ORG_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "autoresearch-org"
