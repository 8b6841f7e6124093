"""The head: the incumbent with all provisional changes, and what it is worth."""

from __future__ import annotations

from math import hypot

from org.noise import pair_spread, run_spread
from org.notebook import Notebook
from org.stack import stack
from org.steady import worth_now
from trainer.evidence.effect import Effect
from trainer.evidence.stack import Placement, Value, fresh_value, moved, place, run_error
from trainer.setting import ProfileName

HISTORY = 2000  # effects that say how much of a measured one to believe, the latest

EFFECTS = """
    select effect from experiments where effect is not null and id != :id
    order by ended desc limit :limit"""


def head_sha(notebook: Notebook) -> str:
    """The source that the next patch goes on.

    Raises:
        KeyError: the baseline has not been measured yet.
    """
    if changes := stack(notebook):
        return changes[-1].source_sha
    incumbent = notebook.incumbent()
    if incumbent is None:
        raise KeyError("the baseline has not been measured yet")
    return incumbent.source_sha


def search_seed(notebook: Notebook) -> int:
    """The seed under which candidates are tried: that of the incumbent's latest fresh run."""
    incumbent = notebook.incumbent()
    return notebook.fresh_runs(incumbent.source_sha, 1)[0][0] if incumbent else 1


def head_value(notebook: Notebook, profile: ProfileName, seed: int) -> Value:
    """What the head is expected to score under a seed, on the machine as it is now.

    What the incumbent is worth by the runs that count for it now, and what is on it.

    Raises:
        KeyError: the baseline has not been measured yet.
    """
    incumbent = notebook.incumbent()
    if incumbent is None:
        raise KeyError("the baseline has not been measured yet")
    runs, shift_bpb = worth_now(notebook, incumbent.source_sha)
    run, pair = run_spread(notebook, profile), pair_spread(notebook, profile)
    value = fresh_value(runs, seed, run=run, pair=pair)
    if shift_bpb:
        value = Value(value.bpb + shift_bpb, hypot(value.error, pair.bpb))
    return moved(value, [change.expected_bpb for change in stack(notebook)], pair)


def head_bpb(notebook: Notebook, profile: ProfileName, seed: int) -> float:
    """The same without its uncertainty, in bits per byte.

    Raises:
        KeyError: the baseline has not been measured yet.
    """
    return head_value(notebook, profile, seed).bpb


def judge(
    notebook: Notebook,
    profile: ProfileName,
    experiment_id: str,
    candidate_bpb: float,
    seed: int,
    lines_added: int,
) -> tuple[Placement, Effect]:
    """Where a candidate belongs by its one run against the head, and that run's effect."""
    pair = pair_spread(notebook, profile)
    error = run_error(pair)
    rows = notebook.rows(EFFECTS, {"id": experiment_id, "limit": HISTORY})
    placement = place(
        candidate_bpb,
        head_bpb(notebook, profile, seed),
        error=error,
        history=[row["effect"] for row in rows],
        lines_added=lines_added,
    )
    effect = Effect(
        bpb=placement.effect_bpb, error=error, freedom=pair.freedom, seeds=1, kind="single run"
    )
    return placement, effect
