"""Whether the machine is steady while candidates are tried, and what the incumbent scores on it now."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from org.notebook import Notebook
from trainer.evidence.effect import Scored
from trainer.evidence.steady import HISTORY_RUNS, Timed, disturbed, drift, states
from trainer.trial import Trial

HISTORY = 50  # runs that say how a run usually goes, the latest

# The budget is processor time: the share of its wall time that a trial got a core for.
SHARES = f"""
    select json_extract(trial_json, '$.budget_seconds') / training_seconds as share from trials
    where outcome = 'completed' and training_seconds > 0 order by rowid desc limit {HISTORY}"""

# Tokens per second of budget.
RATE = "json_extract(trial_json, '$.tokens') / json_extract(trial_json, '$.budget_seconds')"

# Runs of one source, whatever they were for.
OF_SOURCE = f"""
    select {RATE} as rate
    from trials where source_sha = :sha and outcome = 'completed' order by rowid desc limit {HISTORY}"""

# Of the candidates in some part of the notebook.
RATES = f"""
    select {RATE} as rate
    from trials where purpose = 'candidate' and outcome = 'completed' and rate > 0 and """

# All runs of a source but those it was chosen by.
MEASURED_RUNS = """source_sha = :sha and outcome = 'completed'
    and purpose in ('baseline', 'certify', 'reference')"""
MEASURED = f"""
    select rowid, seed, purpose, val_bpb, {RATE} as rate from trials
    where {MEASURED_RUNS} order by rowid"""

# When this is another, so are they.
MEASURED_STATE = f"select count(*) as n, max(rowid) as latest from trials where {MEASURED_RUNS}"

REFERENCES = """
    select count(*) as n from trials where source_sha = :sha and seed = :seed
    and +purpose = 'reference' and outcome = 'completed'"""


class Measured(NamedTuple):
    """A run of a source that says what it is worth, and under which state of the machine it did."""

    rowid: int
    seed: int
    is_reference: bool
    val_bpb: float
    rate: float | None
    state: int


class WorthNow(NamedTuple):
    """The runs (seed, val_bpb) that say what a source is worth now, and by how much each is to move.

    ``shift_bpb`` is how much worse the source scores on the machine as it is now than on that of
    the runs, in bits per byte.
    """

    runs: list[Scored]
    shift_bpb: float


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
    runs = [each for each in measured(notebook, source_sha) if each.seed == seed]
    if not runs:
        return None
    last = runs[-1]
    latest = _rates(notebook, "rowid > :row order by rowid desc", last.rowid)
    # A reference is measured because of the runs before it, and so under the same conditions.
    around = "rowid < :row order by rowid desc"
    if not last.is_reference:
        around = "rowid > :row order by rowid"
    return drift(_rates(notebook, around, last.rowid), latest)


def measured(notebook: Notebook, source_sha: str) -> list[Measured]:
    """The runs of a source that it was not chosen by, references too, in order."""
    (state,) = notebook.rows(MEASURED_STATE, {"sha": source_sha})
    return _measured(notebook, source_sha, tuple(state.values()))


@lru_cache(maxsize=8)  # the incumbent's are asked for many times between two trials
def _measured(notebook: Notebook, source_sha: str, state: tuple[int | None, ...]) -> list[Measured]:
    rows = notebook.rows(MEASURED, {"sha": source_sha})
    runs = [Timed(row["seed"], row["rate"], row["purpose"] == "reference") for row in rows]
    return [
        Measured(row["rowid"], run.seed, run.is_reference, row["val_bpb"], run.rate, state)
        for row, run, state in zip(rows, runs, states(runs), strict=True)
    ]


def worth_now(notebook: Notebook, source_sha: str) -> WorthNow:
    """What says how a source that was measured scores on the machine as it is now.

    Its runs since the drift that its latest reference answers, that reference too. As long as
    there is nothing but references since then, those before the drift, moved by the difference of
    the two runs under the same seed: nothing but the machine is another.
    """
    runs = measured(notebook, source_sha)
    last, counted = runs[-1], [each for each in runs if not each.is_reference]
    if any(each.state == last.state for each in counted):
        return WorthNow(_in_state(runs, last.state), 0.0)
    then = next(each for each in reversed(counted) if each.seed == last.seed)
    return WorthNow(_in_state(runs, then.state), last.val_bpb - then.val_bpb)


def _in_state(runs: list[Measured], state: int) -> list[Scored]:
    """One run under each seed: that which counts, where there is a reference too."""
    references_first = sorted(runs, key=lambda each: not each.is_reference)
    of_seed = {each.seed: each.val_bpb for each in references_first if each.state == state}
    return sorted(of_seed.items())


def references_count(notebook: Notebook, source_sha: str, seed: int) -> int:
    """How often a source was measured again under a seed, because the machine had drifted."""
    (row,) = notebook.rows(REFERENCES, {"sha": source_sha, "seed": seed})
    return int(row["n"])


def _rates(notebook: Notebook, where: str, row: int) -> list[float]:
    rows = notebook.rows(f"{RATES} {where} limit {HISTORY_RUNS}", {"row": row})
    return [each["rate"] for each in rows]
