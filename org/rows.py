"""The experiments as rows of short texts, the same in a terminal and on a page."""

from __future__ import annotations

from collections.abc import Iterator

from org.figures import counted, duration, effect_text, signed_percent
from org.plain import one_line
from org.results import Baseline, Result, Results, Spent

COLUMNS = (
    "#",
    "experiment",
    "category",
    "decision",
    "effect in bpb",
    "val_bpb",
    "trials",
    "min",
    "cost",
)

FIGURES = ("#", "effect in bpb", "val_bpb", "trials", "min", "cost")  # they stand to the right

UNTITLED = "(no hypothesis)"


def rows(results: Results) -> Iterator[dict[str, str]]:
    """A row for the baseline, then one for each experiment; what is not there is ""."""
    if results.baseline:
        yield _baseline_row(results.baseline)
    for result in results.experiments:
        yield _row(result)


def _baseline_row(baseline: Baseline) -> dict[str, str]:
    return {
        "#": "",
        "experiment": "baseline",
        "category": "",
        "decision": "",
        "effect in bpb": f"noise {baseline.noise_bpb:.4f}",
        "val_bpb": f"{baseline.incumbent.val_bpb:.4f}",
        **_spent(baseline.spent),
        "cost": "",  # no model had a part in it
    }


def _row(result: Result) -> dict[str, str]:
    experiment = result.experiment
    return {
        "#": str(experiment.number),
        "experiment": title(result),
        "category": experiment.category or "",
        "decision": result.standing,
        "effect in bpb": result.effect,
        "val_bpb": f"{result.evidence.candidate_bpb:.4f}" if result.evidence else "",
        **_spent(result.spent),
    }


def _spent(spent: Spent) -> dict[str, str]:
    return {
        "trials": str(spent.trials_count),
        "min": f"{spent.work_seconds / 60:.1f}",
        "cost": str(spent.cost),
    }


def title(result: Result) -> str:
    """What an experiment is about, in one line."""
    return one_line(result.experiment.title or "") or UNTITLED


def headline(results: Results) -> str:
    """What the whole notebook came to: the improvement, with its uncertainty."""
    if results.baseline is None:
        return "The baseline has not been measured yet."
    before = results.baseline.incumbent.val_bpb
    if results.improvement is None or results.incumbent is None:
        return f"Nothing is kept yet: the baseline stands, val_bpb {before:.4f}."
    gain = results.improvement
    return (
        f"Improvement over the baseline: {effect_text(gain.effect, gain.standard_error)} bpb"
        f" ({before:.4f} → {results.incumbent.val_bpb:.4f},"
        f" {signed_percent(gain.effect / before)})"
    )


def totals(results: Results) -> str:
    """How many experiments came to what, and what all of it took."""
    standings = results.standings
    words = {"keep": "kept", "discard": "discarded", "crash": "crashed", "open": "open"}
    came_to = ", ".join(
        f"{standings[each]} {word}" for each, word in words.items() if standings[each]
    )
    experiments = counted(len(results.experiments), "experiment")
    return " · ".join(
        (
            f"{experiments}: {came_to}" if came_to else experiments,
            counted(results.trials_count, "trial"),
            duration(results.worked_seconds),
            f"cost {results.cost}",
        )
    )
