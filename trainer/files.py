"""Files that are there whole or not at all, whatever is killed or fills up meanwhile."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a file in UTF-8, on the disk, in the place of what was there.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
