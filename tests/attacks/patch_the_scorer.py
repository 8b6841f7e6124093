"""Trick: replace the functions that score, in the modules that hold them.
Outcome: completed with the score of a uniform guess
Held by: scorer
"""

import numpy as np
import torch

from trainer import prepare

setting = prepare.setting()


class Uniform(torch.nn.Module):
    def forward(self, tokens):
        return torch.zeros(*tokens.shape, setting.vocabulary)


import trainer.challenge
import trainer.scorer

trainer.scorer.score = lambda *args, **kwargs: 0.0
trainer.scorer.surprise_bits = lambda logits, targets: np.zeros(len(targets))
trainer.challenge.challenge = lambda *args, **kwargs: None
np.log = lambda *args, **kwargs: 0.0
prepare.evaluate(Uniform())
