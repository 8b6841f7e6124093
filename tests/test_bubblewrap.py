"""The file system that bubblewrap is told to make."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer import bubblewrap
from trainer.confine import Terms

pytestmark = pytest.mark.skipif(not bubblewrap.program(), reason="bubblewrap is not installed")


def line_for(folder: Path, *readable: str, uid: int | None = None) -> str:
    terms = Terms(
        home=f"{folder}/home",
        readable=tuple(f"{folder}/{name}" for name in readable),
        writable=bubblewrap.SCRATCH,
        devices=(*bubblewrap.OWN_DEVICES, "/dev/nvidia0"),
        hidden=(f"{folder}/libraries/corpus",),
        is_alone=True,
        on_cpu=False,
        tasks=9,
        uid=uid,
    )
    return " ".join(bubblewrap.command(terms, ["true"]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "libraries" / "site" / "corpus").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to("libraries")
    return tmp_path


def test_a_link_stays_a_link_and_what_lies_in_another_place_is_not_mounted_again(
    folder: Path,
) -> None:
    line = line_for(folder, "link", "libraries", "link/site", "libraries/site", "missing")
    assert line.count("--ro-bind ") == 2  # and one for /proc/sys
    assert f"--ro-bind {folder}/libraries {folder}/libraries" in line
    assert line.count("--symlink") == 1 and f"--symlink {folder}/libraries {folder}/link" in line
    assert "missing" not in line


def test_a_hidden_place_is_covered_after_what_it_lies_in_and_the_home_is_the_last(
    folder: Path,
) -> None:
    line = line_for(folder, "libraries")
    steps = [
        f"--ro-bind {folder}/libraries",
        f"--tmpfs {folder}/libraries/corpus",
        f"--bind {folder}/home {folder}/home",
        "--dev /dev",
        "--dev-bind-try /dev/nvidia0 /dev/nvidia0",
        "--remount-ro /dev",
        "--remount-ro / ",
        f"--chdir {folder}/home",
    ]
    assert sorted(steps, key=line.index) == steps
    assert "/dev/null" not in line


def test_without_a_user_to_become_there_is_a_namespace_of_users(folder: Path) -> None:
    assert "--unshare-user" in line_for(folder) and "--cap-add" not in line_for(folder)
    as_root = line_for(folder, uid=59_999)
    assert "--unshare-user" not in as_root and "--cap-drop ALL --cap-add CAP_SETUID" in as_root
