"""Byte-pair tokenizer: trained by rustbpe, kept as a plain text file, used through tiktoken."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import rustbpe
import tiktoken
from numpy.typing import NDArray

from trainer.files import write_whole

BOS = "<|bos|>"

# How text is cut before pairs are merged, as in GPT-4's tokenizer, except that a number token has
# at most two digits: in a small vocabulary three would use up too many entries.
SPLIT_PATTERN = "|".join(
    (
        r"'(?i:[sdmt]|ll|ve|re)",  # the ends of English contractions
        r"[^\r\n\p{L}\p{N}]?+\p{L}+",  # a word, with what stands before it
        r"\p{N}{1,2}",
        r" ?[^\s\p{L}\p{N}]++[\r\n]*",  # punctuation, with the line ends after it
        r"\s*[\r\n]",
        r"\s+(?!\S)",  # white space, but for the one that goes with the next word
        r"\s+",
    )
)


def train_ranks(texts: Iterable[str], vocabulary: int) -> dict[bytes, int]:
    """Learn ``vocabulary`` - 1 tokens, in the order of their merging; BOS is the last, unlisted.

    Fewer are returned if the texts have no more pairs to merge. The result does not depend on the
    number of threads.
    """
    trained = rustbpe.Tokenizer()
    trained.train_from_iterator(iter(texts), vocabulary - 1, pattern=SPLIT_PATTERN)
    return {bytes(token): rank for token, rank in trained.get_mergeable_ranks()}


def save_ranks(ranks: Mapping[bytes, int], path: Path) -> None:
    """Write tiktoken's own format: on each line a token in base64 and its rank."""
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ordered]
    write_whole(path, "".join(lines))


def load_ranks(path: Path) -> dict[bytes, int]:
    """Read what ``save_ranks`` wrote."""
    pairs = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def encoding_of(ranks: Mapping[bytes, int]) -> tiktoken.Encoding:
    """The tokenizer of these ranks; BOS gets the id after the last rank. Nothing is downloaded."""
    return tiktoken.Encoding(
        name="autoresearch-org",
        pat_str=SPLIT_PATTERN,
        mergeable_ranks=dict(ranks),
        special_tokens={BOS: len(ranks)},
        explicit_n_vocab=len(ranks) + 1,
    )


def bytes_per_token(ranks: Mapping[bytes, int]) -> NDArray[np.int64]:
    """The number of bytes behind every token id, BOS (the last, 0) included."""
    sizes = np.zeros(len(ranks) + 1, dtype=np.int64)
    for token, rank in ranks.items():
        sizes[rank] = len(token)
    return sizes
