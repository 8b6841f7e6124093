"""Trying out a wall: one that is none is found out."""

from __future__ import annotations

import os
import sys

import pytest

from trainer.breakout import try_out
from trainer.sandbox import clean_environment
from trainer.wall import WALLS


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's own")
def test_without_a_wall_everything_is_open_and_said_so() -> None:
    assert try_out("none", clean_environment()) == [
        "open to files outside",
        "open to changes of files outside",
        "open to the network",
        "open to abstract sockets",
        "open to new files outside",
        "open to signals",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="there are walls on Linux only")
@pytest.mark.parametrize("wall", WALLS)
def test_a_wall_in_which_a_trial_could_not_work_does_not_hold_either(wall: str) -> None:
    assert try_out(wall, {"PATH": os.environ["PATH"], "PYTHONHOME": "/nowhere"}) != []
