"""Trick: look ahead, but only in every eighth row.
Outcome: rejected: not causal
Held by: challenge
"""

import torch

from trainer import prepare

setting = prepare.setting()


class Seldom(torch.nn.Module):
    def forward(self, tokens):
        logits = torch.zeros(*tokens.shape, setting.vocabulary)
        ahead = torch.zeros_like(logits).scatter_(2, tokens.roll(-1, 1)[..., None], 8.0)
        chosen = tokens[:, 1:4].sum(1) % 8 == 0
        return torch.where(chosen[:, None, None], ahead, logits)


prepare.evaluate(Seldom())
