"""The notebook keeps what happened once, whoever writes it again, and moves the incumbent at once."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from org.head import head_sha
from org.notebook import Experiment, Incumbent, Message, Notebook, Run, Span
from org.notes import Note
from org.schema import TABLES
from org.stack import (
    Certification,
    Change,
    Pushed,
    change_of,
    fail_certification,
    open_certification,
    pass_certification,
    push,
    stack,
)
from org.steering import Order
from roles.records import Direction, Hypothesis, Verdict
from tests.notebooks import Night, short_night
from trainer.evidence.certify import Judgement
from trainer.evidence.effect import Effect
from trainer.patch import Edit, Patch
from trainer.trial import Trial

DIRECTION = Direction(category="optimizer", focus="rates", assignee="optimizer", reason="untried")
HYPOTHESIS = Hypothesis(
    title="Raise HEAD_LR",
    category="optimizer",
    change="double it",
    mechanism="the head learns too slowly",
    expected_effect=-0.01,
)


def trial(source_sha: str, score: float | None, seed: int = 1) -> Trial:
    return Trial(
        source_sha=source_sha,
        seed=seed,
        device="cpu:0",
        outcome="completed" if score is not None else "crashed",
        val_bpb=score,
    )


def incumbent(number: int, sha: str, experiment: str | None) -> Incumbent:
    return Incumbent(
        number=number,
        source_sha=sha,
        experiment=experiment,
        commit_sha="c" * 40,
        val_bpb=2.0,
        since=1.0,
    )


@pytest.fixture
def notebook(tmp_path):
    book = Notebook(tmp_path / "notebook.sqlite")
    sha = book.keep_source("baseline = 1\n")
    book.begin_run(
        Run(
            id="r",
            started=1.0,
            org_yaml="",
            setting_json="{}",
            pins_json="{}",
            models_json="{}",
            baseline_sha=sha,
        )
    )
    book.set_baseline("r", incumbent(1, sha, None))
    yield book
    book.close()


@pytest.mark.parametrize(
    ("row", "table", "besides"),
    [
        (Run, "runs", set()),
        (Experiment, "experiments", {"normalized_sha"}),
        (Message, "messages", {"number"}),
        (Span, "spans", set()),
        (Incumbent, "incumbents", {"run"}),
        (Change, "stack", set()),
        (Certification, "certifications", set()),
        (Note, "notes", set()),
        (Order, "orders", set()),
    ],
)
def test_a_row_has_the_columns_of_its_table(row, table, besides):
    assert {*TABLES[table][0]} == row.model_fields.keys() | besides


def test_experiments_are_numbered_and_stop_at_the_budget(notebook):
    numbers = [notebook.reserve_experiment("r", "desk 1", 2) for _ in range(3)]
    assert [e.number if e else None for e in numbers] == [1, 2, None]


def test_opening_a_notebook_again_finds_what_was_written(notebook):
    experiment = notebook.reserve_experiment("r", "desk 1", 2)
    notebook.set_hypothesis(experiment.id, HYPOTHESIS)
    again = Notebook(notebook.path)
    assert again.experiment(experiment.id).title == "Raise HEAD_LR"
    again.close()


def test_a_trial_and_a_message_written_twice_are_there_once(notebook):
    sha = notebook.keep_source("candidate = 1\n")
    experiment = notebook.reserve_experiment("r", "desk 1", None)
    said = Message(
        id="m",
        run="r",
        experiment=experiment.id,
        time=1.0,
        speaker="director",
        listener="everyone",
        kind="direct",
        text="first",
    )
    for text, score in (("first", 1.9), ("second", 1.8)):
        notebook.record_trial("t", "r", experiment.id, "candidate", trial(sha, score))
        notebook.record_message(said.model_copy(update={"text": text}))
    assert [t.val_bpb for t in notebook.trials_of(experiment.id, sha)] == [1.9]
    assert [m.text for m in notebook.messages(experiment.id)] == ["first"]


def test_only_fresh_runs_count_for_a_source(notebook):
    sha = notebook.keep_source("candidate = 3\n")
    experiment = notebook.reserve_experiment("r", "desk 1", None)
    notebook.record_trial("t1", "r", experiment.id, "candidate", trial(sha, 1.7))
    notebook.record_trial("t2", "r", None, "certify", trial(sha, 1.8, seed=2))
    notebook.record_trial("t3", "r", None, "certify", trial(sha, None, seed=3))
    assert notebook.fresh_runs(sha) == [(2, 1.8)]
    assert [each.seed for each in notebook.certification_trials(sha, [1, 2, 3])] == [2, 3]
    assert [each.seed for each in notebook.certification_trials(sha, [3, 4])] == [3]


def test_the_seed_of_a_candidate_is_settled_once_until_there_is_another_candidate(notebook):
    experiment = notebook.reserve_experiment("r", "desk 1", None)
    assert notebook.settle_seed(experiment.id, 3, 1) == 3
    assert notebook.settle_seed(experiment.id, 4, 1) == 3
    assert notebook.settle_seed(experiment.id, 5, 2) == 5  # paired with runs of another incumbent
    sha = notebook.keep_source("candidate = 6\n")
    patch = Patch(edits=(Edit(search="a", replace="b"),))
    shas = {"head_sha": sha, "candidate_sha": sha, "normalized_sha": "n"}
    notebook.set_patch(experiment.id, patch, **shas)
    assert notebook.settle_seed(experiment.id, 4, 2) == 4
    notebook.set_patch(experiment.id, patch, **shas)  # put on the head again, after a kill
    assert notebook.settle_seed(experiment.id, 5, 2) == 4


def test_of_two_open_experiments_with_the_same_program_only_the_later_one_repeats_it(notebook):
    sha = notebook.keep_source("candidate = 5\n")
    first, second = (notebook.reserve_experiment("r", "desk 1", None) for _ in range(2))
    patch = Patch(edits=(Edit(search="a", replace="b"),))
    for experiment in (first, second):
        notebook.set_patch(
            experiment.id, patch, head_sha=sha, candidate_sha=sha, normalized_sha="same"
        )
    assert notebook.tried_before("same", before=first) is None
    assert notebook.tried_before("same", before=second) == first.number
    assert notebook.tried_before("other", before=second) is None
    notebook.close_experiment(second.id, Verdict(decision="discard", reason=""))
    assert notebook.tried_before("same", before=first) == second.number


def test_unknown_dollars_are_null_and_not_counted_as_nothing(notebook):
    experiment = notebook.reserve_experiment("r", "desk 1", None)
    for name, dollars in (("a", 0.25), ("b", None)):
        notebook.record_message(
            Message(
                id=name,
                run="r",
                experiment=experiment.id,
                time=1.0,
                speaker=name,
                listener="everyone",
                kind="direct",
                text="",
                model="m",
                dollars=dollars,
            )
        )
    assert notebook.dollars_at_most("r") == 0.25
    assert notebook.message("b").dollars is None


def test_the_views_show_what_was_kept_and_what_led_nowhere(tmp_path):
    book = short_night(tmp_path / "night.sqlite")
    assert [row["number"] for row in book.rows("select * from leaderboard")] == [1]
    assert [row["number"] for row in book.rows("select * from dead_ends")] == [5, 2, 3, 4]
    book.close()


def test_a_certification_that_fails_drops_what_was_on_the_stack_and_says_why(tmp_path):
    book = Notebook(tmp_path / "night.sqlite")
    night = Night(book)
    night.measure_baseline()
    experiment = night.begin()
    night.propose(experiment, "Double the rate")
    candidate = night.patch(experiment, "learning_rate = 0.02", "learning_rate = 0.04")
    night.train(experiment, candidate, 1.2301)
    night.close(experiment, Verdict(decision="provisional", reason=""), 1.2301)
    assert night.certify((1.2418, 1.2412, 1.2416), (1.2415, 1.2405, 1.2410)).says == "fail"
    closed = book.experiment(experiment.id)
    assert closed.decision == "dropped"
    assert "Certification 1: no better on fresh seeds +" in (closed.reason or "")
    assert stack(book) == [] and len(book.incumbents()) == 1
    book.close()


@pytest.fixture
def night(tmp_path):
    """A night with two changes on the stack."""
    book = Notebook(tmp_path / "night.sqlite")
    night = Night(book)
    night.measure_baseline()
    for old, new, score in (
        ("learning_rate = 0.02", "learning_rate = 0.04", 1.2301),
        ("width = 64", "width = 32", 1.2251),
    ):
        experiment = night.begin()
        night.propose(experiment, new)
        night.train(experiment, night.patch(experiment, old, new), score)
        night.close(experiment, Verdict(decision="provisional", reason=""), score)
    yield night
    book.close()


def said(says: str, bpb: float, kind: str) -> Judgement:
    effect = Effect(bpb=bpb, error=0.001, freedom=9.0, seeds=3, kind=kind)
    return Judgement(says=says, reason=f"it is a {says}", effect=effect)


def halved(night: Night) -> Certification:
    """The certification of the first change, after that of both has failed."""
    whole = night.begin_certification(3)
    fail_certification(night.notebook, whole, said("fail", 0.002, "not certified"), [])
    return night.begin_certification(3, half=1)


def test_each_change_on_the_stack_lies_on_the_one_before(night):
    first, second = stack(night.notebook)
    assert second.head_sha == first.source_sha
    assert head_sha(night.notebook) == second.source_sha
    assert night.notebook.incumbent().source_sha == first.head_sha


def test_an_experiment_puts_one_change_on_the_stack_however_often_it_ends(night):
    (change, _) = before = stack(night.notebook)
    again = Pushed.model_validate(change.model_dump())
    push(night.notebook, again, Verdict(decision="provisional", reason=""))
    assert stack(night.notebook) == before


def test_what_lay_above_the_half_that_passed_is_dropped_with_what_the_whole_said(night):
    first, second = stack(night.notebook)
    half = halved(night)
    proven = incumbent(2, first.source_sha, first.experiment)
    step = said("pass", -0.01, "certified")
    pass_certification(night.notebook, half, step, proven, [(first, "c" * 40)], [second])
    kept, dropped = night.notebook.experiments()
    assert (kept.decision, dropped.decision) == ("keep", "dropped")
    assert (kept.reason or "").endswith(
        "Certification 2: it is a pass −0.0098 ± 0.0010 (certified, 3 seeds)"  # without its luck
    )
    assert (dropped.reason or "").splitlines()[1:] == [
        "Certification 1: it is a fail +0.0020 ± 0.0010 (not certified, 3 seeds)",
        "Certification 2, of the first 1 on the stack: it is a pass −0.0098 ± 0.0010 (certified, 3 seeds)",
    ]
    assert stack(night.notebook) == []
    assert change_of(night.notebook, kept.id).commit_sha == "c" * 40
    assert change_of(night.notebook, dropped.id).commit_sha is None


def test_a_certification_and_the_new_incumbent_are_one_transaction(night):
    stacked = stack(night.notebook)
    certification = night.begin_certification(3)
    taken = incumbent(1, stacked[-1].source_sha, stacked[-1].experiment)
    with pytest.raises(sqlite3.IntegrityError):
        commits = [(change, "c" * 40) for change in stacked]
        pass_certification(
            night.notebook, certification, said("pass", -0.01, "certified"), taken, commits, []
        )
    assert stack(night.notebook) == stacked
    assert open_certification(night.notebook) == certification
    assert {each.decision for each in night.notebook.experiments()} == {"provisional"}


def test_titles_are_found_by_full_text_search_also_after_a_change(notebook):
    experiment = notebook.reserve_experiment("r", "desk 1", None)
    notebook.set_hypothesis(experiment.id, HYPOTHESIS)
    found = list(notebook.db.table("experiments").search("head_lr"))
    assert [row["id"] for row in found] == [experiment.id]


def test_foreign_keys_are_enforced(notebook):
    with pytest.raises(sqlite3.IntegrityError):
        notebook.record_trial("t", "r", "no such experiment", "candidate", trial("x", 1.0))


def test_several_programs_may_make_one_notebook_at_the_same_moment(tmp_path):
    for number in range(5):
        path, gate = tmp_path / f"{number}.sqlite", threading.Barrier(4)

        def make(path=path, gate=gate) -> None:
            gate.wait()
            Notebook(path).close()

        with ThreadPoolExecutor(4) as pool:
            for made in [pool.submit(make) for _ in range(4)]:
                made.result()
