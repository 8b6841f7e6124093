"""Trick: kill whoever watches.
Outcome: crashed: could not
Held by: wall
"""

import os
import signal

killed = 0
for process in (os.getppid(), int("@OURS@")):
    try:
        os.kill(process, signal.SIGKILL)
        killed += 1
    except OSError:
        continue
raise SystemExit("killed" if killed else "could not")
