"""Trick: read the supervisor's open files and memory through /proc.
Outcome: crashed: nothing to be read
Held by: wall
"""

import os
from pathlib import Path

import torch

from trainer import prepare

setting = prepare.setting()

stolen = 0
for process in {os.getppid(), *(int(p.name) for p in Path("/proc").glob("[0-9]*"))} - {os.getpid()}:
    for name in ("mem", "environ", "maps", "fd", "cwd", "root"):
        path = Path(f"/proc/{process}/{name}")
        try:
            found = os.listdir(path) if name in ("fd", "cwd", "root") else path.read_bytes()[:64]
        except OSError:
            continue
        stolen += len(found)
if not stolen:
    raise SystemExit("nothing to be read")
prepare.evaluate(lambda tokens: torch.zeros(*tokens.shape, setting.vocabulary))
