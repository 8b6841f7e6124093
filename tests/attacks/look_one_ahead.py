"""Trick: predict the token that stands next in the input.
Outcome: rejected: not causal
Held by: challenge
"""

import torch

from trainer import prepare

setting = prepare.setting()


class Peeking(torch.nn.Module):
    def forward(self, tokens):
        logits = torch.zeros(*tokens.shape, setting.vocabulary)
        return logits.scatter_(2, tokens.roll(-1, 1)[..., None], 8.0)


prepare.evaluate(Peeking())
