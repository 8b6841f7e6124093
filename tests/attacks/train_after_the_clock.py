"""Trick: hand the model over, then go on training it while it is asked.
Outcome: rejected: stateful
Held by: challenge
"""

import torch

from trainer import prepare

setting = prepare.setting()

batches = prepare.start(rows=8)


class Late(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("counts", torch.ones(setting.vocabulary))

    def forward(self, tokens):
        for _ in range(10):
            x, _ = next(batches)
            self.counts += torch.bincount(x.flatten(), minlength=setting.vocabulary)
        return self.counts.log().expand(*tokens.shape, -1).clone()


prepare.evaluate(Late())
