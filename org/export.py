"""The notebook as a table for other programs: tsv as autoresearch writes it, csv, json, md."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from typing import Any, Literal

from org.notebook import Notebook
from org.plain import plain
from org.results import Result, Results, read_results
from org.rows import (
    COLUMNS,
    FIGURES,
    certificates,
    headline,
    on_the_stack,
    rows,
    title,
    totals,
)
from org.schema import TABLES

Format = Literal["tsv", "csv", "json", "md"]

TSV_COLUMNS = ("commit", "val_bpb", "memory_gb", "status", "description")

# A run as it is exported: without org.yaml, which has paths of this machine and addresses in it.
RUN_COLUMNS = (
    "id, started, ended, worked_seconds, setting_json, pins_json, models_json, baseline_sha"
)

TRIAL_COLUMNS = "id, experiment, purpose, ended, trial_json"

# What means something to Markdown, or to the HTML in it.
_MEANT = re.compile(r"([\\`*_{}\[\]<>()#+!|~&@$])")


def export(notebook: Notebook, form: Format) -> str:
    """All experiments in one of the formats; the text ends in a newline.

    ``tsv`` has the five columns of autoresearch's results.tsv, see `tsv`. ``csv`` has a line for
    each experiment, with all that the notebook has of it, and ``json`` runs, incumbents and
    trials besides, every record as it is. ``md`` is a table to be read on a code host.
    """
    match form:
        case "tsv":
            return tsv(read_results(notebook))
        case "csv":
            return _csv(notebook)
        case "json":
            return json.dumps(_everything(notebook), indent=1) + "\n"
        case "md":
            return markdown(read_results(notebook))


# Its words for what became of a change: what is on the stack is kept for now.
TSV_STATUS = {
    "keep": "keep",
    "provisional": "keep",
    "dropped": "discard",
    "discard": "discard",
    "crash": "crash",
    "open": "keep",
}


def tsv(results: Results) -> str:
    """A results.tsv as autoresearch's program.md asks for it: a line for each change that was run.

    The baseline comes first. A crash has val_bpb 0.000000 and memory 0.0. What was not kept is no
    commit of the lineage; its first column is the beginning of its source's SHA-256. Experiments
    that are open, or were discarded without a trial, are left out: a line of theirs would be read
    as a run.
    """
    lines = ["\t".join(TSV_COLUMNS)]
    if results.baseline:
        first, peak = results.baseline.incumbent, results.baseline.spent.peak_memory_mb
        lines.append(_tsv_line(first.commit_sha, first.val_bpb, peak, "keep", "baseline"))
    for result in results.experiments:
        source = result.commit_sha or result.experiment.candidate_sha or "0" * 7
        if result.val_bpb is not None:
            peak, status = result.spent.peak_memory_mb, TSV_STATUS[result.standing]
            lines.append(_tsv_line(source, result.val_bpb, peak, status, title(result)))
        elif result.standing == "crash":
            lines.append(_tsv_line(source, 0.0, 0.0, "crash", title(result)))
    return "\n".join(lines) + "\n"


def _tsv_line(sha: str, val_bpb: float, peak_mb: float, status: str, description: str) -> str:
    return f"{sha[:7]}\t{val_bpb:.6f}\t{peak_mb / 1024:.1f}\t{status}\t{description}"


def markdown(results: Results) -> str:
    """The table of experiments and what they came to, as GitHub-flavoured Markdown."""
    lines = [
        _md_line(COLUMNS),
        _md_line("---:" if column in FIGURES else "---" for column in COLUMNS),
    ]
    for row in rows(results):
        cells = row | {"experiment": _MEANT.sub(r"\\\1", row["experiment"])}
        lines.append(_md_line(cells[column] for column in COLUMNS))
    said = [headline(results), on_the_stack(results), *certificates(results), totals(results)]
    return "\n\n".join(["\n".join(lines), *filter(None, said)]) + "\n"


def _md_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _csv(notebook: Notebook) -> str:
    text = io.StringIO()
    columns = [*TABLES["experiments"][0], *_computed(None)]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    computed = {one.experiment.id: _computed(one) for one in read_results(notebook).experiments}
    for row in notebook.rows("select * from experiments order by number"):
        full = row | computed[row["id"]]
        writer.writerow({k: plain(v) if isinstance(v, str) else v for k, v in full.items()})
    return text.getvalue()


def _everything(notebook: Notebook) -> dict[str, Any]:
    """All that the notebook has, but for the texts of sources and programs and the discussion."""
    results = read_results(notebook)
    computed = {one.experiment.id: _computed(one) for one in results.experiments}
    trials: dict[str | None, list[dict[str, Any]]] = {}
    for row in notebook.rows(f"select {TRIAL_COLUMNS} from trials order by rowid"):
        trial = json.loads(row.pop("trial_json"))
        trials.setdefault(row["experiment"], []).append(row | trial)
    return {
        "runs": list(
            map(_unpacked, notebook.rows(f"select {RUN_COLUMNS} from runs order by started"))
        ),
        "noise_bpb": results.baseline.noise_bpb if results.baseline else None,
        "improvement": results.improvement.model_dump() if results.improvement else None,
        "expected": results.expected.model_dump() if results.expected else None,
        "certifications": [
            _unpacked(row) for row in notebook.rows("select * from certifications order by number")
        ],
        "stack": notebook.rows("select * from stack order by number"),
        "incumbents": [each.model_dump() for each in notebook.incumbents()],
        "trials_of_no_experiment": trials.get(None, []),
        "experiments": [
            _unpacked(row) | computed[row["id"]] | {"trials": trials.get(row["id"], [])}
            for row in notebook.rows("select * from experiments order by number")
        ],
    }


def _computed(result: Result | None) -> dict[str, Any]:
    """What is known of an experiment beyond its row; the keys alone where there is none."""
    return {
        "val_bpb": result.val_bpb if result else None,
        "commit_sha": result.commit_sha if result else None,
        "trials_count": result.spent.trials_count if result else None,
        "work_seconds": result.spent.work_seconds if result else None,
        "known_dollars": result.spent.cost.dollars if result else None,
        "replies_of_unknown_price": result.spent.cost.unknown_count if result else None,
    }


def _unpacked(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose records are no longer texts: ``patch_json`` is ``patch``."""
    return {
        name.removesuffix("_json"): json.loads(value)
        if value is not None and name.endswith("_json")
        else value
        for name, value in row.items()
    }
