"""What no program can do anything about: a full disk, a locked notebook, a terminal that goes away."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from org.lab import LabError
from org.notebook import BUSY_SECONDS
from org.plain import one_line

# What a disk says that can take nothing more, or nothing at all.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
DISK_OF_SQLITE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)


@contextmanager
def telling_trouble(folder: Path) -> Iterator[None]:
    """What no program can do anything about is told in one line; what is on record stays there.

    Raises:
        LabError: in place of an error of the disk, or of a notebook that another program locks.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        kind = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF  # the rest says more of it
        if kind in DISK_OF_SQLITE:
            raise LabError(_disk_trouble(folder, error)) from error
        if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            held = f"another program has locked the notebook of {folder} for {BUSY_SECONDS:g} s"
            raise LabError(f"{held}; end it, then the same command goes on") from error
        raise
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise LabError(_disk_trouble(folder, error)) from error


def _disk_trouble(folder: Path, error: Exception) -> str:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free_gb = shutil.disk_usage(there).free / 2**30
    return (
        f"the lab {folder} cannot be written: {one_line(str(error))} ({free_gb:.1f} GB are free);"
        " make room, then the same command goes on"
    )


class Patient(io.TextIOBase):
    """A terminal that may go away, or a pipe that nobody reads any more: what is said then is lost.

    A run must not end because nobody listens.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.gone = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._file.encoding

    def isatty(self) -> bool:
        return not self.gone and self._file.isatty()

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, text: str) -> int:
        if not self.gone:
            try:
                self._file.write(text)
                self._file.flush()
            except (OSError, ValueError):
                self._leave()
        return len(text)

    def _leave(self) -> None:
        """What the file holds back must not be an error either when Python ends."""
        self.gone = True
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())
