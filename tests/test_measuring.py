"""Devices that break, trials that crash by themselves, and which of the two it was."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from org.config_reading import load_config
from org.lab import Lab, LabError
from org.measuring import Asker, measure, on_device, try_out
from org.notebook import source_sha
from org.onlooker import Nobody
from org.opening import open_lab
from org.undisturbed import measure_fresh
from tests.organizations import NO_SANDBOX, Gates, Hears, Organize, supervisor_at_work
from tests.sources import SCRIPTED
from trainer import smoke
from trainer.trial import Trial

ASKER = Asker("desk 1", "a trial")

# What torch said on a GPU whose driver did not let it in any more.
SAID = "Unexpected error from cudaGetDeviceCount(). Error 304: OS call failed"


def on_devices_that_may_break(folder: Path, source: str = SCRIPTED) -> str:
    """A train.py that fails wherever ``folder`` says that the device is broken."""
    return f"""
import json
from pathlib import Path
terms = json.loads((Path.cwd().parent / "request.json").read_text())
if (Path({str(folder)!r}) / (terms["device"] + " is broken")).exists():
    raise RuntimeError({SAID!r})
{source}"""


@contextmanager
def opened(
    organize: Organize, source: str, *devices: str, onlooker: Nobody | None = None
) -> Iterator[Lab]:
    organization = organize(source=source, more={**NO_SANDBOX, "devices": list(devices)})
    config = load_config(organization.config_path)
    with open_lab(config, organization.lab, onlooker or Nobody()) as lab:
        yield lab


def run(lab: Lab, trial_id: str, source: str, seed: int = 1) -> Trial:
    return measure_fresh(lab, ASKER, trial_id, source, seed, "certify")[1]


def of(source: str, outcome: str, device: str = "cpu:0") -> Trial:
    return Trial.model_validate(
        {"source_sha": source, "seed": 1, "device": device, "outcome": outcome}
    )


def test_where_the_baseline_fails_too_the_device_is_set_aside_and_the_trial_run_on_another(
    organize: Organize, tmp_path: Path
):
    baseline, hears = on_devices_that_may_break(tmp_path), Hears()
    with opened(organize, baseline, "cpu:0", "cpu:1", onlooker=hears) as lab:
        (tmp_path / "cpu:0 is broken").touch()
        first, second = (baseline.replace("GAIN = 0.0", f"GAIN = {gain}") for gain in (0.5, 0.7))
        assert run(lab, "first", first).outcome == "crashed"
        assert lab.devices.names == ("cpu:0", "cpu:1")
        trial = run(lab, "second", second)
        assert (trial.outcome, trial.device) == ("completed", "cpu:1")
        assert lab.devices.names == ("cpu:1",)
        (note,) = [each for each in hears.notes if "set aside" in each]
        assert note.startswith("cpu:0 failed again") and "Error 304" in note
        trials = lab.folder / "trials"
        assert "crashed" in (trials / "second-void-1" / "trial.json").read_text()
        assert "completed" in (trials / "second" / "trial.json").read_text()


def test_candidates_that_crash_by_themselves_cost_no_device(organize: Organize):
    with opened(organize, SCRIPTED, "cpu:0") as lab:
        for number in (1, 2):
            crash = f"raise ValueError({number})\n"
            assert run(lab, f"crash-{number}", crash).outcome == "crashed"
        assert lab.devices.names == ("cpu:0",)


def test_a_source_that_has_run_before_is_not_blamed_for_a_device_that_broke(
    organize: Organize, tmp_path: Path
):
    baseline = on_devices_that_may_break(tmp_path)
    with opened(organize, baseline, "cpu:0") as lab:
        before = of(source_sha(baseline), "completed")
        lab.notebook.record_trial("before", lab.run.id, None, "baseline", before)
        (tmp_path / "cpu:0 is broken").touch()
        with pytest.raises(LabError, match=r"no device is left: .*Error 304"):
            run(lab, "again", baseline)


def found_again(lab: Lab, trial_id: str, trial: Trial, source: str) -> Trial:
    """What comes of a trial of ``source`` that finished in its folder before, on the next free device."""
    folder = lab.folder / "trials" / trial_id
    folder.mkdir(parents=True)
    (folder / "trial.json").write_text(trial.model_dump_json())
    return on_device(lab, ASKER, lambda device: measure(lab, ASKER, device, trial_id, source, 1))


def test_whatever_does_not_complete_counts_and_only_what_ran_on_the_device(
    organize: Organize, tmp_path: Path
):
    baseline = on_devices_that_may_break(tmp_path)
    with opened(organize, baseline, "cpu:0", "cpu:1") as lab:
        (tmp_path / "cpu:0 is broken").touch()
        believed = [
            *(of("one", "timed_out"), of("one", "timed_out")),
            *(of("other", "crashed", "cpu:1"), of("third", "completed", "cpu:1")),
        ]
        for number, trial in enumerate(believed):
            assert found_again(lab, f"believed-{number}", trial, baseline) == trial
        assert lab.devices.names == ("cpu:0", "cpu:1")
        trial = found_again(lab, "void", of("other", "rejected"), baseline)
        assert (trial.outcome, trial.device) == ("completed", "cpu:1")
        assert lab.devices.names == ("cpu:1",)


def test_a_smoke_test_that_is_lost_is_begun_again_where_it_needs_no_device_too(
    organize: Organize, gates: Gates, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(smoke, "available_cores", lambda: [0, 1])  # it needs no device
    source = f"""
import time
from pathlib import Path
FOLDER = Path({str(gates.folder)!r})
with (FOLDER / "started").open("a") as started:
    started.write("smoke" + chr(10))
while (FOLDER / "gates" / "smoke").exists():
    time.sleep(0.01)
{SCRIPTED}"""
    gates.shut("smoke")
    with opened(organize, SCRIPTED, "cpu:0") as lab, ThreadPoolExecutor(1) as pool:
        tested = pool.submit(try_out, lab, ASKER, "test", source)
        gates.wait_until_begun("smoke")
        supervisor_at_work().kill()
        gates.wait_until_begun("smoke", 2)
        gates.open("smoke")
        assert tested.result().outcome == "completed"
