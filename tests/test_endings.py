"""The reason of a trial that ended badly: one line, from its exit code and its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.endings import REASON_CHARACTERS, TAIL_BYTES, explain, explain_second, read_tail

TRACEBACK = """step 1
Traceback (most recent call last):
  File "train.py", line 3, in <module>
    {line}
{error}
"""
DIVISION = TRACEBACK.format(line="1 / 0", error="ZeroDivisionError: division by zero")
FULL = TRACEBACK.format(line="grow()", error="torch.OutOfMemoryError: CUDA out of memory.")


@pytest.mark.parametrize(
    ("code", "tail", "reason"),
    [
        (1, DIVISION, "ZeroDivisionError: division by zero"),
        (1, "loading\nno room on the disk\n\n", "no room on the disk"),
        (3, "", "exit code 3"),
        (1, FULL, "out of memory: peak 700 MB (torch.OutOfMemoryError: CUDA out of memory.)"),
        (-9, "", "out of memory: peak 700 MB (killed, most likely by the kernel)"),
        (-11, "step 1", "killed by SIGSEGV"),
        (0, "step 1", "train.py ended without handing over a model"),
        (1, "x" * 1000, "x" * REASON_CHARACTERS),
    ],
)
def test_a_crash_has_its_reason_in_a_line(code: int, tail: str, reason: str) -> None:
    told = explain(code, tail, is_completed=False, was_asked=False, peak_memory_mb=700.0)
    assert told == reason


def test_what_goes_wrong_after_the_model_was_handed_over_is_told_apart() -> None:
    terms = {"peak_memory_mb": 0.0, "was_asked": True}
    assert "without answering for" in explain(0, "", is_completed=False, **terms)
    assert explain(0, "step 1", is_completed=True, **terms) == ""
    assert explain(1, DIVISION, is_completed=True, **terms).startswith("after its score: ZeroD")
    assert explain_second(3, "") == "asked again: a second process did not answer: exit code 3"


def test_of_a_log_the_end_is_kept_and_nothing_that_moves_a_terminal(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"-" * TAIL_BYTES + b"\r\n\x1b[2J\x1b[31mred\x1b[0m\x07 \xff end\rlast\n")
    tail = read_tail(log)
    assert tail.endswith("-\nred � end\nlast\n")
    assert len(tail) <= TAIL_BYTES
