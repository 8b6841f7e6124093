"""Trick: let a child do the work, whose time the parent's clock does not show.
Outcome: timed_out: budget
Held by: clock
"""

import os
import time

import torch

from trainer import prepare

setting = prepare.setting()

batches = prepare.start(rows=8)
if os.fork() == 0:
    while True:
        next(batches)
while True:
    time.sleep(0.05)
