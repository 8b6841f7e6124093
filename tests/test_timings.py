"""Where the time went is known, and with it how many desks keep the devices busy."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from org.notebook import Message, Notebook, Run, Span
from org.timings import desks_needed, most_desks, read_timings, spans_of, timing_lines
from roles.records import Verdict
from trainer.trial import Trial

TRIAL = Trial(
    source_sha="s",
    seed=1,
    device="cpu:0",
    outcome="completed",
    startup_seconds=2.0,
    training_seconds=20.0,
    evaluation_seconds=3.0,
    challenge_seconds=1.0,
    total_seconds=27.0,
)


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    book = Notebook(tmp_path / "notebook.sqlite")
    terms = {"org_yaml": "", "setting_json": "", "pins_json": "", "models_json": ""}
    book.begin_run(Run(id="r", started=1.0, baseline_sha=book.keep_source("a = 1\n"), **terms))
    yield book
    book.close()


def experiment(book: Notebook, **seconds: float) -> str:
    """An experiment that is over, whose time went into this."""
    each = book.reserve_experiment("r", "desk 1", None)
    assert each is not None
    for kind, took in seconds.items():
        device = "cpu:0" if kind in ("trained", "scored") else None
        span = {"id": f"{each.id}/{kind}", "run": "r", "experiment": each.id, "kind": kind}
        book.record_spans(Span(**span, device=device, started=0.0, seconds=took))
    book.close_experiment(each.id, Verdict(decision="discard", reason="no"), None, None)
    return each.id


def test_a_trials_time_is_told_in_three_parts_that_add_up_to_what_was_held():
    parts = spans_of(TRIAL, "t", "r", None, began=100.0, held_seconds=30.0)
    assert [(part.kind, part.started, part.seconds) for part in parts] == [
        ("started up", 100.0, 6.0),
        ("trained", 106.0, 20.0),
        ("scored", 126.0, 4.0),
    ]


def test_a_trial_that_was_taken_up_again_took_as_long_as_it_did():
    parts = spans_of(TRIAL, "t", "r", None, began=100.0, held_seconds=0.1)
    assert sum(part.seconds for part in parts) == TRIAL.total_seconds


def test_what_is_found_again_is_not_counted_twice(notebook: Notebook):
    for _ in range(2):
        notebook.record_spans(*spans_of(TRIAL, "t", "r", None, 100.0, 30.0))
    assert len(notebook.rows("select * from spans")) == 3


def test_a_reply_is_a_span_of_thinking_without_the_wait_for_its_endpoint(notebook: Notebook):
    each = notebook.reserve_experiment("r", "desk 1", None)
    assert each is not None
    told = {"run": "r", "experiment": each.id, "speaker": "x", "listener": "y", "text": "."}
    told |= {"time": 60.0, "seconds": 50.0, "waited_seconds": 45.0}
    notebook.record_message(Message(id="one", kind="engineer", **told))
    notebook.record_message(Message(id="two", kind="review", **told))
    notebook.record_message(Message(id="lab", kind="train", **told | {"seconds": None}))
    rows = notebook.rows("select kind, started, seconds from spans")
    assert [tuple(row.values()) for row in rows] == [
        ("thought", 10.0, 5.0),
        ("reviewed", 10.0, 5.0),
    ]


def test_desks_follow_from_how_long_thinking_and_trials_take(notebook: Notebook):
    assert desks_needed(notebook, 2) == 4  # nothing is known: as long as each other
    experiment(notebook, thought=1.0, trained=100.0)
    assert desks_needed(notebook, 1) == 2
    assert desks_needed(notebook, 4) == 5
    for _ in range(30):  # what came before is long ago
        experiment(notebook, thought=70.0, reviewed=20.0, trained=80.0, scored=20.0, waited=500.0)
    assert desks_needed(notebook, 1) == 1 + 2
    assert desks_needed(notebook, 4) == 4 + 5
    for _ in range(30):
        experiment(notebook, thought=900.0, trained=10.0)
    assert desks_needed(notebook, 2) == most_desks(2) == 9


def test_the_shares_of_the_devices_time_say_where_it_went(notebook: Notebook):
    assert read_timings(notebook) is None and list(timing_lines(notebook)) == []
    experiment(notebook, thought=50.0, waited=10.0, trained=60.0, scored=20.0)
    notebook.record_spans(*spans_of(TRIAL, "baseline-1", "r", None, 0.0, 30.0))
    notebook.set_worked_seconds("r", 100.0, device_seconds=200.0)
    timings = read_timings(notebook)
    assert timings is not None
    assert timings.busy_share == pytest.approx((60 + 20 + 30) / 200)
    assert timings.desk["trained"] == 60.0
    pace, parts, each = timing_lines(notebook)
    assert pace == "0.0 trials an hour; devices busy 55.0%, smoke tests 0.0%, idle 45.0%"
    assert parts == "Of the devices' time: started up 3.0%, trained 40.0%, scored 12.0%"
    assert each == "An experiment on average: thought 50 s, waited 10 s, trained 60 s, scored 20 s"


def test_no_device_was_busier_than_it_was_there_where_a_trial_outlived_its_run(notebook: Notebook):
    experiment(notebook, thought=50.0, trained=300.0)
    notebook.set_worked_seconds("r", 0.1, device_seconds=0.1)  # killed soon after, the trial not
    timings = read_timings(notebook)
    assert timings is not None
    assert timings.busy_share == pytest.approx(1.0)
    assert timings.worked_seconds == pytest.approx(300.0)


def test_a_notebook_from_before_there_were_spans_is_brought_up_to_date(tmp_path: Path):
    path = tmp_path / "notebook.sqlite"
    Notebook(path).close()
    with sqlite3.connect(path) as old:
        old.execute("drop table spans")
        old.execute("alter table runs drop column device_seconds")
    old.close()
    book = Notebook(path)
    assert list(timing_lines(book)) == []
    assert "device_seconds" in book.db.table("runs").columns_dict
    book.close()
