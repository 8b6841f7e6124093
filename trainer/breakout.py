"""A wall tried out: a process inside reaches for what it must not have, and does what a trial must.

It reaches for a file, a port, a socket and a process outside; it has to write its folder, to talk
to a child, and to import what a trial needs.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from trainer.wall import start_inside

TRY_SECONDS = 30.0  # for all that is done inside; it takes 0.3 s

# It prints what is wrong, line by line.
INSIDE = """
import os, signal, socket, sys
secret, port, name, victim = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])

def must_fail(what, attempt):
    try:
        attempt()
    except OSError:
        return
    print("open to", what)

def connect(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as end:
        end.connect(address)

must_fail("files outside", lambda: open(secret).read())
must_fail("changes of files outside", lambda: open(secret, "r+").close())
must_fail("the network", lambda: connect(socket.AF_INET, ("127.0.0.1", port)))
must_fail("abstract sockets", lambda: connect(socket.AF_UNIX, "\\0" + name))
# What is done in place of it inside is no matter: whether it got through, the parent sees.
for attempt in (
    lambda: open(secret + "-new", "x").close(),
    lambda: os.kill(victim, signal.SIGKILL),
):
    try:
        attempt()
    except OSError:
        pass
try:
    with open("written", "w") as file:
        file.write("x")
    os.makedirs("a/b")
    os.rename("written", "a/b/moved")
    ours, its = socket.socketpair()
    if (child := os.fork()) == 0:
        its.send(b"x")
        os._exit(0)
    assert ours.recv(1) == b"x" and os.waitpid(child, 0)[1] == 0
    import numpy
    import trainer.channel
except Exception as error:  # whatever it is, it is to be told
    print("a trial could not work:", repr(error)[:200])
"""


def try_out(wall: str, environment: Mapping[str, str]) -> list[str]:
    """What is wrong with a wall here, a line each; ``environment`` is what Python needs to run."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as victim,
    ):
        secret, home = Path(folder, "secret"), Path(folder, "home")
        secret.write_text("not for trials")
        Path(folder).chmod(0o755)  # the wall is to hold by itself
        secret.chmod(0o666)
        home.mkdir()
        name = Path(folder).name  # of nobody else, also where two threads try out a wall at once
        abstract.bind(f"\0{name}")
        abstract.listen()
        port = server.getsockname()[1]
        arguments = [str(secret), str(port), name, str(victim.pid)]
        said = _run(wall, environment, home, arguments)
        answer, _ = victim.communicate(b"alive")
        if Path(folder, "secret-new").exists():
            said.append("open to new files outside")
    if answer != b"alive":
        said.append("open to signals")
    return said


def _run(wall: str, environment: Mapping[str, str], home: Path, arguments: list[str]) -> list[str]:
    with tempfile.TemporaryFile() as output:
        inside = [sys.executable, "-c", INSIDE, *arguments]
        try:
            with start_inside(
                inside, home, wall=wall, environment=environment, output=output.fileno()
            ) as process:
                try:
                    code = process.wait(TRY_SECONDS)
                except subprocess.TimeoutExpired:
                    process.terminate()  # its guard, which leaves nothing
                    return [f"no answer within {TRY_SECONDS:g} s"]
        except (OSError, ValueError) as error:
            return [f"it cannot be put up: {error}"]
        output.seek(0)
        said = output.read().decode(errors="replace").strip().splitlines()
        return said or ([f"the process inside ended with {code}"] if code else [])
