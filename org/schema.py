"""The notebook's tables and views: what is kept, under which names, and how it is found again."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlite_utils import Database

# One entry a table: columns with their SQL types, then the foreign keys. Times are Unix seconds,
# `*_sha` are SHA-256 in hex, `*_json` are records as roles/records.py and trainer/ define them.
TABLES: dict[str, tuple[dict[str, type], list[tuple[str, str, str]]]] = {
    # A text of train.py, once per version.
    "sources": ({"sha": str, "text": str}, []),
    # A text of program.md, once per version.
    "programs": ({"sha": str, "text": str, "first_read": float}, []),
    # One `org run` from its start until its budget is spent; a kill does not end it.
    "runs": (
        {
            "id": str,
            "started": float,
            "ended": float,
            "worked_seconds": float,
            "device_seconds": float,
            "org_yaml": str,
            "setting_json": str,
            "pins_json": str,
            "models_json": str,
            "baseline_sha": str,
        },
        [("baseline_sha", "sources", "sha")],
    ),
    # One experiment; open until `decision` is known.
    "experiments": (
        {
            "id": str,
            "number": int,
            "run": str,
            "desk": str,
            "program_sha": str,
            "head_sha": str,
            "candidate_sha": str,
            "normalized_sha": str,
            "category": str,
            "title": str,
            "change": str,
            "summary": str,
            "direction_json": str,
            "hypothesis_json": str,
            "patch_json": str,
            "decision": str,
            "seed": int,
            "incumbent": int,
            "effect": float,
            "error": float,
            "reason": str,
            "lesson": str,
            "started": float,
            "ended": float,
        },
        [
            ("run", "runs", "id"),
            ("program_sha", "programs", "sha"),
            ("head_sha", "sources", "sha"),
            ("candidate_sha", "sources", "sha"),
        ],
    ),
    # One training run; `purpose` is baseline, candidate, certify or reference (the incumbent again,
    # on a machine that drifted). What counts for a source are its runs as baseline and in
    # certifications: it was not chosen by them. One that counts for nothing, for the machine was
    # disturbed, is `disturbed` and what it would have been.
    "trials": (
        {
            "id": str,
            "run": str,
            "experiment": str,
            "purpose": str,
            "source_sha": str,
            "seed": int,
            "device": str,
            "outcome": str,
            "reason": str,
            "val_bpb": float,
            "training_seconds": float,
            "total_seconds": float,
            "peak_memory_mb": float,
            "steps": int,
            "ended": float,
            "trial_json": str,
        },
        [
            ("run", "runs", "id"),
            ("experiment", "experiments", "id"),
            ("source_sha", "sources", "sha"),
        ],
    ),
    # One utterance. What the lab itself says (a patch that does not fit, a trial's result) has no
    # model and no cost. Unknown tokens and dollars are NULL, never 0.
    "messages": (
        {
            "number": int,
            "id": str,
            "run": str,
            "experiment": str,
            "time": float,
            "speaker": str,
            "listener": str,
            "kind": str,
            "text": str,
            "reply_json": str,
            "model": str,
            "brief_sha": str,
            "prompt_tokens": int,
            "reply_tokens": int,
            "seconds": float,
            "dollars": float,
            "most_dollars": float,
            "counted": int,
            "waited_seconds": float,
            "thinking": str,
        },
        [("run", "runs", "id"), ("experiment", "experiments", "id")],
    ),
    # What was read before a reply, once per line; `lines` are their numbers in order, `7` for one,
    # `12+368` for the 368 from 12 on. Of it `messages.brief_sha` is the SHA-256.
    "lines": ({"number": int, "text": str}, []),
    "briefs": ({"sha": str, "lines": str}, []),
    # What a person has said to the director; `experiment` is the one that read it, and once
    # `answered` is known the one that answered.
    "notes": (
        {
            "number": int,
            "time": float,
            "author": str,
            "text": str,
            "experiment": str,
            "answered": float,
            "answer": str,
        },
        [("experiment", "experiments", "id")],
    ),
    # What a person told the run from another terminal: `what` is pause, resume, stop or stop now.
    "orders": ({"number": int, "time": float, "author": str, "what": str}, []),
    # What took how long, in wall seconds: the kinds are `org.notebook.SpanKind`. Of an experiment,
    # unless it is NULL, and on a device, unless that is.
    "spans": (
        {
            "id": str,
            "run": str,
            "experiment": str,
            "kind": str,
            "device": str,
            "started": float,
            "seconds": float,
        },
        [("run", "runs", "id"), ("experiment", "experiments", "id")],
    ),
    # Changes that went on the stack after one run, in order; `standing` is provisional, keep or
    # dropped. Effects in bits per byte: of that run, its standard error, and without its luck.
    # `certification` is the one by which it left the stack, `pruning` the one by which a change
    # that was kept was done without again: then it is dropped, and its commit stays. `asked` is why a
    # reviewer wants the stack up to here certified, if one does.
    "stack": (
        {
            "number": int,
            "run": str,
            "experiment": str,
            "head_sha": str,
            "source_sha": str,
            "effect_bpb": float,
            "error_bpb": float,
            "expected_bpb": float,
            "lines_added": int,
            "since": float,
            "standing": str,
            "certification": int,
            "commit_sha": str,
            "pruning": int,
            "asked": str,
        },
        [
            ("run", "runs", "id"),
            ("experiment", "experiments", "id"),
            ("head_sha", "sources", "sha"),
            ("source_sha", "sources", "sha"),
        ],
    ),
    # A source against the incumbent on fresh seeds; open until `says` is known. The noise is what
    # was known when it began: by it and the runs under its seeds anyone comes to the same verdict.
    "certifications": (
        {
            "number": int,
            "run": str,
            "purpose": str,
            "why": str,
            "incumbent": int,
            "incumbent_sha": str,
            "source_sha": str,
            "size": int,
            "seeds_json": str,
            "run_bpb": float,
            "run_freedom": float,
            "pair_bpb": float,
            "pair_freedom": float,
            "started": float,
            "ended": float,
            "says": str,
            "reason": str,
            "effect_json": str,
            "pruned_json": str,
        },
        [
            ("run", "runs", "id"),
            ("incumbent_sha", "sources", "sha"),
            ("source_sha", "sources", "sha"),
        ],
    ),
    # The proven train.py, in order; the last one is the incumbent, the first one the baseline.
    "incumbents": (
        {
            "number": int,
            "run": str,
            "source_sha": str,
            "experiment": str,
            "commit_sha": str,
            "certification": int,
            "val_bpb": float,
            "since": float,
        },
        [
            ("run", "runs", "id"),
            ("source_sha", "sources", "sha"),
            ("experiment", "experiments", "id"),
        ],
    ),
}

PRIMARY_KEYS = {
    "sources": "sha",
    "programs": "sha",
    "messages": "number",
    "lines": "number",
    "briefs": "sha",
    "notes": "number",
    "orders": "number",
    "incumbents": "number",
    "stack": "number",
    "certifications": "number",
}

# What is asked between two trials, and by the commands that read, finds its rows by these, however
# long the notebook is (tests/test_growth.py). The columns after the first are there so that a
# question is answered without a look at the rows themselves, which are large.
INDEXES = (
    "unique index idx_experiments_number on experiments (number)",
    "index idx_experiments_run_number on experiments (run, number)",
    "index idx_experiments_decision_number on experiments (decision, number)",
    "index idx_experiments_decision_effect on experiments (decision, effect, number)"
    " where effect is not null",
    "index idx_experiments_ended on experiments (ended, effect, id) where effect is not null",
    "index idx_experiments_undirected on experiments (number) where category is null",
    "index idx_experiments_normalized_sha_number on experiments (normalized_sha, number)",
    "unique index idx_messages_id on messages (id)",
    "index idx_messages_experiment on messages (experiment)",
    "index idx_trials_experiment_ended on trials (experiment, ended)",
    "index idx_trials_source_sha on trials (source_sha)",
    "index idx_trials_source_sha_seed on trials (source_sha, seed)",
    "index idx_trials_purpose on trials (purpose)",
    "index idx_trials_fresh on trials (outcome)"
    " where purpose in ('baseline', 'certify') and outcome = 'completed'",
    "index idx_trials_measured on trials (source_sha)"
    " where purpose in ('baseline', 'certify', 'reference') and outcome = 'completed'",
    "index idx_spans_experiment on spans (experiment)",
    "unique index idx_lines_text on lines (text)",
    "index idx_notes_experiment on notes (experiment)",
    "unique index idx_stack_experiment on stack (experiment)",
    "index idx_stack_standing on stack (standing)",
    "index idx_stack_certification on stack (certification)",
)

# Earlier, a pruning took the place of the certification that it had followed at once.
PRUNED_EARLIER = """
    update stack set pruning = certification, certification = certification - 1
    where pruning is null and standing = 'dropped' and certification in
        (select number from certifications where purpose = 'pruned')"""

# Sums over all rows of a table, kept up as rows come: a row here for each set of values in the
# first columns, with how many rows have it and their sums.
TOTALS = {
    "spans": (
        {
            "kind": "kind",
            "on_device": "device is not null",
            "of_experiment": "experiment is not null",
        },
        {"seconds": "seconds"},
    ),
    "trials": ({"run": "run"}, {"seconds": "total_seconds"}),
    "messages": (
        {"run": "run", "speaker": "speaker", "of_model": "model is not null"},
        {
            "prompt_tokens": "coalesce(prompt_tokens, 0)",
            "prompts_known": "prompt_tokens is not null",
            "reply_tokens": "coalesce(reply_tokens, 0)",
            "replies_known": "reply_tokens is not null",
            "counted": "coalesce(counted, 0)",
            "priced": "dollars is not null",
            "dollars": "coalesce(dollars, 0.0)",
            "most_dollars": "coalesce(most_dollars, dollars, 0.0)",
        },
    ),
}

EVENTS = ("insert", "delete", "update")

SEARCHED = {
    "experiments": ["title", "change", "summary", "reason", "lesson"],
    "messages": ["speaker", "text"],
}

VIEWS = {
    # What was proven, best effect of its own run first; what counts is the certificate of them all.
    "leaderboard": """
        select e.number, e.title, e.category, s.effect_bpb, s.error_bpb, s.certification,
            s.commit_sha, e.lesson
        from experiments e join stack s on s.experiment = e.id
        where s.standing = 'keep' order by s.effect_bpb""",
    # What was tried and led nowhere, nearest miss first: read this before trying again.
    "dead_ends": """
        select number, title, category, decision, effect, reason, lesson
        from experiments where decision in ('discard', 'crash', 'dropped')
        order by effect is null, effect""",
}


def create(db: Database) -> None:
    """Create whatever is missing; running it again changes nothing."""
    if db["incumbents"].exists():
        _bring_up_to_date(db)
        return
    with db.atomic():
        for name, (columns, foreign_keys) in TABLES.items():
            db.table(name).create(
                columns, pk=PRIMARY_KEYS.get(name, "id"), foreign_keys=foreign_keys
            )
        _index(db)
        for name in TOTALS:
            _keep_totals(db, name)
        for table, columns_searched in SEARCHED.items():
            db.table(table).enable_fts(columns_searched, create_triggers=True, tokenize="porter")
        for view, sql in VIEWS.items():
            db.create_view(view, sql)


def is_up_to_date(db: Database) -> bool:
    """Whether nothing is missing that is read."""
    there = {*db.table_names(), *db.view_names()}
    return (
        {*TABLES, *VIEWS} <= there
        and not _without_totals(db)
        and all(
            columns.keys() <= db.table(name).columns_dict.keys()
            for name, (columns, _) in TABLES.items()
        )
    )


def _bring_up_to_date(db: Database) -> None:
    """Add the tables and columns that a notebook of an earlier version lacks."""
    there = set(db.table_names())
    for name, (columns, foreign_keys) in TABLES.items():
        if name not in there:
            db.table(name).create(
                columns, pk=PRIMARY_KEYS.get(name, "id"), foreign_keys=foreign_keys
            )
        else:
            known = db.table(name).columns_dict
            for column, kind in columns.items():
                if column not in known:
                    db.table(name).add_column(column, kind)
    db.execute(PRUNED_EARLIER)
    _index(db)
    for name in _without_totals(db):
        with db.atomic():
            for event in EVENTS:
                db.execute(f"drop trigger if exists {name}_totals_{event}")
            db.execute(f"drop table if exists {name}_totals")
            _keep_totals(db, name)


def _without_totals(db: Database) -> list[str]:
    """The tables whose sums are not kept up, or not all that are today."""
    return [
        name
        for name, (keys, sums) in TOTALS.items()
        if {*keys, *sums} - set(db.table(f"{name}_totals").columns_dict)
    ]


def _index(db: Database) -> None:
    for index in INDEXES:
        kind, _, rest = index.partition("index ")
        db.execute(f"create {kind}index if not exists {rest}")


def _keep_totals(db: Database, name: str) -> None:
    """Sum up what a table has, and keep the sums up with each row that comes, changes or goes."""
    keys, sums = TOTALS[name]
    totals, sums = f"{name}_totals", {"count": "1", **sums}
    grouped, summed = (
        ", ".join(keys.values()),
        ", ".join(f"sum({value})" for value in sums.values()),
    )
    db.execute(
        f"create table {totals} ({', '.join([*keys, *sums])}, primary key ({', '.join(keys)}))"
        " without rowid"
    )
    db.execute(f"insert into {totals} select {grouped}, {summed} from {name} group by {grouped}")
    more = ", ".join(f"{each} = {each} + excluded.{each}" for each in sums)
    values = ", ".join(_said_of("new", name, [*keys.values(), *sums.values()]))
    comes = f"insert into {totals} values ({values}) on conflict do update set {more};"
    old_sums = _said_of("old", name, sums.values())
    less = ", ".join(f"{each} = {each} - ({old})" for each, old in zip(sums, old_sums, strict=True))
    old_keys = _said_of("old", name, keys.values())
    same = " and ".join(f"{key} = ({old})" for key, old in zip(keys, old_keys, strict=True))
    goes = f"update {totals} set {less} where {same}; delete from {totals} where count = 0;"
    for event, then in zip(EVENTS, (comes, goes, goes + comes), strict=True):
        db.execute(f"create trigger {totals}_{event} after {event} on {name} begin {then} end")


def _said_of(row: str, name: str, values: Iterable[str]) -> list[str]:
    """Expressions over the columns of a table, said of the row that comes (new) or goes (old)."""
    columns = rf"\b({'|'.join(TABLES[name][0])})\b"
    return [re.sub(columns, rf"{row}.\1", value) for value in values]
