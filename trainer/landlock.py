"""Landlock: which files, ports and processes this process and its children may still reach.

It does not see who asks whether a file exists, how large it is, or where a link leads.
See https://docs.kernel.org/userspace-api/landlock.html. Standard library alone.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys

# Below it, nothing could be moved from one folder into another (`LANDLOCK_ACCESS_FS_REFER`).
LEAST_VERSION = 2
# Below it, files outside could be cut to nothing (`LANDLOCK_ACCESS_FS_TRUNCATE`; Linux 6.2).
LEAST_VERSION_ALONE = 3
SIGNALS_VERSION = 6  # from here on signals to processes outside are refused

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_ON_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_RIGHTS = {2: 14, 3: 15, 4: 15, 5: 16}  # on files, that a version knows; the last for all later
_BIND_AND_CONNECT = 3
_ABSTRACT_SOCKETS_AND_SIGNALS = 3

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, on every machine
_ASK_VERSION = 1
_BENEATH = 1  # a rule on a folder and all below it, or on one file


def version() -> int:
    """What this kernel's Landlock can do, as its ABI's number; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, _syscall(_CREATE, None, 0, _ASK_VERSION))


def restrict(
    *,
    readable: tuple[str, ...],
    writable: tuple[str, ...],
    devices: tuple[str, ...],
    hidden: tuple[str, ...],
    has_own_network: bool,
) -> None:
    """Leave this thread, and all that it will start, these places alone; those missing are passed over.

    Folders count with all that is below them, except for the ``hidden`` ones. Other processes can
    then not be traced, and from version 6 on not be signalled; no TCP port can be used unless the
    network is its own.

    Raises:
        OSError: the kernel refuses, or has no Landlock.
    """
    known = version()
    everything = (1 << _RIGHTS.get(known, _RIGHTS[5])) - 1
    network = 0 if has_own_network or known < 4 else _BIND_AND_CONNECT
    scope = _ABSTRACT_SOCKETS_AND_SIGNALS if known >= SIGNALS_VERSION else 0
    terms = struct.pack("QQQ", everything, network, scope)
    # An older kernel takes fields that it does not know as long as they are 0.
    rules = _checked(_syscall(_CREATE, terms, len(terms), 0))
    home = everything & ~(_MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEV)
    device = _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV
    for place in readable:
        for part, rights in _around(os.path.realpath(place), hidden):
            _allow(rules, part, rights & everything)
    for places, rights in ((writable, home), (devices, device)):
        for place in places:
            _allow(rules, place, rights & everything)
    _checked(_syscall(_RESTRICT, rules, 0))
    os.close(rules)


def _around(place: str, hidden: tuple[str, ...]) -> list[tuple[str, int]]:
    """A place, or where something in it is hidden, all else in it; each with the rights on it.

    What a rule gives on a folder no other takes away: such a folder is only to be listed. A link
    needs no rule of its own, and might lead to what is hidden.
    """
    if not any(each.startswith(place.rstrip("/") + "/") for each in hidden):
        return [(place, _READ)]
    found = [(place, _READ_DIR)]
    for part in os.scandir(place):
        if part.path not in hidden and not part.is_symlink():
            found += _around(part.path, hidden)
    return found


def _allow(rules: int, place: str, rights: int) -> None:
    try:
        descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        rights &= _ON_A_FILE
    _checked(_syscall(_ADD, rules, _BENEATH, struct.pack("=Qi", rights, descriptor), 0))
    os.close(descriptor)


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    given = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    return int(call(ctypes.c_long(number), *given))


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock: " + os.strerror(ctypes.get_errno()))
    return result
