"""What certifications claim: the same figure wherever they are told of, and a sum that no drift is in."""

from __future__ import annotations

from contextlib import closing
from math import hypot
from pathlib import Path

import pytest

from org.claims import claims, proven_gain
from org.lineage import Lineage
from org.onlooker import Nobody
from org.stack import Begun, Certification, certifications, pass_certification, record_begun
from org.telling.cells import headline
from org.telling.results import read_results
from roles.records import Verdict
from tests.notebooks import RUN, Night, completed, incumbent, short_night
from tests.organizations import Organize, plain_experiment, work
from trainer.evidence.certify import Judgement
from trainer.evidence.effect import Effect

PASSED = Effect(bpb=0.0005, error=0.0009, freedom=8.0, seeds=3, kind="certified")


def proven(night: Night, old: str, new: str, better: float, level: float) -> None:
    """A change that is certified, by so much, on a machine on which the incumbent scores so."""
    experiment = night.begin()
    night.propose(experiment, new)
    candidate = night.patch(experiment, old, new)
    night.train(experiment, candidate, level - better)
    verdict = Verdict(decision="provisional", reason="", lesson="It helps.")
    night.close(experiment, verdict, level - better)
    beside = tuple(level + each for each in (0.0, 0.002, 0.004))
    night.certify(tuple(each - better for each in beside), beside)


def prune(night: Night) -> None:
    """The incumbent does without something, under the seeds of the certification before."""
    before, last = night.notebook.incumbents()[-1], certifications(night.notebook)[-1]
    source_sha = night.notebook.keep_source("width = 64\n")
    columns = last.model_dump() | {
        "purpose": "pruned",
        "incumbent": before.number,
        "incumbent_sha": before.source_sha,
        "source_sha": source_sha,
    }
    certification = record_begun(night.notebook, Begun(**columns))
    for seed in certification.seeds:
        trial = completed(source_sha, seed, before.val_bpb + PASSED.bpb)
        trial_id = f"certify-{source_sha[:12]}-{seed}"
        night.notebook.record_trial(trial_id, RUN, None, "certify", trial)
    step = Judgement(says="pass", reason="not needed", effect=PASSED)
    after = incumbent(before.number + 1, source_sha, None, before.val_bpb, certification.number)
    pass_certification(night.notebook, certification, step, after, [], [])


def test_what_the_machine_did_between_two_certificates_is_no_part_of_the_gain(night: Night) -> None:
    proven(night, "width = 64", "width = 96", 0.020, 1.240)
    # Now everything scores 0.030 better than in the evening.
    proven(night, "warmup = 0.0", "warmup = 0.1", 0.020, 1.190)
    gain = proven_gain(night.notebook, claims(night.notebook))
    assert gain is not None
    assert gain.bpb == pytest.approx(-0.040, abs=0.0005)
    each = claims(night.notebook)
    assert gain.bpb == pytest.approx(sum(effect.bpb for effect in each.values()))
    assert gain.error == pytest.approx(hypot(*(effect.error for effect in each.values())))
    assert (gain.seeds, gain.kind) == (6, "certified")
    assert "1.2412 → 1.2012, −3.2 %" in headline(read_results(night.notebook))


def test_what_is_pruned_is_a_link_of_the_chain_and_its_seeds_are_the_same(night: Night) -> None:
    proven(night, "width = 64", "width = 96", 0.020, 1.240)
    before = proven_gain(night.notebook, claims(night.notebook))
    prune(night)
    after = proven_gain(night.notebook, claims(night.notebook))
    assert before is not None and after is not None
    assert after.bpb == pytest.approx(before.bpb + PASSED.bpb)
    assert after.error == pytest.approx(hypot(before.error, PASSED.error))
    assert (after.seeds, after.freedom) == (before.seeds, 8.0)


def test_a_notebook_tells_of_a_certificate_by_one_figure(tmp_path: Path) -> None:
    with closing(short_night(tmp_path / "notebook.sqlite")) as notebook:
        passed, failed = read_results(notebook).certified
        assert passed.effect and failed.effect and passed.certification.effect
        assert passed.effect.bpb > passed.certification.effect.bpb
        kept, dropped = (notebook.experiments()[number - 1] for number in (1, 5))
        assert (kept.reason or "").endswith(passed.effect.text)
        assert (dropped.reason or "").endswith(failed.effect.text)


class Hearing(Nobody):
    """Keeps what was told of certifications."""

    def __init__(self) -> None:
        self.told: list[Judgement] = []

    def certified(self, certification: Certification, step: Judgement) -> None:
        self.told.append(step)


def test_a_person_who_watches_and_one_who_reads_commits_are_told_the_same(
    organize: Organize,
) -> None:
    organization, hearing = organize(script=plain_experiment("GAIN = 0.0", "GAIN = 0.3")), Hearing()
    assert work(organization, hearing).reasons == []
    with organization.notebook() as notebook:
        (passed,) = read_results(notebook).certified
        gain = proven_gain(notebook, claims(notebook))
    assert passed.effect == gain == hearing.told[-1].effect
    assert passed.certification.effect != passed.effect
    (_, commit) = Lineage(organization.lab / "lineage", organization.lab.name).log()
    assert f"Certificate 1: {passed.effect.text}" in commit.message
