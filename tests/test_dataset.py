"""The prepared corpus: whole or not there, the same everywhere, and pinned to the bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from trainer.corpus import SPLITS, Corpus, CorpusError, Split, open_corpus
from trainer.dataset import (
    Dataset,
    build_dataset,
    encode_corpus,
    evaluation_rows,
    load_dataset,
    verify_dataset,
)
from trainer.setting import PROFILES, Setting
from trainer.tokenizer import encoding_of, load_ranks

VOCABULARY = 400


def write_corpus(folder: Path, seed: int = 0) -> None:
    """150 files of made-up words."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("abcdefghij", k=chance.randrange(2, 9))) for _ in range(300)]
    folder.mkdir(exist_ok=True)
    for number in range(150):
        text = " ".join(chance.choices(words, k=chance.randrange(30, 300)))
        (folder / f"{number}.txt").write_text(f"{text}.\n")


def setting_of(corpus: str, vocabulary: int = VOCABULARY) -> Setting:
    return PROFILES["cpu"].model_copy(
        update={
            "corpus": corpus,
            "vocabulary": vocabulary,
            "sequence_length": 32,
            "evaluation_tokens": 1024,
        }
    )


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def small(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return build_dataset(setting_of(f"files:{text}"), tmp_path_factory.mktemp("cache"))


def build(text: Path, cache: Path) -> Dataset:
    return build_dataset(setting_of(f"files:{text}"), cache)


def tokens_of(dataset: Dataset, split: Split) -> np.ndarray:
    return np.fromfile(dataset.tokens(split), dtype="<u2")


def texts_of(dataset: Dataset, split: Split) -> list[str]:
    encoding = encoding_of(load_ranks(dataset.tokenizer))
    tokens = tokens_of(dataset, split)
    offsets = np.fromfile(dataset.offsets(split), dtype="<i8")
    assert (tokens[offsets[:-1]] == dataset.bos).all()
    assert (tokens == dataset.bos).sum() == len(offsets) - 1
    assert offsets[-1] == len(tokens)
    spans = pairwise(offsets)
    return [encoding.decode(tokens[start + 1 : end].tolist()) for start, end in spans]


# --- what is built


def test_every_document_is_in_its_split_word_for_word(small: Dataset, tmp_path: Path) -> None:
    documents = list(open_corpus(small.corpus, tmp_path).documents())
    for split in SPLITS:
        assert texts_of(small, split) == [text for found, text in documents if found == split]
    assert not set(texts_of(small, "train")) & set(texts_of(small, "validation"))


def test_the_counts_and_the_bytes_per_token_are_those_of_the_files(small: Dataset) -> None:
    assert small.train_tokens_count == len(tokens_of(small, "train"))
    assert small.validation_tokens_count == len(tokens_of(small, "validation"))
    assert small.audit_tokens_count == len(tokens_of(small, "audit"))
    sizes = np.load(small.token_bytes)
    assert len(sizes) == small.vocabulary == small.bos + 1 == VOCABULARY
    text = "".join(texts_of(small, "audit"))
    assert sizes[tokens_of(small, "audit")].sum() == len(text.encode())


def test_equal_inputs_give_equal_pins_in_any_cache(
    small: Dataset, text: Path, tmp_path: Path
) -> None:
    again = build(text, tmp_path)
    assert again.folder != small.folder
    assert again.pins == small.pins
    assert set(small.pins) == {"corpus", "tokenizer", *SPLITS}
    assert verify_dataset(again) == []


def test_what_is_prepared_is_not_prepared_again(small: Dataset, text: Path) -> None:
    lines: list[str] = []
    cache = small.folder.parent.parent
    assert build_dataset(setting_of(f"files:{text}"), cache, lines.append) == small
    assert lines == []


def test_another_text_or_vocabulary_is_another_dataset(
    small: Dataset, tmp_path: Path, text: Path
) -> None:
    cache = small.folder.parent.parent
    other = build_dataset(setting_of(f"files:{text}", VOCABULARY + 1), cache)
    assert other.folder != small.folder
    assert other.pins["corpus"] == small.pins["corpus"]
    write_corpus(tmp_path / "text", seed=1)
    assert build(tmp_path / "text", cache).folder not in (small.folder, other.folder)


def test_the_default_corpus_is_prepared_as_always(tmp_path: Path) -> None:
    dataset = build_dataset(PROFILES["cpu"], tmp_path)
    assert dataset.pins["corpus"].startswith("1a2fc8298bb5")
    assert dataset.train_tokens_count == 1_010_314
    assert evaluation_rows(dataset, "validation", 256, 65_536).shape == (221, 257)


def test_a_text_in_two_splits_is_refused(small: Dataset, tmp_path: Path) -> None:
    twice: list[tuple[Split, str]] = [("train", "a"), ("audit", "b"), ("validation", "a")]
    leaking = Corpus("leaking", "", lambda: iter(twice))
    encoding = encoding_of(load_ranks(small.tokenizer))
    with pytest.raises(CorpusError, match="leaking: 1 texts are in more than one split"):
        encode_corpus(leaking, encoding, tmp_path, print)


# --- killed, damaged, wanted twice


@pytest.mark.parametrize("line", ["training a tokenizer", "encoding", "train tokens"])
def test_a_build_that_was_killed_is_finished_by_the_next(
    line: str, small: Dataset, text: Path, tmp_path: Path
) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from trainer.dataset import build_dataset
from trainer.setting import Setting

def report(line):
    if sys.argv[3] in line:
        os.kill(os.getpid(), signal.SIGKILL)

build_dataset(Setting.model_validate_json(sys.argv[1]), Path(sys.argv[2]), report)
"""
    setting = setting_of(f"files:{text}")
    killed = subprocess.run(
        [sys.executable, "-c", script, setting.model_dump_json(), tmp_path, line], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    left = [path.name for path in (tmp_path / "datasets").iterdir()]
    assert sorted(name.rpartition(".")[2] for name in left) == ["lock", "part"]

    lines: list[str] = []
    dataset = build_dataset(setting, tmp_path, lines.append)
    assert dataset.pins == small.pins
    assert verify_dataset(dataset) == []
    trained_again = any("training a tokenizer" in said for said in lines)
    assert trained_again == (line == "training a tokenizer")


def test_two_who_want_the_same_dataset_build_it_once(
    small: Dataset, text: Path, tmp_path: Path
) -> None:
    setting = setting_of(f"files:{text}")
    building, second_waits = threading.Event(), threading.Event()
    lines: list[str] = []

    def first(line: str) -> None:
        building.set()
        assert second_waits.wait(60)

    def second(line: str) -> None:
        lines.append(line)
        second_waits.set()

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(build_dataset, setting, tmp_path, first)
        assert building.wait(60)
        two = pool.submit(build_dataset, setting, tmp_path, second)
        assert one.result() == two.result()
    assert lines == ["another process is preparing this dataset; waiting for it"]
    assert one.result().pins == small.pins


def test_a_damaged_folder_is_no_dataset_and_is_prepared_again(text: Path, tmp_path: Path) -> None:
    dataset = build(text, tmp_path)
    os.truncate(dataset.train_tokens, 100)
    with pytest.raises(CorpusError, match=r"train\.tokens is missing or not of \d+ bytes"):
        load_dataset(dataset.folder)
    again = build(text, tmp_path)
    assert again == dataset
    assert verify_dataset(again) == []
    (again.folder / "manifest.json").unlink()
    with pytest.raises(CorpusError, match="holds no prepared corpus"):
        load_dataset(again.folder)
    assert build(text, tmp_path) == dataset


def test_a_change_of_one_bit_is_found_and_named(text: Path, tmp_path: Path) -> None:
    dataset = build(text, tmp_path)
    changed = bytearray(dataset.tokens("audit").read_bytes())
    changed[5] ^= 1
    dataset.tokens("audit").write_bytes(changed)
    assert load_dataset(dataset.folder) == dataset
    assert {line.partition(":")[0] for line in verify_dataset(dataset)} == {"audit.tokens"}


def test_a_file_changed_together_with_its_manifest_is_found_by_the_pins(
    text: Path, tmp_path: Path
) -> None:
    dataset = build(text, tmp_path)
    path = dataset.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["train.tokens"] = manifest["files"]["audit.tokens"]
    path.write_text(json.dumps(manifest))
    dataset.train_tokens.write_bytes(dataset.tokens("audit").read_bytes())
    (line,) = verify_dataset(dataset)
    assert line.startswith("train.tokens: ")
    assert dataset.pins["train"] in line


def test_a_dataset_found_by_a_relative_path_is_found_from_elsewhere(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small.folder.parent)
    found = load_dataset(Path(small.folder.name))
    monkeypatch.chdir(tmp_path)
    assert found.train_tokens.exists()


# --- evaluation rows


def test_evaluation_rows_hold_the_whole_split_if_they_may(small: Dataset) -> None:
    rows = evaluation_rows(small, "validation", 32, 10**9)
    assert rows.dtype == np.int64
    assert rows.shape[1] == 33
    assert (rows[:, 0] == small.bos).all()
    there = Counter(tokens_of(small, "validation").tolist())
    seen = Counter(rows.ravel().tolist())
    del there[small.bos], seen[small.bos]
    assert seen <= there
    assert (there - seen).total() <= 32  # what the last, incomplete row would have held


def test_fewer_evaluation_rows_are_taken_at_even_strides(small: Dataset) -> None:
    every = evaluation_rows(small, "audit", 16, 10**9)
    some = evaluation_rows(small, "audit", 16, 16 * 10)
    assert some.shape == (10, 17)
    places = [int(np.flatnonzero((every == row).all(axis=1))[0]) for row in some]
    steps = np.diff(places)
    assert places[0] == 0
    assert steps.max() - steps.min() <= 1
    assert len(every) - places[-1] <= steps.max()


def test_evaluation_rows_are_always_the_same_and_differ_between_splits(small: Dataset) -> None:
    rows = evaluation_rows(small, "validation", 32, 1024)
    assert np.array_equal(rows, evaluation_rows(small, "validation", 32, 1024))
    assert not np.array_equal(rows[:4], evaluation_rows(small, "audit", 32, 1024)[:4])


# --- what a user can mend


def test_a_split_too_small_to_evaluate_is_refused(small: Dataset, text: Path) -> None:
    message = r"is too small: its (validation|audit) split has \d+ tokens, and 4 x 1000 are the"
    with pytest.raises(CorpusError, match=message):
        evaluation_rows(small, "validation", 999, 1024)
    setting = setting_of(f"files:{text}").model_copy(update={"sequence_length": 999})
    with pytest.raises(CorpusError, match=message):
        build_dataset(setting, small.folder.parent.parent)


def test_a_corpus_too_small_for_its_vocabulary_is_refused(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"only {name}")
    with pytest.raises(CorpusError, match=r"yields a vocabulary of 2\d\d tokens, not 400"):
        build(tmp_path, tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_said_in_one_line(text: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CorpusError, match=r"cannot prepare files:.* in .*file: .*Not a directory"):
        build(text, tmp_path / "file")
