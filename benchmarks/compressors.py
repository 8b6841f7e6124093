"""What general compressors reach on held-out text once they have seen the training text."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path

from trainer.corpus import open_corpus
from trainer.setting import Setting

SEEN_BYTES = 64 << 20  # of training text that a compressor is shown at most, from its end


def gzip_9(text: bytes) -> int:
    """Bytes after ``gzip -9``; it remembers 32 KiB."""
    return len(gzip.compress(text, 9, mtime=0))


def bzip2_9(text: bytes) -> int:
    """Bytes after ``bzip2 -9``; it sorts blocks of 900 kB, each by itself."""
    return len(bz2.compress(text, 9))


def xz_9e(text: bytes) -> int:
    """Bytes after ``xz -9e`` with a dictionary that holds the whole text."""
    dictionary_bytes = max(4096, 1 << len(text).bit_length())
    lzma2 = {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "dict_size": dictionary_bytes,
    }
    return len(lzma.compress(text, format=lzma.FORMAT_XZ, filters=[lzma2]))


COMPRESSORS: dict[str, Callable[[bytes], int]] = {
    "gzip -9": gzip_9,
    "bzip2 -9": bzip2_9,
    "xz -9e": xz_9e,
}


def bits_per_byte(size: Callable[[bytes], int], seen: bytes, text: bytes) -> float:
    """Bits that each byte of ``text`` adds to a file that has ``seen`` before it."""
    return 8 * (size(seen + text) - size(seen)) / len(text)


def texts_of(setting: Setting, cache: Path) -> tuple[bytes, bytes]:
    """The training text (the last `SEEN_BYTES` of it) and the validation text of a corpus."""
    parts: dict[str, list[bytes]] = {"train": [], "validation": [], "audit": []}
    for split, text in open_corpus(setting.corpus, cache, lambda line: None).documents():
        parts[split].append(text.encode())
    return b"".join(parts["train"])[-SEEN_BYTES:], b"".join(parts["validation"])


def compare(setting: Setting, cache: Path) -> Iterator[tuple[str, float]]:
    """Each compressor's name and its bits per byte on the setting's validation text."""
    seen, text = texts_of(setting, cache)
    for name, size in COMPRESSORS.items():
        yield name, bits_per_byte(size, seen, text)
