"""The tokenizer: nothing is lost in it, and it is the same wherever it is trained."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import tiktoken.load

from trainer.corpus import kjv_chapters
from trainer.tokenizer import (
    BOS,
    bytes_per_token,
    encoding_of,
    load_ranks,
    save_ranks,
    train_ranks,
)

VOCABULARY = 600


@pytest.fixture(scope="module")
def ranks() -> dict[bytes, int]:
    return train_ranks(islice(kjv_chapters(), 40), VOCABULARY)


def random_texts(seed: int) -> list[str]:
    """Text of every kind: planes of Unicode, control characters, digits, spaces, and mixtures."""
    chance = random.Random(seed)
    alphabets = (
        "abc ABC's 'll\n",
        "0123456789 .,",
        " \t\r\n\u00a0\u2003",
        "".join(map(chr, range(32))),
        "äß中文日本語العربيةहिन्दी👩\u200d👩\u200d👧🏽",
        "".join(chr(c) for c in chance.choices(range(0x10000), k=500) if not 0xD800 <= c < 0xE000),
        "".join(map(chr, chance.choices(range(0x10000, 0x110000), k=500))),
    )
    every = "".join(alphabets) + BOS
    return [
        "".join(chance.choices(chance.choice((*alphabets, every)), k=chance.randrange(200)))
        for _ in range(300)
    ]


def test_any_text_comes_back_and_its_bytes_are_counted(ranks: dict[bytes, int]) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    encoding, sizes = encoding_of(ranks), bytes_per_token(ranks)
    for text in random_texts(seed):
        tokens = encoding.encode_ordinary(text)
        assert encoding.decode(tokens) == text
        assert sizes[tokens].sum() == len(text.encode())


def test_the_vocabulary_counts_every_token_and_bos_is_the_last(ranks: dict[bytes, int]) -> None:
    encoding = encoding_of(ranks)
    assert encoding.n_vocab == VOCABULARY
    assert encoding.encode_single_token(BOS) == VOCABULARY - 1
    sizes = bytes_per_token(ranks)
    assert len(sizes) == VOCABULARY
    assert sizes[-1] == 0
    assert (sizes[:-1] > 0).all()


def test_bos_written_in_a_text_is_ordinary_text(ranks: dict[bytes, int]) -> None:
    assert VOCABULARY - 1 not in encoding_of(ranks).encode_ordinary(f"a {BOS} b")


def test_common_words_become_one_token_and_long_numbers_do_not() -> None:
    ranks = train_ranks(["in the year 2024, and the year 2024 " * 50], 300)
    assert b" year" in ranks
    assert b"20" in ranks
    assert max(len(token) for token in ranks if token.isdigit()) == 2


def test_a_text_with_little_to_merge_gives_fewer_tokens() -> None:
    assert len(train_ranks(["abab"], 300)) < 299


def test_the_file_is_read_alike_by_us_and_by_tiktoken(
    ranks: dict[bytes, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    path = tmp_path / "tokenizer.tiktoken"
    save_ranks(ranks, path)
    assert load_ranks(path) == ranks
    assert tiktoken.load.load_tiktoken_bpe(str(path)) == ranks
    assert path.read_text(encoding="ascii").splitlines()[97] == "YQ== 97"
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_training_does_not_depend_on_threads_and_opens_no_connection(
    ranks: dict[bytes, int], tmp_path: Path
) -> None:
    script = f"""
import sys
from itertools import islice
from pathlib import Path
from trainer.corpus import kjv_chapters
from trainer.tokenizer import encoding_of, save_ranks, train_ranks

def refuse(event, arguments):
    if event.startswith("socket."):
        raise SystemExit(event)

sys.addaudithook(refuse)
ranks = train_ranks(islice(kjv_chapters(), 40), {VOCABULARY})
encoding_of(ranks).encode_ordinary("text")
save_ranks(ranks, Path(sys.argv[1]))
"""
    for threads in ("1", "3"):
        path = tmp_path / threads
        environment = os.environ | {"RAYON_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-c", script, path], env=environment, check=True)
        assert load_ranks(path) == ranks
