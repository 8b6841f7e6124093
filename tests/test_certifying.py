"""The stack in a whole organization: what goes on it, what proves it, what is cut and what is kept."""

from __future__ import annotations

import itertools
import sqlite3
import threading

import pytest

from org.certifying import certify_stack
from org.judging import judged
from org.lab import Lab
from org.notebook import Experiment
from org.onlooker import Nobody
from org.stack import Certification, certifications, stack
from roles.model import Brief
from roles.records import DirectorReads, ReviewReads
from tests.organizations import (
    NO_SANDBOX,
    TWO_LINES,
    Gates,
    Organization,
    Organize,
    Said,
    Start,
    direction,
    ended,
    eventually,
    gated,
    idea,
    kept_sources,
    patch,
    plain_experiment,
    review,
    screening,
    wait_for,
    work,
)
from tests.sources import SCRIPTED
from trainer.evidence.certify import Judgement
from trainer.evidence.stack import Value
from trainer.trial import Trial


def lucky(source: str) -> str:
    """LUCK helps under the seeds that are searched under, and harms under fresh ones."""
    return source.replace("GAIN = 0.0\n", "GAIN = 0.0\nLUCK = 0.0\nSPARE = 1\n").replace(
        "GAIN * likely", "(GAIN + (LUCK if setting.seed < 1000 else -LUCK)) * likely"
    )


LUCKY = lucky(SCRIPTED)

FOUR_SEEDS = {"review": {"baseline_runs": 2, "max_seeds": 4}}  # as many as a pruning needs
NEEDLESS = ("SPARE = 1", "SPARE = 1\nMORE = 2\nGAIN += 1e-4")


def organized(organize: Organize, *experiments: list[Said], **fields: object) -> Organization:
    script = [said for experiment in experiments for said in experiment]
    return organize(source=LUCKY, experiments=len(experiments), script=script, **fields)


def worked(organization: Organization) -> None:
    done = work(organization)
    assert (done.reasons, done.left) == ([], {})


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
        (certification,) = certifications(notebook)
        assert (certification.says, certification.why, certification.size) == (
            "fail",
            "end of the run",
            1,
        )
        assert stack(notebook) == []


@pytest.mark.quick
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
        whole, half = certifications(notebook)
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
    assert sorted(decisions(organization)) == ["discard", "keep"]
    with organization.notebook() as notebook:
        (certification,) = certifications(notebook)
        assert certification.why == "asked for: Much rests on it."
        rows = notebook.rows("select purpose, seed from trials order by rowid")
    assert [(row["purpose"], row["seed"]) for row in rows[3:]] == [
        *(("certify", 1000), ("certify", 1000), ("certify", 1001), ("certify", 1001)),
        ("candidate", 1001),  # paired with a fresh run of the new incumbent
    ]


def test_a_patch_that_removes_code_at_no_loss_is_kept_as_no_worse_and_simpler(organize: Organize):
    shorter = [direction(), idea(), patch("SPARE = 1\n", ""), screening(), asking()]
    # The noise is hardly known here: then it takes some more to be sure that nothing is lost.
    organization = organized(
        organize, shorter, more={"review": {"baseline_runs": 2, "max_seeds": 6}}
    )
    worked(organization)
    assert decisions(organization) == ["keep"]
    reason = organization.experiment().reason or ""
    assert "1 lines fewer, and worse by less than" in reason
    assert "Certification 1: no worse, and simpler" in reason
    assert ["SPARE" in source for source in kept_sources(organization)] == [True, False]
    with organization.notebook() as notebook:
        (certification,) = certifications(notebook)
        assert (certification.purpose, certification.says) == ("simpler", "pass")
    assert organization.faults() == []


def test_what_adds_lines_and_does_little_is_pruned_after_the_proof(organize: Organize):
    organization = organized(
        organize,
        plain_experiment("GAIN = 0.0", "GAIN = 0.3"),
        plain_experiment(*NEEDLESS),
        more=FOUR_SEEDS,
    )
    worked(organization)
    assert decisions(organization) == ["keep", "dropped"]
    with organization.notebook() as notebook:
        whole, pruned = certifications(notebook)
        assert (whole.says, pruned.says, pruned.purpose) == ("pass", "pass", "pruned")
        proven = notebook.source(notebook.incumbents()[-1].source_sha)
        assert len(notebook.incumbents()) == 3
    assert proven == LUCKY.replace("GAIN = 0.0", "GAIN = 0.3")
    assert (organization.lab / "train.py").read_text() == proven
    assert organization.faults() == []


def test_a_second_run_in_the_lab_builds_on_what_the_first_has_proven(organize: Organize):
    organization = organized(organize, plain_experiment("GAIN = 0.0", "GAIN = 0.3"))
    worked(organization)
    organization.script += plain_experiment("GAIN = 0.3", "GAIN = 0.6")
    organization.write()
    worked(organization)
    assert decisions(organization) == ["keep", "keep"]
    assert [source.count("GAIN = 0.6") for source in kept_sources(organization)] == [0, 0, 1]
    with organization.notebook() as notebook:
        assert [certification.seeds[0] for certification in certifications(notebook)] == [
            1000,
            1010,
        ]


# --- kills ----------------------------------------------------------------------------------------

# What the second of two changes is, by what follows from their certification.
SECONDS = {"half": ("LUCK = 0.0", "LUCK = 0.6\nGAIN += 0.01"), "pruned": NEEDLESS}
CAME_OF_IT = {
    "half": [("stack", "fail"), ("half", "pass")],
    "pruned": [("stack", "pass"), ("pruned", "pass")],
}


def two_changes(purpose: str) -> list[list[Said]]:
    """The experiments of one that is good and of one that makes what follows the first certification."""
    return [plain_experiment("GAIN = 0.0", "GAIN = 0.3"), plain_experiment(*SECONDS[purpose])]


def came_of_it(organization: Organization) -> list[tuple[str, str | None]]:
    with organization.notebook() as notebook:
        return [
            (certification.purpose, certification.says)
            for certification in certifications(notebook)
        ]


@pytest.mark.parametrize("purpose", SECONDS)
def test_a_write_that_fails_between_two_certifications_loses_neither(
    organize: Organize, purpose: str
):
    organization = organized(
        organize,
        *two_changes(purpose),
        more=FOUR_SEEDS,
    )

    def fill_up(lab: Lab) -> None:
        lab.notebook.db.execute(
            "create trigger full before insert on certifications"
            f" when new.purpose = '{purpose}' begin select raise(abort, 'full'); end"
        )

    with pytest.raises(sqlite3.IntegrityError, match="full"):
        work(organization, opened=fill_up)
    with organization.notebook() as notebook:
        notebook.db.execute("drop trigger full")
    worked(organization)
    assert came_of_it(organization) == CAME_OF_IT[purpose]
    assert decisions(organization) == ["keep", "dropped"]
    assert organization.faults() == []


@pytest.mark.parametrize("purpose", SECONDS)
def test_a_run_that_is_killed_during_a_half_or_a_pruning_goes_on_with_it(
    organize: Organize, start: Start, gates: Gates, purpose: str
):
    script = [said for experiment in two_changes(purpose) for said in experiment]
    organization = organize(
        source=lucky(gated(gates.folder)),
        more={**NO_SANDBOX, **FOUR_SEEDS},
        experiments=2,
        script=script,
    )
    gates.shut("gain 0.3 seed 1000")  # the first change alone, under a fresh seed
    first = start(organization)
    gates.wait_until_begun("gain 0.3 seed 1000")
    first.kill()
    first.wait()
    second = start(organization)
    gates.open("gain 0.3 seed 1000")
    ended(second)
    assert max(gates.begun.values()) == 1
    assert came_of_it(organization) == CAME_OF_IT[purpose]
    assert decisions(organization) == ["keep", "dropped"]
    assert organization.faults() == []


class Dies(Nobody):
    """Fails once an experiment is on record, before anything follows from it."""

    def closed(self, experiment: Experiment, head: Value) -> None:
        raise RuntimeError("the power is gone")


def test_a_reviewer_s_wish_for_a_certification_outlives_a_kill(organize: Organize):
    organization = organized(
        organize, [*plain_experiment("GAIN = 0.0", "GAIN = 0.3")[:-1], asking(certify=True)]
    )
    with pytest.raises(RuntimeError, match="the power is gone"):
        work(organization, Dies())
    worked(organization)
    with organization.notebook() as notebook:
        (certification,) = certifications(notebook)
    assert certification.why == "asked for: Much rests on it."
    assert decisions(organization) == ["keep"]


# --- several desks --------------------------------------------------------------------------------


class Comes(Nobody):
    """A desk that comes to certify when the stack is not due, as after another's certification."""

    def opened(self, lab: Lab) -> None:
        self.lab = lab

    def closed(self, experiment: Experiment, head: Value) -> None:
        certify_stack(self.lab)


def test_what_is_not_due_any_more_when_it_is_a_desk_s_turn_is_not_certified(organize: Organize):
    organization = organized(organize, plain_experiment("GAIN = 0.0", "GAIN = 0.3"))
    comes = Comes()
    assert work(organization, comes, opened=comes.opened).reasons == []
    with organization.notebook() as notebook:
        assert [certification.why for certification in certifications(notebook)] == [
            "end of the run"
        ]


class Meanwhile(Nobody):
    """Lets a second desk do its experiment during the certification of a number, and that wait for it."""

    def __init__(self, number: int) -> None:
        self.what = f"certification {number},"
        self.begun, self.done = threading.Event(), threading.Event()
        self.directed = itertools.count(1)

    def hold(self, brief: Brief) -> None:
        if isinstance(brief.reads, DirectorReads) and next(self.directed) == 2:
            wait_for(self.begun)

    def measured(self, what: str, trial: Trial) -> None:
        if what.startswith(self.what):
            self.begun.set()
            wait_for(self.done)

    def closed(self, experiment: Experiment, head: Value) -> None:
        if self.begun.is_set():
            self.done.set()


def during(
    organize: Organize, number: int, *patches: tuple[str, str]
) -> tuple[Organization, dict[str, str | None]]:
    """The last of these changes comes while what was before it is certified; what became of each."""
    *before, certified, last = (plain_experiment(*each) for each in patches)
    organization = organized(
        organize,
        *before,
        [*certified[:-1], asking(certify=True)],
        last,
        more={"desks": 2, "devices": ["cpu:0", "cpu:1"], **FOUR_SEEDS},
    )
    meanwhile = Meanwhile(number)
    done = work(organization, meanwhile, meanwhile.hold)
    assert (done.reasons, done.left) == ([], {})
    assert organization.faults() == []
    with organization.notebook() as notebook:
        return organization, {each.summary or "": each.decision for each in notebook.experiments()}


@pytest.mark.quick
def test_what_comes_on_top_during_a_certification_that_passes_stays_on_the_stack(
    organize: Organize,
):
    organization, became = during(
        organize, 1, ("GAIN = 0.0", "GAIN = 0.3"), ("GAIN = 0.3", "GAIN = 2.0")
    )
    assert became == {"GAIN = 0.3": "keep", "GAIN = 2.0": "keep"}
    with organization.notebook() as notebook:
        first, second = certifications(notebook)
    assert [(each.says, each.size) for each in (first, second)] == [("pass", 1), ("pass", 1)]
    assert (first.why, second.why) == ("asked for: Much rests on it.", "end of the run")


def test_what_comes_on_top_during_a_certification_that_fails_falls_with_it(organize: Organize):
    organization, became = during(
        organize,
        1,
        ("GAIN = 0.0", "GAIN = 0.3"),
        ("LUCK = 0.0", "LUCK = 0.6"),
        ("GAIN = 0.3", "GAIN = 2.0"),
    )
    assert became == {"GAIN = 0.3": "keep", "LUCK = 0.6": "dropped", "GAIN = 2.0": "dropped"}
    assert came_of_it(organization) == CAME_OF_IT["half"]


def test_what_comes_on_top_during_a_pruning_ends_it_at_once(organize: Organize):
    organization, became = during(
        organize, 2, ("GAIN = 0.0", "GAIN = 0.3"), NEEDLESS, ("GAIN = 0.3", "GAIN = 2.0")
    )
    assert set(became.values()) == {"keep"}
    with organization.notebook() as notebook:
        _, pruned, _ = certifications(notebook)
        assert (pruned.purpose, pruned.says) == ("pruned", "fail")
        assert pruned.reason == "others came on top meanwhile"
        assert len(notebook.certification_trials(pruned.source_sha, pruned.seeds)) == 1
    assert came_of_it(organization)[::2] == [("stack", "pass")] * 2


class Late(Nobody):
    """Lets a candidate with some text in it end its run, and a certification its first, in this order.

    The candidate's desk goes on with it only once what it was run against is there no more.
    """

    def __init__(self, text: str) -> None:
        self.text, self.has_run, self.one_is_closed = text, threading.Event(), threading.Event()
        self.directed = itertools.count(1)

    def opened(self, lab: Lab) -> None:
        self.lab = lab

    def measured(self, what: str, trial: Trial) -> None:
        if what.startswith("certification"):
            wait_for(self.has_run)
        elif self.text in self.lab.notebook.source(trial.source_sha):
            self.has_run.set()
            self.wait_until_moved()

    def closed(self, experiment: Experiment, head: Value) -> None:
        self.one_is_closed.set()

    def hold(self, brief: Brief) -> None:
        if isinstance(brief.reads, ReviewReads):
            wait_for(self.has_run)

    def wait_until_moved(self) -> None:
        wait_for(self.one_is_closed)


class LateForTheIncumbent(Late):
    """The same on the head of the first desk, while that is certified."""

    def hold(self, brief: Brief) -> None:
        if isinstance(brief.reads, DirectorReads) and next(self.directed) == 2:
            wait_for(self.one_is_closed)

    def wait_until_moved(self) -> None:
        eventually(lambda: self.lab.incumbent().number == 2)


def one_is_late(
    organize: Organize, of_reviewer: list[Said], lift: str = "LIFT = 0.2"
) -> Organization:
    said = [direction(), idea()] * 2
    written = [patch("GAIN = 0.0", "GAIN = 1.0"), patch("LIFT = 0.0", lift)]
    return organize(
        source=TWO_LINES,
        experiments=2,
        script=[*said, *written, *of_reviewer],
        more={"desks": 2, "devices": ["cpu:0", "cpu:1"]},
    )


def seeds_of_the_late_one(organization: Organization) -> list[int]:
    with organization.notebook() as notebook:
        rows = notebook.rows(
            "select t.seed from trials t join experiments e on e.id = t.experiment"
            " where e.summary like 'LIFT = %' order by t.rowid"
        )
    return [row["seed"] for row in rows]


def test_what_was_run_on_a_head_that_has_moved_is_run_again_before_it_is_judged(
    organize: Organize,
):
    organization = one_is_late(organize, [screening(), screening(), review(), review()])
    late = Late("LIFT = 0.2")
    done = work(organization, late, late.hold, opened=late.opened)
    assert (done.reasons, done.left) == ([], {})
    assert decisions(organization) == ["keep", "keep"]
    assert len(seeds_of_the_late_one(organization)) == 2
    assert organization.faults() == []


def test_what_loses_to_the_head_it_was_run_on_is_not_run_again_on_another(organize: Organize):
    lift = "LIFT = -0.2"
    organization = one_is_late(organize, [screening(), screening(), review(), review()], lift)
    late = Late(lift)
    done = work(organization, late, late.hold, opened=late.opened)
    assert (done.reasons, done.left) == ([], {})
    assert sorted(decisions(organization)) == ["discard", "keep"]
    assert len(seeds_of_the_late_one(organization)) == 1
    assert organization.faults() == []


def test_what_was_run_before_there_was_another_incumbent_is_run_again_under_its_seed(
    organize: Organize,
):
    said = [screening(), asking(certify=True), screening(), review()]
    organization = one_is_late(organize, said)
    late = LateForTheIncumbent("LIFT = 0.2")
    done = work(organization, late, late.hold, opened=late.opened)
    assert (done.reasons, done.left) == ([], {})
    assert decisions(organization) == ["keep", "keep"]
    before, after = seeds_of_the_late_one(organization)
    assert before != after == 1001
    assert organization.faults() == []


# --- the hours ------------------------------------------------------------------------------------


class TakesLong(Nobody):
    """Puts the run's clock forward by a day when a certification has ended."""

    def opened(self, lab: Lab) -> None:
        self.lab = lab

    def certified(self, certification: Certification, step: Judgement) -> None:
        now = self.lab.patience.clock() + 86400.0
        self.lab.patience.clock = lambda: now


@pytest.mark.parametrize("purpose", SECONDS)
def test_once_the_hours_are_over_no_half_is_tried_and_nothing_pruned(
    organize: Organize, purpose: str
):
    organization = organized(
        organize,
        *two_changes(purpose),
        more={**FOUR_SEEDS, "budget": {"experiments": 2, "hours": 12}},
    )
    long = TakesLong()
    assert work(organization, long, opened=long.opened).reasons == []
    assert came_of_it(organization) == CAME_OF_IT[purpose][:1]
    assert decisions(organization) == {"half": ["dropped"], "pruned": ["keep"]}[purpose] * 2
    assert organization.faults() == []
