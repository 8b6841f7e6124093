"""A notebook that grows makes no question between two trials longer: each is bounded, or by index."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, get_args

import pytest
from rich.console import Console

from org import digest, due, head, noise, notebook, steady
from org.digest import ENTRY_OVERHEAD_TOKENS, make_digest
from org.notebook import Message, Notebook
from org.schema import EVENTS, TABLES, is_up_to_date
from org.stack import stack
from org.telling.export import Format, export
from org.telling.hearing import NEW_LONE_TRIALS
from org.telling.replay import TOLD, replay
from org.telling.reports import CERTIFIED, LATEST, experiments_report
from org.telling.search import HITS, found
from roles.records import Hypothesis, Verdict
from tests.notebooks import BASELINE_SCORES, RUN, Night, completed, drop, short_night

ASKED = {
    "last numbers": (notebook.LAST_NUMBERS, {"run": RUN}),
    "tried before": (notebook.TRIED_BEFORE, {"sha": "s", "number": 1}),
    "fresh runs": (notebook.FRESH_RUNS, {"sha": "s", "most": 9}),
    "baseline runs": (notebook.BASELINE_RUNS, {}),
    "noise, runs": (noise.FRESH_RUNS, {"most": 9}),
    "noise, state": (noise.STATE, {}),
    "noise, references": (noise.REFERRED, {}),
    "runs that were measured": (steady.MEASURED, {"sha": "s"}),
    "runs that were measured, state": (steady.MEASURED_STATE, {"sha": "s"}),
    "references": (steady.REFERENCES, {"sha": "s", "seed": 1}),
    "effects": (head.EFFECTS, {"id": "e", "limit": 9}),
    "runs since": (due.RUNS_SINCE, {}),
    "digest, open": (digest.OPEN, {"page": 9, "skip": 0}),
    "digest, count": (digest.COUNT, {"besides": 1}),
    **{f"digest, {n}": (sql, {"page": 9, "skip": 0}) for n, sql in enumerate(digest.SHELVES)},
}


def plan(book: Notebook, sql: str, asked: dict[str, Any]) -> list[str]:
    return [row["detail"] for row in book.rows(f"explain query plan {sql}", asked)]


@pytest.mark.parametrize("name", ASKED)
def test_what_is_asked_between_two_trials_is_found_by_an_index_and_in_its_order(
    name: str, night: Night
):
    steps = plan(night.notebook, *ASKED[name])
    tables = {f"SCAN {table}" for table in TABLES if table != "runs"}  # of which there are few
    assert tables.isdisjoint(steps), steps
    sorts = any("TEMP B-TREE" in step for step in steps)
    assert sorts == (name in ("digest, 0", "digest, 2")), steps  # two short shelves put together


@pytest.mark.parametrize("sql", [notebook.FRESH_RUNS, notebook.CERTIFICATION_TRIALS.format("1, 2")])
def test_the_runs_of_a_source_are_found_by_the_source(sql: str, night: Night):
    step, *_ = plan(night.notebook, sql, {"sha": "s", "most": 9})
    assert "(source_sha=?" in step


def test_a_replay_finds_the_trials_of_no_experiment_by_when_they_ended(night: Night):
    asked = {"last": 0, "since": 1.0, "until": 2.0}
    (step,) = plan(night.notebook, NEW_LONE_TRIALS, asked)
    assert "(experiment=? AND ended>? AND ended<?)" in step


@pytest.mark.parametrize("table", ["experiments", "messages", "trials"])
def test_what_belongs_to_an_experiment_is_found_by_an_index(table: str, night: Night):
    column = "id" if table == "experiments" else "experiment"
    (step,) = plan(night.notebook, f"select * from {table} where {column} = 'e'", {})
    assert step.startswith("SEARCH")


def test_a_digest_reads_no_more_of_a_notebook_than_it_has_room_for(night: Night):
    book = night.notebook
    for number in range(1, 201):
        experiment = book.reserve_experiment(RUN, "desk 1", None)
        assert experiment is not None
        hypothesis = Hypothesis(
            title=f"change {number}",
            category="optimizer",
            change="",
            mechanism="",
            expected_effect=-0.1,
        )
        book.set_hypothesis(experiment.id, hypothesis)
        book.close_experiment(experiment.id, Verdict(decision="discard", reason=""), number / 9)
    read: list[int] = []
    entries = book.entries

    def overheard(numbers: Any) -> Any:
        read.extend(numbers)
        return entries(numbers)

    book.entries = overheard  # type: ignore[method-assign]
    told = make_digest(
        book,
        "find out",
        besides=200,
        baseline_bpb=2.0,
        incumbent_bpb=2.0,
        head_bpb=2.0,
        stacked=0,
        noise_bpb=0.01,
        terms="20 s",
        count_tokens=lambda text: 0,
        at_most_tokens=10 * ENTRY_OVERHEAD_TOKENS,
    )
    assert (len(told.entries), told.left_out) == (10, 189)
    assert len(read) <= digest.READ_TOGETHER


def test_the_noise_is_pooled_anew_once_there_is_another_run(night: Night):
    before = noise.run_spread(night.notebook, "cpu")
    assert noise.run_spread(night.notebook, "cpu") is before
    trial = completed(night.head, 1000, BASELINE_SCORES[0] + 0.5)
    night.notebook.record_trial("certify-1", RUN, None, "certify", trial)
    assert noise.run_spread(night.notebook, "cpu").bpb > before.bpb


def test_the_runs_of_a_source_are_read_anew_once_there_is_another(night: Night):
    before = steady.measured(night.notebook, night.head)
    assert steady.measured(night.notebook, night.head) is before
    trial = completed(night.head, 1000, 2.5)
    night.notebook.record_trial("certify-1", RUN, None, "certify", trial)
    assert [run.val_bpb for run in steady.measured(night.notebook, night.head)][-1] == 2.5
    assert len(before) == len(BASELINE_SCORES)


def totals(book: Notebook) -> list[list[dict[str, Any]]]:
    return [book.rows(f"select * from {name}_totals") for name in ("spans", "trials", "messages")]


def test_sums_are_kept_up_with_what_comes_and_count_nothing_twice(night: Night):
    experiment = night.begin()
    said: dict[str, Any] = {"run": RUN, "experiment": experiment.id, "time": 1.0, "kind": "k"}
    said |= {"speaker": "a", "listener": "b"}
    for _ in range(2):
        told = Message(id="m", text="", model="m", dollars=0.5, seconds=3.0, **said)
        night.notebook.record_message(told)
    assert night.notebook.dollars_at_most(RUN) == pytest.approx(0.5 + 0.0125)
    spans, trials, _ = totals(night.notebook)
    assert [row["seconds"] for row in spans] == [3.0 + 1.5]
    assert trials == [{"run": RUN, "count": 3, "seconds": 72.0}]


def test_sums_follow_what_a_person_changes_by_hand(night: Night):
    experiment = night.begin()
    with night.notebook.transaction() as db:
        db.execute("update spans set seconds = 4.0")
        db.execute("delete from trials")
        db.execute("update messages set dollars = null")
    spans, trials, messages = totals(night.notebook)
    assert ([row["seconds"] for row in spans], trials) == ([4.0], [])
    assert [row["priced"] for row in messages] == [0]
    assert experiment.number == 1


def test_an_earlier_notebook_is_summed_up_when_it_is_opened(night: Night):
    night.begin()
    before = totals(night.notebook)
    for name in ("spans", "trials", "messages"):
        for event in EVENTS:
            night.notebook.db.execute(f"drop trigger {name}_totals_{event}")
        night.notebook.db.execute(f"drop table {name}_totals")
    again = Notebook(night.notebook.path)
    assert totals(again) == before
    again.close()


def test_sums_of_an_earlier_version_are_made_again_with_all_that_is_summed_up_today(night: Night):
    night.begin()
    before = totals(night.notebook)
    for event in EVENTS:
        night.notebook.db.execute(f"drop trigger messages_totals_{event}")
    night.notebook.db.execute("drop table messages_totals")
    night.notebook.db.execute("create table messages_totals (run, of_model, count, dollars)")
    assert not is_up_to_date(night.notebook.db)
    again = Notebook(night.notebook.path)
    assert is_up_to_date(again.db)
    assert totals(again) == before
    again.close()


def test_experiments_are_counted_from_the_first_of_their_run(night: Night):
    book = night.notebook
    book.reserve_experiment(RUN, "desk 1", None)
    book.begin_run(book.runs()[0].model_copy(update={"id": "second"}))
    taken = [book.reserve_experiment("second", "desk 1", 2) for _ in range(3)]
    assert [each.number if each else None for each in taken] == [2, 3, None]
    assert stack(book) == []


# --- what a person reads --------------------------------------------------------------------------


def shown(*parts: Any) -> str:
    file = io.StringIO()
    for part in parts:
        Console(file=file, width=160).print(part)
    return file.getvalue()


def begin(night: Night, count: int) -> None:
    for number in range(1, count + 1):
        night.propose(night.begin(), f"change {number}.")


def test_the_latest_experiments_are_listed_and_all_of_them_where_they_are_asked_for(night: Night):
    begin(night, LATEST + 2)
    told = shown(experiments_report(night.notebook))
    assert f"the latest {LATEST} of {LATEST + 2} experiments; --all" in told
    assert "change 2." not in told and "change 3." in told and f"change {LATEST + 2}." in told
    assert f"{LATEST + 2} experiments: {LATEST + 2} open" in told
    told = shown(experiments_report(night.notebook, everything=True))
    assert "change 1." in told and "--all" not in told


def test_the_latest_certifications_are_listed_with_how_many_came_before(night: Night):
    for _ in range(CERTIFIED + 1):
        drop(night)
    told = shown(experiments_report(night.notebook))
    assert "1 certification before these" in told
    assert "Certification 1 " not in told and "Certification 2 " in told
    told = shown(experiments_report(night.notebook, everything=True))
    assert "before these" not in told and "Certification 1 " in told


def test_a_replay_tells_the_latest_and_all_of_it_where_that_is_asked_for(night: Night):
    begin(night, 2 * TOLD + 3)
    told = shown(*replay(night.notebook))
    assert f"From experiment {TOLD + 4} on" in told
    assert "#13" not in told and "#14" in told and "baseline trial" not in told
    told = shown(*replay(night.notebook, everything=True))
    at = [told.index(f"experiment {number}, desk") for number in range(1, 2 * TOLD + 4)]
    assert at == sorted(at) and told.index("baseline trial") < at[0]


def test_what_goes_on_while_later_experiments_begin_is_told_in_the_order_of_time(night: Night):
    first = night.begin()
    begin(night, TOLD + 2)
    night.propose(first, "at long last.")
    told = shown(*replay(night.notebook, everything=True))
    assert told.index(f"change {TOLD + 2}.") < told.index("at long last.")
    assert told.count("at long last.") == 1


@pytest.mark.parametrize("form", get_args(Format))
def test_an_export_in_pieces_is_the_same_text(
    form: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    book = short_night(tmp_path / "night.sqlite")
    whole = "".join(export(book, form))
    for module in ("org.telling.results", "org.telling.export"):
        monkeypatch.setattr(f"{module}.READ_TOGETHER", 2)
    pieces = list(export(book, form))
    assert "".join(pieces) == whole
    book.close()


def test_of_very_many_hits_the_latest_are_shown(night: Night, monkeypatch: pytest.MonkeyPatch):
    begin(night, HITS + 5)
    assert "5 more experiments" in shown(found(night.notebook, "number"))
    monkeypatch.setattr("org.telling.search.RANKED", HITS)
    told = shown(found(night.notebook, "number"))
    assert f"earlier experiments, more than {HITS} in all" in told
    assert told.index(f"{HITS + 5}  experiment") < told.index(f"{HITS + 4}  experiment")
