"""Which system calls are let through, by the filter itself, run here as the kernel would."""

from __future__ import annotations

import errno
import re
import struct
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from trainer import seccomp

ALLOWED, KILLED = "allowed", "killed"
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MACHINES = pytest.mark.parametrize("machine", ARCHITECTURES)
CLONE_THREAD, CLONE_NEWUSER = 0x3D0F00, 0x10000000


def answer(code: bytes, machine: str, call: str | int, *arguments: int) -> str:
    """What the filter says to a call: allowed, killed, or the name of an error (SUCCESS is none)."""
    column = list(ARCHITECTURES).index(machine)
    number = seccomp.NUMBERS[call][column] if isinstance(call, str) else call
    given = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("iIQ6Q", number, ARCHITECTURES[machine], 0, *(a % 2**64 for a in given))
    return run(code, data)


def run(code: bytes, data: bytes) -> str:
    steps = list(struct.iter_unpack("HBBI", code))
    at, value = 0, 0
    while True:
        operation, if_true, if_false, operand = steps[at]
        at += 1
        if operation == 0x20:
            (value,) = struct.unpack_from("I", data, operand)
        elif operation == 0x54:
            value &= operand
        elif operation == 0x15:
            at += if_true if value == operand else if_false
        elif operation == 0x35:
            at += if_true if value >= operand else if_false
        else:
            assert operation == 0x06
            break
    if operand == 0x7FFF0000:
        return ALLOWED
    if operand == 0x80000000:
        return KILLED
    assert operand >> 16 == 5
    return errno.errorcode[operand & 0xFFFF] if operand & 0xFFFF else "SUCCESS"


def numbers_of(machine: str) -> dict[str, int]:
    """The kernel's own numbers, from its headers, or none where they are not installed."""
    place, prefix = {
        "x86_64": ("x86_64-linux-gnu/asm/unistd_64.h", "__NR_"),
        "aarch64": ("asm-generic/unistd.h", "__NR(?:3264)?_"),
    }[machine]
    header = Path("/usr/include", place)
    if not header.exists():
        pytest.skip("the headers of the kernel are not installed")
    found = re.findall(rf"^#define {prefix}(\w+)\s+(\d+)", header.read_text(), re.MULTILINE)
    return {name: int(number) for name, number in found}


@MACHINES
def test_the_numbers_of_all_calls_are_the_kernels_own(machine: str) -> None:
    known, column = numbers_of(machine), list(ARCHITECTURES).index(machine)
    for name, both in seccomp.NUMBERS.items():
        if both[column] < 449:  # those after it may be newer than the headers
            assert known.get(name, 0) == both[column], name


@MACHINES
def test_every_call_that_is_named_anywhere_has_a_number(machine: str) -> None:
    named = chain(
        *(seccomp.REFUSED, seccomp.IGNORED, seccomp.UNKNOWN, seccomp.UNKNOWN_ON_CPU),
        *(seccomp.ON_ONESELF, seccomp.CONNECTING, seccomp.LISTENING),
        *(seccomp.SIGNALS_TO_A_GROUP, seccomp.SIGNALS_TO_A_THREAD),
    )
    assert set(named) <= set(seccomp.NUMBERS)


@MACHINES
@pytest.mark.parametrize("is_alone", [True, False])
def test_what_training_needs_is_allowed_and_what_reaches_out_is_not(
    machine: str, is_alone: bool
) -> None:
    code = seccomp.program(machine, is_alone=is_alone, on_cpu=True)

    def says(*call: str | int) -> str:
        return answer(code, machine, *call)  # type: ignore[arg-type]

    assert says(0) == says("clone", CLONE_THREAD) == says("kill", 1, 9) == ALLOWED
    assert says("prlimit64", 0) == says("socketpair", 1, 1 | 0o2000000) == ALLOWED
    assert says("ioctl", 1, 0x5401) == ALLOWED  # is it a terminal?
    assert says("clone", CLONE_NEWUSER | 17) == says("ptrace", 16) == says("unshare") == "EPERM"
    assert says("ioctl", 0, 0x5412) == says("ioctl", 3, 0x40806685) == "EPERM"
    assert says("ioctl", 0, 0x5412 | 1 << 32) == "EPERM"  # the kernel looks at the lower half
    assert says("fchmod", 3, 0o777) == "SUCCESS" and says("clone3") == "ENOSYS"
    assert says("memfd_create") == "ENOSYS"
    lonely = ALLOWED if is_alone else "EPERM"
    assert says("socket", 2, 1) == says("bind") == says("prlimit64", 17) == lonely
    assert says("setpriority", 0, 17) == says("socketpair", 1, 2) == lonely
    assert says("connect") == says("accept4") == lonely
    assert says("socket", 40, 1) == says("socket", 17, 3) == "EPERM"


@MACHINES
@pytest.mark.parametrize("is_alone", [True, False])
def test_with_a_gpu_memory_without_a_name_is_allowed(machine: str, is_alone: bool) -> None:
    code = seccomp.program(machine, is_alone=is_alone, on_cpu=False)
    assert answer(code, machine, "memfd_create") == ALLOWED


@MACHINES
def test_with_a_gpu_a_socket_may_listen_to_nobody(machine: str) -> None:
    code = seccomp.program(machine, is_alone=False, on_cpu=False)

    def says(*call: str | int) -> str:
        return answer(code, machine, *call)  # type: ignore[arg-type]

    assert says("socket", 1, 5 | 0o2000000) == says("bind") == says("listen") == ALLOWED
    assert says("socket", 1, 2) == says("socket", 2, 1) == says("socket", 16, 3) == "EPERM"
    assert (
        says("connect") == says("accept") == says("accept4") == says("socketpair", 1, 2) == "EPERM"
    )


@MACHINES
def test_where_landlock_does_not_see_to_signals_a_trial_sends_them_to_itself_alone(
    machine: str,
) -> None:
    code = seccomp.program(machine, is_alone=False, on_cpu=True, only_signals=17)
    for call in seccomp.SIGNALS_TO_A_GROUP:
        assert answer(code, machine, call, 17, 9) == ALLOWED
        for other in (0, -1, -17, 18):
            assert answer(code, machine, call, other, 9) == "EPERM"
    assert answer(code, machine, "tkill", 17) == "EPERM"


def test_whoever_calls_by_the_numbers_of_another_machine_is_killed() -> None:
    code = seccomp.program("x86_64", is_alone=True, on_cpu=True)
    assert answer(code, "aarch64", 0) == answer(code, "x86_64", 0x40000000) == KILLED
    code = seccomp.program("aarch64", is_alone=True, on_cpu=True)
    assert answer(code, "x86_64", 0) == KILLED


INSTALLED = """
import ctypes, os
from trainer import seccomp
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
code = seccomp.program(os.uname().machine, is_alone=False, on_cpu=True, only_signals=os.getpid())
seccomp.install(code)
os.kill(os.getpid(), 0)
for attempt in (lambda: os.kill(os.getppid(), 0), lambda: os.memfd_create("x")):
    try:
        attempt()
    except OSError as error:
        print(error.errno)
"""


@pytest.mark.skipif(sys.platform != "linux" or not seccomp.supported(), reason="not known here")
def test_the_kernel_takes_the_filter() -> None:
    done = subprocess.run([sys.executable, "-c", INSTALLED], capture_output=True, text=True)
    assert done.stdout.split() == [str(errno.EPERM), str(errno.ENOSYS)], done.stderr
