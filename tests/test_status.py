"""Where a lab stands is told in figures that hold; a gain that does not hold elsewhere is seen."""

import io
import re

import pytest
from rich.console import Console

from org.notebook import Incumbent, Notebook, Run
from org.status import read_audit, status
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
    assert [re.sub(r"[:,].*", "", line).rstrip() for line in lines] == [
        "Proven gain",
        "Certification 1 passed",
        "Certification 2 failed",
        "On the stack",
        "7 experiments",
        "18 trials · 9 min · cost ≥$0.31",
        "On the audit text",
        "desk 2",
    ]
    assert "−0.0094 ± 0.0006 (certified, 3 seeds)" in lines[0]
    assert "(provisional, 1 seed)" in lines[3]
    book.close()


def test_no_effect_is_told_without_its_uncertainty(tmp_path):
    book = short_night(tmp_path / "night.sqlite")
    effects = re.findall(r"[+−]\d\.\d{4}(?: ± \d\.\d{4})?", told(book, 200))
    assert len(effects) == 6
    assert all("±" in effect for effect in effects)
    book.close()


def test_before_anything_is_proven_the_baseline_stands(tmp_path):
    book = Notebook(tmp_path / "night.sqlite")
    Night(book).measure_baseline()
    first, *_ = told(book, 80).splitlines()
    assert first == "Nothing is certified yet: the baseline stands, val_bpb 1.2412."
    book.close()
