"""A prepared corpus on disk: token files, offsets, tokenizer, and the hashes that pin them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import tiktoken
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from trainer.corpus import (
    SPLITS,
    Corpus,
    CorpusError,
    Documents,
    Report,
    Split,
    document_hash,
    open_corpus,
)
from trainer.packing import pack
from trainer.setting import Setting
from trainer.tokenizer import bytes_per_token, encoding_of, load_ranks, save_ranks, train_ranks

LAYOUT = 1  # raise it when the same inputs shall give other files
TOKENIZER_CHARACTERS = 1_000_000_000  # of training text that the tokenizer is trained on, at most
BATCH_CHARACTERS = 4_000_000  # encoded at a time
EVALUATION_ROWS_AT_LEAST = 4
PROGRESS_SECONDS = 5.0  # between two lines of a report

MANIFEST = "manifest.json"
PINNED_FILES = {
    "tokenizer": "tokenizer.tiktoken",
    "train": "train.tokens",
    "validation": "validation.tokens",
    "audit": "audit.tokens",
}


class Dataset(BaseModel):
    """A folder of prepared text.

    ``pins`` are the SHA-256 of the corpus' text (all documents in their order), the tokenizer and
    the tokens of each split: ``corpus``, ``tokenizer``, ``train``, ``validation``, ``audit``.
    ``vocabulary`` counts BOS, which is the last token id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    corpus: str
    vocabulary: int
    bos: int
    pins: dict[str, str]
    train_tokens_count: int
    validation_tokens_count: int
    audit_tokens_count: int

    def tokens(self, split: Split) -> Path:
        """The split's token ids: uint16 little-endian, every document starting with BOS."""
        return self.folder / f"{split}.tokens"

    def offsets(self, split: Split) -> Path:
        """Where each document of the split starts, plus the end: int64 little-endian."""
        return self.folder / f"{split}.offsets"

    @property
    def train_tokens(self) -> Path:
        """See `tokens`."""
        return self.tokens("train")

    @property
    def train_offsets(self) -> Path:
        """See `offsets`."""
        return self.offsets("train")

    @property
    def tokenizer(self) -> Path:
        """The mergeable ranks, in tiktoken's own text format."""
        return self.folder / PINNED_FILES["tokenizer"]

    @property
    def token_bytes(self) -> Path:
        """The length in bytes of every token id, int64 .npy of length ``vocabulary``; 0 for BOS."""
        return self.folder / "token_bytes.npy"


class _FileRecord(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    size_bytes: int
    sha256: str


class _Manifest(BaseModel):
    """What is written last into a dataset's folder: with it the folder is whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Dataset
    files: dict[str, _FileRecord]


# --- building ---------------------------------------------------------------------------------


def build_dataset(setting: Setting, cache: Path, report: Report = lambda line: None) -> Dataset:
    """Prepare the setting's corpus in a folder of ``cache``, unless that has been done.

    The folder's name holds a hash of all that goes in: the corpus, the vocabulary, this code's
    layout. It gets that name only when it is whole; a build that was killed goes on from its last
    finished step (downloads, tokenizer). Of two processes that want the same dataset, the second
    waits for the first. ``report`` is told of the progress, line by line.

    Raises:
        CorpusError: the corpus cannot be read, or is too small for the setting's vocabulary or
            evaluation, or the cache cannot be written.
    """
    corpus = open_corpus(setting.corpus, cache, report)
    folder = (cache / "datasets" / _folder_name(corpus, setting.vocabulary)).absolute()
    try:
        dataset = _whole(folder) or _build_locked(corpus, setting.vocabulary, folder, report)
    except OSError as error:
        raise CorpusError(f"cannot prepare {corpus.name} in {cache}: {error}") from error
    _refuse_too_small(dataset, setting)
    return dataset


def _folder_name(corpus: Corpus, vocabulary: int) -> str:
    inputs = [LAYOUT, corpus.identity, vocabulary, version("rustbpe"), version("tiktoken")]
    key = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
    return f"{corpus.name.partition(':')[0]}-{vocabulary}-{key[:16]}"


def _whole(folder: Path) -> Dataset | None:
    try:
        return load_dataset(folder)
    except CorpusError:
        return None


def _build_locked(corpus: Corpus, vocabulary: int, folder: Path, report: Report) -> Dataset:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(folder.name + ".lock"), report):
        if dataset := _whole(folder):
            return dataset
        if folder.exists():
            report(f"{folder} is damaged; preparing it again")
            shutil.rmtree(folder)
        half = folder.with_name(folder.name + ".part")
        half.mkdir(exist_ok=True)
        _build(corpus, vocabulary, half, report)
        half.rename(folder)
    return load_dataset(folder)


@contextmanager
def _locked(path: Path, report: Report) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another process is preparing this dataset; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(corpus: Corpus, vocabulary: int, folder: Path, report: Report) -> None:
    """Fill ``folder``, the manifest last."""
    ranks = _tokenizer(corpus, vocabulary, folder / PINNED_FILES["tokenizer"], report)
    np.save(folder / "token_bytes.npy", bytes_per_token(ranks))
    report(f"{corpus.name}: encoding")
    corpus_sha256, counts = encode_corpus(corpus, encoding_of(ranks), folder, report)
    names = ["token_bytes.npy", *PINNED_FILES.values(), *(f"{split}.offsets" for split in SPLITS)]
    files = {name: _record(folder / name) for name in names}
    dataset = Dataset(
        folder=Path(),
        corpus=corpus.name,
        vocabulary=vocabulary,
        bos=vocabulary - 1,
        pins={"corpus": corpus_sha256}
        | {pin: files[name].sha256 for pin, name in PINNED_FILES.items()},
        train_tokens_count=counts["train"],
        validation_tokens_count=counts["validation"],
        audit_tokens_count=counts["audit"],
    )
    manifest = _Manifest(dataset=dataset, files=files)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1))
    report(f"{corpus.name}: " + ", ".join(f"{counts[split]:,} {split} tokens" for split in SPLITS))


def _tokenizer(corpus: Corpus, vocabulary: int, path: Path, report: Report) -> dict[bytes, int]:
    if path.exists():  # of an earlier build with the same inputs, killed after this step
        return load_ranks(path)
    report(f"{corpus.name}: training a tokenizer of {vocabulary} tokens")
    ranks = train_ranks(_training_text(corpus.documents()), vocabulary)
    if len(ranks) != vocabulary - 1:
        raise CorpusError(
            f"{corpus.name} is too small: its training text yields a vocabulary of "
            f"{len(ranks) + 1} tokens, not {vocabulary}"
        )
    save_ranks(ranks, path)
    return ranks


def _training_text(documents: Documents) -> Iterator[str]:
    characters = 0
    for split, text in documents:
        if split == "train":
            yield text
            characters += len(text)
            if characters >= TOKENIZER_CHARACTERS:
                return


def encode_corpus(
    corpus: Corpus, encoding: tiktoken.Encoding, folder: Path, report: Report
) -> tuple[str, dict[Split, int]]:
    """Write the tokens and offsets of all splits; the text's SHA-256 and the tokens per split.

    Raises:
        CorpusError: one text is in two splits.
    """
    text_sha256 = hashlib.sha256()
    offsets: dict[Split, list[int]] = {split: [0] for split in SPLITS}
    hashes: dict[Split, list[int]] = {split: [] for split in SPLITS}
    reported_at = time.monotonic()
    with ExitStack() as stack:
        files = {s: stack.enter_context((folder / f"{s}.tokens").open("wb")) for s in SPLITS}
        threads = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
        for batch in _batched(corpus.documents()):
            encoded = threads.map(lambda pair: _document_tokens(pair[1], encoding), batch)
            for (split, text), tokens in zip(batch, encoded, strict=True):
                files[split].write(tokens.tobytes())
                offsets[split].append(offsets[split][-1] + len(tokens))
                hashes[split].append(document_hash(text))
                text_sha256.update(text.encode())
            if time.monotonic() - reported_at >= PROGRESS_SECONDS:
                reported_at = time.monotonic()
                report(f"{corpus.name}: {sum(o[-1] for o in offsets.values()) / 1e6:.0f} M tokens")
    if shared := _shared(hashes):
        raise CorpusError(f"{corpus.name}: {shared} texts are in more than one split")
    for split in SPLITS:
        np.array(offsets[split], dtype="<i8").tofile(folder / f"{split}.offsets")
        for kind in ("tokens", "offsets"):  # a trial is handed them, and might open them again
            (folder / f"{split}.{kind}").chmod(0o444)
    return text_sha256.hexdigest(), {split: offsets[split][-1] for split in SPLITS}


def _batched(documents: Documents) -> Iterator[list[tuple[Split, str]]]:
    batch, characters = list[tuple[Split, str]](), 0
    for split, text in documents:
        batch.append((split, text))
        characters += len(text)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    yield batch


def _document_tokens(text: str, encoding: tiktoken.Encoding) -> NDArray[np.uint16]:
    """BOS and the tokens of one document; "<|bos|>" in the text itself is ordinary text."""
    ids = encoding.encode_to_numpy(text, disallowed_special=())
    tokens = np.empty(len(ids) + 1, dtype="<u2")
    tokens[0] = encoding.n_vocab - 1
    tokens[1:] = ids
    return tokens


def _shared(hashes: dict[Split, list[int]]) -> int:
    """How many different documents are in more than one split."""
    each = [np.unique(np.array(hashes[split], dtype=np.uint64)) for split in SPLITS]
    return sum(map(len, each)) - len(np.unique(np.concatenate(each)))


# --- reading ----------------------------------------------------------------------------------


def load_dataset(folder: Path) -> Dataset:
    """The dataset in ``folder``. Sizes are checked, contents are not: see `verify_dataset`.

    Raises:
        CorpusError: there is no whole dataset.
    """
    manifest = _manifest(folder)
    for name, file in manifest.files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != file.size_bytes:
            raise CorpusError(f"{path} is missing or not of {file.size_bytes} bytes: damaged")
    return manifest.dataset.model_copy(update={"folder": folder.absolute()})


def verify_dataset(dataset: Dataset) -> list[str]:
    """What differs from the manifest or the dataset's own pins, a line each; reads every file.

    Raises:
        CorpusError: there is no manifest.
    """
    differences = []
    found = dict[str, str]()
    for name, file in _manifest(dataset.folder).files.items():
        path = dataset.folder / name
        found[name] = _record(path).sha256 if path.is_file() else "missing"
        if found[name] != file.sha256:
            differences.append(f"{name}: {found[name]}, the manifest says {file.sha256}")
    for pin, name in PINNED_FILES.items():
        if found.get(name) != dataset.pins[pin]:
            differences.append(f"{name}: {found.get(name)}, pinned is {dataset.pins[pin]}")
    return differences


def evaluation_rows(
    dataset: Dataset,
    split: Literal["validation", "audit"],
    sequence_length: int,
    evaluation_tokens: int,
) -> NDArray[np.int64]:
    """The rows (rows, sequence_length + 1), each starting with BOS, that a model is scored on.

    They are packed as training rows are, in the corpus' own order, and taken at even strides over
    the whole split; together they predict ``evaluation_tokens`` tokens, or as many as there are.
    The same arguments give the same rows, always.

    Raises:
        CorpusError: the split has fewer than EVALUATION_ROWS_AT_LEAST rows.
    """
    packed = pack(
        np.memmap(dataset.tokens(split), dtype="<u2", mode="r"),
        np.fromfile(dataset.offsets(split), dtype="<i8"),
        sequence_length=sequence_length,
        bos=dataset.bos,
        seed=None,
        epochs=1,
    )
    rows = list(packed)
    if len(rows) < EVALUATION_ROWS_AT_LEAST:
        raise _too_small(dataset, split, sequence_length)
    wanted = max(EVALUATION_ROWS_AT_LEAST, evaluation_tokens // sequence_length)
    if len(rows) > wanted:
        rows = [rows[i * len(rows) // wanted] for i in range(wanted)]
    return np.stack(rows).astype(np.int64)


def _refuse_too_small(dataset: Dataset, setting: Setting) -> None:
    row = setting.sequence_length + 1
    if dataset.train_tokens_count < row:
        raise _too_small(dataset, "train", setting.sequence_length)
    if dataset.validation_tokens_count < EVALUATION_ROWS_AT_LEAST * row:
        raise _too_small(dataset, "validation", setting.sequence_length)
    if dataset.audit_tokens_count < EVALUATION_ROWS_AT_LEAST * row:
        raise _too_small(dataset, "audit", setting.sequence_length)


def _too_small(dataset: Dataset, split: Split, sequence_length: int) -> CorpusError:
    rows = 1 if split == "train" else EVALUATION_ROWS_AT_LEAST
    there = dataset.tokens(split).stat().st_size // 2
    return CorpusError(
        f"{dataset.corpus} is too small: its {split} split has {there} tokens, and {rows} x "
        f"{sequence_length + 1} are the least; more text or a shorter sequence_length helps"
    )


def _manifest(folder: Path) -> _Manifest:
    path = folder / MANIFEST
    try:
        return _Manifest.model_validate_json(path.read_text())
    except (OSError, ValidationError) as error:
        raise CorpusError(f"{folder} holds no prepared corpus") from error


def _record(path: Path) -> _FileRecord:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return _FileRecord(size_bytes=path.stat().st_size, sha256=sha256)
