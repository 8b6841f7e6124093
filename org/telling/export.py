"""The notebook as a table for other programs: tsv as autoresearch writes it, csv, json, md."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from textwrap import indent
from typing import Any, Literal

from org.notebook import Notebook
from org.plain import plain
from org.schema import TABLES
from org.telling.cells import (
    COLUMNS,
    FIGURES,
    certificates,
    headline,
    on_the_stack,
    rows,
    title,
    totals,
)
from org.telling.results import (
    OF_EXPERIMENTS,
    READ_TOGETHER,
    Result,
    Results,
    read_experiments,
    read_results,
    windows,
)

Format = Literal["tsv", "csv", "json", "md"]

TSV_COLUMNS = ("commit", "val_bpb", "memory_gb", "status", "description")

# A run as it is exported: without org.yaml, which has paths of this machine and addresses in it.
RUN_COLUMNS = (
    "id, started, ended, worked_seconds, setting_json, pins_json, models_json, baseline_sha"
)

TRIAL_COLUMNS = "id, experiment, purpose, ended, trial_json"

# What means something to Markdown, or to the HTML in it.
_MEANT = re.compile(r"([\\`*_{}\[\]<>()#+!|~&@$])")


def export(notebook: Notebook, form: Format) -> Iterator[str]:
    """All experiments in one of the formats, piece by piece; the text ends in a newline.

    ``tsv`` has the five columns of autoresearch's results.tsv, see `tsv`. ``csv`` has a line for
    each experiment, with all that the notebook has of it, and ``json`` runs, incumbents and
    trials besides, every record as it is. ``md`` is a table to be read on a code host.
    """
    results = read_results(notebook, 0)
    match form:
        case "tsv":
            return tsv(results, _all_results(notebook))
        case "csv":
            return _csv(notebook)
        case "json":
            return _json(notebook, results)
        case "md":
            return markdown(results, _all_results(notebook))


def _all_results(notebook: Notebook) -> Iterator[Result]:
    for window in windows(notebook):
        yield from read_experiments(notebook, *window)


# Its words for what became of a change: what is on the stack is kept for now.
TSV_STATUS = {
    "keep": "keep",
    "provisional": "keep",
    "dropped": "discard",
    "discard": "discard",
    "crash": "crash",
    "open": "keep",
}


def tsv(results: Results, experiments: Iterable[Result]) -> Iterator[str]:
    """A results.tsv as autoresearch's program.md asks for it: a line for each change that was run.

    The baseline comes first. A crash has val_bpb 0.000000 and memory 0.0. What was not kept is no
    commit of the lineage; its first column is the beginning of its source's SHA-256. Experiments
    that are open, or were discarded without a trial, are left out: a line of theirs would be read
    as a run.
    """
    yield "\t".join(TSV_COLUMNS) + "\n"
    if results.baseline:
        first, peak = results.baseline.incumbent, results.baseline.spent.peak_memory_mb
        yield _tsv_line(first.commit_sha, first.val_bpb, peak, "keep", "baseline")
    for result in experiments:
        source = result.commit_sha or result.experiment.candidate_sha or "0" * 7
        if result.val_bpb is not None:
            peak, status = result.spent.peak_memory_mb, TSV_STATUS[result.standing]
            yield _tsv_line(source, result.val_bpb, peak, status, title(result))
        elif result.standing == "crash":
            yield _tsv_line(source, 0.0, 0.0, "crash", title(result))


def _tsv_line(sha: str, val_bpb: float, peak_mb: float, status: str, description: str) -> str:
    return f"{sha[:7]}\t{val_bpb:.6f}\t{peak_mb / 1024:.1f}\t{status}\t{description}\n"


def markdown(results: Results, experiments: Iterable[Result]) -> Iterator[str]:
    """The table of experiments and what they came to, as GitHub-flavoured Markdown."""
    yield _md_line(COLUMNS)
    yield _md_line("---:" if column in FIGURES else "---" for column in COLUMNS)
    for row in rows(results.baseline, experiments):
        cells = row | {"experiment": _MEANT.sub(r"\\\1", row["experiment"])}
        yield _md_line(cells[column] for column in COLUMNS)
    said = [headline(results), on_the_stack(results), *certificates(results), totals(results)]
    for line in filter(None, said):
        yield f"\n{line}\n"


def _md_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _csv(notebook: Notebook) -> Iterator[str]:
    columns = [*TABLES["experiments"][0], *_computed(None)]
    text = io.StringIO()
    csv.DictWriter(text, columns, lineterminator="\n").writeheader()
    yield text.getvalue()
    for window in windows(notebook):
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        for row in _full_rows(notebook, window):
            writer.writerow({k: plain(v) if isinstance(v, str) else v for k, v in row.items()})
        yield text.getvalue()


def _full_rows(notebook: Notebook, window: tuple[int, int]) -> Iterator[dict[str, Any]]:
    """The rows of some experiments, with what is computed of each."""
    select = "select * from experiments where number between ? and ? order by number"
    results = read_experiments(notebook, *window)
    for row, result in zip(notebook.rows(select, window), results, strict=True):
        yield row | _computed(result)


def _json(notebook: Notebook, results: Results) -> Iterator[str]:
    """All that the notebook has, but for the texts of sources and programs and the discussion."""
    known = {
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
    }
    yield json.dumps(known, indent=1).removesuffix("\n}")
    yield from _json_list("trials_of_no_experiment", _trials_of_no_experiment(notebook))
    yield from _json_list("experiments", _experiments(notebook))
    yield "\n}\n"


def _json_list(name: str, records: Iterable[dict[str, Any]]) -> Iterator[str]:
    """A list as one more value of an object, a record at a time."""
    before = f',\n "{name}": ['
    for record in records:
        yield f"{before}\n{indent(json.dumps(record, indent=1), '  ')}"
        before = ","
    yield "\n ]" if before == "," else f"{before}]"


def _trials_of_no_experiment(notebook: Notebook) -> Iterator[dict[str, Any]]:
    """Those of the baseline and of certifications, in order."""
    select = (
        f"select rowid as row, {TRIAL_COLUMNS} from trials"
        " where experiment is null and rowid > ? order by rowid limit ?"
    )
    last = 0
    while rows := notebook.rows(select, (last, READ_TOGETHER)):
        last = [row.pop("row") for row in rows][-1]
        yield from map(_trial, rows)


def _experiments(notebook: Notebook) -> Iterator[dict[str, Any]]:
    """Every experiment with all its trials."""
    columns = ", ".join(f"t.{column}" for column in TRIAL_COLUMNS.split(", "))
    select = f"select {columns} {OF_EXPERIMENTS.format('trials t', 't')} order by t.rowid"
    for window in windows(notebook):
        trials: dict[str, list[dict[str, Any]]] = {}
        for row in notebook.rows(select, window):
            trials.setdefault(row["experiment"], []).append(_trial(row))
        for row in _full_rows(notebook, window):
            yield _unpacked(row) | {"trials": trials.get(row["id"], [])}


def _trial(row: dict[str, Any]) -> dict[str, Any]:
    trial: dict[str, Any] = json.loads(row.pop("trial_json"))
    return row | trial


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
