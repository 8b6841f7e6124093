"""A gain that does not hold on the audit text is seen."""

import pytest

from org.notebook import Incumbent, Notebook, Run
from org.status import read_audit
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
