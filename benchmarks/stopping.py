"""Would stopping hopeless trials early pay? The loss curves of a lab's trials, and a rule for them.

The rule stops what lies far outside of where trials lie that end well: schedules bend curves without
moving their ends, so that less would not do. An organization does not stop trials, since on the CPU
profile this saved next to nothing (`benchmarks/results.md`); here is how to see about another one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import click
import numpy as np

from benchmarks.table import markdown
from org.noise import pair_spread
from org.notebook import Notebook
from org.reading import reading
from trainer.evidence.stack import run_error
from trainer.trial import Trial

Curve = Sequence[tuple[float, float]]  # share of the budget spent, training loss in nats per token

SHARES = (0.1, 0.2, 0.3, 0.5)  # of the budget, at which a trial is looked at, once
FAR = (2.0, 3.0, 4.0)  # standard deviations behind where trials lie that end well
BAD = 2.0  # standard errors of one run behind: what nobody would miss
FEWEST = 8  # trials that ended well, to say anything


class Ended(NamedTuple):
    """One candidate's trial: how far it was behind at each share, and how it ended."""

    behind_nats: tuple[float, ...]
    effect_bpb: float
    outside_share: float  # of the trial's seconds: start-up, scoring


def read(notebook: Notebook) -> list[Ended]:
    """All candidates' completed trials whose curve reaches far enough, beside the incumbent's run."""
    rows = notebook.rows(
        """select t.trial_json, e.effect, (
            select r.trial_json from trials r where r.outcome = 'completed' and r.rowid < t.rowid
            and r.seed = t.seed and r.purpose in ('baseline', 'certify', 'reference')
            order by r.rowid desc limit 1) as head_json
        from trials t join experiments e on e.id = t.experiment
        where t.purpose = 'candidate' and t.outcome = 'completed' and e.effect is not null"""
    )
    ended = []
    for row in rows:
        if not row["head_json"]:
            continue
        trial, head = (Trial.model_validate_json(row[key]) for key in ("trial_json", "head_json"))
        distances = [behind(trial.loss_curve, head.loss_curve, share) for share in SHARES]
        known = tuple(each for each in distances if each is not None)
        if len(known) == len(SHARES):
            outside = 1 - trial.training_seconds / trial.total_seconds
            ended.append(Ended(known, row["effect"], outside))
    return ended


def behind(curve: Curve, head: Curve, share: float) -> float | None:
    """How far a trial is behind one of the head at a share of the budget, in nats per token.

    None while either curve does not reach so far. Straight lines between the points.
    """
    if not curve or not head or min(curve[-1][0], head[-1][0]) < share:
        return None
    own, reference = (np.array(each).T for each in (curve, head))
    return float(np.interp(share, *own) - np.interp(share, *reference))


def limit_without(own: int, well: Sequence[tuple[int, float]], far: float) -> float:
    """How far behind is hopeless, by all that ended well but this one, ``far`` deviations out."""
    others = [distance for place, distance in well if place != own]
    deviation = stdev(others)
    return max(fmean(others) + far * deviation, max(others) + deviation)


def row(trials: Sequence[Ended], at: int, far: float, error: float) -> list[str]:
    """What would have been stopped at one share of the budget."""
    well = [
        (place, trial.behind_nats[at])
        for place, trial in enumerate(trials)
        if trial.effect_bpb <= error
    ]
    stopped = [
        trial
        for place, trial in enumerate(trials)
        if trial.behind_nats[at] > limit_without(place, well, far)
    ]
    bad = [trial for trial in trials if trial.effect_bpb > BAD * error]
    falsely = sum(trial.effect_bpb <= error for trial in stopped)
    hit = sum(trial in stopped for trial in bad)
    saved = sum((1 - SHARES[at]) * (1 - trial.outside_share) for trial in stopped) / len(trials)
    return [
        f"{SHARES[at]:.0%}",
        f"{far:g}",
        f"{len(stopped)} of {len(trials)}",
        f"{hit} of {len(bad)}",
        f"{falsely} of {len(well)}",
        f"{saved:.1%}",
    ]


@click.command(
    epilog="""\b
Example:
  python -m benchmarks.stopping --lab labs/default"""
)
@click.option(
    "--lab",
    "labs",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    default=[Path("labs/default")],
    help="May be given several times: trials of all are taken together.",
)
def main(labs: tuple[Path, ...]) -> None:
    """Say what stopping hopeless trials early would have saved in a lab, and cost."""
    trials, errors = [], []
    for lab in labs:
        with reading(Path("org.yaml"), lab) as notebook:
            trials += read(notebook)
            errors.append(run_error(pair_spread(notebook, notebook.runs()[-1].setting.profile)))
    error = fmean(errors)
    well = sum(trial.effect_bpb <= error for trial in trials)
    if well < FEWEST:
        sys.exit(f"Only {well} trials ended well here; {FEWEST} are needed to say anything.")
    rows = [["looked at", "deviations", "stopped", "of the bad", "of the good", "time saved"]]
    rows += [row(trials, at, far, error) for at in range(len(SHARES)) for far in FAR]
    click.echo(markdown(rows))
    click.echo(
        f"\nbad: more than {BAD:g} standard errors of one run ({error:.4f} bpb) behind; good: at"
        " most one.\ntime saved: of all seconds that candidates' trials took."
    )


if __name__ == "__main__":
    main()
