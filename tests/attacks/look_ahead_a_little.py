"""Trick: move the logit of the next token by too little to be seen at one position.
Outcome: rejected: not causal
Held by: challenge
"""

import torch

from trainer import prepare

setting = prepare.setting()


class Nudging(torch.nn.Module):
    def forward(self, tokens):
        logits = torch.zeros(*tokens.shape, setting.vocabulary)
        return logits.scatter_(2, tokens.roll(-1, 1)[..., None], 0.1)


prepare.evaluate(Nudging())
