"""What a trial's process does to itself before it becomes Python: give up all that it does not need.

``python -c`` with `stage` runs it: inside bubblewrap from here, otherwise from `trainer.guard`.
Only modules that are imported in no time: a trial waits.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import resource
import sys

from trainer import landlock, seccomp

OPEN_FILES = 4096
FILE_GB = 4  # the largest file that a trial may write, in GiB
CORE_BYTES = 1  # 0 would not keep a crash from being piped to a crash reporter; 1 does

_PR_CAPBSET_DROP, _PR_SET_SECUREBITS, _PR_SET_NO_NEW_PRIVS = 24, 28, 38
_NO_SETUID_FIXUP = 0b1100  # and for ever
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAP_DAC_READ_SEARCH = 2
_CAPABILITIES = 64  # more than there are
_CAPABILITY_VERSION = 0x20080522


class Terms:
    """What is left to a trial.

    ``home`` is its folder; ``readable``, ``writable`` and ``devices`` are what else it may use,
    files and folders, and ``hidden`` folders within them that it may not. ``is_alone`` says that
    namespaces hide all other processes and networks already: then Landlock is a second wall, where
    the kernel has it. ``on_cpu``: it has no GPU. ``tasks`` is how many processes and threads its
    user may have, ``data_mb`` how much private memory one of its processes, in MiB; None is no
    bound. ``uid`` is the user that it is to become; ``reads_all``: although folders on the way to
    its places are closed to that user.
    """

    # By hand: what makes such classes takes longer to import than all that is done here.
    def __init__(
        self,
        *,
        home: str,
        readable: tuple[str, ...],
        writable: tuple[str, ...],
        devices: tuple[str, ...],
        hidden: tuple[str, ...],
        is_alone: bool,
        on_cpu: bool,
        tasks: int,
        data_mb: int | None = None,
        uid: int | None = None,
        reads_all: bool = False,
    ) -> None:
        self.home = home
        self.readable = readable
        self.writable = writable
        self.devices = devices
        self.hidden = hidden
        self.is_alone = is_alone
        self.on_cpu = on_cpu
        self.tasks = tasks
        self.data_mb = data_mb
        self.uid = uid
        self.reads_all = reads_all


def stage(module: str, terms: Terms | None, command: list[str]) -> list[str]:
    """The command that runs ``main`` of a module of this package with terms and another command.

    Without site and runpy, which take as long as all of the rest, and deaf to the environment.
    """
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    start = f"import sys; sys.path.append({folder!r}); from trainer.{module} import main; main()"
    packed = marshal.dumps(vars(terms) if terms else None).hex()
    return [sys.executable, "-I", "-S", "-c", start, packed, *command]


def unpacked() -> tuple[Terms | None, list[str]]:
    """The terms and the command that `stage` put on this process's command line."""
    packed, *command = sys.argv[1:]
    values = marshal.loads(bytes.fromhex(packed))
    return (None if values is None else Terms(**values)), command


def main() -> None:
    """Enter the terms that are given, then be the command that follows."""
    become(*unpacked())


def become(terms: Terms | None, command: list[str]) -> None:
    """Enter the terms, if there are any, then be the command, as a session of its own."""
    try:
        if os.getsid(0) != os.getpid():
            os.setsid()  # what it sends to its group is to reach nobody else
        _be_killed_first()
        if terms:
            enter(terms)
        os.execvp(command[0], command)
    except OSError as error:
        print(f"the sandbox could not be entered: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def enter(terms: Terms) -> None:
    """Take everything else from this process, and from all that it will start; there is no way back.

    Raises:
        OSError: the kernel refuses a part of it.
    """
    _limit(terms)
    if terms.uid is not None:
        _become_user(terms.uid, terms.reads_all)
    _drop_capabilities(_CAP_DAC_READ_SEARCH if terms.reads_all else None)
    known = landlock.version()
    if known >= (landlock.LEAST_VERSION if terms.is_alone else landlock.LEAST_VERSION_ALONE):
        # Where all of /proc is its own, all of it; else its own folder alone, not those of others,
        # and what it starts has to do without.
        own = ("/proc",) if terms.is_alone else ("/proc/self",)
        landlock.restrict(
            readable=terms.readable + own,
            writable=(terms.home, *terms.writable),
            # CUDA writes there as it starts, and does not start without.
            devices=terms.devices + (() if terms.on_cpu else own),
            hidden=terms.hidden,
            has_own_network=terms.is_alone,
        )
    elif not terms.is_alone:
        raise OSError(f"Landlock {landlock.LEAST_VERSION_ALONE} is needed, here is {known}")
    signals_are_open = known < landlock.SIGNALS_VERSION and not terms.is_alone
    filter_program = seccomp.program(
        os.uname().machine,
        is_alone=terms.is_alone,
        on_cpu=terms.on_cpu,
        only_signals=os.getpid() if signals_are_open else None,
    )
    seccomp.install(filter_program)


def _be_killed_first() -> None:
    """Where memory is short, the kernel is to choose a trial."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
            file.write("1000")
    except OSError:  # not to be had in some containers
        pass


def _limit(terms: Terms) -> None:
    bounds = {
        resource.RLIMIT_CORE: CORE_BYTES,
        resource.RLIMIT_FSIZE: FILE_GB << 30,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_NPROC: terms.tasks,
    }
    if terms.data_mb is not None:
        bounds[resource.RLIMIT_DATA] = terms.data_mb << 20
    for kind, bound in bounds.items():
        _, most = resource.getrlimit(kind)
        bound = bound if most == resource.RLIM_INFINITY else min(bound, most)
        resource.setrlimit(kind, (bound, bound))


def _become_user(uid: int, reads_all: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    # Otherwise a capability is lost with root, and access(2) looks away from it ever after.
    if reads_all and libc.prctl(_PR_SET_SECUREBITS, _NO_SETUID_FIXUP, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "capabilities cannot be kept by another user")
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _drop_capabilities(kept: int | None) -> None:
    """All, or all but one, for good: also uid 0 gets none back by starting a program."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_CAPABILITIES):
        if capability != kept:
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # refused to an ordinary user
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    lower = 0 if kept is None else 1 << kept
    # Effective, permitted, inherited: the lower ones, then the higher.
    if libc.capset(header, (ctypes.c_uint32 * 6)(lower, lower, lower, 0, 0, 0)):
        raise OSError(ctypes.get_errno(), "the capabilities could not be dropped")
    if kept is not None and libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, kept, 0, 0):
        raise OSError(ctypes.get_errno(), "a capability could not be kept")
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs was refused")
