"""`python -m org check --lab DIR`: a lab that holds together passes, every tampering is named."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from org.cli import main
from org.lineage import Lineage
from org.notebook import Experiment
from org.onlooker import Nobody
from org.stack import Certification
from org.verifying import verify
from roles.records import (
    CANNOT_BE_DONE,
    GIVEN_UP,
    HEAD_MOVED,
    MODEL_FAILED,
    OBJECTED_TO,
    TRIED_ALREADY,
)
from tests.organizations import Organization, faults, plain_experiment, work
from trainer.dataset import Dataset
from trainer.evidence.certify import Judgement
from trainer.evidence.stack import Value
from trainer.setting import Setting
from trainer.trial import Trial

KEEP = plain_experiment("GAIN = 0.0", "GAIN = 1.0")
DISCARD = plain_experiment("GAIN = 1.0", "GAIN = 0.5")


class Looked(Nobody):
    """Looks at a lab at whatever happens in it, while its run goes on."""

    def __init__(self, lab: Path) -> None:
        self.lab = lab
        self.faults: list[str] = []
        self.holds: list[list[str]] = []

    def measured(self, what: str, trial: Trial) -> None:
        self._look()

    def closed(self, experiment: Experiment, head: Value) -> None:
        self._look()

    def certified(self, certification: Certification, step: Judgement) -> None:
        self._look()

    def _look(self) -> None:
        found = list(verify(self.lab))
        self.faults += [finding.text for finding in found if not finding.ok]
        self.holds.append([finding.text for finding in found if finding.ok])


@pytest.fixture(scope="module")
def finished(
    tiny_setting: Setting,
    tiny_dataset: Dataset,
    baseline_trials: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Looked:
    """The lab of a run with an experiment that was kept and one that was not, looked at meanwhile."""
    organization = Organization(
        tmp_path_factory.mktemp("finished") / "organization",
        tiny_setting,
        experiments=2,
        script=KEEP + DISCARD,
    )
    looked = Looked(organization.lab)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AUTORESEARCH_ORG_CACHE", str(tiny_dataset.folder.parent.parent))
        organization.write()
        organization.adopt_trials(baseline_trials)
        assert work(organization, looked).reasons == []
    return looked


@pytest.fixture
def lab(finished: Looked, tmp_path: Path) -> Path:
    """A copy of it, to be tampered with."""
    return Path(shutil.copytree(finished.lab, tmp_path / finished.lab.name))


def write(lab: Path, *statements: str) -> None:
    """Change the notebook as nobody should."""
    with sqlite3.connect(lab / "notebook.sqlite") as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount
    connection.close()


def test_a_lab_that_holds_together_passes_and_is_left_as_it_was(lab: Path):
    before = {path: path.read_bytes() for path in lab.rglob("*") if path.is_file()}
    told = CliRunner().invoke(main, ["check", "--lab", str(lab)])
    assert told.exit_code == 0
    assert [line[:3] for line in told.output.splitlines()] == ["ok "] * 7
    assert "2 experiments closed, each verdict follows from its runs" in told.output
    assert "8 trials, each once and as it was measured" in told.output
    assert "10 messages of models, one for each request" in told.output
    after = {path: path.read_bytes() for path in lab.rglob("*") if path.is_file()}
    assert {path for path in after if path.suffix not in (".sqlite-shm", ".sqlite-wal")} == {
        *before
    }
    assert all(after[path] == content for path, content in before.items())


# Each tampering, and all that must be said of it, in words that it must contain.
TAMPERINGS: dict[str, tuple[str, list[str]]] = {
    "an experiment is gone": (
        "delete from experiments where number = 1",
        ["it refers to is not in experiments", "experiment 1 is missing"],
    ),
    "an experiment has another number": (
        "update experiments set number = 3 where number = 2",
        ["experiment 2 is missing", "experiment 3 has the id"],
    ),
    "a source is another one": (
        "update sources set text = text || '#' where text like '%GAIN = 0.5%'",
        ["sources: the text under"],
    ),
    "a record is cut off": (
        "update experiments set direction_json = '{' where number = 2",
        ["experiment 2: its direction_json cannot be read"],
    ),
    "a score is made better": (
        "update trials set val_bpb = val_bpb - 1 where purpose = 'candidate'",
        ["val_bpb is"],
    ),
    "a score is made better all over": (
        "update trials set val_bpb = val_bpb - 1,"
        " trial_json = json_set(trial_json, '$.val_bpb', val_bpb - 1) where purpose = 'candidate'"
        " and experiment like '%2'",
        ["trial.json says otherwise", "experiment 2 has an effect of"],
    ),
    "a trial is there twice": (
        "insert into trials select id || '-more', run, experiment, purpose, source_sha, seed, device,"
        " outcome, reason, val_bpb, training_seconds, total_seconds, peak_memory_mb, steps, ended,"
        " trial_json from trials where id like 'certify%' limit 1",
        ["once more", "is there 2 times"],
    ),
    "a reply is there twice": (
        "insert into messages (id, run, experiment, time, speaker, kind, text, reply_json, model)"
        " select replace(id, '/direct/', '/direct/again/'), run, experiment, time, speaker, kind,"
        " text, reply_json, model from messages where kind = 'direct' limit 1",
        ["is no answer of director"],
    ),
    "a discard was kept off by nobody": (
        "update experiments set decision = 'crash' where number = 1",
        ["experiment 1 is crash, and on the stack keep"],
    ),
    "a discard was never measured": (
        "update experiments set decision = 'crash', effect = null, error = null where number = 2",
        ["experiment 2 is crash without an effect, and trial"],
    ),
    "a patch is cut off": (
        "update experiments set patch_json = substr(patch_json, 1, 20) where number = 2",
        [
            "experiment 2: its patch_json cannot be read",
            "experiment 2 has an effect, and its patch cannot be read",
        ],
    ),
    "a run is cut off": (
        "update trials set trial_json = substr(trial_json, 1, 20) where purpose != 'baseline'",
        ["cannot be read", "something on record cannot be read"],
    ),
    "the terms are cut off": (
        "update runs set setting_json = '{'",
        ["something on record cannot be read"],
    ),
    "an effect is larger": (
        "update experiments set effect = effect - 1 where number = 2",
        ["experiment 2 has an effect of"],
    ),
    "an effect without its error": (
        "update experiments set error = error / 2 where number = 2",
        ["experiment 2 has an effect of"],
    ),
    "a bad change is said to be no worse": (
        "update experiments set decision = 'provisional' where number = 2",
        ["experiment 2 is provisional, and on the stack there is none", "follows discard"],
    ),
    "more is expected of a change": (
        "update stack set expected_bpb = expected_bpb * 2",
        ["experiment 1 is expected to bring"],
    ),
    "a certification failed": (
        "update certifications set says = 'fail'",
        ["certification 1 says fail, from its runs follows pass", "it made 1 incumbents"],
    ),
    "a certification says more": (
        "update certifications set effect_json = json_set(effect_json, '$.bpb', -9)",
        ["certification 1: its effect is"],
    ),
    "there was less noise": (
        "update certifications set run_bpb = run_bpb / 2",
        ["certification 1: its run noise is"],
    ),
    "a certification of nothing": (
        "update certifications set incumbent = 7",
        ["certifications 1 refers to 7"],
    ),
    "the incumbent scores better": (
        "update incumbents set val_bpb = val_bpb - 1 where number = 2",
        ["incumbent 2 scores"],
    ),
    "another commit": (
        "update stack set commit_sha = '0123456789012345678901234567890123456789'",
        ["incumbent 2 is not the last", "experiment 1: its commit", "is of nothing that was kept"],
    ),
    "the incumbent is another source": (
        "update incumbents set source_sha = (select candidate_sha from experiments where number = 2)"
        " where number = 2",
        ["1 incumbents of its source", "incumbent 2", "incumbent 2 is not", "is not the incumbent"],
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_what_was_tampered_with_is_named(name: str, lab: Path):
    statement, words = TAMPERINGS[name]
    write(lab, statement)
    said = faults(lab)
    for word in words:
        assert any(word in line for line in said), said
    told = CliRunner().invoke(main, ["check", "--lab", str(lab)])
    assert told.exit_code == 1
    assert sum(line.startswith("no ") for line in told.output.splitlines()) == len(said)


OTHERWISE = (
    f"{GIVEN_UP} 2 attempts: It does not apply.",
    f"{OBJECTED_TO} 1 revision: It does not help.",
    f"{MODEL_FAILED} no answer that fits",
    f"{HEAD_MOVED} an earlier version was gone back to.",
    f"'Another gain' {TRIED_ALREADY} experiment 1 ran the same program.",
    f"'Another gain' {CANNOT_BE_DONE} there is no such line",
)


@pytest.mark.parametrize("reason", OTHERWISE)
def test_what_ended_otherwise_than_by_its_run_has_no_effect(reason: str, lab: Path):
    text = reason.replace("'", "''")
    columns = f"decision = 'discard', effect = null, error = null, reason = '{text}'"
    write(lab, f"update experiments set {columns} where number = 2")
    assert faults(lab) == []


def test_a_trial_whose_file_was_torn_is_named(lab: Path):
    path = min(lab.glob("trials/*/trial.json"))
    path.write_bytes(path.read_bytes()[:20])
    assert faults(lab) == [f"trial {path.parent.name}: {path} cannot be read"]


def test_a_number_that_is_there_twice_is_named(lab: Path):
    write(
        lab,
        "drop index idx_experiments_number",
        "update experiments set number = 1 where number = 2",
    )
    assert "experiment 1 is there 2 times" in faults(lab)


def test_a_kept_change_whose_commit_has_another_source_is_named(lab: Path):
    lineage = Lineage(lab / "lineage", lab.name)
    baseline, kept = lineage.log()
    forged = lineage.write(
        "GAIN = 2.0\n", kept.message, experiment_id=kept.experiment_id, parent=baseline.commit
    )
    lineage.publish(forged)
    write(
        lab,
        f"update stack set commit_sha = '{forged}'",
        f"update incumbents set commit_sha = '{forged}' where number = 2",
    )
    (fault,) = faults(lab)
    assert fault.startswith(f"experiment 1: its commit {forged} has another train.py")


def test_a_branch_or_a_train_py_that_lags_is_named_once_the_run_has_ended(lab: Path):
    lineage = Lineage(lab / "lineage", lab.name)
    baseline, kept = lineage.log()
    lineage.publish(baseline.commit)
    (source,) = lineage.sources_at([baseline.commit])
    assert source
    (lab / "train.py").write_text(source)
    assert faults(lab) == [
        f"experiment 1: its commit {kept.commit} is not on the branch",
        f"{lab / 'train.py'} is not the incumbent",
    ]
    write(lab, "update runs set ended = null")  # as after a kill: the next run moves it
    assert faults(lab) == []


def test_a_lab_without_git_or_with_a_broken_notebook_is_named(lab: Path):
    shutil.rmtree(lab / "lineage")
    assert any("there is no repository" in fault for fault in faults(lab))
    content = (lab / "notebook.sqlite").read_bytes()
    (lab / "notebook.sqlite").write_bytes(content[:4096] + b"\xff" * 4096 + content[8192:])
    assert faults(lab)
    (lab / "notebook.sqlite").write_text("no notebook at all" * 100)
    (fault,) = faults(lab)
    assert "file is not a database" in fault


def test_a_lab_in_which_a_run_goes_on_can_be_looked_at(finished: Looked):
    assert finished.faults == []
    assert len(finished.holds) == 11
    for times, words in ((0, "0 experiments closed"), (-1, "2 experiments closed")):
        assert any(words in text for text in finished.holds[times])


def test_a_notebook_whose_run_was_killed_in_its_first_instant_holds_together(tmp_path: Path):
    (tmp_path / "notebook.sqlite").touch()
    assert [finding.text for finding in verify(tmp_path)] == ["nothing is in it yet"]


def test_a_verdict_is_computed_from_what_was_known_then(lab: Path):
    """What was measured later must not change what is said of it, or everything would be wrong."""
    with sqlite3.connect(lab / "notebook.sqlite") as connection:
        (text,) = connection.execute(
            "select trial_json from trials where purpose = 'baseline' and seed = 2"
        ).fetchone()
        later = {**json.loads(text), "seed": 4000, "val_bpb": 1.0}
        connection.execute(
            "insert into trials (id, run, purpose, source_sha, seed, device, outcome, val_bpb, ended,"
            " trial_json) select 'certify-later', run, 'certify', source_sha, 4000, device, outcome,"
            " 1.0, ended + 1e6, ? from trials where purpose = 'baseline' and seed = 2",
            [json.dumps(later)],
        )
    connection.close()
    assert faults(lab) == []
