"""Where a lab stands is told in figures that hold; a gain that does not hold elsewhere is seen."""

import io
import re

import pytest
from rich.console import Console

from org.lab import exclusive
from org.notebook import Incumbent, Message, Notebook, Run
from org.telling.cells import cost_rows
from org.telling.results import read_role_costs
from org.telling.status import read_audit, status
from tests.notebooks import Night, short_night
from trainer.setting import PROFILES
from trainer.trial import Trial


@pytest.fixture
def notebook(tmp_path):
    book = Notebook(tmp_path / "notebook.sqlite")
    terms = {
        "org_yaml": "",
        "setting_json": PROFILES["cpu"].model_dump_json(),
        "pins_json": "",
        "models_json": "",
    }
    sha = book.keep_source("first = 1\n")
    book.begin_run(Run(id="r", started=1.0, baseline_sha=sha, **terms))
    for seed, (val_bpb, audit_bpb) in enumerate([(2.0, 2.1), (2.02, 2.12)], start=1):
        record(book, None, "baseline", sha, seed, val_bpb, audit_bpb)
    book.set_baseline("r", incumbent(1, sha, None))
    yield book
    book.close()


def incumbent(number: int, sha: str, experiment: str | None) -> Incumbent:
    return Incumbent(
        number=number,
        source_sha=sha,
        experiment=experiment,
        commit_sha="c",
        val_bpb=2.0,
        since=0.0,
    )


def record(book, experiment, purpose, sha, seed, val_bpb, audit_bpb) -> None:
    trial = Trial(
        source_sha=sha,
        seed=seed,
        device="cpu:0",
        outcome="completed",
        val_bpb=val_bpb,
        audit_bpb=audit_bpb,
    )
    book.record_trial(f"{purpose}-{seed}", "r", experiment, purpose, trial)


def keep(book, val_bpb: float, audit_bpb: float | None) -> None:
    sha = book.keep_source("second = 2\n")
    experiment = book.reserve_experiment("r", "desk 1", None)
    record(book, experiment.id, "certify", sha, 9, val_bpb, audit_bpb)
    book.set_baseline("r", incumbent(2, sha, experiment.id))


def test_there_is_nothing_to_audit_before_anything_is_kept(notebook):
    assert read_audit(notebook) is None


def test_the_drift_is_what_is_missing_of_the_gain_on_the_audit_text(notebook):
    keep(notebook, 1.91, 2.08)
    audit = read_audit(notebook)
    assert audit is not None
    assert audit.validation_gain == pytest.approx(-0.10)
    assert audit.audit_gain == pytest.approx(-0.03)
    assert audit.drift == pytest.approx(0.07)


def test_a_lab_whose_kept_runs_were_not_audited_has_no_drift_to_show(notebook):
    keep(notebook, 1.91, None)
    assert read_audit(notebook) is None


def test_the_drift_is_as_uncertain_as_the_two_texts_differ_from_run_to_run(notebook):
    keep(notebook, 1.91, 2.08)
    steady = read_audit(notebook)
    sha = notebook.incumbents()[0].source_sha
    record(notebook, None, "baseline", sha, 3, 2.01, 2.15)
    unsteady = read_audit(notebook)
    assert steady is not None and steady.drift_error == pytest.approx(0.0, abs=1e-9)
    assert unsteady is not None and unsteady.drift_error > 0.01


def told(book: Notebook, width: int) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(status(book))
    return file.getvalue()


def test_the_lab_stands_in_proven_gains_with_the_provisional_ones_apart(tmp_path):
    book = short_night(tmp_path / "night.sqlite")
    lines = told(book, 200).splitlines()
    assert [re.sub(r"[:,].*|  .*", "", line).rstrip() for line in lines] == [
        "Proven gain",
        "Certification 1 passed",
        "Certification 2 failed",
        "On the stack",
        "7 experiments",
        "18 trials · 9 min · cost ≥$0.31",
        "role",
        *("reviewer", "director", "optimizer", "engineer"),
        "Per kept change",
        "On the audit text",
        "No run is going on; python -m org run goes on with this one",
        "desk 2",
    ]
    assert "−0.0094 ± 0.0006 (certified, 3 seeds)" in lines[0]
    assert "(provisional, 1 seed)" in lines[3]
    book.close()


def test_what_each_role_and_each_kept_change_cost_is_told_and_unknown_is_not_nothing(tmp_path):
    book = short_night(tmp_path / "night.sqlite")
    lines = told(book, 200).splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("role"))
    assert [re.split(r"\s{2,}", line.strip()) for line in lines[at : at + 6]] == [
        ["role", "calls", "tokens read", "tokens written", "cost", "of unknown price"],
        ["reviewer", "11", "13,200", "990", "$0.14", "0"],
        ["director", "7", "8,400", "630", "$0.09", "0"],
        ["optimizer", "7", "8,400", "630", "$0.09", "0"],
        ["engineer", "6", "unknown", "unknown", "unknown", "6"],
        ["Per kept change: ≥$0.31, of 1 kept"],
    ]
    book.close()


def spoke(book, number: int, speaker: str, **cost) -> None:
    book.record_message(
        Message(
            id=str(number),
            run="r",
            experiment=book.experiments()[0].id,
            time=0.0,
            speaker=speaker,
            listener="everyone",
            kind="direct",
            text="",
            model="openai:m",
            **cost,
        )
    )


def test_tokens_of_our_own_count_are_about_so_many_and_those_of_a_lost_call_are_unknown(notebook):
    notebook.reserve_experiment("r", "desk 1", None)
    known = {"prompt_tokens": 1200, "reply_tokens": 90, "dollars": 0.5}
    spoke(notebook, 1, "engineer", counted=True, **known)
    spoke(notebook, 2, "director", counted=False, **known)
    spoke(notebook, 3, "director", counted=False)
    spoke(notebook, 4, "skeptic", counted=False)
    told_costs = {
        row["role"]: list(row.values())[1:] for row in cost_rows(read_role_costs(notebook))
    }
    assert told_costs == {
        "engineer": ["1", "about 1,200", "about 90", "$0.50", "0"],
        "director": ["2", "≥1,200", "≥90", "≥$0.50", "1"],
        "skeptic": ["1", "unknown", "unknown", "unknown", "1"],
    }
    assert "Per kept change: nothing kept yet" in told(notebook, 200).splitlines()


def test_without_a_language_model_nothing_is_told_of_what_it_cost(notebook):
    notebook.reserve_experiment("r", "desk 1", None)
    spoke(notebook, 1, "director", prompt_tokens=0, reply_tokens=0, dollars=0.0)
    assert "tokens" not in told(notebook, 200)
    assert "kept change" not in told(notebook, 200)


def test_no_effect_is_told_without_its_uncertainty(tmp_path):
    book = short_night(tmp_path / "night.sqlite")
    effects = re.findall(r"[+−]\d\.\d{4}(?: ± \d\.\d{4})?", told(book, 200))
    assert len(effects) == 6
    assert all("±" in effect for effect in effects)
    book.close()


def test_after_a_kill_it_is_said_that_nobody_is_at_work(notebook, tmp_path):
    notebook.reserve_experiment("r", "desk 1", None)
    nobody = "No run is going on; python -m org run goes on with this one"
    assert nobody in told(notebook, 200)
    with exclusive(tmp_path):
        assert nobody not in told(notebook, 200) and "desk 1: experiment 1" in told(notebook, 200)
    notebook.end_run("r")
    assert nobody not in told(notebook, 200)


def test_before_anything_is_proven_the_baseline_stands(tmp_path):
    book = Notebook(tmp_path / "night.sqlite")
    Night(book).measure_baseline()
    first, *_ = told(book, 80).splitlines()
    assert first == "Nothing is certified yet: the baseline stands, val_bpb 1.2412."
    book.close()
