"""Trick: favour every token that comes anywhere later in the row.
Outcome: rejected: not causal
Held by: challenge
"""

import torch

from trainer import prepare

setting = prepare.setting()


class Foreseeing(torch.nn.Module):
    def forward(self, tokens):
        later = torch.nn.functional.one_hot(tokens, setting.vocabulary).float()
        later = later.flip(1).cumsum(1).flip(1).roll(-1, 1)
        later[:, -1] = 0
        return 3.0 * (later > 0)


prepare.evaluate(Foreseeing())
