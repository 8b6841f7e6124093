"""What there is to tell as cells of a table and as single lines, the same in a terminal and on a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from org.figures import Cost, counted, duration, signed_percent
from org.plain import one_line
from org.telling.results import Baseline, Result, Results, RoleCost, Spent, Tokens

COLUMNS = (
    "#",
    "experiment",
    "category",
    "decision",
    "effect (1 run)",
    "val_bpb",
    "trials",
    "min",
    "cost",
)

FIGURES = ("#", "effect (1 run)", "val_bpb", "trials", "min", "cost")  # they stand to the right

UNTITLED = "(no hypothesis)"


def rows(baseline: Baseline | None, experiments: Iterable[Result]) -> Iterator[dict[str, str]]:
    """A row for the baseline, then one for each experiment; what is not there is ""."""
    if baseline:
        yield _baseline_row(baseline)
    yield from map(_row, experiments)


def _baseline_row(baseline: Baseline) -> dict[str, str]:
    return {
        "#": "",
        "experiment": "baseline",
        "category": "",
        "decision": "",
        "effect (1 run)": f"noise {baseline.noise_bpb:.4f}",
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
        "effect (1 run)": result.effect,
        "val_bpb": "" if result.val_bpb is None else f"{result.val_bpb:.4f}",
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


def cost_rows(costs: Iterable[RoleCost]) -> Iterator[dict[str, str]]:
    """A row for each role with a language model: calls, tokens, dollars, and what is not known."""
    for each in costs:
        yield {
            "role": each.role,
            "calls": f"{each.calls_count:,}",
            "tokens read": _tokens(each.read),
            "tokens written": _tokens(each.written),
            "cost": str(each.cost),
            "of unknown price": f"{each.cost.unknown_count:,}",
        }


def _tokens(tokens: Tokens) -> str:
    """How many there are: at least, or about, or unknown."""
    if tokens.unknown_count and not tokens.known:
        return "unknown"
    at_least, about = "≥" if tokens.unknown_count else "", "about " if tokens.counted else ""
    return f"{about}{at_least}{tokens.known:,}"


def per_kept_change(results: Results) -> str:
    """What a change that was proven has cost, all that led nowhere included."""
    if not (kept := results.standings["keep"]):
        return "Per kept change: nothing kept yet"
    each = Cost(results.cost.dollars / kept, results.cost.unknown_count)
    return f"Per kept change: {each}, of {kept:,} kept"


def headline(results: Results) -> str:
    """What the whole notebook came to: the certified improvement, with its uncertainty."""
    if results.baseline is None:
        return "The baseline has not been measured yet."
    before = results.baseline.incumbent.val_bpb
    if results.improvement is None:
        return f"Nothing is certified yet: the baseline stands, val_bpb {before:.4f}."
    gain = results.improvement
    after = before + gain.bpb  # on the machine as it was for the baseline
    share = signed_percent(gain.bpb / before)
    return f"Proven gain: {gain.text} bpb, {before:.4f} → {after:.4f}, {share}"


def on_the_stack(results: Results) -> str:
    """What is expected of the changes that are not proven yet; "" where there are none."""
    if results.expected is None:
        return ""
    stacked = counted(results.stacked, "change")
    return f"On the stack: {stacked}, {results.expected.text} bpb expected"


def certificates(results: Results) -> Iterator[str]:
    """A line for each of the certifications that are here, and one for those that are not."""
    if left_out := results.certified_count - len(results.certified):
        yield f"{counted(left_out, 'certification')} before these: see notebook --all"
    for one in results.certified:
        certification, effect = one.certification, one.effect
        what = f"{counted(certification.size, 'change')}{certification.qualified}"
        said = f"{effect.text} bpb" if effect else "no effect"
        passed = "passed" if certification.says == "pass" else "failed"
        yield f"Certification {certification.number} {passed}: {what}, {said}, {certification.reason} ({one_line(certification.why)})"


def totals(results: Results) -> str:
    """How many experiments came to what, and what all of it took."""
    standings = results.standings
    words = {
        "keep": "kept",
        "provisional": "provisional",
        "dropped": "dropped",
        "discard": "discarded",
        "crash": "crashed",
        "open": "open",
    }
    came_to = ", ".join(
        f"{standings[each]:,} {word}" for each, word in words.items() if standings[each]
    )
    experiments = counted(results.experiments_count, "experiment")
    return " · ".join(
        (
            f"{experiments}: {came_to}" if came_to else experiments,
            counted(results.trials_count, "trial"),
            duration(results.worked_seconds),
            f"cost {results.cost}",
        )
    )
