"""The command line of bubblewrap around a trial: namespaces, and a file system of what it may see.

See https://github.com/containers/bubblewrap. What happens inside them first: `trainer.confine`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from trainer.confine import Terms, stage

SCRATCH = ("/tmp", "/dev/shm")  # the trial's own, in memory, gone with it
SCRATCH_MB = 1024  # of each

# It makes these itself.
OWN_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


def program() -> str | None:
    """Where bubblewrap is, if it is installed."""
    return shutil.which("bwrap")


def command(terms: Terms, inside: list[str]) -> list[str]:
    """bubblewrap with all its options, around a command that starts in the trial's home.

    Raises:
        FileNotFoundError: it is not installed.
    """
    found = program()
    if found is None:
        raise FileNotFoundError("bubblewrap is not installed")
    line = [found, *_namespaces(terms), *_files(terms), *_devices(terms)]
    line += ["--remount-ro", "/", "--chdir", terms.home, "--"]
    return [*line, *stage("confine", terms, inside)]


def _namespaces(terms: Terms) -> list[str]:
    """Of everything; of users where the trial is not to become another user by itself."""
    line = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    line += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if terms.uid is None:
        return [*line, "--unshare-user"]
    needed = ["CAP_SETUID", "CAP_SETGID"]
    needed += ["CAP_DAC_READ_SEARCH", "CAP_SETPCAP"] if terms.reads_all else []
    return [*line, *(part for name in needed for part in ("--cap-add", name))]


def _files(terms: Terms) -> list[str]:
    """A root of its own, with what may be read, what may be written, and a /proc of its own."""
    places, links = _places_and_links(terms.readable)
    written = [terms.home, *(place for place in terms.writable if place not in SCRATCH)]
    line = [*_scratch("/tmp")]  # first: what a trial needs may itself lie below /tmp
    # Left to itself bubblewrap makes folders that root alone may pass.
    for folder in _folders_above([*places, *links, *written]):
        line += ["--perms", "0755", "--dir", folder]
    for place in places:
        line += ["--ro-bind", place, place]
    for place, target in links.items():
        line += ["--symlink", target, place]
    for place in terms.hidden:
        line += ["--tmpfs", place, "--remount-ro", place]
    line += ["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"]
    for place in written:
        line += ["--bind", place, place]
    return line


def _devices(terms: Terms) -> list[str]:
    line = ["--dev", "/dev"]
    for device in terms.devices:
        if device not in OWN_DEVICES:
            line += ["--dev-bind-try", device, device]  # by a plain bind it could not be opened
    return [*line, *_scratch("/dev/shm"), "--remount-ro", "/dev"]


def _scratch(place: str) -> list[str]:
    return ["--perms", "1777", "--size", str(SCRATCH_MB << 20), "--tmpfs", place]


def _places_and_links(readable: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Where readable things really are, none below another; and other names that they go by.

    Those missing are left out, as is all of /proc: inside there is another.
    """
    wanted = [place for place in readable if Path(place).exists() and not _is_below(place, "/proc")]
    places: list[str] = []
    for place in sorted({os.path.realpath(place) for place in wanted}):
        if not any(_is_below(place, other) for other in places):
            places.append(place)
    links: dict[str, str] = {}
    for place in sorted(wanted):
        if not any(_is_below(place, other) for other in (*places, *links)):
            links[place] = os.path.realpath(place)
    return places, links


def _is_below(place: str, other: str) -> bool:
    return Path(place).is_relative_to(other)


def _folders_above(places: Iterable[str]) -> list[str]:
    """Every folder on the way to these places that is still to be made, the upper ones first."""
    folders = {folder for place in places for folder in Path(place).parents}
    return sorted(str(folder) for folder in folders - {Path("/"), *map(Path, SCRATCH)})
