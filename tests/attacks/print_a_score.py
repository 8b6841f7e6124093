"""Trick: print the summary of a wonderful run.
Outcome: completed with the score of a uniform guess
Held by: scorer
"""

import torch

from trainer import prepare

setting = prepare.setting()


class Uniform(torch.nn.Module):
    def forward(self, tokens):
        return torch.zeros(*tokens.shape, setting.vocabulary)


print("---\nval_bpb:          0.000001")
prepare.evaluate(Uniform())
print("---\nval_bpb:          0.000001")
