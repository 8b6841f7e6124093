"""The incumbent is run again where the machine has drifted, so that candidates are judged fairly."""

from __future__ import annotations

from org.head import search_seed
from org.lab import Lab
from org.measuring import Asker
from org.notebook import Notebook
from org.steady import drifted, references_count
from org.undisturbed import measure_undisturbed
from trainer.devices import Lease

AFTER_FAILURE = 5  # candidates, before it is tried again

# How many candidates were run since each time that this did not complete, the latest first.
FAILURES = """
    select (select count(*) from trials c where c.purpose = 'candidate' and c.rowid > t.rowid) as since
    from trials t where source_sha = :sha and seed = :seed and +purpose = 'reference'
        and outcome != 'completed' order by rowid desc"""


def measure_reference(lab: Lab, desk: str, device: Lease) -> None:
    """Measure the incumbent once more if the machine has drifted since it was measured.

    What it scores now moves what the head is expected to score (`org.head.head_value`), and parts
    the runs before the drift from those after it. It counts for no certificate: both sides of one
    are measured next to each other anyway. One desk does it.

    Raises:
        TrialAbandoned, TrialLost: see `trainer.trial.run_trial`.
    """
    if not lab.referring.acquire(blocking=False):
        return
    try:
        source_sha, seed = lab.incumbent().source_sha, search_seed(lab.notebook)
        drift = drifted(lab.notebook, source_sha, seed)
        failures = _failures(lab.notebook, source_sha, seed)
        if drift is None or (failures and failures[0] < AFTER_FAILURE):
            return
        lab.onlooker.note(
            f"the machine is {abs(drift):.0%} {'faster' if drift > 0 else 'slower'} than when the"
            " incumbent was measured: it is run again, to judge by"
        )
        count = references_count(lab.notebook, source_sha, seed) + len(failures) + 1
        trial_id = f"reference-{source_sha[:12]}-{seed}-{count}"
        asker = Asker(desk, "incumbent again, the machine has drifted")
        source = lab.notebook.source(source_sha)
        trial_id, trial = measure_undisturbed(
            lab, asker, device, trial_id, source, seed, "reference"
        )
        lab.notebook.record_trial(trial_id, lab.run.id, None, "reference", trial)
        lab.onlooker.measured(asker.what, trial)
    finally:
        lab.referring.release()


def _failures(notebook: Notebook, source_sha: str, seed: int) -> list[int]:
    return [row["since"] for row in notebook.rows(FAILURES, {"sha": source_sha, "seed": seed})]
