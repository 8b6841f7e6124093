"""How a trial ended, in words, by its exit code and its log; knows no process and no score."""

from __future__ import annotations

import re
import signal
from pathlib import Path

TAIL_BYTES = 6000  # of a log, that a trial's record keeps
REASON_CHARACTERS = 300  # of the line that is its reason

# In this order: Python, CUDA, torch's CPU allocator, cuBLAS, C++.
_OUT_OF_MEMORY = re.compile(
    "MemoryError|out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED|bad_alloc", re.I
)
_CONTROL = re.compile("\x1b\\[[0-9;?]*[a-zA-Z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def read_tail(log: Path) -> str:
    """The end of a log as text without control characters: data to be quoted, nothing more."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def explain(
    code: int | None, tail: str, *, is_completed: bool, was_asked: bool, peak_memory_mb: float
) -> str:
    """Why it crashed (or failed after its score), in one line; "" where nothing went wrong.

    ``code`` is how it ended, as `trainer.wall.exit_code` says it; ``tail`` the end of its log.
    ``was_asked``: it had handed its model over.
    """
    if is_completed:
        return f"after its score: {_last_words(tail)}" if code else ""
    if not code:
        missing = "answering for its model" if was_asked else "handing over a model"
        return f"train.py ended without {missing}"
    no_room = f"out of memory: peak {peak_memory_mb:.0f} MB"
    if code == -signal.SIGKILL:
        return f"{no_room} (killed, most likely by the kernel)"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    words = _last_words(tail) or f"exit code {code}"
    if _OUT_OF_MEMORY.search(words):
        return f"{no_room} ({words})"
    return words


def explain_second(code: int | None, tail: str) -> str:
    """Why a second process, which is asked again, did not answer, in one line; as `explain`."""
    words = _last_words(tail) or f"exit code {code}"
    return f"asked again: a second process did not answer: {words}"


def _last_words(tail: str) -> str:
    """The line that names the exception, or simply the last line."""
    _, found, traceback = tail.rpartition("Traceback (most recent call last):\n")
    if found:
        for line in traceback.splitlines():
            if line and not line[0].isspace():
                return line[:REASON_CHARACTERS]
    lines = tail.strip().splitlines()
    return lines[-1].strip()[:REASON_CHARACTERS] if lines else ""
