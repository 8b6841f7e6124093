"""What no program can do anything about: a full disk, a locked notebook, a terminal that goes away or stands still."""

from __future__ import annotations

import atexit
import errno
import io
import os
import select
import shutil
import sqlite3
import threading
from collections import deque
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

# A terminal that has not taken what was said by then stands still (Ctrl-S); at the end of the
# program it is given so long for each piece: one that is slow shows all.
PATIENCE_SECONDS = 0.5
LAST_SECONDS = 2.0
PIECE_BYTES = 4096
KEPT_PARTS = 2000  # of what is said to one that stands still, the latest
DAMAGE_OF_SQLITE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@contextmanager
def telling_trouble(folder: Path) -> Iterator[None]:
    """What no program can do anything about is told in one line; what is on record stays there.

    Raises:
        LabError: in place of an error of the disk, or of a notebook that is damaged, or that another
            program locks.
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
    except sqlite3.DatabaseError as error:
        kind = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if kind not in DAMAGE_OF_SQLITE:
            raise
        raise LabError(
            f"the notebook of {folder} is damaged ({one_line(str(error))});"
            f" python -m org check --lab {folder} says what is wrong"
        ) from error
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
    """A terminal that may go away or stand still, or a pipe that nobody reads any more.

    A run must not end because nobody listens, nor wait for it: a thread writes. While it keeps up,
    who says something goes on once it is written, in order with all that others write there. While
    the terminal stands still nobody waits, and the latest `KEPT_PARTS` are kept for when it goes on;
    what is said to one that has gone away is lost.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.gone = False
        self.stands_still = False
        # With an RLock: a signal may have something to say while its thread is in here.
        self._moved = threading.Condition(threading.RLock())
        self._unwritten: deque[bytes] = deque(maxlen=KEPT_PARTS)
        self._left_out = 0
        self._is_writing = False
        self._pieces = 0  # that were written
        self._thread: threading.Thread | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._file.encoding

    def isatty(self) -> bool:
        return not self.gone and self._file.isatty()

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, text: str) -> int:
        if text and not self.gone:
            try:
                self._file.fileno()
            except (OSError, ValueError):
                self._write_at_once(text)  # into this program's own memory, or it is closed
            else:
                self._write_by_thread(text.encode(self.encoding or "utf-8", errors="replace"))
        return len(text)

    def _write_at_once(self, text: str) -> None:
        try:
            self._file.write(text)
            self._file.flush()
        except (OSError, ValueError):
            self._leave()

    def _write_by_thread(self, part: bytes) -> None:
        with self._moved:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="terminal", daemon=True)
                self._thread.start()
                atexit.register(self._show_the_last)
            self._left_out += len(self._unwritten) == KEPT_PARTS
            self._unwritten.append(part)
            self._moved.notify_all()
            if not self.stands_still:
                self.stands_still = not self._wait_for_writing(PATIENCE_SECONDS)

    def _wait_for_writing(self, seconds: float) -> bool:
        """Wait until all is written, or lost; False if it takes longer."""
        with self._moved:
            return self._moved.wait_for(lambda: self._is_done() or self.gone, seconds)

    def _show_the_last(self) -> None:
        """Wait for as long as the terminal takes what was said."""
        before = -1
        while not self._wait_for_writing(LAST_SECONDS) and before < self._pieces:
            before = self._pieces

    def _is_done(self) -> bool:
        return not (self._unwritten or self._is_writing)

    def _work(self) -> None:
        while not self.gone:
            with self._moved:
                self._moved.wait_for(lambda: self._unwritten)
                part, left_out = self._unwritten.popleft(), self._left_out
                self._is_writing, self._left_out = True, 0
            if left_out:
                self._put(b"\n[... %d messages left out, as nobody read them ...]\n" % left_out)
            self._put(part)
            with self._moved:
                self._is_writing = False
                self.stands_still = self.stands_still and not self._is_done()
                self._moved.notify_all()

    def _put(self, part: bytes) -> None:
        """Write without Python's buffer, which a thread that waits in it would keep locked at the end."""
        try:
            while part:
                try:
                    part = part[os.write(self._file.fileno(), part[:PIECE_BYTES]) :]
                    self._pieces += 1
                except BlockingIOError:  # whoever gave us the file does not wait for it
                    select.select([], [self._file.fileno()], [])
        except (OSError, ValueError):
            self._leave()

    def _leave(self) -> None:
        """What the file holds back must not be an error either when Python ends."""
        self.gone = True
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())
