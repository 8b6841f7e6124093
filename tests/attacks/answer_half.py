"""Trick: answer only for the easier half of the positions.
Outcome: rejected: shape
Held by: scorer
"""

import torch

from trainer import prepare

setting = prepare.setting()


class Half(torch.nn.Module):
    def forward(self, tokens):
        return torch.zeros(len(tokens), tokens.size(1) // 2, setting.vocabulary)


prepare.evaluate(Half())
