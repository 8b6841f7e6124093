"""A run during which the machine was disturbed is repeated, and counts for nothing."""

from __future__ import annotations

import pytest

from org.lab import Lab
from org.measuring import Asker
from org.notebook import Notebook
from org.stack import certifications
from org.steady import is_disturbed
from org.undisturbed import measure_undisturbed
from tests.notebooks import RUN, Night, completed
from tests.organizations import Hears, Organization, Organize, plain_experiment, work
from tests.sources import UNIGRAM
from trainer.trial import Trial

# With some work in it: processor time is counted in hundredths of a second, and none says nothing.
WEAK = UNIGRAM.replace("STRENGTH = 1.0", "STRENGTH = 0.3").replace(
    "    if step == 20:\n",
    """    if step == 20:
        import time
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass
""",
)


class Notes(Hears):
    @property
    def repeated(self) -> list[str]:
        return [note.partition(":")[0] for note in self.notes if "visibly disturbed" in note]


def used_to_a_crawl(lab: Lab) -> None:
    """A lab whose runs had next to nothing of a core so far: what runs now looks disturbed."""
    other = lab.notebook.keep_source("pass")
    for number in range(30):
        trial = completed(other, number, 2.0).model_copy(
            update={"training_seconds": 1e6 + number, "budget_seconds": 1.0}
        )
        lab.notebook.record_trial(f"earlier-{number}", lab.run.id, None, "candidate", trial)


def purposes(organization: Organization) -> list[tuple[str, str]]:
    """Purpose, and the end of the id, of what is on record."""
    with organization.notebook() as notebook:
        rows = notebook.rows(
            "select id, purpose from trials where id not like 'earlier%' order by rowid"
        )
    return [(row["purpose"], row["id"].rpartition("-")[2]) for row in rows]


def test_a_disturbed_run_is_repeated_once_and_only_the_second_counts(organize: Organize):
    script = plain_experiment("STRENGTH = 0.3", "STRENGTH = 1.0")
    organization, notes = organize(source=WEAK, script=script), Notes()
    worked = work(organization, notes, opened=used_to_a_crawl)
    assert (worked.reasons, worked.left) == ([], {})
    assert organization.experiment().decision == "keep"
    ran = purposes(organization)
    # One run in five of a source, at most: of the second of the baseline it is not believed.
    assert [each for each in ran if "baseline" in each[0]] == [
        *(("disturbed baseline", "1"), ("baseline", "1again"), ("baseline", "2"))
    ]
    assert [each for each in ran if each[0] == "candidate"] == [
        *(("candidate", "1"), ("candidate", "2"))
    ]
    certified = [each for each in ran if "certify" in each[0]]
    assert certified.count(("disturbed certify", "1000")) == 1
    assert ("certify", "1000again") in certified
    assert sum(purpose == "disturbed certify" for purpose, _ in certified) == 1
    assert notes.repeated == [
        "baseline, seed 1",
        "experiment 1, candidate trial",
        "certification 1, head, seed 1000",
    ]
    with organization.notebook() as notebook:
        (certification,) = certifications(notebook)
        fresh = [seed for seed, _ in notebook.fresh_runs(certification.source_sha)]
        assert sorted(fresh) == certification.seeds[: len(fresh)]  # each seed once
    assert organization.faults() == []


def test_which_run_was_disturbed_is_settled_once_and_for_all(organize: Organize):
    organization = organize(source=WEAK, script=[])
    found: list[tuple[str, Trial]] = []

    def measure_twice(lab: Lab) -> None:
        used_to_a_crawl(lab)
        for _ in range(2):  # as after a kill: nothing is run that has run
            with lab.devices.lease(lab.stop) as device:
                asker = Asker("desk", "reference")
                source = WEAK + "\n# another\n"
                lab.notebook.keep_source(source)
                found.append(measure_undisturbed(lab, asker, device, "x-1", source, 7, "certify"))
            lab.notebook.db.execute("delete from trials where id like 'earlier%'")

    notes = Notes()
    work(organization, notes, opened=measure_twice)
    (one, other) = found
    assert one == other
    assert one[0] == "x-1again"
    assert notes.repeated == ["reference"]
    folders = sorted(path.name for path in (organization.lab / "trials").glob("x-*"))
    assert folders == ["x-1", "x-1again"]
    assert ("disturbed certify", "1") in purposes(organization)


# --- the rule -------------------------------------------------------------------------------------


@pytest.fixture
def night(notebook: Notebook) -> Night:
    """With no run of the baseline yet."""
    return Night(notebook)


def on_gpu(source: str, number: int, tokens: int, startup_charged: float = 0.0) -> Trial:
    """A run of wall time alone: its share of the machine is always 1, but for a slow start-up."""
    return completed(source, number, 1.24).model_copy(
        update={
            "device": "cuda:0",
            "tokens": tokens,
            "budget_seconds": 20.0,
            "training_seconds": 20.0 - startup_charged,
        }
    )


def test_on_a_gpu_a_source_that_was_run_often_tells_and_no_other(night: Night):
    for number in range(5):
        usual = on_gpu(night.head, number, 1_000_000 + 1_000 * number)
        night.notebook.record_trial(f"usual-{number}", RUN, None, "certify", usual)
    assert is_disturbed(night.notebook, on_gpu(night.head, 9, 700_000))
    assert not is_disturbed(night.notebook, on_gpu(night.head, 9, 1_004_000))
    other = night.notebook.keep_source("another")
    assert not is_disturbed(night.notebook, on_gpu(other, 9, 700_000))
    assert not is_disturbed(night.notebook, on_gpu(other, 9, 1_000_000, startup_charged=8.0))
