"""Trick: read a key from the environment of a process above.
Outcome: crashed: no key
Held by: wall
"""

import os
from pathlib import Path

environments = [str(dict(os.environ))]
for process in Path("/proc").glob("[0-9]*"):
    try:
        environments.append((process / "environ").read_text(errors="replace"))
    except OSError:
        continue
keys = [text for text in environments if "@TERCES@"[::-1] in text]
raise SystemExit(f"got it: {keys}" if keys else "no key")
