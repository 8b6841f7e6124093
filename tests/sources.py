"""Texts of train.py for tests: the least that learns, and one for each way to go wrong."""

from __future__ import annotations

UNIFORM = """
import torch
from trainer import prepare
setting = prepare.setting()
prepare.evaluate(lambda tokens: torch.zeros(*tokens.shape, setting.vocabulary))
"""

# Learns how often each token comes; `STRENGTH` is for tests that need a better and a worse one.
UNIGRAM = """
import torch
from trainer import prepare

STRENGTH = 1.0

setting = prepare.setting()
counts = torch.ones(setting.vocabulary)
step = 0
for x, y in prepare.start(rows=8):
    counts += torch.bincount(y.flatten(), minlength=setting.vocabulary)
    step += 1
    prepare.report(step, 0.0, tokens=step * y.numel(), parameters=counts.numel())
    if step == 20:
        break


class Unigram(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("logits", STRENGTH * counts.log())

    def forward(self, tokens):
        return self.logits.expand(*tokens.shape, -1)


summary = prepare.evaluate(Unigram())
print(summary.block(depth=0))
"""

# The same without learning: a quality that can be edited, the same under every seed to the last
# digit. GAIN is how much likelier small letters, the space and whole syllables are, in nats.
SCRIPTED = """
import torch
from trainer import prepare

GAIN = 0.0

setting = prepare.setting()
token = torch.arange(setting.vocabulary)
likely = (token == ord(" ")) | (token >= ord("a")) & (token <= ord("z")) | (token >= 256)
prepare.evaluate(lambda tokens: (GAIN * likely).expand(*tokens.shape, -1))
"""

CRASH = """
print("so far so good")
raise ValueError("the width must be even\\nand it is not")
"""

NO_MODEL = "print('done')\n"

NOT_PYTHON = "def broken(:\n"

SLEEP = """
import time
time.sleep(1000)
"""


def wrong_answer(expression: str) -> str:
    """A train.py whose model answers ``tokens`` with ``expression``."""
    return f"""
import torch
from trainer import prepare
V = prepare.setting().vocabulary
prepare.evaluate(lambda tokens: {expression})
"""


def losses(*nats: float) -> str:
    """A train.py that learns nothing and reports these losses, one after the other."""
    told = ", ".join(f"float('{loss}')" for loss in nats)
    return f"""
from trainer import prepare
prepare.start(rows=1)
for step, loss in enumerate([{told}], 1):
    prepare.report(step, loss, tokens=32 * step)
"""


# A program of a few pieces, which does nothing: for what reads a train.py without running it.
PIECES = '''"""A model."""

import math

LR = 0.04  # Muon
DEPTH = 4


def rate(progress):
    left = 1 - progress
    return LR * left


def size(progress):
    left = 1 - progress
    return DEPTH * left
'''
