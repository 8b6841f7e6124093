"""Trick: train on the evaluation text while it is being asked.
Outcome: rejected: stateful
Held by: challenge
"""

import torch

from trainer import prepare

setting = prepare.setting()


class Adapting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(setting.vocabulary))

    def forward(self, tokens):
        logits = self.bias.detach().expand(*tokens.shape, -1).clone()
        with torch.inference_mode(False), torch.enable_grad():
            bias = self.bias.detach().clone().requires_grad_()
            said = bias.expand(tokens.numel(), -1)
            torch.nn.functional.cross_entropy(said, tokens.clone().flatten()).backward()
            self.bias.data = self.bias.data - 200.0 * bias.grad
        return logits


prepare.evaluate(Adapting())
