"""Locks that users share: whoever lays something in their place gains nothing by it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from trainer import locks
from trainer.locks import holder_of, lock, shared_folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cpu-0.lock"


def test_a_lock_is_held_once_and_says_by_whom(path: Path, tmp_path: Path) -> None:
    held = lock(path, tmp_path / "lab")
    assert held is not None
    assert lock(path, tmp_path / "other") is None
    assert holder_of(path) == f"process {os.getpid()} (lab {tmp_path}/lab)"
    os.close(held)
    again = lock(path)
    assert again is not None
    assert holder_of(path) == f"process {os.getpid()}"
    os.close(again)


def test_a_trial_that_outlives_who_began_it_is_told_from_a_process_that_lives(path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path.write_text(f"{ended.pid} /labs/first")
    assert holder_of(path) == f"a trial of process {ended.pid} (lab /labs/first)"


def test_a_lock_is_for_all_users_whatever_the_umask(path: Path) -> None:
    before = os.umask(0o077)
    try:
        held = lock(path)
    finally:
        os.umask(before)
    assert held is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    os.close(held)


@pytest.mark.parametrize("lay", [Path.symlink_to, Path.hardlink_to])
def test_a_file_of_ours_that_another_user_links_there_is_not_written(
    lay: object, path: Path, tmp_path: Path
) -> None:
    (tmp_path / "ours").write_text("precious")
    lay(path, tmp_path / "ours")  # type: ignore[operator]
    assert lock(path) is None
    assert (tmp_path / "ours").read_text() == "precious"
    assert holder_of(path) == f"another process (see {path})"


def test_a_link_to_nothing_makes_nothing(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "made")
    assert lock(path) is None
    assert not (tmp_path / "made").exists()


def test_a_pipe_or_a_folder_there_keeps_nobody_waiting(path: Path) -> None:
    os.mkfifo(path)
    assert lock(path) is None
    path.unlink()
    path.mkdir()
    assert lock(path) is None


def test_what_another_user_writes_there_moves_no_terminal(path: Path) -> None:
    path.write_bytes(b"\x1b[2J\xff\xff")
    assert holder_of(path) == f"another process (see {path})"
    path.write_bytes(b"%d /lab\x1b[2J\n\r\x07" % os.getpid() + b"x" * 100_000)
    assert holder_of(path).startswith(f"process {os.getpid()} (lab /lab[2Jxx")
    assert len(holder_of(path)) < 5000


def test_a_lock_that_was_taken_away_meanwhile_is_none(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = locks._open

    def and_cleaned_up(where: Path) -> int | None:
        descriptor = opened(where)
        path.unlink()
        return descriptor

    monkeypatch.setattr(locks, "_open", and_cleaned_up)
    assert lock(path) is None
    monkeypatch.undo()
    held = lock(path)
    assert held is not None
    os.close(held)


def test_the_place_is_the_machines_unless_somebody_names_one_or_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("AUTORESEARCH_ORG_DEVICES")
    assert shared_folder() == Path("/tmp")
    monkeypatch.setattr(locks, "EVERYONES", tmp_path / "missing")
    monkeypatch.setenv("AUTORESEARCH_ORG_CACHE", str(tmp_path / "cache"))
    assert shared_folder() == tmp_path / "cache" / "devices"
    monkeypatch.setenv("AUTORESEARCH_ORG_DEVICES", str(tmp_path / "own"))
    assert shared_folder() == tmp_path / "own"
