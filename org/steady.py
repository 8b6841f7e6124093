"""Whether the machine is steady while candidates are tried, and what the incumbent scores on it now."""

from __future__ import annotations

from org.notebook import Notebook
from trainer.evidence.steady import HISTORY_RUNS, disturbed, drift, same_speed
from trainer.trial import Trial

# The budget is processor time: the share of its wall time that a trial got a core for.
SHARES = """
    select json_extract(trial_json, '$.budget_seconds') / training_seconds as share from trials
    where outcome = 'completed' and training_seconds > 0 order by rowid desc limit 50"""

# Runs of one source, whatever they were for.
OF_SOURCE = """
    select json_extract(trial_json, '$.tokens') / json_extract(trial_json, '$.budget_seconds') as rate
    from trials where source_sha = :sha and outcome = 'completed' order by rowid desc limit 50"""

# Tokens per second of budget.
RATE = "json_extract(trial_json, '$.tokens') / json_extract(trial_json, '$.budget_seconds')"

# Of the candidates in some part of the notebook.
RATES = f"""
    select {RATE} as rate
    from trials where purpose = 'candidate' and outcome = 'completed' and rate > 0 and """

# Of these the head's value is made, under the seed that candidates are tried under.
MEASURED = f"""
    select rowid, purpose, val_bpb, {RATE} as rate from trials
    where source_sha = :sha and seed = :seed and outcome = 'completed'
    and purpose in ('baseline', 'certify', 'reference') order by rowid"""


def is_disturbed(notebook: Notebook, trial: Trial) -> bool:
    """Whether the machine was visibly busier, or less so, while a trial trained than it usually is.

    Where the budget is processor time, by the share of a core that it got, as seen from outside. On
    a GPU it is wall time, and only a source that was run often tells, by how fast it says it is.
    """
    if trial.outcome != "completed" or not trial.training_seconds or not trial.budget_seconds:
        return False
    if trial.device.startswith("cpu"):
        history = [row["share"] for row in notebook.rows(SHARES) if row["share"]]
        return disturbed(trial.budget_seconds / trial.training_seconds, history)
    rows = notebook.rows(OF_SOURCE, {"sha": trial.source_sha})
    history = [row["rate"] for row in rows if row["rate"]]
    return trial.tokens > 0 and disturbed(trial.tokens / trial.budget_seconds, history)


def drifted(notebook: Notebook, source_sha: str, seed: int) -> float | None:
    """By which share the machine has become faster since a source was last measured under a seed.

    None where it has hardly, or where too little was tried to tell. A head that is slower by its
    own making looks like a slower machine, once: the run that then is made shows that it is not.
    """
    measured = notebook.rows(MEASURED, {"sha": source_sha, "seed": seed})
    if not measured:
        return None
    last = measured[-1]
    latest = _rates(notebook, "rowid > :row order by rowid desc", last["rowid"])
    # A reference is measured because of the runs before it, and so under the same conditions.
    around = "rowid < :row order by rowid desc"
    if last["purpose"] != "reference":
        around = "rowid > :row order by rowid"
    return drift(_rates(notebook, around, last["rowid"]), latest)


def shift_bpb(notebook: Notebook, source_sha: str, seed: int) -> float:
    """By how much a source scores worse on the machine as it is now, in bits per byte.

    The difference between its latest run as a reference and the run that counts for it under the
    same seed: nothing but the machine is another. 0.0 where it was no reference yet, or where that
    run was as fast: then the candidates are faster or slower by themselves, and the difference of
    two runs is noise.
    """
    measured = notebook.rows(MEASURED, {"sha": source_sha, "seed": seed})
    counted = [row for row in measured if row["purpose"] != "reference"]
    if not counted or measured[-1]["purpose"] != "reference":
        return 0.0
    now, then = measured[-1], counted[-1]
    if not (now["rate"] and then["rate"]) or same_speed(now["rate"], then["rate"]):
        return 0.0
    return float(now["val_bpb"] - then["val_bpb"])


def references_count(notebook: Notebook, source_sha: str, seed: int) -> int:
    """How often a source was measured again under a seed, because the machine had drifted."""
    measured = notebook.rows(MEASURED, {"sha": source_sha, "seed": seed})
    return sum(row["purpose"] == "reference" for row in measured)


def _rates(notebook: Notebook, where: str, row: int) -> list[float]:
    rows = notebook.rows(f"{RATES} {where} limit {HISTORY_RUNS}", {"row": row})
    return [each["rate"] for each in rows]
