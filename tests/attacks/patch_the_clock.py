"""Trick: stop the clocks that this process can see, and train on.
Outcome: timed_out: budget
Held by: clock
"""

import time

import torch

from trainer import prepare

setting = prepare.setting()

time.process_time = lambda: 0.0
time.monotonic = lambda: 0.0
for x, _ in prepare.start(rows=8):
    x.float() @ x.float().T
