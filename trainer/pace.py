"""Makes a second of a trial worth more, and more nearly the same, whatever else the machine does.

A trial that shares its core needs 10 to 25 % more processor seconds for the same step
(`python -m benchmarks.clock`). Weighing its seconds by how long a small reference work takes does
not help: that hardly changes meanwhile. What helps is that a trial is seldom interrupted. Most
likely (it was not measured by itself) each of some 300 interruptions a second leaves it with caches
that others have filled.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Literal

Precedence = Literal["real time", "nice", "none"]

# Of a trial's environment: glibc asks for huge pages. A step of train.py then has 9 page faults and
# not 40 to 100. Other C libraries ignore it.
# https://www.gnu.org/software/libc/manual/html_node/Memory-Allocation-Tunables.html
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
# Likewise: glibc otherwise hands large blocks back to the kernel at once, and every step faults
# them in again: 12 to 15 % more steps on a CPU, an evaluation shorter by a quarter (train.py, 6 s
# budget).
MALLOC_VARIABLES = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(1 << 26),
}

NICEST = -20


def give_precedence(process: int, threads: int) -> Precedence:
    """Let the first thread of a process go before the programs of others; says how.

    ``threads`` is how many processor threads its trial may use. "real time": it is interrupted only
    by others of its kind, and by the kernel, which leaves the rest 5 % of each core. Only one
    thread gets it, its children and further threads do not (``SCHED_RESET_ON_FORK``), and only
    where a core is left for whoever watches it. "nice": its share of a core is 90 times another's;
    threads started later are as nice. "none": neither is granted to us (both need ``CAP_SYS_NICE``
    or a limit that a person raised), a person started us under ``nice``, this is no Linux, or the
    process has ended. A trial can give precedence up and not take it. See sched(7).
    """
    if sys.platform != "linux" or _own_niceness() > 0:
        return "none"
    cores = len(os.sched_getaffinity(0))
    if threads == 1 < cores and _run_in_real_time(process):
        return "real time"
    try:
        os.setpriority(os.PRIO_PROCESS, process, NICEST)
    except OSError:  # not allowed, or gone
        return "none"
    return "nice"


def take_precedence_away(process: int) -> None:
    """As it was before `give_precedence`; nothing happens where that gave none."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # not allowed, or gone
            os.sched_setscheduler(process, os.SCHED_OTHER, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, process, _own_niceness())


def _own_niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def _run_in_real_time(process: int) -> bool:
    policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
    try:
        os.sched_setscheduler(process, policy, os.sched_param(1))
    except OSError:  # not allowed, or gone
        return False
    return True
