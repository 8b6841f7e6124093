"""Landlock as older kernels have it, and places with something hidden in them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trainer import landlock

KNOWN = landlock.version()
pytestmark = pytest.mark.skipif(
    KNOWN < landlock.LEAST_VERSION_ALONE, reason="this kernel has no Landlock that would do"
)

# As if the kernel had another version; then what can be read, changed and listed.
RESTRICTED = """
import ctypes, json, os, sys
from trainer import landlock
folder, version = sys.argv[1], int(sys.argv[2])
landlock.version = lambda: version
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
landlock.restrict(
    readable=(folder + "/link", folder + "/missing"),
    writable=(folder + "/home",),
    devices=("/dev/null",),
    hidden=(folder + "/libraries/site/corpus",),
    has_own_network=False,
)
def can(what):
    try:
        what()
    except OSError:
        return False
    return True
library = folder + "/libraries/site/"
print(json.dumps({
    "library": can(lambda: open(library + "torch/code").read()),
    "hidden": can(lambda: open(library + "corpus/text").read()),
    "hidden, linked": can(lambda: open(folder + "/libraries/again/corpus/text").read()),
    "listed": can(lambda: os.listdir(library)),
    "changed": can(lambda: open(library + "torch/code", "w")),
    "outside": can(lambda: open(folder + "/secret").read()),
    "home": can(lambda: (open(folder + "/home/a", "w").close(), os.mkdir(folder + "/home/b"),
                         os.rename(folder + "/home/a", folder + "/home/b/a"))),
    "device": can(lambda: open("/dev/null", "w").close()),
}))
"""


@pytest.mark.parametrize("version", range(landlock.LEAST_VERSION, KNOWN + 1))
def test_every_version_leaves_what_is_given_and_hides_what_is_in_it(
    version: int, tmp_path: Path
) -> None:
    for place in ("libraries/site/torch", "libraries/site/corpus", "home"):
        (tmp_path / place).mkdir(parents=True)
    for file in ("libraries/site/torch/code", "libraries/site/corpus/text", "secret"):
        (tmp_path / file).write_text("text")
    (tmp_path / "libraries" / "again").symlink_to("site")
    (tmp_path / "link").symlink_to("libraries")
    done = subprocess.run(
        [sys.executable, "-c", RESTRICTED, str(tmp_path), str(version)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    can = {name for name, could in json.loads(done.stdout).items() if could}
    assert can == {"library", "listed", "home", "device"}
