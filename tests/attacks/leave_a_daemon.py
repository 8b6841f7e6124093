"""Trick: leave a process behind that outlives the trial.
Outcome: completed with the score of a uniform guess
Held by: wall
"""

import os
import time

import torch

from trainer import prepare

setting = prepare.setting()


class Uniform(torch.nn.Module):
    def forward(self, tokens):
        return torch.zeros(*tokens.shape, setting.vocabulary)


if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "@DAEMON_SECONDS@"])
    os._exit(0)
time.sleep(0.2)
prepare.evaluate(Uniform())
