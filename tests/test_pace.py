"""A trial goes before other programs where that is allowed, and only as far as it should."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.clock import Recording, spread_percent, table
from trainer.pace import HUGE_PAGES, NICEST, give_precedence, take_precedence_away

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the scheduler is Linux's")

ASK_A_CHILD = """
import os, sys
for line in sys.stdin:
    if os.fork() == 0:
        print(os.sched_getscheduler(0), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """One that says of a child, for every line that it reads, how that is scheduled."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", ASK_A_CHILD], text=True, **pipes) as started:  # type: ignore[call-overload]
        yield started


@linux_only
@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_said_of_the_precedence_is_what_the_kernel_says(
    process: subprocess.Popen[str], threads: int
) -> None:
    said = give_precedence(process.pid, threads)

    policy = os.sched_getscheduler(process.pid) & ~os.SCHED_RESET_ON_FORK
    niceness = os.getpriority(os.PRIO_PROCESS, process.pid)
    assert said == (
        "real time" if policy == os.SCHED_RR else "nice" if niceness == NICEST else "none"
    )


@linux_only
def test_a_trial_of_several_threads_is_never_run_in_real_time(
    process: subprocess.Popen[str],
) -> None:
    assert give_precedence(process.pid, 2) in ("nice", "none")


@linux_only
def test_a_child_of_the_trial_does_not_inherit_real_time(process: subprocess.Popen[str]) -> None:
    give_precedence(process.pid, 1)

    assert process.stdin and process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    assert int(process.stdout.readline()) == os.SCHED_OTHER


@linux_only
@pytest.mark.parametrize("threads", [1, 2])
def test_precedence_that_is_taken_away_leaves_nothing_behind(
    process: subprocess.Popen[str], threads: int
) -> None:
    niceness = os.getpriority(os.PRIO_PROCESS, process.pid)
    give_precedence(process.pid, threads)

    take_precedence_away(process.pid)

    policy = os.sched_getscheduler(process.pid) & ~os.SCHED_RESET_ON_FORK
    assert policy == os.SCHED_OTHER
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == niceness


def test_a_process_that_has_ended_is_given_nothing_and_nobody_is_disturbed() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    assert give_precedence(ended.pid, 1) == "none"
    take_precedence_away(ended.pid)


def test_a_program_that_asks_for_huge_pages_starts_without_complaint() -> None:
    asked = subprocess.run(
        [sys.executable, "-c", "bytearray(1 << 26)"],
        env={**os.environ, **HUGE_PAGES},
        capture_output=True,
        text=True,
    )

    assert (asked.returncode, asked.stderr) == (0, "")


def recording(load: str, *, wall: float, processor: float) -> Recording:
    return Recording(
        terms="as it comes",
        load=load,
        precedence="none",
        wall=wall,
        processor=processor,
        weighted=processor,
        quantile=processor,
    )


def test_a_clock_that_buys_the_same_steps_every_time_has_no_spread() -> None:
    assert spread_percent([0.05, 0.05, 0.05]) == pytest.approx(0)
    assert spread_percent([1 / 90, 1 / 100, 1 / 110]) == pytest.approx(10)
    assert spread_percent([0.05]) is None


def test_the_table_tells_the_clocks_apart_within_a_load_and_over_all() -> None:
    recorded = [
        recording("none", wall=1 / 90, processor=0.01),
        recording("none", wall=1 / 110, processor=0.01),
        recording("memory", wall=1 / 100, processor=0.01),
    ]

    lines = table(recorded).splitlines()

    assert lines[2].startswith("| as it comes | none | 2 | 10.0 | 14.1 % | 0.0 %")
    assert lines[3].startswith("| as it comes | memory | 1 | 10.0 |  |")
    assert lines[4].startswith("| as it comes | all | 3 | 10.0 | 10.0 % | 0.0 %")
