"""Where a lab stands: what is kept, whether it holds on text that nobody looked at, what goes on."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from rich.console import Group, RenderableType
from rich.text import Text

from org.figures import effect_text, signed
from org.noise import run_spread
from org.notebook import Notebook
from org.plain import one_line
from org.results import read_results, setting_of
from org.rows import certificates, headline, on_the_stack, totals

# The runs that score the audit text too: those that a source was not chosen by.
AUDITED = """
    select source_sha, val_bpb, json_extract(trial_json, '$.audit_bpb') as audit_bpb from trials
    where purpose in ('baseline', 'certify') and outcome = 'completed' and audit_bpb is not null"""


@dataclass(frozen=True)
class Audit:
    """The gain of the incumbent over the baseline on both texts, in bits per byte (negative: better).

    The audit text has no part in any decision and is shown to no role. ``standard_error`` is
    that of the gain on the validation text, from the pooled noise.
    """

    validation_gain: float
    audit_gain: float
    standard_error: float

    @property
    def drift(self) -> float:
        """How much of the gain is missing on the audit text, in bits per byte."""
        return self.audit_gain - self.validation_gain


def read_audit(notebook: Notebook) -> Audit | None:
    """The audit of what is kept; None before anything is, or where trials were not audited."""
    incumbents = notebook.incumbents()
    if len(incumbents) < 2:
        return None
    first, last = incumbents[0].source_sha, incumbents[-1].source_sha
    runs = notebook.rows(AUDITED)
    before = [run for run in runs if run["source_sha"] == first]
    after = [run for run in runs if run["source_sha"] == last]
    if not before or not after:
        return None
    run = run_spread(notebook, setting_of(notebook.runs()[-1]).profile)
    share = (1 / len(before) + 1 / len(after)) ** 0.5
    return Audit(
        validation_gain=_gain(before, after, "val_bpb"),
        audit_gain=_gain(before, after, "audit_bpb"),
        standard_error=run.bpb * share,
    )


def status(notebook: Notebook) -> RenderableType:
    """The lab in a few lines."""
    results = read_results(notebook)
    lines = [Text(headline(results), "bold")]
    lines += [Text(line, "dim") for line in certificates(results)]
    if stacked := on_the_stack(results):
        lines.append(Text(stacked, "yellow"))
    lines.append(Text(totals(results)))
    if audit := read_audit(notebook):
        gain = effect_text(audit.audit_gain, audit.standard_error)
        drift = f"drift {signed(audit.drift)} against validation"
        lines.append(Text(f"On the audit text, which decides nothing: {gain} bpb; {drift}."))
    for experiment in notebook.experiments(closed=False):
        title = one_line(experiment.title or "no hypothesis yet")
        lines.append(Text(f"{experiment.desk}: experiment {experiment.number}, {title}"))
    return Group(*lines)


def _gain(before: list[dict[str, float]], after: list[dict[str, float]], column: str) -> float:
    return fmean(run[column] for run in after) - fmean(run[column] for run in before)
