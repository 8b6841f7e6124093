"""Every verdict once more: from the recorded runs, as they were known when it was given.

Yields a line for each that comes out otherwise.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from math import isclose
from statistics import fmean
from typing import Any

from org.head import below, judge
from org.judging import judged
from org.noise import pair_spread, run_spread
from org.notebook import Experiment, Incumbent
from org.past import Past
from org.stack import Certification, Change, certifications, change_of
from roles.records import (
    CANNOT_BE_DONE,
    GIVEN_UP,
    HEAD_MOVED,
    MODEL_FAILED,
    OBJECTED_TO,
    OBJECTION,
    OBJECTIONS,
    TRIED_ALREADY,
)
from trainer.evidence.effect import Effect
from trainer.evidence.stack import Placement
from trainer.setting import ProfileName
from trainer.trial import Trial

ON_THE_STACK = ("provisional", "keep", "dropped")

# How the reason begins where an experiment ended otherwise than by its last candidate's run.
ENDED_OTHERWISE = re.compile(
    rf"(?:{GIVEN_UP}|{OBJECTED_TO}) \d|(?:{MODEL_FAILED}|{HEAD_MOVED}) "
    rf"|'.*' (?:{TRIED_ALREADY}|{CANNOT_BE_DONE}) "
)

# What changes what a run is held against, and since when.
EVENTS = """
    select ended as at from main.trials where purpose != 'candidate'
    union select ended from main.experiments where effect is not null
    union select since from main.stack union select ended from main.certifications
    order by at"""


# Where what came later is said to have come earlier, by more than two desks can do it.
SET_BACK = """
    select count(*) as n from (select ended - lag(ended) over (order by rowid) as seconds from main.trials
    union all select since - lag(since) over (order by number) from main.stack
    union all select started - lag(started) over (order by number) from main.certifications
    union all select started - lag(started) over (order by number) from main.experiments)
    where seconds < -1.0"""


def clock_set_back(past: Past) -> bool:
    """Whether the clock was put back while this was written: then nobody knows what came first."""
    (row,) = past.notebook.rows(SET_BACK)
    return bool(row["n"])


def wrong_verdicts(past: Past) -> Iterator[str]:
    """What is wrong with the verdicts on experiments.

    A run is held against the head by what was known when it was reviewed. That moment is not on
    record, only when the reviewer had spoken and the experiment was closed: so the effect must
    follow from the notebook as it was then, or before one of the things that happened since the
    run had ended. Where the clock was put back, that cannot be known, and effects are not checked.
    """
    notebook, knows_order = past.notebook, not clock_set_back(past)
    moments = [row["at"] for row in notebook.rows(EVENTS) if row["at"] is not None]
    profiles = {run.id: run.setting.profile for run in notebook.runs()}
    for experiment in notebook.experiments(closed=True):
        change, where = change_of(notebook, experiment.id), f"experiment {experiment.number}"
        standing = change.standing if change else None
        on_the_stack = experiment.decision if experiment.decision in ON_THE_STACK else None
        if standing != on_the_stack:
            yield f"{where} is {experiment.decision}, and on the stack {standing or 'there is none'}"
        if experiment.effect is None:
            yield from _wrong_without_effect(past, experiment, where)
            continue
        if change is not None:
            yield from _unlike(where, experiment, change)
        if knows_order:
            yield from _wrong_effect(past, experiment, change, profiles[experiment.run], moments)


def _wrong_without_effect(past: Past, experiment: Experiment, where: str) -> Iterator[str]:
    """An experiment has no effect where nothing was measured, or its reason says why that is void."""
    if experiment.decision in ON_THE_STACK:
        yield f"{where} is {experiment.decision} without an effect"
        return
    rows = past.notebook.rows(
        "select id from main.trials where experiment = :id and source_sha = :sha"
        " and outcome = 'completed'",
        {"id": experiment.id, "sha": experiment.candidate_sha},
    )
    if rows and not ENDED_OTHERWISE.match(experiment.reason or ""):
        yield f"{where} is {experiment.decision} without an effect, and trial {rows[0]['id']} completed"


def _unlike(where: str, experiment: Experiment, change: Change) -> Iterator[str]:
    """What the stack has otherwise than the experiment."""
    pairs = {
        "head": (experiment.head_sha, change.head_sha),
        "candidate": (experiment.candidate_sha, change.source_sha),
        "effect": (experiment.effect, change.effect_bpb),
        "error": (experiment.error, change.error_bpb),
    }
    for name, (one, other) in pairs.items():
        if one != other:
            yield f"{where}: its {name} is {one}, and {other} on the stack"


def _wrong_effect(
    past: Past,
    experiment: Experiment,
    change: Change | None,
    profile: ProfileName,
    moments: list[float],
) -> Iterator[str]:
    where = f"experiment {experiment.number}"
    rows = past.notebook.rows(
        "select ended, trial_json from main.trials where experiment = :id"
        " and source_sha = :sha order by rowid desc limit 1",
        {"id": experiment.id, "sha": experiment.candidate_sha},
    )
    trial = Trial.model_validate_json(rows[0]["trial_json"]) if rows else None
    if trial is None or trial.val_bpb is None:
        yield f"{where} has an effect, and its candidate no completed trial"
        return
    try:
        lines_added = experiment.patch.lines_added
    except ValueError:
        yield f"{where} has an effect, and its patch cannot be read"
        return
    closed = experiment.ended or 0.0
    between = moments[bisect_right(moments, rows[0]["ended"]) : bisect_right(moments, closed)]
    first = None
    for moment in dict.fromkeys([closed, *reversed(between)]):
        judged = _judged(past, experiment, trial, profile, lines_added, moment)
        if judged is None:
            continue
        placement, effect = judged
        first = first or (placement, effect)
        if _alike(effect, experiment) and (change is None or _expected(placement, change)):
            yield from _wrong_decision(where, experiment, placement)
            return
    if first is None:
        yield f"{where} was put on what was no head then"
        return
    says = f"{first[1].bpb:+.6f} ± {first[1].error:.6f}"
    told = f"{experiment.effect:+.6f} ± {experiment.error or 0.0:.6f}"
    if change is not None and _alike(first[1], experiment):
        says, told = f"{first[0].expected_bpb:+.6f}", f"{change.expected_bpb:+.6f}"
        yield f"{where} is expected to bring {told}, from its runs follows {says}"
        return
    yield f"{where} has an effect of {told}, from its runs follows {says}"


def _judged(
    past: Past,
    experiment: Experiment,
    trial: Trial,
    profile: ProfileName,
    lines_added: int,
    moment: float,
) -> tuple[Placement, Effect] | None:
    """None where what it was put on was no head at that moment."""
    assert trial.val_bpb is not None
    head_sha = experiment.head_sha or ""
    with past.before(moment) as notebook:
        if below(notebook, head_sha) is None:
            return None
        return judge(
            notebook,
            profile,
            experiment.id,
            trial.val_bpb,
            trial.seed,
            lines_added,
            head_sha,
        )


def _alike(effect: Effect, experiment: Experiment) -> bool:
    return _close(effect.bpb, experiment.effect) and _close(effect.error, experiment.error)


def _expected(placement: Placement, change: Change) -> bool:
    return _close(placement.expected_bpb, change.expected_bpb)


def _wrong_decision(where: str, experiment: Experiment, placement: Placement) -> Iterator[str]:
    """A reviewer may keep off the stack what is better, and may put nothing on it."""
    stacked = experiment.decision in ON_THE_STACK
    objects = (experiment.reason or "").startswith((OBJECTION, OBJECTIONS))
    if stacked != (placement.says == "stack") and not (objects and not stacked):
        yield f"{where} is {experiment.decision}, from its run follows {placement.says}"


# --- certifications -------------------------------------------------------------------------------


def wrong_certifications(past: Past) -> Iterator[str]:
    """What is wrong with certifications, with the noise they began with, and what came of them.

    Where the clock was put back, only what came of them is checked.
    """
    notebook, knows_order = past.notebook, not clock_set_back(past)
    profile: ProfileName | None = None
    for run in notebook.runs()[:1]:
        profile = run.setting.profile
    incumbents = notebook.incumbents()
    for certification in certifications(notebook):
        where = f"certification {certification.number}"
        assert profile is not None
        if certification.ended is not None:
            yield from _wrong_outcome(certification, incumbents)
        if not knows_order:
            continue
        with past.before(certification.started):
            noise = {
                "run": (certification.run_spread, run_spread(notebook, profile)),
                "pair": (certification.pair_spread, pair_spread(notebook, profile)),
            }
        for name, (told, found) in noise.items():
            if not (_close(told.bpb, found.bpb) and _close(told.freedom, found.freedom)):
                yield f"{where}: its {name} noise is {told.bpb:.6f}, from the runs follows {found.bpb:.6f}"
        if certification.ended is not None:
            yield from _wrong_certification(past, certification)
    if knows_order:
        yield from _wrong_incumbents(past, incumbents)


def _wrong_certification(past: Past, certification: Certification) -> Iterator[str]:
    where, ended = f"certification {certification.number}", certification.ended or 0.0
    with past.before(ended) as notebook:
        judgement = judged(notebook, certification)
    if judgement.says != certification.says:
        yield f"{where} says {certification.says}, from its runs follows {judgement.says}: {judgement.reason}"
    elif judgement.reason != certification.reason:
        yield f"{where} says {certification.reason!r}, from its runs follows {judgement.reason!r}"
    elif not _same_effect(judgement.effect, certification.effect):
        yield f"{where}: its effect is {_text(certification.effect)}, from its runs follows {_text(judgement.effect)}"


def _wrong_outcome(certification: Certification, incumbents: list[Incumbent]) -> Iterator[str]:
    """What passed is the next incumbent; what failed is none."""
    made = [each for each in incumbents if each.certification == certification.number]
    wanted = [certification.source_sha] if certification.says == "pass" else []
    if [each.source_sha for each in made] != wanted:
        yield f"certification {certification.number}, {certification.says}: it made {len(made)} incumbents of its source"


def _wrong_incumbents(past: Past, incumbents: list[Incumbent]) -> Iterator[str]:
    for incumbent in incumbents:
        with past.before(incumbent.since) as notebook:
            runs = [bpb for _, bpb in notebook.fresh_runs(incumbent.source_sha)]
        if not runs:
            yield f"incumbent {incumbent.number} has no fresh run"
        elif not _close(fmean(runs), incumbent.val_bpb):
            yield f"incumbent {incumbent.number} scores {incumbent.val_bpb:.6f}, its fresh runs {fmean(runs):.6f}"


def _same_effect(one: Effect | None, other: Effect | None) -> bool:
    if one is None or other is None:
        return one is other
    a, b = one.model_dump(), other.model_dump()
    return all(_close(a[name], b[name]) for name in a)


def _close(one: Any, other: Any) -> bool:
    """Whether two figures are the same but for the last digits, which machines differ in."""
    if isinstance(one, float) and isinstance(other, float):
        return isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return bool(one == other)


def _text(effect: Effect | None) -> str:
    return effect.text if effect else "none"
