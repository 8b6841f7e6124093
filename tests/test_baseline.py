"""The baseline: what fails to run it is told apart from what it fails by itself."""

from __future__ import annotations

import pytest

from org.lab import LabError
from tests.organizations import NO_SANDBOX, Hears, Organize, plain_experiment, work
from tests.sources import SCRIPTED

# A device that is broken from the start fails at once, before anything has completed elsewhere.
BROKEN = f"""
import json
from pathlib import Path
terms = json.loads((Path.cwd().parent / "request.json").read_text())
if terms["device"] == "cpu:1":
    raise RuntimeError("Unexpected error from cudaGetDeviceCount()")
{SCRIPTED}"""

TWO = {**NO_SANDBOX, "devices": ["cpu:0", "cpu:1"]}


def test_a_device_that_is_broken_from_the_start_is_set_aside_and_the_night_goes_on(
    organize: Organize,
):
    said = plain_experiment("GAIN = 0.0", "GAIN = -1.0")
    organization = organize(source=BROKEN, more=TWO, script=said)
    hears = Hears()
    assert work(organization, hears).reasons == []
    (note,) = [note for note in hears.notes if "set aside" in note]
    assert note.startswith("cpu:1 failed again and is set aside (cpu:0 left)")
    assert [each[:2] for each in organization.trials()] == [
        *([("baseline", "completed")] * 2),
        ("candidate", "completed"),
    ]


def test_a_baseline_that_fails_everywhere_is_at_fault_itself(organize: Organize):
    organization = organize(source="raise MemoryError\n", more=TWO, script=[])
    with pytest.raises(LabError, match=r"the baseline .* crashed: .*log\.txt"):
        work(organization)
