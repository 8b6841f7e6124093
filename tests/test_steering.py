"""A run is paused, resumed and stopped from another terminal, and nothing is lost by it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from org import steering
from org.cli import main
from org.lab import Lab, Stopped, exclusive
from org.measuring import Asker, on_device
from org.notebook import Notebook
from org.steering import paused_by, steered
from roles.model import Brief
from roles.patience import Patience
from roles.records import ScreeningReads
from tests.organizations import (
    NO_SANDBOX,
    Gates,
    Hears,
    Organization,
    Organize,
    Start,
    ended,
    eventually,
    gated,
    org,
    plain_experiment,
    processes_about,
    refused,
    work,
)

# One that costs a trial and is no better, so that nothing has to be certified; one that costs none.
TRIED = plain_experiment("GAIN = 0.0", "GAIN = -1.0")
CANDIDATE = "gain -1.0 seed 2"
REFUSED = refused(0.5)


def experiments_count(organization: Organization) -> int:
    with organization.notebook() as notebook:
        return len(notebook.experiments())


# --- a real process -------------------------------------------------------------------------------


def test_a_paused_run_finishes_its_trial_begins_nothing_outlasts_a_kill_and_goes_on(
    organize: Organize, start: Start, gates: Gates
):
    organization = organize(
        source=gated(gates.folder),
        more=NO_SANDBOX,
        experiments=2,
        attempts=1,
        script=TRIED + REFUSED,
    )
    gates.shut(CANDIDATE)
    first = start(organization)
    assert first.stdout is not None
    gates.wait_until_begun(CANDIDATE)
    code, told = org(organization, "pause")
    assert (code, told[:7]) == (0, "Paused:")
    next(line for line in first.stdout if "paused by" in line)
    gates.open(CANDIDATE)
    eventually(lambda: organization.experiment().decision is not None)
    first.kill()
    first.wait()
    eventually(lambda: processes_about(organization.folder) == [])

    second = start(organization)
    assert second.stdout is not None
    next(line for line in second.stdout if "paused by" in line)
    assert org(organization, "status")[1].startswith("Paused by ")
    assert "is paused already" in org(organization, "pause")[1]
    assert experiments_count(organization) == 1
    assert org(organization, "resume") == (0, "The run goes on.")
    said = ended(second)
    assert "the run goes on" in said
    assert [organization.experiment(n).decision for n in (1, 2)] == ["discard", "discard"]
    assert gates.begun[CANDIDATE] == 1
    assert "Paused" not in org(organization, "status")[1]
    told = org(organization, "replay")[1]
    assert "→ the run: pause" in told and "→ the run: resume" in told


def test_stop_is_ctrl_c_from_another_terminal_and_the_next_run_is_not_meant(
    organize: Organize, start: Start, gates: Gates
):
    organization = organize(source=gated(gates.folder), more=NO_SANDBOX, script=TRIED)
    gates.shut(CANDIDATE)
    first = start(organization)
    assert first.stdout is not None
    gates.wait_until_begun(CANDIDATE)
    assert "finishes the trials at hand and stops" in org(organization, "stop")[1]
    next(line for line in first.stdout if "stopping after the trials at hand" in line)
    gates.open(CANDIDATE)
    rest, _ = first.communicate()
    assert first.returncode == 130
    assert "To go on: python -m org run" in rest
    assert [purpose for purpose, *_ in organization.trials(1)] == ["candidate"]
    ended(start(organization))
    assert gates.begun[CANDIDATE] == 1
    assert organization.experiment().decision == "discard"


def test_stop_now_abandons_the_trial_also_after_a_gentle_stop(
    organize: Organize, start: Start, gates: Gates
):
    organization = organize(source=gated(gates.folder), more=NO_SANDBOX, script=[])
    gates.shut("gain 0.0 seed 1")
    process = start(organization)
    assert process.stdout is not None
    gates.wait_until_begun("gain 0.0 seed 1")
    org(organization, "stop")
    next(line for line in process.stdout if "stopping after the trials at hand" in line)
    assert "abandons the trials at hand" in org(organization, "stop", "--now")[1]
    rest, _ = process.communicate()
    assert process.returncode == 130
    assert "abandoning the trials at hand" in rest
    assert organization.trials() == []
    assert processes_about(organization.folder) == []


@pytest.mark.parametrize("hours", [1, -1], ids=["put forward", "put back"])
def test_a_stop_is_for_the_run_that_is_there_whatever_the_clock_says(
    hours: int, organize: Organize, monkeypatch: pytest.MonkeyPatch
):
    organization = organize(script=REFUSED, attempts=1)
    clock = time.time

    def stop_when_the_clock_is_wrong(lab: Lab) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda: clock() + hours * 3600)
            steering.stop(lab.notebook, lab.folder, "ann")

    with pytest.raises(Stopped):
        work(organization, opened=stop_when_the_clock_is_wrong)
    assert organization.trials() == []
    assert work(organization).reasons == []
    assert organization.experiment().decision == "discard"


# --- what waits -----------------------------------------------------------------------------------


def test_while_a_run_is_paused_no_trial_gets_a_device(organize: Organize, gates: Gates):
    organization = organize(source=gated(gates.folder), more=NO_SANDBOX, script=TRIED)
    labs: list[Lab] = []
    hears = Hears()

    def pause_before_screening(brief: Brief) -> None:
        if isinstance(brief.reads, ScreeningReads):
            org(organization, "pause")
            eventually(lambda: not labs[0].going.is_set())

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work, organization, hears, pause_before_screening, labs.append)
        eventually(lambda: any(what.endswith(": paused") for what in hears.done) or running.done())
        assert gates.begun == Counter(["gain 0.0 seed 1", "gain 0.0 seed 2"])
        org(organization, "resume")
        assert running.result().reasons == []
    assert organization.experiment().decision == "discard"
    assert [note.partition(" ")[0] for note in hears.notes if "paused" in note] == ["paused"]


def test_a_paused_run_that_is_stopped_stops(organize: Organize):
    organization = organize(script=TRIED)
    org_paused = threading.Event()

    class StopsOncePaused(Hears):
        def doing(self, desk: str, what: str, seconds: float = 0.0) -> None:
            if what.endswith(": paused"):
                org_paused.set()

    def opened(lab: Lab) -> None:
        steering.pause(lab.notebook, lab.folder, "ann")

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work, organization, StopsOncePaused(), opened=opened)
        eventually(org_paused.is_set)
        assert org(organization, "stop")[0] == 0
        with pytest.raises(Exception, match=r"^$") as stopped:
            running.result()
    assert type(stopped.value).__name__ == "Stopped"
    assert organization.trials() == []


def test_the_time_of_a_pause_is_not_charged(organize: Organize):
    organization = organize(script=TRIED)
    worked: list[float] = []

    def opened(lab: Lab) -> None:
        now = [0.0]
        lab.stop.set()
        watched = replace(
            lab,
            patience=Patience(clock=lambda: now[0]),
            opened=0.0,
            stop=threading.Event(),
        )
        with steered(watched):
            now[0] += 10.0
            steering.pause(lab.notebook, lab.folder, "ann")
            eventually(lambda: not watched.going.is_set())
            now[0] += 3600.0
            worked.append(watched.worked_seconds())
            steering.resume(lab.notebook, lab.folder, "ann")
            eventually(watched.going.is_set)
            now[0] += 5.0
            worked.append(watched.worked_seconds())

    with pytest.raises(Exception, match=r"^$"):  # Stopped: nothing else is to be seen of this run
        work(organization, opened=opened)
    assert worked == [10.0, 15.0]


def test_a_trial_is_charged_during_an_outage_or_a_pause_and_no_device_is_busy_all_day(
    organize: Organize,
):
    """A device is there during an outage, and during a pause for as long as it is in use."""
    organization = organize(script=TRIED)
    charged: list[tuple[float, float]] = []

    def opened(lab: Lab) -> None:
        now = [0.0]
        lab.stop.set()
        patience = Patience(clock=lambda: now[0])
        watched = replace(lab, patience=patience, opened=0.0, stop=threading.Event())

        def trial(device: str) -> None:
            now[0] += 600.0

        for paused in (False, True):
            with patience.uncharged(paused=paused):
                now[0] += 60.0
                on_device(watched, Asker("desk 1", "a trial"), trial)
            watched.keep_time()
            run = lab.notebook.latest_run()
            assert run is not None and run.device_seconds is not None
            charged.append((run.worked_seconds, run.device_seconds))

    with pytest.raises(Stopped):
        work(organization, opened=opened)
    assert charged == [(600.0, 660.0), (1200.0, 1260.0)]


def test_the_time_of_a_life_that_will_be_killed_is_kept_all_the_while(
    organize: Organize, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(steering, "LOOKS_FOR_TIME", 1)
    organization = organize(script=TRIED)

    def opened(lab: Lab) -> None:
        lab.stop.set()
        watched = replace(lab, stop=threading.Event())
        with steered(watched):
            eventually(lambda: (run := lab.notebook.latest_run()) and run.worked_seconds > 0)

    with pytest.raises(Stopped):
        work(organization, opened=opened)


# --- what is said ---------------------------------------------------------------------------------


@pytest.fixture
def quiet(tmp_path: Path) -> Path:
    """A lab in which no run is going on."""
    Notebook(tmp_path / "notebook.sqlite").close()
    return tmp_path


def told_of(lab: Path, command: str) -> tuple[int, str]:
    told = CliRunner().invoke(main, [command, "--lab", str(lab)])
    assert len(told.output.strip().splitlines()) == 1
    return told.exit_code, told.output


def test_without_a_run_there_is_nothing_to_stop_and_a_pause_is_for_the_next(quiet: Path):
    code, told = told_of(quiet, "stop")
    assert code == 2
    assert f"no run is going on in {quiet}" in told
    assert told_of(quiet, "resume") == (0, f"{quiet} is not paused.\n")
    code, told = told_of(quiet, "pause")
    assert code == 0
    assert "No run is going on" in told and "the next one begins paused" in told
    assert "no longer paused, but no run is going on" in told_of(quiet, "resume")[1]


def test_a_pause_is_in_force_until_it_is_undone(quiet: Path):
    notebook = Notebook(quiet / "notebook.sqlite")
    assert paused_by(notebook) is None
    with exclusive(quiet):
        steering.pause(notebook, quiet, "ann")
        steering.stop(notebook, quiet, "bob")
        order = paused_by(notebook)
        assert order is not None
        assert (order.author, order.what) == ("ann", "pause")
        assert abs(order.time - time.time()) < 3600
        steering.resume(notebook, quiet, "bob")
    assert paused_by(notebook) is None
    notebook.close()


@pytest.mark.parametrize("command", ["pause", "resume", "stop"])
def test_where_no_lab_is_every_order_is_one_clear_line(command: str, tmp_path: Path):
    code, told = told_of(tmp_path, command)
    assert code == 2
    assert "no notebook" in told
