"""A machine that drifts: the incumbent is run again, and candidates are judged by that run."""

from __future__ import annotations

from itertools import count

import pytest

from org.head import head_value, search_seed
from org.noise import run_spread
from org.notebook import Notebook
from org.steady import drifted, references_count, worth_now
from tests.notebooks import RUN, Night, completed, incumbent
from tests.organizations import Organize, plain_experiment, work
from trainer.trial import Trial

NUMBERS = count(1)


@pytest.fixture
def night(notebook: Notebook) -> Night:
    """The baseline, measured at 40,000 tokens a second."""
    night = Night(notebook)
    for seed in (1, 2, 3):
        record(night, ran(night.head, seed, 40_000), "baseline")
    notebook.set_baseline(RUN, incumbent(1, night.head, None, 1.24))
    return night


def ran(source: str, seed: int, tokens_per_second: int, val_bpb: float = 1.24) -> Trial:
    """A run at this speed."""
    speed = {"budget_seconds": 20.0, "tokens": 20 * tokens_per_second}
    return completed(source, seed, val_bpb).model_copy(update=speed)


def at_speed(night: Night, tokens_per_second: int) -> None:
    """A candidate's run at this speed, under the search seed."""
    trial = ran(night.head, search_seed(night.notebook), tokens_per_second)
    record(night, trial, "candidate")


def record(night: Night, trial: Trial, purpose: str) -> None:
    night.notebook.record_trial(f"run-{next(NUMBERS)}", RUN, None, purpose, trial)


def drift_of(night: Night) -> float | None:
    return drifted(night.notebook, night.head, search_seed(night.notebook))


def test_a_drift_is_seen_once_enough_candidates_were_slower(night: Night) -> None:
    for _ in range(5):
        at_speed(night, 40_000)
    assert drift_of(night) is None
    for _ in range(5):
        at_speed(night, 34_000)
    assert drift_of(night) == pytest.approx(-0.15)


def test_after_the_incumbent_was_run_again_the_drift_is_accounted_for(night: Night) -> None:
    notebook, seed = night.notebook, search_seed(night.notebook)
    for speed in (40_000, 34_000):
        for _ in range(5):
            at_speed(night, speed)
    before = head_value(notebook, "cpu", seed).bpb
    again = ran(night.head, seed, 34_000).model_copy(update={"val_bpb": 1.27})
    record(night, again, "reference")
    assert drift_of(night) is None
    assert worth_now(notebook, night.head).shift_bpb == pytest.approx(0.03)
    assert head_value(notebook, "cpu", seed).bpb == pytest.approx(before + 0.03)
    assert references_count(notebook, night.head, seed) == 1
    for _ in range(5):
        at_speed(night, 34_000)
    assert drift_of(night) is None
    for _ in range(5):
        at_speed(night, 40_000)
    assert drift_of(night) == pytest.approx(40 / 34 - 1)


@pytest.fixture
def slowed(night: Night) -> Night:
    """A machine that became slower, by which everything scores 0.03 worse; then a certification."""
    for speed in (40_000, 34_000):
        for _ in range(5):
            at_speed(night, speed)
    record(night, ran(night.head, search_seed(night.notebook), 34_000, 1.27), "reference")
    failed = night.notebook.keep_source("no better")
    for seed in (1000, 1001):
        record(night, ran(failed, seed, 34_000, 1.272), "certify")
        record(night, ran(night.head, seed, 34_000, 1.27), "certify")
    return night


def test_after_a_certification_that_failed_the_head_is_worth_what_it_scores_now(
    slowed: Night,
) -> None:
    notebook, seed = slowed.notebook, search_seed(slowed.notebook)
    assert seed == 1001
    assert head_value(notebook, "cpu", seed).bpb == pytest.approx(1.27)
    assert head_value(notebook, "cpu", seed).error < run_spread(notebook, "cpu").bpb
    for _ in range(10):
        at_speed(slowed, 34_000)
    assert drift_of(slowed) is None


def test_two_states_of_the_machine_are_no_noise(slowed: Night) -> None:
    # In each all runs of a source score the same: only what is usual makes it more than nothing.
    assert run_spread(slowed.notebook, "cpu").bpb < 0.004


def test_on_a_machine_that_is_as_it_was_the_runs_of_that_time_count_again(slowed: Night) -> None:
    notebook, seed = slowed.notebook, search_seed(slowed.notebook)
    for _ in range(5):
        at_speed(slowed, 34_000)
    record(slowed, ran(slowed.head, seed, 40_000), "reference")
    runs, shift_bpb = worth_now(notebook, slowed.head)
    assert dict(runs).keys() == {3, 1000, 1001}  # it was never run under this seed at that speed
    assert shift_bpb == pytest.approx(-0.03)
    record(slowed, ran(slowed.head, seed, 34_000, 1.27), "reference")
    assert worth_now(notebook, slowed.head) == (runs, 0.0)


def test_candidates_that_are_slower_by_themselves_move_nothing(night: Night) -> None:
    notebook, seed = night.notebook, search_seed(night.notebook)
    for speed in (40_000, 34_000):
        for _ in range(5):
            at_speed(night, speed)
    again = ran(night.head, seed, 40_300).model_copy(update={"val_bpb": 1.25})
    record(night, again, "reference")
    assert worth_now(notebook, night.head) == (notebook.fresh_runs(night.head), 0.0)
    assert drift_of(night) is None


def test_a_reference_counts_for_no_certificate_and_for_no_noise(night: Night) -> None:
    notebook, seed = night.notebook, search_seed(night.notebook)
    runs, scores = notebook.fresh_runs(night.head), notebook.baseline_runs()
    record(night, completed(night.head, seed, 1.9), "reference")
    assert (notebook.fresh_runs(night.head), notebook.baseline_runs()) == (runs, scores)


def test_in_a_run_on_a_machine_that_drifts_the_incumbent_is_run_again(organize: Organize) -> None:
    script = plain_experiment("GAIN = 0.0", "GAIN = -1.0")
    organization = organize(script=script)
    assert work(organization).reasons == []
    with organization.notebook() as notebook:
        (run,) = notebook.runs()
        head, seed = run.baseline_sha, search_seed(notebook)
        for number, speed in enumerate([40_000] * 5 + [34_000] * 5):
            trial = ran(head, seed, speed)
            notebook.record_trial(f"earlier-{number}", run.id, None, "candidate", trial)
    organization.script = [*script, *plain_experiment("GAIN = 0.0", "GAIN = -2.0")]
    organization.write()
    assert work(organization).reasons == []
    with organization.notebook() as notebook:
        (row,) = notebook.rows("select * from trials where purpose = 'reference'")
        assert (row["source_sha"], row["seed"], row["outcome"]) == (head, seed, "completed")
        # The same to the last digit, as it should be.
        assert worth_now(notebook, head).shift_bpb == 0.0


def test_a_reference_that_crashed_is_not_run_again_for_each_candidate(organize: Organize) -> None:
    organization = organize(script=plain_experiment("GAIN = 0.0", "GAIN = -1.0"))
    assert work(organization).reasons == []

    def candidates(speed: int, name: str) -> None:
        with organization.notebook() as notebook:
            run = notebook.runs()[0]
            for number in range(5):
                trial = ran(run.baseline_sha, search_seed(notebook), speed)
                notebook.record_trial(f"{name}-{number}", run.id, None, "candidate", trial)

    def references(gain: str) -> list[tuple[str, str]]:
        organization.script += plain_experiment("GAIN = 0.0", f"GAIN = {gain}")
        organization.write()
        assert work(organization).reasons == []
        with organization.notebook() as notebook:
            rows = notebook.rows("select id, outcome from trials where purpose = 'reference'")
        return [(row["id"].rpartition("-")[2], row["outcome"]) for row in rows]

    for speed in (40_000, 34_000):
        candidates(speed, f"at {speed}")
    with organization.notebook() as notebook:
        (run,) = notebook.runs()
        head, seed = run.baseline_sha, search_seed(notebook)
        crashed = ran(head, seed, 0).model_copy(update={"outcome": "crashed", "val_bpb": None})
        trial_id = f"reference-{head[:12]}-{seed}-1"
        notebook.record_trial(trial_id, run.id, None, "reference", crashed)
    assert references("-2.0") == [("1", "crashed")]
    assert not (organization.lab / "trials" / trial_id).exists()
    candidates(34_000, "later")
    assert references("-3.0") == [("1", "crashed"), ("2", "completed")]
