"""The baseline: the first train.py under several seeds, which is the first incumbent and the noise."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean

from org.lab import Lab, LabError
from org.measuring import Asker, set_aside
from org.notebook import Incumbent
from org.undisturbed import again_id, measure_fresh
from trainer.trial import Trial, annul, finished


def measure_baseline(lab: Lab) -> None:
    """Run the baseline under several seeds: the first incumbent, and the noise.

    Raises:
        LabError: it does not complete; without a baseline there is nothing to improve.
        Stopped: the run was stopped.
    """
    if lab.notebook.incumbent() is not None:
        return
    source = lab.notebook.source(lab.run.baseline_sha)
    trials = _trials(lab, source)
    commit_sha = lab.lineage.write(source, "Baseline", experiment_id="baseline", parent=None)
    baseline = Incumbent(
        number=1,
        source_sha=lab.run.baseline_sha,
        commit_sha=commit_sha,
        val_bpb=fmean(trial.val_bpb for trial in trials if trial.val_bpb is not None),
        since=time.time(),
    )
    lab.notebook.set_baseline(lab.run.id, baseline)
    lab.publish(baseline)


def _trials(lab: Lab, source: str) -> list[Trial]:
    """A completed trial under each seed; what was tried on a broken device is tried again."""
    seeds = range(1, lab.config.review.baseline_runs + 1)
    trials: dict[int, Trial] = {}
    while left := [seed for seed in seeds if seed not in trials]:
        with ThreadPoolExecutor(len(lab.devices.names) or 1) as pool:
            ran = list(pool.map(lambda seed: _trial(lab, source, seed), left))
        trials |= {trial.seed: trial for _, trial in ran if trial.outcome == "completed"}
        failed = [(name, trial) for name, trial in ran if trial.outcome != "completed"]
        _blame_devices(lab, failed, sound={trial.device for trial in trials.values()})
    return [trials[seed] for seed in seeds]


def _trial(lab: Lab, source: str, seed: int) -> tuple[str, Trial]:
    """The trial under a seed, with its id; on record is one that has completed."""
    trial_id = f"baseline-{seed}"
    place, what = f"trial {seed}", f"baseline, seed {seed}"
    for folder in (lab.folder / "trials" / name for name in (trial_id, again_id(trial_id))):
        if (before := finished(folder)) and before.outcome != "completed":
            annul(folder)  # of an earlier start: the machine may have ended it, so it is run again
    trial_id, trial = measure_fresh(lab, Asker(place, what), trial_id, source, seed, "baseline")
    lab.onlooker.doing(place, "")
    if trial.outcome == "completed":
        lab.notebook.record_trial(trial_id, lab.run.id, None, "baseline", trial)
    lab.onlooker.measured(what, trial)
    return trial_id, trial


def _blame_devices(lab: Lab, failed: list[tuple[str, Trial]], sound: set[str]) -> None:
    """Set devices aside on which the baseline fails although it has completed on a sound one.

    Raises:
        LabError: the baseline itself is at fault.
    """
    for trial_id, trial in failed:
        if not sound or trial.device in sound:
            raise LabError(
                f"the baseline {lab.config.train} {trial.outcome.replace('_', ' ')}:"
                f" {trial.reason} (its log: {lab.folder / 'trials' / trial_id / 'log.txt'})"
            )
        if trial.device in lab.devices.names:
            set_aside(lab, trial.device, trial.reason)
