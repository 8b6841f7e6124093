"""Locks that all labs of a machine share, whichever user's they are, and who holds one."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

import psutil

from trainer.setting import default_cache

# Not TMPDIR, which may be a session's own. A container with a /tmp of its own knows of no others.
EVERYONES = Path("/tmp")

HOLDER_BYTES = 4096  # of what a lock says of who holds it

# What says that another user has put something there that is no lock of ours.
NO_LOCK = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.ENXIO)


def shared_folder() -> Path:
    """Where the locks of devices lie: one place for all labs of this machine.

    The environment variable AUTORESEARCH_ORG_DEVICES names another, for labs that share no device
    with others. Where the place of all cannot be written, it is the user's own.
    """
    if chosen := os.environ.get("AUTORESEARCH_ORG_DEVICES"):
        return Path(chosen)
    if os.access(EVERYONES, os.R_OK | os.W_OK | os.X_OK):
        return EVERYONES
    return default_cache() / "devices"


def lock(path: Path, lab: Path | None = None) -> int | None:
    """Lock a file, made if need be, for this process and this lab; None if somebody else has it.

    It is locked until the last copy of the descriptor is closed.
    """
    descriptor = _open(path)
    if descriptor is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # What cleans up old files may have taken away the one that was opened.
        is_there = os.path.samestat(os.fstat(descriptor), path.lstat())
    except (BlockingIOError, FileNotFoundError):
        is_there = False
    if not is_there:
        os.close(descriptor)
        return None
    with suppress(OSError):  # the disk is full: to say who we are is a courtesy
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d " % os.getpid() + os.fsencode(lab.absolute() if lab else ""), 0)
    return descriptor


def holder_of(path: Path) -> str:
    """Who has a lock, in words, by what it says; which another user may have written."""
    unknown = f"another process (see {path})"
    descriptor = _open(path)
    if descriptor is None:
        return unknown
    said = os.pread(descriptor, HOLDER_BYTES, 0).decode(errors="replace")
    os.close(descriptor)
    number, _, lab = "".join(filter(str.isprintable, said)).partition(" ")
    if not re.fullmatch(r"[0-9]{1,9}", number):
        return unknown
    # A process that was killed may have left its trial, which keeps the device to itself.
    who = f"process {number}" if psutil.pid_exists(int(number)) else f"a trial of process {number}"
    return f"{who} (lab {lab})" if lab else who


def _open(path: Path) -> int | None:
    """Open a lock, made for every user if there is none; None where something else lies there.

    Nothing is believed in a folder that everyone may write. It is sticky, so that only root and who
    made a lock can take it away. A link is not followed, a file that has another name (a hard link
    to one of ours) not written, and none is made where there is one: some kernels refuse to open
    another user's file in such a folder if asked to make it (fs.protected_regular). So another user
    can do no more than keep a device by its lock, as they can by using it.
    """
    how = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, how)
    except FileNotFoundError:
        try:
            descriptor = os.open(path, how | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return None
        os.fchmod(descriptor, 0o666)  # whatever the umask is
    except OSError as error:
        if error.errno in NO_LOCK:
            return None
        raise
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    return None
