"""The stack, as the notebook has it: provisional changes on the incumbent, in the order they came.

Knows no trial and no device; what goes on the stack, and what is proven, is decided elsewhere.
"""

from __future__ import annotations

import json
import time
from typing import Literal

from org.claims import NO_WORSE, claimed
from org.notebook import Experiment, Incumbent, Notebook, Row
from org.writing import insert, update
from roles.quoting import at_most
from roles.records import PARAGRAPH_CHARACTERS, Verdict
from trainer.evidence.certify import Judgement
from trainer.evidence.effect import Effect
from trainer.evidence.spread import Spread

Standing = Literal["provisional", "keep", "dropped"]
Purpose = Literal["stack", "half", "simpler", "simpler half", "pruned"]


class Pushed(Row):
    """A change that goes on the stack.

    ``head_sha`` is the source that it was put on, ``source_sha`` that source with it. In bits per
    byte: ``effect_bpb`` of its one run, ``error_bpb`` the standard error of that, ``expected_bpb``
    what is left of it without luck. ``lines_added`` is less what it removes. ``asked`` is why a
    reviewer wants the stack up to here certified; "" or None if none does.
    """

    run: str
    experiment: str
    head_sha: str
    source_sha: str
    effect_bpb: float
    error_bpb: float
    expected_bpb: float
    lines_added: int
    asked: str | None = None


class Change(Pushed):
    """One change on the stack, or one that has left it, by the certification that is named.

    ``pruning`` is the certification by which it was done without after it had been kept.
    """

    number: int
    since: float
    standing: Standing = "provisional"
    certification: int | None = None
    commit_sha: str | None = None
    pruning: int | None = None


class Begun(Row):
    """A certification that begins: of a source against the incumbent, on fresh seeds.

    ``size`` is how many changes of the stack the source has, ``purpose`` whether these are all of
    them, the first half of a stack that failed, or what is left after pruning; ``simpler`` is one
    whose changes all remove lines. ``run_bpb`` and ``pair_bpb`` are the noise by which it is judged,
    as it was known at its start, each with its degrees of freedom. ``pruned_json`` are the numbers
    of the changes that the source does without.
    """

    run: str
    purpose: Purpose
    why: str
    incumbent: int
    incumbent_sha: str
    source_sha: str
    size: int
    seeds_json: str
    run_bpb: float
    run_freedom: float
    pair_bpb: float
    pair_freedom: float
    pruned_json: str = "[]"


class Certification(Begun):
    """One certification; open until ``says``."""

    number: int
    started: float
    ended: float | None = None
    says: Literal["pass", "fail"] | None = None
    reason: str = ""
    effect_json: str | None = None

    @property
    def seeds(self) -> list[int]:
        return [int(seed) for seed in json.loads(self.seeds_json)]

    @property
    def run_spread(self) -> Spread:
        return Spread(bpb=self.run_bpb, freedom=self.run_freedom)

    @property
    def pair_spread(self) -> Spread:
        return Spread(bpb=self.pair_bpb, freedom=self.pair_freedom)

    @property
    def effect(self) -> Effect | None:
        return Effect.model_validate_json(self.effect_json) if self.effect_json else None

    @property
    def is_half(self) -> bool:
        return self.purpose in ("half", "simpler half")

    @property
    def asks_no_worse(self) -> bool:
        """Whether its source is simpler and has to be no worse; else it has to be better."""
        return self.purpose in NO_WORSE

    @property
    def qualified(self) -> str:
        """What is particular about its changes, in words that follow their number."""
        if self.purpose == "pruned":
            return " left after pruning"
        return " that remove lines" if self.asks_no_worse else ""

    @property
    def in_words(self) -> str:
        """How many changes it is of, and what is particular about them."""
        changes_count = f"{self.size} changes together" if self.size > 1 else "1 change"
        return f"{changes_count}{self.qualified}"

    @property
    def pruned(self) -> list[int]:
        """The numbers of the changes that its source does without."""
        return [int(number) for number in json.loads(self.pruned_json)]


def stack(notebook: Notebook) -> list[Change]:
    """The changes that are provisional now, the lowest first."""
    rows = notebook.rows("select * from stack where standing = 'provisional' order by number")
    return [Change(**row) for row in rows]


def changes(notebook: Notebook, numbers: list[int]) -> list[Change]:
    """Changes by their numbers, wherever they are now."""
    every = ", ".join(map(str, numbers))
    rows = notebook.rows(f"select * from stack where number in ({every}) order by number")
    return [Change(**row) for row in rows]


def change_of(notebook: Notebook, experiment_id: str) -> Change | None:
    """What an experiment put on the stack, if it did."""
    rows = notebook.rows("select * from stack where experiment = :id", {"id": experiment_id})
    return Change(**rows[0]) if rows else None


def push(notebook: Notebook, change: Pushed, verdict: Verdict) -> None:
    """Put a change on the stack and close its experiment: one transaction.

    A change of an experiment that has put one there already changes nothing.
    """
    now = time.time()
    row = {**change.model_dump(), "standing": "provisional", "since": now}
    effect = {"effect": change.effect_bpb, "error": change.error_bpb}
    with notebook.transaction() as db:
        if change_of(notebook, change.experiment) is None:
            insert(db, "stack", row)
        columns = {**verdict.model_dump(), **effect, "ended": now}
        update(db, "experiments", change.experiment, columns)


def ask_for_certification(notebook: Notebook, head_sha: str, why: str) -> None:
    """Keep that a reviewer wants a head certified; if it is provisional no more, nothing is asked."""
    with notebook.transaction() as db:
        db.execute(
            "update stack set asked = ? where source_sha = ? and standing = 'provisional'",
            [why, head_sha],
        )


# --- certifications -----------------------------------------------------------------------------


def open_certification(notebook: Notebook) -> Certification | None:
    """The certification that is going on, if one is."""
    rows = notebook.rows("select * from certifications where says is null order by number")
    return Certification(**rows[0]) if rows else None


def certifications(notebook: Notebook, latest: int = -1) -> list[Certification]:
    """The latest certifications, all by default, in order."""
    sql = "select * from certifications order by number desc limit :latest"
    return [Certification(**row) for row in reversed(notebook.rows(sql, {"latest": latest}))]


def record_begun(notebook: Notebook, begun: Begun) -> Certification:
    """Open a certification under the next number."""
    with notebook.transaction() as db:
        (row,) = db.query("select coalesce(max(number), 0) + 1 as number from certifications")
        columns = {**begun.model_dump(), "reason": "", "started": time.time()}
        insert(db, "certifications", {**columns, **row})
    certification = open_certification(notebook)
    assert certification is not None
    return certification


def fail_certification(
    notebook: Notebook, certification: Certification, judgement: Judgement, dropped: list[Change]
) -> None:
    """Close a certification that failed; what is cut for it is dropped, with the evidence."""
    with notebook.transaction():
        _close(notebook, certification, judgement)
        for change in dropped:
            _leave(notebook, change, certification, "dropped", judgement)


def pass_certification(
    notebook: Notebook,
    certification: Certification,
    judgement: Judgement,
    incumbent: Incumbent,
    kept: list[tuple[Change, str]],
    dropped: list[Change],
) -> None:
    """Close a certification that passed: the new incumbent, each change with its commit.

    Raises:
        sqlite3.IntegrityError: the incumbent's number is taken: another one came first.
    """
    told = claimed(notebook, certification.number, certification.purpose, judgement)
    with notebook.transaction() as db:
        _close(notebook, certification, judgement)
        insert(db, "incumbents", {"run": certification.run, **incumbent.model_dump()})
        for change, commit_sha in kept:
            update(db, "stack", change.number, {"commit_sha": commit_sha})
            _leave(notebook, change, certification, "keep", told)
        for change in dropped:
            _leave(notebook, change, certification, "dropped", told)


def _close(notebook: Notebook, certification: Certification, judgement: Judgement) -> None:
    columns = {
        "says": judgement.says,
        "reason": judgement.reason,
        "effect_json": judgement.effect.model_dump_json() if judgement.effect else None,
        "ended": time.time(),
    }
    update(notebook.db, "certifications", certification.number, columns)


def _leave(
    notebook: Notebook,
    change: Change,
    certification: Certification,
    standing: Standing,
    judgement: Judgement,
) -> None:
    experiment: Experiment = notebook.experiment(change.experiment)
    said = [f"Certification {certification.number}: {_said(judgement.reason, judgement.effect)}"]
    if certification.is_half and standing == "dropped":  # it was the whole that failed with it
        (whole,) = (
            each for each in certifications(notebook, 2) if each.number == certification.number - 1
        )
        said = [
            f"Certification {whole.number}: {_said(whole.reason, whole.effect)}",
            f"Certification {certification.number}, of the first {certification.size} on the stack: "
            f"{_said(judgement.reason, judgement.effect)}",
        ]
    reason = "\n".join([experiment.reason or "", *said])
    by = "pruning" if certification.purpose == "pruned" else "certification"
    update(notebook.db, "stack", change.number, {"standing": standing, by: certification.number})
    update(
        notebook.db,
        "experiments",
        change.experiment,
        {"decision": standing, "reason": at_most(reason, PARAGRAPH_CHARACTERS)},
    )


def _said(reason: str, effect: Effect | None) -> str:
    return f"{reason} {effect.text}" if effect else reason
