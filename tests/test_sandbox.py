"""What a trial is given: its environment, memory that it shares, and the wall that is chosen."""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

import pytest

from trainer import sandbox
from trainer.wall import WALLS

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="holds in full on Linux only")


def test_what_is_not_allowed_in_the_environment_stays_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    environment = sandbox.trial_environment(Path("/home/of/trial"), "cpu:1", threads=3)
    assert "OPENAI_API_KEY" not in environment
    assert environment["LANG"] == "C.UTF-8" and environment["PATH"] == os.environ["PATH"]
    assert environment["HOME"] == environment["TMPDIR"] == "/home/of/trial"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["TORCHINDUCTOR_CACHE_DIR"] == "/home/of/trial/compiled/inductor"
    assert environment["TRITON_CACHE_DIR"] == "/home/of/trial/compiled/triton"


@pytest.mark.parametrize(
    ("device", "visible"), [("cpu:0", ""), ("cuda:2", "2"), ("cuda:GPU-5a:b", "GPU-5a:b")]
)
def test_a_trial_sees_its_own_device_alone(device: str, visible: str) -> None:
    environment = sandbox.trial_environment(Path(), device, threads=1)
    assert environment["CUDA_VISIBLE_DEVICES"] == visible


def test_shared_memory_is_shared_and_cannot_be_made_to_fault_its_reader() -> None:
    memory = sandbox.shared_memory(8192)
    with os.fdopen(os.dup(memory), "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[8000:8004] = b"abcd"
    buffer = bytearray(4)
    assert os.preadv(memory, [buffer], 8000) == 4 and buffer == b"abcd"
    if sys.platform == "linux":
        for size in (0, 1 << 30):
            with pytest.raises(PermissionError):
                os.ftruncate(memory, size)
    os.close(memory)


@LINUX
def test_the_best_wall_that_holds_is_found_and_where_none_does_it_is_said_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problems = {"bubblewrap": "not installed", "landlock": ""}
    monkeypatch.setattr(sandbox, "wall_problem", problems.__getitem__)
    assert sandbox.find_wall() == "landlock"
    problems["landlock"] = "open to signals"
    with pytest.raises(sandbox.NoWall, match=r"bubblewrap: not installed; landlock: open to sig"):
        sandbox.find_wall()


@LINUX
def test_a_program_that_is_not_there_is_no_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert sandbox.wall_problem.__wrapped__("bubblewrap") == "not installed"


def test_every_wall_is_explained() -> None:
    assert all(sandbox.explain(each).count(":") == 1 for each in (*WALLS, "none"))
