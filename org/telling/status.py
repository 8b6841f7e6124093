"""Where a lab stands: what is kept, whether it holds on text that nobody looked at, what goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from statistics import fmean
from typing import NoReturn

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from org.approval import questions
from org.figures import effect_text
from org.lab import is_held
from org.noise import run_spread
from org.notebook import Notebook
from org.notes import latest_answered, waiting_notes
from org.plain import one_line
from org.steering import GO_ON, by, paused_by
from org.telling.cells import (
    certificates,
    cost_rows,
    headline,
    on_the_stack,
    per_kept_change,
    totals,
)
from org.telling.reports import CERTIFIED, listing
from org.telling.results import Results, read_results, read_role_costs
from org.timings import timing_lines

REFRESH_SECONDS = 2.0

# The runs that score the audit text too: those that a source was not chosen by.
AUDITED = """
    select val_bpb, json_extract(trial_json, '$.audit_bpb') as audit_bpb from trials
    where source_sha = :sha and purpose in ('baseline', 'certify') and +outcome = 'completed'
        and audit_bpb is not null
    order by rowid desc limit :most"""
MOST_AUDITED = 200  # of one source, the latest


@dataclass(frozen=True)
class Audit:
    """The gain of the incumbent over the baseline on both texts, in bits per byte (negative: better).

    The audit text has no part in any decision and is shown to no role. ``standard_error`` is
    that of the gain on the validation text, from the pooled noise; ``drift_error`` is that of the
    drift: how far one run lies from the next in what the two texts say of it.
    """

    validation_gain: float
    audit_gain: float
    standard_error: float
    drift_error: float

    @property
    def drift(self) -> float:
        """How much of the gain is missing on the audit text, in bits per byte."""
        return self.audit_gain - self.validation_gain


def read_audit(notebook: Notebook) -> Audit | None:
    """The audit of what is kept; None before anything is, or where too few trials were audited."""
    first, last = notebook.baseline(), notebook.incumbent()
    if first is None or last is None or first == last:
        return None
    before, after = (
        notebook.rows(AUDITED, {"sha": each.source_sha, "most": MOST_AUDITED})
        for each in (first, last)
    )
    if not before or not after or len(before) + len(after) < 3:
        return None
    run = run_spread(notebook, notebook.runs()[-1].setting.profile)
    share = sqrt(1 / len(before) + 1 / len(after))
    return Audit(
        validation_gain=_gain(before, after, "val_bpb"),
        audit_gain=_gain(before, after, "audit_bpb"),
        standard_error=run.bpb * share,
        drift_error=_scatter(before, after) * share,
    )


def status(notebook: Notebook) -> RenderableType:
    """The lab in a few lines."""
    results = read_results(notebook, 0, CERTIFIED)
    lines: list[RenderableType] = [Text(headline(results), "bold")]
    lines += [Text(line, "dim") for line in certificates(results)]
    if order := paused_by(notebook):
        lines.insert(0, Text(f"Paused {by(order)}: nothing new begins. {GO_ON} goes on.", "yellow"))
    if stacked := on_the_stack(results):
        lines.append(Text(stacked, "yellow"))
    lines += [Text(line) for line in totals(results).split(" · ", 1)]
    lines += _costs(notebook, results)
    lines += [Text(line) for line in timing_lines(notebook)]
    if audit := read_audit(notebook):
        gain = effect_text(audit.audit_gain, audit.standard_error)
        drift = f"drift {effect_text(audit.drift, audit.drift_error)} against validation"
        lines.append(Text(f"On the audit text, which decides nothing: {gain} bpb; {drift}."))
    lines += [Text(line) for line in _at_work(notebook)]
    for question in questions(notebook):
        lines.append(Text(one_line(question.spoken), "yellow"))
    lines += [Text(line, "magenta") for line in note_lines(notebook)]
    return Group(*lines)


def _at_work(notebook: Notebook) -> Iterator[str]:
    """What each desk is at; that nobody is, where a run was stopped or killed."""
    run = notebook.latest_run()
    if run is not None and run.ended is None and not is_held(notebook.path.parent):
        yield "No run is going on; python -m org run goes on with this one"
    for experiment in notebook.experiments(closed=False):
        title = one_line(experiment.title or "no hypothesis yet")
        yield f"{experiment.desk}: experiment {experiment.number}, {title}"


def _costs(notebook: Notebook, results: Results) -> Iterator[RenderableType]:
    """What language models have cost, role by role; nothing where there are none."""
    if not (rows := list(cost_rows(read_role_costs(notebook)))):
        return
    table = listing(*rows[0])
    for row in rows:
        table.add_row(*map(Text, row.values()))
    yield table
    yield Text(per_kept_change(results))


def note_lines(notebook: Notebook) -> Iterator[str]:
    """The note that was answered last, and those that wait for an answer."""
    if last := latest_answered(notebook):
        note, number = last
        said = one_line(note.answer) or "the director had nothing to say to it"
        yield f"Note {note.number} by {note.author}, answered in experiment {number}: {said}"
    for note in waiting_notes(notebook):
        yield f"Note {note.number} by {note.author}, waiting for the director: {one_line(note.text)}"


def watch(notebook: Notebook, console: Console) -> NoReturn:
    """The same, anew every `REFRESH_SECONDS`, until Ctrl-C."""
    with Live(status(notebook), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(REFRESH_SECONDS)
            live.update(status(notebook), refresh=True)


def _scatter(*sources: list[dict[str, float]]) -> float:
    """The pooled standard deviation of the difference of the two texts, over runs of one source."""
    squares, freedom = 0.0, 0
    for runs in sources:
        apart = [run["audit_bpb"] - run["val_bpb"] for run in runs]
        squares += sum((each - fmean(apart)) ** 2 for each in apart)
        freedom += len(runs) - 1
    return float((squares / freedom) ** 0.5)


def _gain(before: list[dict[str, float]], after: list[dict[str, float]], column: str) -> float:
    return fmean(run[column] for run in after) - fmean(run[column] for run in before)
