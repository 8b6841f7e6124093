"""The parent of a trial: when it, the trial or the supervisor ends, nothing of the trial is left.

bubblewrap sees to that as well, but not before it is ready. On Linux alone.
"""

from __future__ import annotations

import ctypes
import os
import signal

from trainer.confine import OPEN_FILES, become, unpacked

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Run the command that is given within its terms, and end as it does, all its processes gone.

    Before the command stands the number of the process that starts this one. The exit code is the
    command's, 128 + N after signal N. Ends likewise when the thread that starts it does, or on
    SIGTERM.
    """
    terms, (parent, *command) = unpacked()
    signal.signal(signal.SIGTERM, _stop)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # whatever it detaches becomes our child
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):  # it ended before the line above: no signal will ever come
        os._exit(1)
    trial = os.fork()
    if trial == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        become(terms, command)
    os.closerange(0, OPEN_FILES)  # what it hangs up is to be closed
    ended, status = 0, 0
    while ended != trial:
        ended, status = os.wait()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _kill_all()
    code = os.waitstatus_to_exitcode(status)
    os._exit(128 - code if code < 0 else code)


def _stop(number: int, frame: object) -> None:
    _kill_all()
    os._exit(128 + number)


def _kill_all() -> None:
    """Kill our children, and theirs as they become ours, until there are none."""
    while True:
        for child in _children():
            os.kill(child, signal.SIGKILL)  # nobody else reaps it, so it is there
        try:
            os.waitpid(-1, 0)
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return


def _children() -> list[int]:
    us, names = os.getpid(), [entry.name for entry in os.scandir("/proc")]
    return [int(name) for name in names if name.isdigit() and _parent(name) == us]


def _parent(process: str) -> int:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123
            # A program's name may hold anything; what comes after its ")" does not.
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:  # ended since
        return 0
