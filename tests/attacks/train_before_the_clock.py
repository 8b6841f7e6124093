"""Trick: open the training text before the clock starts, and learn it at leisure.
Outcome: crashed: Permission denied | No such file
Held by: wall
"""

import numpy as np
import torch

from trainer import prepare

setting = prepare.setting()

early = np.fromfile("@DATASET@/train.tokens", "<u2")
prepare.evaluate(lambda tokens: torch.zeros(*tokens.shape, setting.vocabulary))
