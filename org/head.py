"""The head: the incumbent with all provisional changes, and what it is worth."""

from __future__ import annotations

from math import hypot

from org.noise import pair_spread, run_spread
from org.notebook import Notebook
from org.stack import Change, stack
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


def below(notebook: Notebook, source_sha: str) -> list[Change] | None:
    """The changes that a head has over the incumbent, also one that others came on top of since.

    None of a source that is no head of today's incumbent.
    """
    incumbent, changes = notebook.incumbent(), stack(notebook)
    if incumbent is not None and incumbent.source_sha == source_sha:
        return []
    sources = [change.source_sha for change in changes]
    return changes[: sources.index(source_sha) + 1] if source_sha in sources else None


def head_value(
    notebook: Notebook, profile: ProfileName, seed: int, source_sha: str | None = None
) -> Value:
    """What the head is expected to score under a seed, on the machine as it is now.

    What the incumbent is worth by the runs that count for it now, and what is on it. ``source_sha``
    is for a head that others came on top of since.

    Raises:
        KeyError: the baseline has not been measured yet, or no head is of this source.
    """
    incumbent = notebook.incumbent()
    if incumbent is None:
        raise KeyError("the baseline has not been measured yet")
    changes = stack(notebook) if source_sha is None else below(notebook, source_sha)
    if changes is None:
        raise KeyError(f"{source_sha} is no head of the incumbent")
    runs, shift_bpb = worth_now(notebook, incumbent.source_sha)
    run, pair = run_spread(notebook, profile), pair_spread(notebook, profile)
    value = fresh_value(runs, seed, run=run, pair=pair)
    if shift_bpb:
        value = Value(value.bpb + shift_bpb, hypot(value.error, pair.bpb))
    return moved(value, [change.expected_bpb for change in changes], pair)


def judge(
    notebook: Notebook,
    profile: ProfileName,
    experiment_id: str,
    candidate_bpb: float,
    seed: int,
    lines_added: int,
    head_sha: str,
) -> tuple[Placement, Effect]:
    """Where a candidate belongs by its one run against the head it was put on, and that run's effect.

    Raises:
        KeyError: what it was put on is no head of today's incumbent.
    """
    pair = pair_spread(notebook, profile)
    error = run_error(pair)
    rows = notebook.rows(EFFECTS, {"id": experiment_id, "limit": HISTORY})
    placement = place(
        candidate_bpb,
        head_value(notebook, profile, seed, head_sha).bpb,
        error=error,
        history=[row["effect"] for row in rows],
        lines_added=lines_added,
    )
    effect = Effect(
        bpb=placement.effect_bpb, error=error, freedom=pair.freedom, seeds=1, kind="single run"
    )
    return placement, effect
