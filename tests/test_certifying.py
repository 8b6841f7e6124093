"""The stack in a whole organization: what goes on it, what proves it, what is cut and what is kept."""

from __future__ import annotations

from collections.abc import Callable

from org.certifying import judged
from org.stack import proofs, stack
from org.verifying import verify
from tests.organizations import (
    Organization,
    Said,
    direction,
    idea,
    kept_sources,
    patch,
    plain_experiment,
    screening,
    work,
)
from tests.sources import SCRIPTED

Organize = Callable[..., Organization]

# LUCK helps under the seeds that are searched under, and harms under fresh ones.
LUCKY = SCRIPTED.replace("GAIN = 0.0\n", "GAIN = 0.0\nLUCK = 0.0\nSPARE = 1\n").replace(
    "GAIN * likely", "(GAIN + (LUCK if setting.seed < 1000 else -LUCK)) * likely"
)


def organized(organize: Organize, *experiments: list[Said], **fields: object) -> Organization:
    script = [said for experiment in experiments for said in experiment]
    return organize(source=LUCKY, experiments=len(experiments), script=script, **fields)


def worked(organization: Organization) -> None:
    done = work(organization)
    assert (done.reasons, done.left) == ([], {})


def faults(organization: Organization) -> list[str]:
    return [finding.text for finding in verify(organization.lab) if not finding.ok]


def decisions(organization: Organization) -> list[str | None]:
    with organization.notebook() as notebook:
        return [each.decision for each in notebook.experiments()]


def asking(*, objects: bool = False, certify: bool = False) -> Said:
    words = {"explanation": "Much rests on it.", "lesson": "Gains matter."}
    return "reviewer", {**words, "objects": objects, "certify": certify}


def test_a_change_that_was_lucky_on_its_one_run_is_dropped_with_the_evidence(organize: Organize):
    organization = organized(organize, plain_experiment("LUCK = 0.0", "LUCK = 0.5"))
    worked(organization)
    assert decisions(organization) == ["dropped"]
    assert kept_sources(organization) == [LUCKY]
    reason = organization.experiment().reason or ""
    assert "better than the head on its one run" in reason
    assert "Certification 1: no better on fresh seeds +" in reason
    with organization.notebook() as notebook:
        (proof,) = proofs(notebook)
        assert (proof.says, proof.why, proof.size) == ("fail", "end of the run", 1)
        assert stack(notebook) == []


def test_of_a_stack_that_fails_the_first_half_is_kept_and_the_rest_dropped(organize: Organize):
    organization = organized(
        organize,
        plain_experiment("GAIN = 0.0", "GAIN = 0.3"),
        plain_experiment("LUCK = 0.0", "LUCK = 0.6"),
    )
    worked(organization)
    assert decisions(organization) == ["keep", "dropped"]
    assert kept_sources(organization) == [LUCKY, LUCKY.replace("GAIN = 0.0", "GAIN = 0.3")]
    with organization.notebook() as notebook:
        whole, half = proofs(notebook)
        assert [(each.says, each.size) for each in (whole, half)] == [("fail", 2), ("pass", 1)]
        assert whole.seeds == half.seeds
        # The incumbent's runs beside the first head served for the second one.
        assert len(notebook.certification_trials(whole.incumbent_sha, whole.seeds)) == 2
        assert [judged(notebook, each).says for each in (whole, half)] == ["fail", "pass"]


def test_what_the_reviewer_objects_to_stays_off_the_stack(organize: Organize):
    organization = organized(
        organize,
        [*plain_experiment("GAIN = 0.0", "GAIN = 0.3")[:-1], asking(objects=True)],
    )
    worked(organization)
    assert decisions(organization) == ["discard"]
    assert (organization.experiment().reason or "").startswith("The reviewer objects: Much rests")
    assert [purpose for purpose, *_ in organization.trials()][2:] == ["candidate"]


def test_a_reviewer_may_have_the_stack_certified_at_once_and_the_search_goes_on_from_there(
    organize: Organize,
):
    organization = organized(
        organize,
        [*plain_experiment("GAIN = 0.0", "GAIN = 0.3")[:-1], asking(certify=True)],
        plain_experiment("GAIN = 0.3", "GAIN = 0.2"),
    )
    worked(organization)
    assert decisions(organization) == ["keep", "discard"]
    with organization.notebook() as notebook:
        (proof,) = proofs(notebook)
        assert proof.why == "asked for: Much rests on it."
        rows = notebook.rows("select purpose, seed from trials order by rowid")
    assert [(row["purpose"], row["seed"]) for row in rows[3:]] == [
        *(("certify", 1000), ("certify", 1000), ("certify", 1001), ("certify", 1001)),
        ("candidate", 1001),  # paired with a fresh run of the new incumbent
    ]


def test_a_patch_that_removes_code_at_no_loss_goes_on_the_stack(organize: Organize):
    shorter = [direction(), idea(), patch("SPARE = 1\n", ""), screening(), asking()]
    organization = organized(organize, shorter)
    worked(organization)
    reason = organization.experiment().reason or ""
    assert "1 lines fewer, and worse by less than" in reason


def test_what_adds_lines_and_does_little_is_pruned_after_the_proof(organize: Organize):
    organization = organized(
        organize,
        plain_experiment("GAIN = 0.0", "GAIN = 0.3"),
        plain_experiment("SPARE = 1", "SPARE = 1\nMORE = 2\nGAIN += 1e-4"),
        more={"review": {"baseline_runs": 2, "max_seeds": 4}},
    )
    worked(organization)
    assert decisions(organization) == ["keep", "dropped"]
    with organization.notebook() as notebook:
        whole, pruned = proofs(notebook)
        assert (whole.says, pruned.says, pruned.purpose) == ("pass", "pass", "pruned")
        proven = notebook.source(notebook.incumbents()[-1].source_sha)
        assert len(notebook.incumbents()) == 3
    assert proven == LUCKY.replace("GAIN = 0.0", "GAIN = 0.3")
    assert (organization.lab / "train.py").read_text() == proven
    assert faults(organization) == []


def test_a_second_run_in_the_lab_builds_on_what_the_first_has_proven(organize: Organize):
    organization = organized(organize, plain_experiment("GAIN = 0.0", "GAIN = 0.3"))
    worked(organization)
    organization.script += plain_experiment("GAIN = 0.3", "GAIN = 0.6")
    organization.write()
    worked(organization)
    assert decisions(organization) == ["keep", "keep"]
    assert [source.count("GAIN = 0.6") for source in kept_sources(organization)] == [0, 0, 1]
    with organization.notebook() as notebook:
        assert [proof.seeds[0] for proof in proofs(notebook)] == [1000, 1010]
