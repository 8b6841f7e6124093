"""Trick: hand over weights whose loading runs a program.
Outcome: rejected: weights
Held by: reading
"""

import os
import pickle

import torch

from trainer import prepare

setting = prepare.setting()


class Bomb:
    def __reduce__(self):
        return os.system, ("touch @FOLDER@/exploded",)


def plant(state, file, *args, **kwargs):
    with open("weights.pt", "wb") as weights:
        pickle.dump(Bomb(), weights)


torch.save = plant
prepare.evaluate(torch.nn.Embedding(setting.vocabulary, setting.vocabulary))
