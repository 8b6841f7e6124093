"""Trick: read whatever open files were inherited.
Outcome: crashed: nothing to be read
Held by: wall
"""

import os
import stat

found = 0
for number in range(3, 256):
    try:
        if stat.S_ISREG(os.fstat(number).st_mode):
            found += len(os.pread(number, 1 << 20, 0))
    except OSError:
        continue
if not found:
    raise SystemExit("nothing to be read")
import torch

from trainer import prepare

setting = prepare.setting()
prepare.evaluate(lambda tokens: torch.zeros(*tokens.shape, setting.vocabulary))
