"""Trick: replace torch's loss and softmax.
Outcome: completed with the score of a uniform guess
Held by: scorer
"""

import torch

from trainer import prepare

setting = prepare.setting()


class Uniform(torch.nn.Module):
    def forward(self, tokens):
        return torch.zeros(*tokens.shape, setting.vocabulary)


torch.nn.functional.cross_entropy = lambda *args, **kwargs: torch.zeros(())
torch.log_softmax = lambda x, *args, **kwargs: torch.zeros_like(x)
torch.Tensor.log_softmax = torch.log_softmax
prepare.evaluate(Uniform())
