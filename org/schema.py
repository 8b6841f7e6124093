"""The notebook's tables and views: what is kept, under which names, and how it is found again."""

from __future__ import annotations

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
    # certifications: it was not chosen by them.
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
    # What took how long, in wall seconds: the kinds are those of org/timings.py. Of an experiment,
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

INDEXES = [
    ("experiments", ["number"], True),
    ("experiments", ["run", "decision"], False),
    ("experiments", ["normalized_sha"], False),
    ("messages", ["id"], True),
    ("messages", ["experiment"], False),
    ("lines", ["text"], True),
    ("notes", ["experiment"], False),
    ("trials", ["experiment"], False),
    ("trials", ["source_sha"], False),
    ("spans", ["experiment"], False),
    ("stack", ["experiment"], True),
    ("stack", ["standing"], False),
]

# All that `org status` sums up of them, so that it needs no look at the spans themselves: 0.12 s in
# place of 0.68 s at 1,000,000 spans.
SPANS_INDEX = """
    create index if not exists idx_spans_totals
    on spans (kind, device is not null, experiment is not null, seconds)"""

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
        for table, columns_indexed, unique in INDEXES:
            db.table(table).create_index(columns_indexed, unique=unique)
        db.execute(SPANS_INDEX)
        for table, columns_searched in SEARCHED.items():
            db.table(table).enable_fts(columns_searched, create_triggers=True, tokenize="porter")
        for view, sql in VIEWS.items():
            db.create_view(view, sql)


def _bring_up_to_date(db: Database) -> None:
    """Add the tables and columns that a notebook of an earlier version lacks."""
    there = set(db.table_names())
    for name, (columns, foreign_keys) in TABLES.items():
        if name not in there:
            db.table(name).create(
                columns, pk=PRIMARY_KEYS.get(name, "id"), foreign_keys=foreign_keys
            )
            for table, columns_indexed, unique in INDEXES:
                if table == name:
                    db.table(table).create_index(columns_indexed, unique=unique)
            if name == "spans":
                db.execute(SPANS_INDEX)
        else:
            known = db.table(name).columns_dict
            for column, kind in columns.items():
                if column not in known:
                    db.table(name).add_column(column, kind)
