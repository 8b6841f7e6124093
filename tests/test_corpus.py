"""Corpora: the same text everywhere, nothing held out that is trained on, clear errors."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from trainer.corpus import (
    CLIMBMIX_LAST_SHARD,
    CLIMBMIX_URL_VARIABLE,
    LONG_FILE_CHARACTERS,
    PIECE_CHARACTERS,
    SPLITS,
    CorpusError,
    Split,
    kjv_chapters,
    open_corpus,
    split_by_hash,
    text_documents,
)

KJV_SHA256 = "1a2fc8298bb598f6ff0015fa45d01ca5f5835b04ea21f1f1af7f947308344ff9"


def in_splits(pairs: Iterator[tuple[Split, str]]) -> dict[Split, list[str]]:
    found: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for split, text in pairs:
        found[split].append(text)
    return found


def read(name: str, cache: Path) -> dict[Split, list[str]]:
    return in_splits(open_corpus(name, cache).documents())


def every_text(name: str, cache: Path) -> list[str]:
    return [text for _, text in open_corpus(name, cache).documents()]


def write_parquet(path: Path, **columns: list[object]) -> None:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


# --- kjv


def test_kjv_is_the_same_bytes_on_every_machine() -> None:
    chapters = list(kjv_chapters())
    assert hashlib.sha256("".join(chapters).encode()).hexdigest() == KJV_SHA256
    assert len(chapters) == 1189
    assert sum(len(chapter.encode()) for chapter in chapters) == 4_142_805


def test_kjv_is_plain_prose_with_a_verse_on_each_line() -> None:
    verses = [verse for chapter in kjv_chapters() for verse in chapter.splitlines()]
    assert len(verses) == 31_102
    assert verses[0] == "In the beginning God created the heaven and the earth."
    assert verses[-1] == "The grace of our Lord Jesus Christ be with you all. Amen."
    assert not any(set(verse) & set("[]<>\t") or verse != verse.strip() for verse in verses)


def test_kjv_is_split_about_90_5_5_by_size(tmp_path: Path) -> None:
    splits = read("kjv", tmp_path)
    sizes = {split: sum(len(text.encode()) for text in splits[split]) for split in SPLITS}
    total = sum(sizes.values())
    assert sizes["validation"] / total == pytest.approx(0.05, abs=0.003)
    assert sizes["audit"] / total == pytest.approx(0.05, abs=0.003)
    assert read("kjv", tmp_path) == splits


# --- splits


def test_no_text_is_in_two_splits_even_if_it_comes_twice() -> None:
    chance = random.Random(4)
    texts = [f"text {chance.randrange(200)}" for _ in range(1000)]
    splits = in_splits(split_by_hash(lambda: texts)())
    assert all(splits.values())
    assert sum(map(len, splits.values())) == 1000
    train, validation, audit = (set(splits[split]) for split in SPLITS)
    assert not train & validation
    assert not train & audit
    assert not validation & audit


def test_a_text_is_in_its_split_wherever_it_stands() -> None:
    texts = [f"text {number}" for number in range(500)]
    there = in_splits(split_by_hash(lambda: texts)())
    back = in_splits(split_by_hash(lambda: texts[::-1])())
    assert {split: sorted(back[split]) for split in SPLITS} == {
        split: sorted(there[split]) for split in SPLITS
    }


def test_a_corpus_of_few_documents_has_every_split() -> None:
    splits = in_splits(split_by_hash(lambda: ["a", "b", "c"])())
    assert [len(splits[split]) for split in SPLITS] == [1, 1, 1]


# --- files


def test_a_folder_gives_one_document_per_txt_file_and_parquet_row(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one.txt").write_text("\ufeffone\r\ntwo", encoding="utf-8")
    (tmp_path / "empty.TXT").write_text("  \n")
    (tmp_path / "notes.md").write_text("not this")
    write_parquet(tmp_path / "rows.parquet", text=["first", None, "", "second"], other=[1, 2, 3, 4])
    assert every_text(f"files:{tmp_path}", tmp_path) == ["one\ntwo", "first", "second"]


def test_a_pattern_may_hold_wildcards_and_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "1.txt").write_text("one")
    (tmp_path / "a" / "2.txt").write_text("two")
    (tmp_path / "3.txt").write_text("three")
    assert every_text("files:~/a/**/*.txt", tmp_path) == ["two", "one"]
    assert every_text("files:~/3.txt", tmp_path) == ["three"]


def test_the_identity_of_files_follows_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    before = open_corpus(f"files:{path}", tmp_path).identity
    assert open_corpus(f"files:{tmp_path}", tmp_path).identity == before
    path.write_text("two")
    assert open_corpus(f"files:{path}", tmp_path).identity != before


def test_a_long_txt_file_is_cut_at_blank_lines_and_nothing_is_lost(tmp_path: Path) -> None:
    chance = random.Random(5)
    paragraphs = ["word " * chance.randrange(1, 900) for _ in range(100)]
    text = "\n\n".join(paragraphs)
    path = tmp_path / "long.txt"
    path.write_text(text)
    pieces = list(text_documents(path))
    assert len(text) > LONG_FILE_CHARACTERS
    assert len(pieces) > 10
    assert "".join(pieces) == text
    assert all(len(piece) >= PIECE_CHARACTERS for piece in pieces[:-1])
    assert all(piece.endswith("\n\n") for piece in pieces[:-1])


def test_a_long_txt_file_without_blank_lines_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("line\n" * LONG_FILE_CHARACTERS)
    assert len(list(text_documents(path))) == 1


def test_what_a_user_can_mend_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "fake.parquet").write_text("no parquet")
    write_parquet(tmp_path / "columns.parquet", content=["a"], size=[1])
    write_parquet(tmp_path / "numbers.parquet", text=[1, 2])
    for name, message in {
        "kvj": "expected kjv, climbmix, climbmix:SHARDS or files:PATTERN",
        "climbmix:many": "expected kjv",
        "climbmix:0": "from 1 to 6542 training shards",
        f"files:{tmp_path}/*.md": "matches no .txt or .parquet file",
        f"files:{tmp_path}/nowhere": "matches no .txt or .parquet file",
        f"files:{tmp_path}/latin.txt": "is not UTF-8: unexpected end of data at byte 3",
        f"files:{tmp_path}/fake.parquet": "cannot be read as parquet",
        f"files:{tmp_path}/columns.parquet": "only: content (string), size (int64)",
        f"files:{tmp_path}/numbers.parquet": "only: text (int64)",
    }.items():
        with pytest.raises(CorpusError) as error:
            every_text(name, tmp_path)
        assert message in str(error.value)
        assert "\n" not in str(error.value)


# --- climbmix


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served where climbmix is looked for."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    folder = tmp_path / "hub"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv(CLIMBMIX_URL_VARIABLE, f"http://127.0.0.1:{server.server_address[1]}/")
        yield folder
        server.shutdown()
        thread.join()


def test_the_last_shard_of_climbmix_is_held_out(shards: Path, tmp_path: Path) -> None:
    last = [f"held out {number}" for number in range(40)]
    write_parquet(shards / f"shard_{CLIMBMIX_LAST_SHARD:05d}.parquet", text=last)
    write_parquet(shards / "shard_00000.parquet", text=["a", "b", "held out 7"])
    write_parquet(shards / "shard_00001.parquet", text=["c"])
    lines: list[str] = []
    corpus = open_corpus("climbmix:2", tmp_path / "cache", lines.append)
    assert not (tmp_path / "cache").exists()
    splits = in_splits(corpus.documents())
    assert splits["train"] == ["a", "b", "c"]
    assert sorted(splits["validation"] + splits["audit"]) == sorted(last)
    assert splits["validation"]
    assert splits["audit"]
    assert any("shard_00001.parquet [####################]" in line for line in lines)
    for shard in shards.iterdir():
        shard.unlink()
    assert in_splits(corpus.documents()) == splits  # from the cache


def test_a_shard_that_cannot_be_had_is_said_in_one_line(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"shard_06542\.parquet: 404 File not found"):
        every_text("climbmix", tmp_path / "cache")
