"""Which system calls a trial may make: a filter in the kernel's own small language, and its start.

Knows no files: those are Landlock's. Standard library alone, and quick to import.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

# Numbers of system calls on x86_64 and on aarch64, 0 where there is none. From 424 on they are the
# same everywhere. See https://man7.org/linux/man-pages/man2/syscalls.2.html.
NUMBERS = {
    "accept": (43, 202),
    "accept4": (288, 242),
    "acct": (163, 89),
    "add_key": (248, 217),
    "bind": (49, 200),
    "bpf": (321, 280),
    "chmod": (90, 0),
    "chown": (92, 0),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "connect": (42, 203),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "file_setattr": (469, 469),
    "finit_module": (313, 273),
    "fremovexattr": (199, 16),
    "fsconfig": (431, 431),
    "fsetxattr": (190, 7),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "futimesat": (261, 0),
    "init_module": (175, 105),
    "inotify_add_watch": (254, 27),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioperm": (173, 0),
    "iopl": (172, 0),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "lchown": (94, 0),
    "listen": (50, 201),
    "lookup_dcookie": (212, 18),
    "lremovexattr": (198, 15),
    "lsetxattr": (189, 6),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, 0),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_getsetattr": (245, 185),
    "mq_notify": (244, 184),
    "mq_open": (240, 180),
    "mq_timedreceive": (243, 183),
    "mq_timedsend": (242, 182),
    "mq_unlink": (241, 181),
    "msgctl": (71, 187),
    "msgget": (68, 186),
    "msgrcv": (70, 188),
    "msgsnd": (69, 189),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "prlimit64": (302, 261),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "removexattr": (197, 14),
    "removexattrat": (466, 466),
    "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "semctl": (66, 191),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "setpriority": (141, 140),
    "settimeofday": (164, 170),
    "setxattr": (188, 5),
    "setxattrat": (463, 463),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "shmget": (29, 194),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "truncate": (76, 45),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "utime": (132, 0),
    "utimensat": (280, 88),
    "utimes": (235, 0),
    "vhangup": (153, 58),
}

# Refused whatever they are asked: into the memory and descriptors of others, into namespaces and
# mounts, into parts of the kernel that nobody needs for training. To cut a file short by its name
# and to watch one are things that Landlock does not see, in all of its versions or in the first.
REFUSED = (
    *("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp"),
    *("process_madvise", "process_mrelease", "userfaultfd", "memfd_secret"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "perf_event_open"),
    *("add_key", "request_key", "keyctl", "fanotify_init", "inotify_add_watch", "truncate"),
    *("unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "open_tree_attr"),
    *("name_to_handle_at", "open_by_handle_at", "quotactl", "quotactl_fd", "acct"),
    *("swapon", "swapoff", "reboot", "kexec_load", "kexec_file_load", "syslog", "vhangup"),
    *("init_module", "finit_module", "delete_module", "lookup_dcookie", "modify_ldt"),
    *("iopl", "ioperm", "settimeofday", "clock_settime", "clock_adjtime"),
    *("sethostname", "setdomainname"),
    *("shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semctl", "semtimedop"),
    *("msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink", "mq_timedsend"),
    *("mq_timedreceive", "mq_notify", "mq_getsetattr"),
)

# Said to have worked, and not done: a descriptor that is handed in must not be a way to change
# what is known of its file, and whoever copies or links goes on as well.
IGNORED = (
    *("chmod", "fchmod", "fchmodat", "fchmodat2"),
    *("chown", "fchown", "lchown", "fchownat"),
    *("utime", "utimes", "futimesat", "utimensat"),
    *("setxattr", "lsetxattr", "fsetxattr", "setxattrat"),
    *("removexattr", "lremovexattr", "fremovexattr", "removexattrat", "file_setattr"),
)

# As if this kernel did not have them: whoever asks has another way. What clone3 is asked lies in
# memory, where no filter looks.
UNKNOWN = ("clone3",)

# Memory in files without a name belongs to no process, so nobody sees how much a trial takes. (CUDA
# may need it; what it holds on a GPU is not looked at either.)
UNKNOWN_ON_CPU = ("memfd_create",)

# Refused on another process, known by its number in this argument; 0 is oneself.
ON_ONESELF = {
    "prlimit64": 0,
    "sched_setaffinity": 0,
    "sched_setscheduler": 0,
    "sched_setparam": 0,
    "sched_setattr": 0,
    "migrate_pages": 0,
    "move_pages": 0,
    "setpriority": 1,
    "ioprio_set": 1,
}

CONNECTING = ("connect", "accept", "accept4")
# CUDA does not start without a socket of its own to listen on, although nobody will connect.
LISTENING = ("socket", "bind", "listen")
SOCKETS_OF_A_NAMESPACE = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
UNIX = (1,)  # AF_UNIX
CONNECTED_KINDS = (1, 5)  # SOCK_STREAM, SOCK_SEQPACKET: unconnected they reach nobody

# TIOCSTI and TIOCLINUX, which type into a terminal; FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR and
# FS_IOC_ENABLE_VERITY, which change a file that is open for reading alone.
REFUSED_IOCTLS = (0x5412, 0x541C, 0x40086602, 0x401C5820, 0x40806685)

SIGNALS_TO_A_GROUP = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
SIGNALS_TO_A_THREAD = ("tkill", "pidfd_send_signal")

_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW… that clone takes
_WHOLE = 0xFFFFFFFF
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000

_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_REFUSE = _ERRNO | errno.EPERM
_PR_SET_SECCOMP, _FILTER_MODE = 22, 2


def supported() -> bool:
    """Whether the numbers of this machine's system calls are known here."""
    return os.uname().machine in _ARCHITECTURES


def program(
    machine: str, *, is_alone: bool, on_cpu: bool, only_signals: int | None = None
) -> bytes:
    """The filter for a machine (``x86_64`` or ``aarch64``), as instructions of classic BPF.

    Alone in namespaces a trial may have sockets, otherwise only pairs that are connected from the
    start, and with a GPU such that nobody will ever be connected to. ``only_signals`` names the one
    process that it may send signals to, for kernels where Landlock does not see to that.
    """
    column = list(_ARCHITECTURES).index(machine)
    numbers = {name: both[column] for name, both in NUMBERS.items() if both[column] or not column}
    code = _native_calls_only(machine)
    code += _always(numbers, REFUSED, _REFUSE)
    code += _always(numbers, IGNORED, _ERRNO)
    code += _always(numbers, UNKNOWN + (UNKNOWN_ON_CPU if on_cpu else ()), _ERRNO | errno.ENOSYS)
    code += _unless(numbers["clone"], 0, _NEW_NAMESPACES, (0,))
    code += _if(numbers["ioctl"], 1, _WHOLE, REFUSED_IOCTLS)
    if is_alone:
        code += _unless(numbers["socket"], 0, _WHOLE, SOCKETS_OF_A_NAMESPACE)
    else:
        for name, place in ON_ONESELF.items():
            code += _unless(numbers[name], place, _WHOLE, (0,))
        code += _always(numbers, CONNECTING + (LISTENING if on_cpu else ()), _REFUSE)
        code += _unless(numbers["socket"], 0, _WHOLE, UNIX)
        for name in ("socket", "socketpair"):
            code += _unless(numbers[name], 1, 0xF, CONNECTED_KINDS)
    if only_signals is not None:
        for name in SIGNALS_TO_A_GROUP:
            code += _unless(numbers[name], 0, _WHOLE, (only_signals,))
        code += _always(numbers, SIGNALS_TO_A_THREAD, _REFUSE)
    return b"".join([*code, _step(_RETURN, _ALLOW)])


def install(code: bytes) -> None:
    """Put the filter over this thread and all that it will start, for ever.

    Raises:
        OSError: the kernel refuses.
    """

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
    given = Program(len(code) // 8, code)
    if libc.prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(given), 0, 0):
        raise OSError(ctypes.get_errno(), "the system call filter was refused")


def _step(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", operation, if_true, if_false, value)


def _native_calls_only(machine: str) -> list[bytes]:
    """Kill whoever calls as another machine would, by other numbers; then load the number."""
    code = [_step(_LOAD, 4), _step(_EQUAL, _ARCHITECTURES[machine], 1, 0), _step(_RETURN, _KILL)]
    code += [_step(_LOAD, 0)]
    if machine == "x86_64":
        code += [_step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, _KILL)]
    return code


def _always(numbers: dict[str, int], names: tuple[str, ...], answer: int) -> list[bytes]:
    """Answer these calls so, where this machine has them."""
    known = [numbers[name] for name in names if name in numbers]
    return [step for n in known for step in (_step(_EQUAL, n, 0, 1), _step(_RETURN, answer))]


def _unless(number: int, place: int, mask: int, allowed: tuple[int, ...]) -> list[bytes]:
    """Refuse a call unless its argument, under a mask, is one of these values."""
    matches = [_step(_EQUAL, value, len(allowed) - at, 0) for at, value in enumerate(allowed)]
    return _looking_at(number, place, mask, [*matches, _step(_RETURN, _REFUSE)])


def _if(number: int, place: int, mask: int, refused: tuple[int, ...]) -> list[bytes]:
    """Refuse a call if its argument, under a mask, is one of these values."""
    matches = [(_step(_EQUAL, value, 0, 1), _step(_RETURN, _REFUSE)) for value in refused]
    return _looking_at(number, place, mask, [step for both in matches for step in both])


def _looking_at(number: int, place: int, mask: int, steps: list[bytes]) -> list[bytes]:
    """Take these steps with an argument of this call; who gets through them goes on."""
    # Little endian: the lower half of an argument, all of an int, comes first.
    steps = [_step(_LOAD, 16 + 8 * place), _step(_AND, mask), *steps, _step(_LOAD, 0)]
    return [_step(_EQUAL, number, 0, len(steps)), *steps]
