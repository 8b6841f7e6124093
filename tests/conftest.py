"""What many tests share: a tiny prepared corpus, and the terms of a trial that takes seconds."""

from __future__ import annotations

from itertools import islice

import pytest

from trainer.corpus import kjv_chapters
from trainer.dataset import Dataset, build_dataset
from trainer.setting import Setting


@pytest.fixture(scope="session")
def tiny_setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """Little text, a small vocabulary, short rows; time is no matter, so that no load matters."""
    texts = tmp_path_factory.mktemp("texts")
    for number, chapter in enumerate(islice(kjv_chapters(), 40)):
        (texts / f"{number}.txt").write_text(chapter)
    return Setting(
        profile="cpu",
        corpus=f"files:{texts}",
        vocabulary=300,
        sequence_length=32,
        evaluation_tokens=1024,
        seconds=0.2,
        startup_seconds=60.0,
    )


@pytest.fixture(scope="session")
def tiny_dataset(tiny_setting: Setting, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return build_dataset(tiny_setting, tmp_path_factory.mktemp("cache"))
