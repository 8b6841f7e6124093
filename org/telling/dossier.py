"""Everything about one experiment, on a terminal: what was meant, what was done, what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from org.figures import clock, counted, day_and_clock, duration, effect_text, signed
from org.notebook import Experiment, Notebook
from org.notes import notes_of
from org.plain import one_line, plain
from org.telling.cells import title
from org.telling.changes import changed_by, coloured
from org.telling.reports import COLOURS, listing
from org.telling.results import Result, read_result
from roles.records import Direction, Hypothesis, Record
from trainer.telemetry import digest
from trainer.trial import Trial

LOG_LINES = 12  # of the end of what a failed trial printed

Kind = TypeVar("Kind", bound=Record)


def one_experiment(notebook: Notebook, number: int) -> RenderableType:
    """Everything about one experiment.

    Raises:
        LabError: the notebook has no experiment of this number.
    """
    result = read_result(notebook, number)
    experiment = result.experiment
    parts: list[RenderableType] = [_head(result), Text(), _said(notebook, result)]
    if patch := changed_by(notebook, experiment):
        parts += _section("patch", coloured(patch))
    if trials := _trials(notebook, experiment):
        parts += _section("trials", _trials_table(trials))
        parts.append(Padding(_telemetry(trials), (0, 0, 0, 2), expand=False))
        for _, trial in trials:
            if trial.outcome != "completed":
                parts.append(Padding(_log(trial), (0, 0, 0, 2), expand=False))
    return Group(*parts)


def _head(result: Result) -> RenderableType:
    """The title; the decision and where it was made; when it was, and what it took."""
    experiment, spent = result.experiment, result.spent
    standing = Text(result.standing, COLOURS[result.standing])
    where = [experiment.category, experiment.desk]
    standing.append("".join(f" · {fact}" for fact in where if fact), "dim")
    took = (
        day_and_clock(experiment.started)
        + (f" to {clock(experiment.ended)}" if experiment.ended else ""),
        counted(spent.trials_count, "trial"),
        f"{duration(spent.work_seconds)} of work",
        f"cost {spent.cost}",
    )
    heading = Text(f"Experiment {experiment.number}: {title(result)}", "bold")
    return Group(heading, standing, Text(" · ".join(took), "dim"))


def _said(notebook: Notebook, result: Result) -> Table:
    """What was said of it, each under its name."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _sayings(notebook, result):
        if text.strip():
            table.add_row(name, Text(plain(text.strip())))
    return table


def _sayings(notebook: Notebook, result: Result) -> Iterator[tuple[str, str]]:
    experiment = result.experiment
    if direction := _record(Direction, experiment.direction_json):
        urgent = "Urgent, before others that wait.\n" if direction.urgent else ""
        yield "direction", f"{urgent}{direction.focus}\n{direction.reason}"
        for note in notes_of(notebook, experiment.id):
            yield "note", f"{note.author}: {note.text}"
        yield "answer", direction.answer
    hypothesis = _record(Hypothesis, experiment.hypothesis_json)
    if hypothesis:
        yield "hypothesis", hypothesis.change
        yield "mechanism", hypothesis.mechanism
        yield "expected", f"{signed(hypothesis.expected_effect)} bpb"
    yield "measured", _measured(result)
    yield "summary", experiment.summary or ""
    for message in notebook.messages(experiment.id):
        if message.kind in ("screen", "approve"):
            name = "screening" if message.kind == "screen" else "approval"
            yield name, f"{message.speaker}: {message.text}"
    yield "verdict", f"{result.standing}: {experiment.reason}" if experiment.reason else ""
    yield "lesson", experiment.lesson or ""
    yield "program", _program(notebook, experiment)


def _measured(result: Result) -> str:
    if not result.effect:
        return ""
    change = result.change
    said = f"{result.effect} bpb (single run, against the head of its day)"
    if change is None:
        return said
    return f"{said}; without its luck {effect_text(change.expected_bpb, change.error_bpb)}"


def _program(notebook: Notebook, experiment: Experiment) -> str:
    """Which text of program.md was in force."""
    versions = [row["sha"] for row in notebook.rows("select sha from programs order by first_read")]
    if experiment.program_sha is None:
        return ""
    number = versions.index(experiment.program_sha) + 1
    return f"version {number} of {len(versions)} of program.md ({experiment.program_sha[:7]})"


def _record(kind: type[Kind], json: str | None) -> Kind | None:
    return kind.model_validate_json(json) if json else None


def _section(name: str, body: RenderableType) -> list[RenderableType]:
    return [Text(), Text(name, "dim"), Padding(body, (0, 0, 0, 2), expand=False)]


def _trials(notebook: Notebook, experiment: Experiment) -> list[tuple[str, Trial]]:
    """The purpose of each trial, and the trial."""
    rows = notebook.rows(
        "select purpose, trial_json from trials where experiment = :id order by rowid",
        {"id": experiment.id},
    )
    return [(row["purpose"], Trial.model_validate_json(row["trial_json"])) for row in rows]


def _trials_table(trials: list[tuple[str, Trial]]) -> Table:
    figures = ("seed", "val_bpb", "steps", "training", "total", "memory")
    table = listing("purpose", "outcome", "device", *figures)
    for purpose, trial in trials:
        completed = trial.outcome == "completed"
        table.add_row(
            purpose,
            Text(trial.outcome.replace("_", " "), "" if completed else "red"),
            trial.device,
            str(trial.seed),
            "" if trial.val_bpb is None else f"{trial.val_bpb:.4f}",
            f"{trial.steps:,}",
            f"{trial.training_seconds:.1f} s",
            f"{trial.total_seconds:.1f} s",
            f"{trial.peak_memory_mb / 1024:.1f} GB",
        )
    return table


def _telemetry(trials: list[tuple[str, Trial]]) -> Text:
    """How each trial went besides its score."""
    told = (
        f"{purpose} {trial.seed}: {digest(trial)}{_checked(trial)}" for purpose, trial in trials
    )
    return Text("\n".join(told), "dim")


def _checked(trial: Trial) -> str:
    """What the trial was run behind, and what no agent is told: its score on the audit text."""
    audit = "" if trial.audit_bpb is None else f", audit text {trial.audit_bpb:.4f}"
    return f"; {'no sandbox' if trial.wall == 'none' else f'sandbox {trial.wall}'}{audit}"


def _log(trial: Trial) -> Text:
    """Why a trial did not complete, and the end of what it printed, quoted."""
    text = Text(one_line(trial.reason), "red")
    for line in plain(trial.log_tail).rstrip().split("\n")[-LOG_LINES:]:
        text.append(f"\n│ {line}", "dim")
    return text
