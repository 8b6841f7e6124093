"""The lab notebook: one SQLite file, through sqlite-utils; the record of science and its only door.

The tables are described in org/schema.py. Every write is idempotent under an id that is known
beforehand, so that a node that runs again after a kill changes nothing.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from sqlite_utils import Database

from org import schema
from org.writing import insert, update
from roles.records import Category, Decision, Direction, Entry, Hypothesis, Verdict
from trainer.evidence.effect import Scored
from trainer.patch import Patch
from trainer.setting import Setting
from trainer.source import source_sha
from trainer.trial import Trial

NOTEBOOK_FILE = "notebook.sqlite"  # in the folder of a lab
BUSY_SECONDS = 30.0
GLANCE_SECONDS = 0.02  # between two attempts at what SQLite does not wait for

MOST_FRESH = 200  # runs of one source that count for it, the latest: more make nothing surer

# The questions that are put between two trials; org/schema.py has an index for each.
LAST_NUMBERS = """
    select (select coalesce(max(number), 0) from experiments) as number,
        (select min(number) from experiments where run = :run) as first_of_run"""
TRIED_BEFORE = """
    select number from experiments where normalized_sha = :sha and number != :number
        and (decision is not null or number < :number) order by number limit 1"""
# Experiments as the others remember them: without their patches and replies, which are long.
ENTRIES = """
    select number, coalesce(nullif(title, ''), '(no hypothesis yet)') as title,
        coalesce(category, 'optimizer') as category, coalesce(change, '') as change,
        coalesce(summary, '') as summary, decision, effect, error,
        coalesce(reason, '') as reason, coalesce(lesson, '') as lesson
    from experiments where number in ({})"""
# A plus keeps SQLite from going through the runs of all sources.
CERTIFICATION_TRIALS = """
    select trial_json from trials where source_sha = :sha and +purpose = 'certify'
        and seed in ({}) order by rowid"""
FRESH_RUNS = """
    select seed, val_bpb, id from trials where source_sha = :sha
        and +outcome = 'completed' and purpose in ('baseline', 'certify')
    order by rowid desc limit :most"""
BASELINE_RUNS = """
    select val_bpb from trials where purpose = 'baseline' and outcome = 'completed'
        and source_sha = (select baseline_sha from runs order by rowid limit 1)
    order by rowid"""

# What an experiment's time goes into; the last three are the parts of a trial.
SpanKind = Literal[
    "waited", "thought", "reviewed", "smoke-tested", "started up", "trained", "scored"
]


def is_lab(folder: Path) -> bool:
    """Whether there is a lab that has begun."""
    return (folder / NOTEBOOK_FILE).exists()


class Row(BaseModel):
    """A row of the notebook, as a frozen record."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Run(Row):
    """One `org run`, from its start until its budget is spent. Times are Unix seconds."""

    id: str
    started: float
    ended: float | None = None
    worked_seconds: float = 0.0
    device_seconds: float | None = 0.0
    org_yaml: str
    setting_json: str
    pins_json: str
    models_json: str
    baseline_sha: str

    @property
    def setting(self) -> Setting:
        """The terms of its trials."""
        return Setting.model_validate_json(self.setting_json)


class Experiment(Row):
    """One entry of the notebook.

    ``effect`` is in bits per byte against the head of its day, ``error`` its standard error.
    ``seed`` is the one that the candidate is tried under, once that is settled, ``incumbent`` the
    number of the one for which it is.
    """

    id: str
    number: int
    run: str
    desk: str
    program_sha: str | None = None
    head_sha: str | None = None
    candidate_sha: str | None = None
    category: Category | None = None
    title: str | None = None
    change: str | None = None
    summary: str | None = None
    direction_json: str | None = None
    hypothesis_json: str | None = None
    patch_json: str | None = None
    decision: Decision | None = None
    seed: int | None = None
    incumbent: int | None = None
    effect: float | None = None
    error: float | None = None
    reason: str | None = None
    lesson: str | None = None
    started: float
    ended: float | None = None

    @property
    def patch(self) -> Patch:
        """The patch that was written last; only for one that has one."""
        return Patch.model_validate_json(self.patch_json or "")


class Message(Row):
    """One utterance, kept so that a discussion can be replayed.

    ``listener`` is the role it is addressed to; ``reply_json`` the typed reply, for messages of a
    model; tokens and dollars are None where unknown. ``counted`` says that the
    tokens are our count and not the endpoint's, ``most_dollars`` what the call can have cost at
    most, ``waited_seconds`` how long it was held up, ``thinking`` what the model reasoned: it is for
    replay and is never sent back.
    """

    id: str
    run: str
    experiment: str
    time: float
    speaker: str
    listener: str
    kind: str
    text: str
    reply_json: str | None = None
    model: str | None = None
    brief_sha: str | None = None
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    seconds: float | None = None
    dollars: float | None = None
    most_dollars: float | None = None
    counted: bool | None = None
    waited_seconds: float | None = None
    thinking: str = ""


class Span(Row):
    """Something that took wall seconds from ``started`` (Unix seconds) on.

    ``id`` is known beforehand, so that what is found again is not counted twice. ``experiment`` is
    None for baseline and certifications, ``device`` where none was held.
    """

    id: str
    run: str
    experiment: str | None = None
    kind: SpanKind
    device: str | None = None
    started: float
    seconds: float


class Incumbent(Row):
    """A proven train.py. ``val_bpb`` is the mean of its fresh runs, in bits per byte.

    ``certification`` is the one that it passed, ``experiment`` that of its last change.
    """

    number: int
    source_sha: str
    experiment: str | None = None
    commit_sha: str
    certification: int | None = None
    val_bpb: float
    since: float


class Notebook:
    """The notebook of one lab; one object may be shared by all desks of a process.

    One that is ``read_only`` is left as it is, byte for byte, and must be there.

    Raises:
        sqlite3.OperationalError: the file is locked by another process for longer than
            ``BUSY_SECONDS``, or cannot be written.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)
        self.db = Database(connection)
        self._lock = threading.RLock()
        # Not deferred: one that has read cannot wait for another writer any more, it fails.
        self._begin = "begin" if read_only else "begin immediate"
        if read_only:
            return
        _enable_wal(self.db)
        self.db.execute("pragma foreign_keys = on")
        with self.transaction():  # of two programs that make a notebook at once, one waits
            schema.create(self.db)

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """All or nothing, one desk at a time, and no other program in between."""
        with self._lock:
            if self.db.conn.in_transaction:
                with self.db.atomic():
                    yield self.db
                return
            self.db.execute(self._begin)
            try:
                yield self.db
                self.db.execute("commit")
            except BaseException:
                self.db.rollback()
                raise

    def rows(
        self, sql: str, parameters: dict[str, Any] | Sequence[Any] | None = None
    ) -> list[dict[str, Any]]:
        """The rows that a query gives.

        Not by `Database.query`, which puts every question between two statements of a savepoint.
        """
        with self._lock:
            found = self.db.execute(sql, parameters or {})
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found]

    def _row(self, sql: str, **parameters: Any) -> dict[str, Any] | None:
        return next(iter(self.rows(sql, parameters)), None)

    # --- texts ------------------------------------------------------------------------------

    def keep_source(self, text: str) -> str:
        """Keep a version of train.py; its SHA-256."""
        sha = source_sha(text)
        with self.transaction() as db:
            insert(db, "sources", {"sha": sha, "text": text}, ignore=True)
        return sha

    def source(self, sha: str) -> str:
        """A version of train.py. Raises KeyError if it is not in the notebook."""
        row = self._row("select text from sources where sha = :sha", sha=sha)
        if row is None:
            raise KeyError(f"no source {sha} in {self.path}")
        return str(row["text"])

    def keep_program(self, text: str) -> str:
        """Keep a version of program.md; its SHA-256."""
        sha = source_sha(text)
        row = {"sha": sha, "text": text, "first_read": time.time()}
        with self.transaction() as db:
            insert(db, "programs", row, ignore=True)
        return sha

    def latest_program(self) -> str | None:
        """The SHA-256 of the program.md that was read last: for a direction, or at all."""
        row = self._row(
            "select coalesce((select program_sha from experiments where program_sha is not null"
            " order by number desc limit 1),"
            " (select sha from programs order by first_read desc limit 1)) as sha"
        )
        return row["sha"] if row else None

    def program(self, sha: str) -> str:
        """A version of program.md. Raises KeyError if it is not in the notebook."""
        row = self._row("select text from programs where sha = :sha", sha=sha)
        if row is None:
            raise KeyError(f"no program {sha} in {self.path}")
        return str(row["text"])

    # --- runs -------------------------------------------------------------------------------

    def begin_run(self, run: Run) -> None:
        with self.transaction() as db:
            insert(db, "runs", run.model_dump(), ignore=True)

    def runs(self) -> list[Run]:
        """All runs, in the order in which they were started."""
        return [Run(**row) for row in self.rows("select * from runs order by rowid")]

    def latest_run(self) -> Run | None:
        row = self._row("select * from runs order by rowid desc limit 1")  # clocks may go back
        return Run(**row) if row else None

    def reorganize_run(self, run_id: str, org_yaml: str, models_json: str) -> None:
        """Write with which organization a run goes on."""
        columns = {"org_yaml": org_yaml, "models_json": models_json}
        with self.transaction() as db:
            update(db, "runs", run_id, columns)

    def end_run(self, run_id: str) -> None:
        with self.transaction() as db:
            update(db, "runs", run_id, {"ended": time.time()})

    def set_worked_seconds(
        self, run_id: str, seconds: float, device_seconds: float | None = None
    ) -> None:
        """How long a run has worked, and how long devices were there for it, taken together."""
        columns = {"worked_seconds": seconds, "device_seconds": device_seconds}
        with self.transaction() as db:
            update(db, "runs", run_id, columns)

    def dollars_at_most(self, run_id: str) -> float:
        """What can have been spent on models in a run at most, in dollars."""
        sql = "select total(most_dollars) as sum from messages_totals where run = :run"
        return float(self.rows(sql, {"run": run_id})[0]["sum"])

    # --- experiments ------------------------------------------------------------------------

    def reserve_experiment(self, run_id: str, desk: str, at_most: int | None) -> Experiment | None:
        """Open the next experiment of a run for a desk; None when the run has had ``at_most``."""
        with self.transaction() as db:
            (last,) = db.query(LAST_NUMBERS, {"run": run_id})
            number = last["number"] + 1
            # One run after the other: the numbers of a run have no gaps.
            if at_most is not None and number - (last["first_of_run"] or number) >= at_most:
                return None
            experiment = Experiment(
                id=f"{run_id}-{number:04d}",
                number=number,
                run=run_id,
                desk=desk,
                started=time.time(),
            )
            insert(db, "experiments", experiment.model_dump())
            return experiment

    def adopt(self, experiment_id: str, desk: str) -> Experiment:
        """Give an open experiment to a desk."""
        self._update(experiment_id, desk=desk)
        return self.experiment(experiment_id)

    def experiment(self, experiment_id: str) -> Experiment:
        """Raises KeyError if there is no such experiment."""
        row = self._row("select * from experiments where id = :id", id=experiment_id)
        if row is None:
            raise KeyError(experiment_id)
        return Experiment(**row)

    def experiments(self, *, closed: bool | None = None) -> list[Experiment]:
        """All experiments in order; only the closed, or only the open ones if asked so."""
        where = {None: "", True: "where decision is not null", False: "where decision is null"}
        rows = self.rows(f"select * from experiments {where[closed]} order by number")
        return [Experiment(**row) for row in rows]

    def experiments_count(self) -> int:
        """How many experiments there are: their numbers have no gaps."""
        (row,) = self.rows("select coalesce(max(number), 0) as count from experiments")
        return int(row["count"])

    def set_direction(
        self, experiment_id: str, direction: Direction, program_sha: str, head_sha: str
    ) -> None:
        self._update(
            experiment_id,
            direction_json=direction.model_dump_json(),
            category=direction.category,
            program_sha=program_sha,
            head_sha=head_sha,
        )

    def set_hypothesis(self, experiment_id: str, hypothesis: Hypothesis) -> None:
        """Write down what is proposed; a patch of an earlier hypothesis is none of this one."""
        self._update(
            experiment_id,
            hypothesis_json=hypothesis.model_dump_json(),
            category=hypothesis.category,
            title=hypothesis.title,
            change=hypothesis.change,
            summary=None,
            patch_json=None,
            candidate_sha=None,
            normalized_sha=None,
            seed=None,
        )

    def set_patch(
        self,
        experiment_id: str,
        patch: Patch,
        *,
        head_sha: str,
        candidate_sha: str,
        normalized_sha: str,
    ) -> None:
        """Keep the patch as it is now; another candidate is tried under a seed of its own.

        The same one keeps its seed: a run that it has had, or has begun, is found by it.
        """
        with self.transaction():
            before = self.experiment(experiment_id)
            self._update(
                experiment_id,
                patch_json=patch.model_dump_json(),
                summary=patch.summary,
                head_sha=head_sha,
                candidate_sha=candidate_sha,
                normalized_sha=normalized_sha,
                seed=before.seed if before.candidate_sha == candidate_sha else None,
            )

    def settle_seed(self, experiment_id: str, seed: int, incumbent: int) -> int:
        """The seed that the present candidate is tried under: the one settled before, or this.

        One that was settled for another incumbent is settled no more.
        """
        known = self.experiment(experiment_id)
        if known.seed is not None and known.incumbent == incumbent:
            return known.seed
        self._update(experiment_id, seed=seed, incumbent=incumbent)
        return seed

    def _update(self, experiment_id: str, **columns: Any) -> None:
        with self.transaction() as db:
            update(db, "experiments", experiment_id, columns)

    def tried_before(self, normalized_sha: str, *, before: Experiment) -> int | None:
        """The number of the first other experiment with a source of this normalized hash.

        Of the experiments that are still open only those with a lower number count: of two desks
        that write the same program at the same moment, one goes on.
        """
        asked = {"sha": normalized_sha, "number": before.number}
        return next((row["number"] for row in self.rows(TRIED_BEFORE, asked)), None)

    def entries(self, numbers: Sequence[int]) -> list[Entry]:
        """Experiments of these numbers as the others remember them, in any order."""
        every = ", ".join(map(str, numbers))
        return [Entry(**row) for row in self.rows(ENTRIES.format(every))]

    def close_experiment(
        self,
        experiment_id: str,
        verdict: Verdict,
        effect: float | None = None,
        error: float | None = None,
    ) -> None:
        """Write the verdict on an experiment that puts nothing on the stack."""
        columns = {"effect": effect, "error": error, "ended": time.time()}
        self._update(experiment_id, **verdict.model_dump(), **columns)

    # --- trials -----------------------------------------------------------------------------

    def record_trial(
        self, trial_id: str, run_id: str, experiment_id: str | None, purpose: str, trial: Trial
    ) -> None:
        columns = schema.TABLES["trials"][0]
        row = {name: value for name, value in trial.model_dump().items() if name in columns}
        row |= {
            "id": trial_id,
            "run": run_id,
            "experiment": experiment_id,
            "purpose": purpose,
            "ended": time.time(),
            "trial_json": trial.model_dump_json(),
        }
        with self.transaction() as db:
            insert(db, "trials", row, ignore=True)

    def trial(self, trial_id: str) -> Trial | None:
        row = self._row("select trial_json from trials where id = :id", id=trial_id)
        return Trial.model_validate_json(row["trial_json"]) if row else None

    def trials_of(self, experiment_id: str, source: str) -> list[Trial]:
        """All runs of one source in an experiment, in order."""
        rows = self.rows(
            "select trial_json from trials"
            " where experiment = :experiment and source_sha = :source order by rowid",
            {"experiment": experiment_id, "source": source},
        )
        return [Trial.model_validate_json(row["trial_json"]) for row in rows]

    def baseline_runs(self) -> list[float]:
        """val_bpb of every completed run of the baseline for its own sake, in bits per byte."""
        return [row["val_bpb"] for row in self.rows(BASELINE_RUNS)]

    def fresh_runs(self, source: str, latest: int = MOST_FRESH) -> list[Scored]:
        """The latest runs (seed, val_bpb) that count for a source: those that it was not chosen by."""
        rows = self.rows(FRESH_RUNS, {"sha": source, "most": latest})
        return [(row["seed"], row["val_bpb"]) for row in reversed(rows)]

    def certification_trials(self, source: str, seeds: Sequence[int]) -> list[Trial]:
        """The runs of a source in certifications under these seeds, in order, scored or not."""
        every = ", ".join(map(str, seeds))
        rows = self.rows(CERTIFICATION_TRIALS.format(every), {"sha": source})
        return [Trial.model_validate_json(row["trial_json"]) for row in rows]

    def audit_gain(self, source: str, reference: str, seeds: list[int]) -> float | None:
        """Mean change of the score on the audit text under these seeds; None if unknown."""
        rows = self.rows(
            "select source_sha, avg(json_extract(trial_json, '$.audit_bpb')) as bpb from trials"
            " where purpose = 'certify' and outcome = 'completed' and source_sha in (:one, :other)"
            f" and seed in ({', '.join(map(str, seeds))}) group by source_sha",
            {"one": source, "other": reference},
        )
        means = {row["source_sha"]: row["bpb"] for row in rows}
        if None in (means.get(source), means.get(reference)):
            return None
        return float(means[source] - means[reference])

    def latest_fresh_trial(self, source: str) -> Trial | None:
        """The last completed of the runs that count for a source."""
        rows = self.rows(FRESH_RUNS, {"sha": source, "most": 1})
        return self.trial(rows[0]["id"]) if rows else None

    def latest_trial(self, source: str) -> Trial | None:
        """The last completed trial of a source, whatever it was for."""
        rows = self.rows(
            "select trial_json from trials where source_sha = :sha and outcome = 'completed'"
            " order by rowid desc limit 1",
            {"sha": source},
        )
        return Trial.model_validate_json(rows[0]["trial_json"]) if rows else None

    # --- messages ---------------------------------------------------------------------------

    def record_message(self, message: Message) -> None:
        with self.transaction() as db:
            insert(db, "messages", message.model_dump(), ignore=True)
            if message.seconds is not None:
                span = _thinking(message, message.seconds)
                insert(db, "spans", span.model_dump(), ignore=True)

    def record_spans(self, *spans: Span) -> None:
        with self.transaction() as db:
            for span in spans:
                insert(db, "spans", span.model_dump(), ignore=True)

    def message(self, message_id: str) -> Message | None:
        row = self._row("select * from messages where id = :id", id=message_id)
        return Message(**row) if row else None

    def messages(self, experiment_id: str) -> list[Message]:
        sql = "select * from messages where experiment = :experiment order by number"
        return [Message(**row) for row in self.rows(sql, {"experiment": experiment_id})]

    def replies_count(self, speaker: str) -> int:
        """How many replies of a model the notebook has from a role."""
        sql = "select total(count) as n from messages_totals where speaker = :speaker and of_model"
        return int(self.rows(sql, {"speaker": speaker})[0]["n"])

    # --- incumbents -------------------------------------------------------------------------

    def incumbent(self) -> Incumbent | None:
        row = self._row("select * from incumbents order by number desc limit 1")
        return Incumbent(**row) if row else None

    def baseline(self) -> Incumbent | None:
        """The first incumbent."""
        row = self._row("select * from incumbents order by number limit 1")
        return Incumbent(**row) if row else None

    def incumbents(self) -> list[Incumbent]:
        return [Incumbent(**row) for row in self.rows("select * from incumbents order by number")]

    def set_baseline(self, run_id: str, baseline: Incumbent) -> None:
        with self.transaction() as db:
            insert(db, "incumbents", {"run": run_id, **baseline.model_dump()}, ignore=True)


def _enable_wal(db: Database) -> None:
    """Set write-ahead logging; SQLite waits for nobody there, so where another does it too, we do."""
    give_up_at = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.enable_wal()
            return
        except sqlite3.OperationalError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(GLANCE_SECONDS)


def _thinking(message: Message, seconds: float) -> Span:
    """The time that a model took to answer; an endpoint that was waited for did not think."""
    return Span(
        id=message.id,
        run=message.run,
        experiment=message.experiment,
        kind="reviewed" if message.kind == "review" else "thought",
        started=message.time - seconds,
        seconds=seconds - (message.waited_seconds or 0.0),
    )
