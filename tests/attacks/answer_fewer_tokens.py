"""Trick: spread the probability over a vocabulary of one.
Outcome: rejected: shape
Held by: scorer
"""

import torch

from trainer import prepare

setting = prepare.setting()


class Sure(torch.nn.Module):
    def forward(self, tokens):
        return torch.zeros(*tokens.shape, 1)


prepare.evaluate(Sure())
