"""Does a lab hold together: notebook, git and files against each other, every verdict against its runs.

Only reads, and one state of the notebook throughout, so that a run may go on meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from org.checkup import Finding
from org.figures import counted
from org.lineage import FILE_NAME, Kept, Lineage, LineageError
from org.notebook import NOTEBOOK_FILE, Incumbent, Notebook
from org.past import Past, reading_past
from org.plain import one_line
from org.recomputing import clock_set_back, wrong_certifications, wrong_verdicts
from roles.records import Direction, Hypothesis
from trainer.patch import Patch
from trainer.trial import Trial

# References that are no foreign keys: where they stand, and where they must lead to.
REFERENCES = (
    ("stack", "certification", "certifications"),
    ("stack", "pruning", "certifications"),
    ("certifications", "incumbent", "incumbents"),
    ("incumbents", "certification", "certifications"),
)

RECORDS: dict[str, type[BaseModel]] = {
    "direction_json": Direction,
    "hypothesis_json": Hypothesis,
    "patch_json": Patch,
}

# Of these each source has one run under a seed. A candidate has one too, and after a disturbed run
# another.
ONE_RUN_EACH = ("baseline", "certify")


def verify(folder: Path) -> Iterator[Finding]:
    """Look at everything that a lab has on record: one finding for what holds, one for each fault."""
    # Git first: what the notebook says later can only be ahead of it.
    outside = _Outside.of(folder)
    try:
        with reading_past(folder / NOTEBOOK_FILE) as past:
            if not past.notebook.rows("select name from main.sqlite_master limit 1"):
                yield Finding("notebook", True, "nothing is in it yet")
                return
            for name, (faults, what) in AREAS.items():
                yield from _findings(name, what(past), faults(past, outside))
    except sqlite3.DatabaseError as error:
        yield Finding("notebook", False, f"{folder / NOTEBOOK_FILE} cannot be read: {error}")


def _findings(name: str, what: str, faults: Iterator[str]) -> Iterator[Finding]:
    found = [Finding(name, False, fault) for fault in _until_unreadable(faults)]
    yield from found or [Finding(name, True, what)]


def _until_unreadable(faults: Iterator[str]) -> Iterator[str]:
    """The faults up to a record that is so damaged that what follows from it cannot be told."""
    try:
        yield from faults
    except (ValueError, KeyError) as error:
        yield f"something on record cannot be read, so that the rest was not looked at: {one_line(str(error))}"


@dataclass(frozen=True)
class _Outside:
    """What a lab keeps outside of its notebook."""

    folder: Path
    log: tuple[Kept, ...]
    sources: list[str | None]
    trouble: str
    train_py: bytes | None

    @classmethod
    def of(cls, folder: Path) -> _Outside:
        path = folder / FILE_NAME
        train_py = path.read_bytes() if path.exists() else None
        lineage = Lineage(folder / "lineage", folder.name, read_only=True)
        try:
            log = lineage.log()
            sources = lineage.sources_at([kept.commit for kept in log])
        except (LineageError, OSError) as error:
            return cls(folder, (), [], str(error), train_py)
        return cls(folder, log, sources, "", train_py)


# --- the notebook by itself -----------------------------------------------------------------------


def _in_the_notebook(past: Past, outside: _Outside) -> Iterator[str]:
    notebook = past.notebook
    for row in notebook.rows("pragma main.integrity_check"):
        if (said := row["integrity_check"]) != "ok":
            yield f"SQLite: {said}"
    for row in notebook.rows("pragma main.foreign_key_check"):
        yield f"{row['table']}, row {row['rowid']}: what it refers to is not in {row['parent']}"
    for table, column, parent in REFERENCES:
        rows = notebook.rows(
            f"select number, {column} as other from main.{table}"
            f" where {column} is not null and {column} not in (select number from main.{parent})"
        )
        for row in rows:
            yield f"{table} {row['number']} refers to {row['other']}, which is not in {parent}"
    for table in ("sources", "programs"):
        for row in notebook.rows(f"select sha, text from main.{table}"):
            if hashlib.sha256(str(row["text"]).encode()).hexdigest() != row["sha"]:
                yield f"{table}: the text under {row['sha']} is another one"


def _numbers(past: Past, outside: _Outside) -> Iterator[str]:
    rows = past.notebook.rows("select * from main.experiments order by number")
    numbers = [row["number"] for row in rows]
    for number in sorted(set(numbers)):
        if numbers.count(number) > 1:
            yield f"experiment {number} is there {numbers.count(number)} times"
    for number in sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers)):
        yield f"experiment {number} is missing"
    for row in rows:
        where = f"experiment {row['number']}"
        if row["id"] != f"{row['run']}-{row['number']:04d}":
            yield f"{where} has the id {row['id']}"
        if (row["decision"] is None) != (row["ended"] is None):
            yield f"{where} has {'an end' if row['ended'] else 'a verdict'} and not both"
        for column, record in RECORDS.items():
            if row[column] is not None and not _reads(record, row[column]):
                yield f"{where}: its {column} cannot be read"


def _reads(record: type[BaseModel], text: str) -> bool:
    try:
        record.model_validate_json(text)
    except ValidationError:
        return False
    return True


# --- what was paid for ----------------------------------------------------------------------------


def _trials(past: Past, outside: _Outside) -> Iterator[str]:
    """Trials once each, and as the supervisor wrote them down, where its file is still there."""
    runs: dict[tuple[Any, ...], list[str]] = {}
    texts: dict[str, str] = {}
    for row in past.notebook.rows("select * from main.trials order by rowid"):
        name, text = row["id"], row["trial_json"]
        if not _reads(Trial, text):
            yield f"trial {name} cannot be read"
            continue
        trial = json.loads(text)
        for column in ("source_sha", "seed", "outcome", "val_bpb", "device"):
            if row[column] != trial[column]:
                yield f"trial {name}: {column} is {row[column]}, in its record {trial[column]}"
        if (twin := texts.setdefault(text, name)) != name:
            yield f"trial {name} is trial {twin} once more"
        # Disturbed runs are repeated, under the next number at the end of the id.
        again = name.rpartition("-")[2] if row["purpose"] not in ONE_RUN_EACH else ""
        key = (row["purpose"], row["experiment"], row["source_sha"], row["seed"], again)
        runs.setdefault(key, []).append(name)
        path = outside.folder / "trials" / name / "trial.json"
        if path.exists():
            yield from _unlike_its_file(name, trial, path)
    for (purpose, _, source_sha, seed, _), names in runs.items():
        if len(names) > 1:
            yield f"the {purpose} run of {source_sha[:12]} under seed {seed} is there {len(names)} times: {', '.join(names)}"


def _unlike_its_file(name: str, trial: object, path: Path) -> Iterator[str]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        yield f"trial {name}: {path} cannot be read"
        return
    if told != trial:
        yield f"trial {name}: {path} says otherwise than the notebook"


def _replies(past: Past, outside: _Outside) -> Iterator[str]:
    """One reply of a model for each request: its id names the experiment, the step and the role."""
    rows = past.notebook.rows(
        "select id, count(*) as n from main.messages group by id having count(*) > 1"
    )
    for row in rows:
        yield f"the reply {row['id']} is there {row['n']} times"
    rows = past.notebook.rows(
        "select id, experiment, speaker, kind, reply_json from main.messages"
        " where model is not null and reply_json is not null"
    )
    for row in rows:
        step = row["id"].removeprefix(f"{row['experiment']}/").removesuffix(f"/{row['speaker']}")
        if "/" in step or step.partition(".")[0] != row["kind"]:
            yield f"the reply {row['id']} is no answer of {row['speaker']} to a step of its experiment"
        try:
            json.loads(row["reply_json"])
        except ValueError:
            yield f"the reply {row['id']} cannot be read"


# --- what was kept --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Version:
    """A version of train.py that the notebook says was kept."""

    what: str
    commit: str
    source_sha: str


def _lineage(past: Past, outside: _Outside) -> Iterator[str]:
    """The branch has the baseline and every kept change, in order, and each is what was measured."""
    if outside.trouble:
        yield outside.trouble
        return
    notebook = past.notebook
    incumbents = notebook.incumbents()
    numbers = [each.number for each in incumbents]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"the incumbents have the numbers {', '.join(map(str, numbers))}"
    stages = [_versions(notebook, incumbent) for incumbent in incumbents]
    for incumbent, stage in zip(incumbents, stages, strict=True):
        last = stage[-1] if stage else None
        if last is None or (last.commit, last.source_sha) != _place(incumbent):
            yield f"incumbent {incumbent.number} is not the last of the changes that were kept for it"
    may_lag = _is_open(notebook)
    if may_lag and stages and len(outside.log) == sum(map(len, stages[:-1])):
        stages.pop()  # a kill came between notebook and branch: the next run moves it
    versions = [version for stage in stages for version in stage]
    yield from _off_the_branch(versions, outside)
    likely = {incumbent.source_sha for incumbent in incumbents[-2 if may_lag else -1 :]}
    if len(incumbents) > (1 if may_lag else 0) and _sha(outside.train_py or b"") not in likely:
        yield f"{outside.folder / FILE_NAME} is not the incumbent"


def _versions(notebook: Notebook, incumbent: Incumbent) -> list[_Version]:
    """What was kept when an incumbent became it, one version for each commit."""
    rows = notebook.rows(
        "select e.number, s.commit_sha, s.source_sha from main.stack s"
        " join main.experiments e on e.id = s.experiment"
        " where (s.standing = 'keep' or s.pruning is not null) and s.certification = :number"
        " order by s.number",
        {"number": incumbent.certification},
    )
    kept = [_Version(f"experiment {r['number']}", r["commit_sha"], r["source_sha"]) for r in rows]
    return kept or [_Version(f"incumbent {incumbent.number}", *_place(incumbent))]


def _place(incumbent: Incumbent) -> tuple[str, str]:
    return incumbent.commit_sha, incumbent.source_sha


def _off_the_branch(versions: list[_Version], outside: _Outside) -> Iterator[str]:
    there = {kept.commit: text for kept, text in zip(outside.log, outside.sources, strict=True)}
    wanted = [version.commit for version in versions]
    for version in versions:
        if version.commit not in there:
            yield f"{version.what}: its commit {version.commit} is not on the branch"
        elif _sha((there[version.commit] or "").encode()) != version.source_sha:
            yield f"{version.what}: its commit {version.commit} has another {FILE_NAME} than was measured"
    for kept in outside.log:
        if kept.commit not in wanted:
            yield f"the commit {kept.commit} ({kept.experiment_id}) is of nothing that was kept"
    if set(wanted) == set(there) and wanted != list(there):
        yield "the branch has the kept changes in another order"


def _is_open(notebook: Notebook) -> bool:
    run = notebook.latest_run()
    return run is not None and run.ended is None


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- all of it ------------------------------------------------------------------------------------


def _verdicts(past: Past, outside: _Outside) -> Iterator[str]:
    return wrong_verdicts(past)


def _certifications(past: Past, outside: _Outside) -> Iterator[str]:
    return wrong_certifications(past)


def _recomputed(text: str, table: str, where: str) -> Callable[[Past], str]:
    """The same of what is computed again, or why it was not."""

    def told(past: Past) -> str:
        said = _told(text, table, where)(past)
        if not clock_set_back(past):
            return said
        return f"{said}, as far as can be told: the clock was put back meanwhile"

    return told


def _told(text: str, table: str, where: str = "true") -> Callable[[Past], str]:
    """How many rows were looked at, in words."""

    def told(past: Past) -> str:
        (row,) = past.notebook.rows(f"select count(*) as n from main.{table} where {where}")
        return text.format(counted(row["n"], table.removesuffix("s")))

    return told


# What is looked at, in this order: the faults, and what is said where there are none.
AREAS: dict[str, tuple[Callable[[Past, _Outside], Iterator[str]], Callable[[Past], str]]] = {
    "notebook": (_in_the_notebook, lambda past: "intact, every reference leads somewhere"),
    "numbers": (_numbers, _told("{}, none missing, none doubled", "experiments")),
    "trials": (_trials, _told("{}, each once and as it was measured", "trials")),
    "replies": (
        _replies,
        _told("{} of models, one for each request", "messages", "reply_json is not null"),
    ),
    "verdicts": (
        _verdicts,
        _recomputed(
            "{} closed, each verdict follows from its runs", "experiments", "decision is not null"
        ),
    ),
    "certified": (
        _certifications,
        _recomputed("{}, each follows from its runs", "certifications", "says is not null"),
    ),
    "lineage": (_lineage, _told("{}: branch, train.py and notebook agree", "incumbents")),
}
