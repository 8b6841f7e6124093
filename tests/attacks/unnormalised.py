"""Trick: give every token a log-probability far above zero.
Outcome: completed with the score of a uniform guess
Held by: scorer
"""

import torch

from trainer import prepare

setting = prepare.setting()


class Boasting(torch.nn.Module):
    def forward(self, tokens):
        return torch.full((*tokens.shape, setting.vocabulary), 1000.0)


prepare.evaluate(Boasting())
