"""A run that is stopped, interrupted or killed goes on where it was: nothing is lost or done twice."""

from __future__ import annotations

import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from org.lab import Lab
from org.notebook import Experiment
from org.onlooker import Nobody
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
    kept_sources,
    plain_experiment,
    processes_about,
    refused,
    supervisor_at_work,
    work,
)
from trainer.evidence.stack import Value

KEEP = plain_experiment("GAIN = 0.0", "GAIN = 1.0")
DISCARD = plain_experiment("GAIN = 1.0", "GAIN = 0.5")


class StopsAfterOne(Nobody):
    """Asks for a stop as soon as an experiment is closed."""

    lab: Lab

    def opened(self, lab: Lab) -> None:
        self.lab = lab

    def closed(self, experiment: Experiment, head: Value) -> None:
        self.lab.stop.set()


CANDIDATE, CERTIFY = "gain 1.0 seed 2", "gain 1.0 seed 1000"
ALL_TRIALS = [
    *("gain 0.0 seed 1", "gain 0.0 seed 2", CANDIDATE, "gain 0.5 seed 2"),
    *(CERTIFY, "gain 0.0 seed 1000", "gain 0.0 seed 1001", "gain 1.0 seed 1001"),
]


def assert_all_done_once(organization: Organization) -> None:
    """Both experiments are on record, every reply and every trial once, and all records agree."""
    assert [organization.experiment(n).decision for n in (1, 2)] == ["keep", "discard"]
    with organization.notebook() as notebook:
        assert len(notebook.experiments()) == 2
        run = notebook.latest_run()
        assert run is not None
        assert run.ended is not None
    assert organization.replies_count() == len(organization.script)
    assert [purpose for purpose, *_ in organization.trials()] == [
        *("baseline", "baseline", "candidate", "candidate"),
        *["certify"] * 4,
    ]
    assert len(list((organization.lab / "trials").iterdir())) == 8
    sources = kept_sources(organization)
    assert [("GAIN = 0.0" in text, "GAIN = 1.0" in text) for text in sources] == [
        *((True, False), (False, True))
    ]


def test_a_run_that_was_stopped_between_two_experiments_goes_on_with_the_second(
    organize: Organize,
):
    organization = organize(experiments=2, attempts=1, script=refused(0.5) + refused(0.7))
    stopper = StopsAfterOne()
    first = work(organization, stopper, opened=stopper.opened)
    assert first.reasons == []
    assert first.left == {"director": 1, "thinker": 1, "engineer": 1, "reviewer": 2}
    second = work(organization)
    assert (second.reasons, second.left) == ([], {})
    with organization.notebook() as notebook:
        assert [each.summary for each in notebook.experiments()] == ["GAIN = 0.5", "GAIN = 0.7"]
        (run,) = notebook.rows("select ended from runs")
    assert run["ended"] is not None


def test_a_trial_that_was_abandoned_is_begun_afresh_and_nothing_else_is_repeated(
    organize: Organize, gates: Gates
):
    organization = organize(
        source=gated(gates.folder), more=NO_SANDBOX, experiments=2, script=KEEP + DISCARD
    )
    gates.shut(CERTIFY)
    labs: list[Lab] = []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work, organization, opened=labs.append)
        gates.wait_until_begun(CERTIFY)
        labs[0].stop.set()
        labs[0].abandon.set()
        assert running.result().reasons == []
    assert processes_about(organization.folder) == []
    gates.open(CERTIFY)
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    assert gates.begun == Counter([*ALL_TRIALS, CERTIFY])
    assert_all_done_once(organization)


# --- a real process -------------------------------------------------------------------------------


def test_a_run_that_is_killed_during_a_trial_goes_on_without_a_lost_or_doubled_experiment(
    organize: Organize, start: Start, gates: Gates
):
    organization = organize(
        source=gated(gates.folder), more=NO_SANDBOX, experiments=2, script=KEEP + DISCARD
    )
    gates.shut(CANDIDATE)
    gates.shut(CERTIFY)

    # Killed alone: its trial goes on, and the next run waits for it.
    first = start(organization)
    gates.wait_until_begun(CANDIDATE)
    first.kill()
    first.wait()
    second = start(organization)
    gates.open(CANDIDATE)

    # Killed with everything that it has begun, as by a power cut: the trial is begun afresh.
    gates.wait_until_begun(CERTIFY)
    for process in processes_about(organization.folder):
        process.kill()
    second.wait()
    eventually(lambda: processes_about(organization.folder) == [])
    third = start(organization)
    gates.open(CERTIFY)
    assert "certification 1 passed" in ended(third)

    assert gates.begun == Counter([*ALL_TRIALS, CERTIFY])
    assert_all_done_once(organization)
    assert processes_about(organization.folder) == []


def test_ctrl_c_lets_the_trial_finish_says_how_to_go_on_and_loses_nothing(
    organize: Organize, start: Start, gates: Gates
):
    organization = organize(
        source=gated(gates.folder), more=NO_SANDBOX, experiments=2, script=KEEP + DISCARD
    )
    gates.shut(CANDIDATE)
    first = start(organization)
    assert first.stdout is not None
    gates.wait_until_begun(CANDIDATE)
    os.kill(first.pid, signal.SIGINT)
    said = next(line for line in first.stdout if "Ctrl-C" in line)
    assert "stopping after the trials at hand" in said
    gates.open(CANDIDATE)
    rest, _ = first.communicate()
    assert first.returncode == 130
    assert "To go on: python -m org run" in rest
    assert "Traceback" not in rest
    assert [purpose for purpose, *_ in organization.trials(1)] == ["candidate"]
    assert processes_about(organization.folder) == []

    ended(start(organization))
    assert gates.begun == Counter(ALL_TRIALS)
    assert_all_done_once(organization)


def test_a_second_ctrl_c_abandons_the_trial_and_the_next_run_measures_the_baseline(
    organize: Organize, start: Start, gates: Gates
):
    organization = organize(source=gated(gates.folder), more=NO_SANDBOX, script=[])
    gates.shut("gain 0.0 seed 1")
    process = start(organization)
    assert process.stdout is not None
    gates.wait_until_begun("gain 0.0 seed 1")
    os.kill(process.pid, signal.SIGINT)
    next(line for line in process.stdout if "stopping" in line)
    os.kill(process.pid, signal.SIGINT)
    rest, _ = process.communicate()
    assert process.returncode == 130
    assert "abandoning the trials at hand" in rest
    assert organization.trials() == []
    assert processes_about(organization.folder) == []

    gates.open("gain 0.0 seed 1")
    (reason,) = work(organization).reasons
    assert "'director' is asked for reply 1" in reason
    assert gates.begun == Counter(["gain 0.0 seed 1", "gain 0.0 seed 1", "gain 0.0 seed 2"])
    assert len(kept_sources(organization)) == 1


def test_a_device_whose_supervisors_die_is_set_aside_and_the_trial_is_run_on_another(
    organize: Organize, gates: Gates
):
    more = {**NO_SANDBOX, "devices": ["cpu:0", "cpu:1"]}
    organization = organize(
        source=gated(gates.folder), more=more, script=plain_experiment("GAIN = 0.0", "GAIN = -1.0")
    )
    # Under the seed of whichever of the two baseline runs ended last.
    names, hears = [f"gain -1.0 seed {seed}" for seed in (1, 2)], Hears()
    for name in names:
        gates.shut(name)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work, organization, hears)
        name = eventually(lambda: next((each for each in names if gates.begun[each]), ""))
        for times in (1, 2):
            gates.wait_until_begun(name, times)
            supervisor_at_work().kill()
        gates.wait_until_begun(name, 3)
        gates.open(name)
        worked = running.result()
    assert (worked.reasons, worked.left) == ([], {})
    (note,) = [each for each in hears.notes if "set aside" in each]
    assert note.startswith("cpu:0 failed again and is set aside (cpu:1 left)")
    assert organization.trials(1)[0][1] == "completed"
    with organization.notebook() as notebook:
        (row,) = notebook.rows("select device from trials where purpose = 'candidate'")
    assert row["device"] == "cpu:1"
    assert processes_about(organization.folder) == []
