"""Runs that count for what a source is worth: once more where the machine was visibly disturbed.

The first run then stays on record as disturbed, and counts for nothing.
"""

from __future__ import annotations

from org.lab import Lab
from org.measuring import Asker, measure, on_device
from org.steady import is_disturbed
from trainer.devices import Lease
from trainer.trial import Trial

# A train.py can make itself look disturbed, and would where a run goes badly: so no more than one in
# so many runs of a source is repeated.
SELDOM = 5

DISTURBED = "disturbed"  # before the purpose that a run would have had

RUNS = f"""
    select count(*) as runs, total(purpose like '{DISTURBED} %') as disturbed from trials
    where source_sha = :sha and experiment is null"""


def measure_undisturbed(
    lab: Lab,
    asker: Asker,
    device: Lease,
    trial_id: str,
    source: str,
    seed: int,
    purpose: str,
    *,
    audit: bool = False,
) -> tuple[str, Trial]:
    """The run that counts, with its id: on record is, so far, only one that was disturbed before it.

    Raises:
        TrialAbandoned, TrialLost: see `trainer.trial.run_trial`.
    """
    trial = measure(lab, asker, device, trial_id, source, seed, audit=audit)
    if not _was_disturbed(lab, trial_id):
        if not (_may_be_repeated(lab, trial) and is_disturbed(lab.notebook, trial)):
            return trial_id, trial
        lab.notebook.record_trial(trial_id, lab.run.id, None, f"{DISTURBED} {purpose}", trial)
        lab.onlooker.note(f"{asker.what}: the machine was visibly disturbed; once more")
    trial_id = again_id(trial_id)
    return trial_id, measure(lab, asker, device, trial_id, source, seed, audit=audit)


def again_id(trial_id: str) -> str:
    """The id of the run that is made in the place of one that was disturbed."""
    return f"{trial_id}again"


def measure_fresh(
    lab: Lab, asker: Asker, trial_id: str, source: str, seed: int, purpose: str
) -> tuple[str, Trial]:
    """The same on the next free device, of a fresh run: it may change the incumbent.

    So the audit text is scored too.

    Raises:
        Stopped, LabError: see `org.measuring.on_device`.
    """
    return on_device(
        lab,
        asker,
        lambda device: measure_undisturbed(
            lab, asker, device, trial_id, source, seed, purpose, audit=True
        ),
    )


def _was_disturbed(lab: Lab, trial_id: str) -> bool:
    """Whether that is settled: what is usual may have changed since."""
    rows = lab.notebook.rows("select purpose from trials where id = :id", {"id": trial_id})
    return any(row["purpose"].startswith(DISTURBED) for row in rows)


def _may_be_repeated(lab: Lab, trial: Trial) -> bool:
    (row,) = lab.notebook.rows(RUNS, {"sha": trial.source_sha})
    return bool(row["disturbed"] * SELDOM <= row["runs"])
