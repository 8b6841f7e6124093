"""Whether the stack is due to be certified, and why."""

from __future__ import annotations

from org.lab import Lab
from org.noise import pair_spread
from org.notebook import Notebook
from org.stack import stack
from trainer.evidence.stack import PLATEAU_RUNS, due

# Which trials are of candidates, and came after the last certification.
TRIED_SINCE_CERTIFIED = """purpose = 'candidate'
    and rowid > coalesce((select max(rowid) from trials where purpose = 'certify'), 0)"""

RUNS_SINCE = f"select count(*) as n from trials where {TRIED_SINCE_CERTIFIED}"


def why_due(lab: Lab) -> str:
    """Why the stack should be certified now, in a word or two; "" if it should grow."""
    stacked = stack(lab.notebook)
    if not stacked:
        return ""
    if asked := [change.asked for change in stacked if change.asked]:
        return f"asked for: {asked[-1]}"
    review = lab.config.review
    return due(
        [change.expected_bpb for change in stacked],
        pair=pair_spread(lab.notebook, lab.setting.profile),
        runs_since=_runs_since_certified(lab),
        latest_bpb=latest_expected(lab.notebook, PLATEAU_RUNS, since_certified=True),
        runs_left=_runs_left(lab),
        every=review.certify_every,
        max_seeds=review.max_seeds,
    )


def latest_expected(
    notebook: Notebook, limit: int, *, since_certified: bool = False
) -> list[float]:
    """What is expected of each of the latest experiments that were judged, in bits per byte.

    In order; if asked so only those that were tried after the last certification. Where nothing came of
    one it is 0.
    """
    later = f" and e.id in (select experiment from trials where {TRIED_SINCE_CERTIFIED})"
    rows = notebook.rows(
        "select e.decision, s.expected_bpb from experiments e"
        " left join stack s on s.experiment = e.id where e.effect is not null"
        f"{later if since_certified else ''} order by e.number desc limit :limit",
        {"limit": limit},
    )
    holds = ("provisional", "keep")
    return [row["expected_bpb"] if row["decision"] in holds else 0.0 for row in reversed(rows)]


def _runs_since_certified(lab: Lab) -> int:
    """How many candidates have been run after the last trial of a certification; clocks may go back."""
    (row,) = lab.notebook.rows(RUNS_SINCE)
    return int(row["n"])


def _runs_left(lab: Lab) -> int | None:
    """How many trials the hours still allow; None where the run ends after so many experiments."""
    hours = lab.config.budget.hours
    (row,) = lab.notebook.rows("select sum(seconds) / sum(count) as seconds from trials_totals")
    if hours is None or not row["seconds"]:
        return None
    left_seconds = max(hours * 3600 - lab.worked_seconds(), 0.0)
    return int(left_seconds / row["seconds"] * len(lab.devices.names))
