"""Trick: keep what was seen in earlier rows, and expect it again.
Outcome: rejected: stateful
Held by: challenge
"""

import torch

from trainer import prepare

setting = prepare.setting()


class Remembering(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = torch.ones(setting.vocabulary)

    def forward(self, tokens):
        logits = self.seen.log().expand(*tokens.shape, -1).clone()
        self.seen += torch.bincount(tokens.flatten(), minlength=setting.vocabulary)
        return logits


prepare.evaluate(Remembering())
