"""Trick: be infinitely sure.
Outcome: rejected: not all finite
Held by: scorer
"""

import torch

from trainer import prepare

setting = prepare.setting()


class Certain(torch.nn.Module):
    def forward(self, tokens):
        logits = torch.zeros(*tokens.shape, setting.vocabulary)
        logits[..., ord("e")] = torch.inf
        return logits


prepare.evaluate(Certain())
