"""A whole organization at work, from org.yaml to the notebook: only its people are scripted."""

from __future__ import annotations

import os
import threading
from os import cpu_count
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from org.cli import main
from org.lab import exclusive
from org.lineage import Lineage
from org.notebook import Experiment
from org.onlooker import Nobody
from roles.model import Brief
from roles.records import ReviewReads
from tests.organizations import (
    TWO_LINES,
    Organization,
    Organize,
    Said,
    direction,
    idea,
    kept_sources,
    patch,
    plain_experiment,
    review,
    screening,
    wait_for,
    work,
)
from tests.sources import NO_MODEL, SCRIPTED
from trainer.evidence.stack import Value


def crash(words: str, *, in_earnest: bool = False) -> Said:
    """A patch that raises a ValueError; in earnest: not on made-up batches, where time flies."""
    started = (
        "\nnext(prepare.start(rows=1))\nif prepare.progress() < 0.9:\n    " if in_earnest else "\n"
    )
    return patch("GAIN = 0.0", f"GAIN = 0.0{started}raise ValueError({words!r})")


# --- one experiment -------------------------------------------------------------------------------


def test_a_change_that_is_better_is_kept_and_every_record_of_it_is_the_same_bytes(
    organize: Organize,
):
    organization = organize(script=plain_experiment("GAIN = 0.0", "GAIN = 1.0"))
    worked = work(organization)
    experiment = organization.experiment()
    assert (experiment.decision, worked.reasons, worked.left) == ("keep", [], {})
    assert experiment.effect is not None and experiment.error is not None
    assert experiment.effect < 0 < experiment.error
    kept = SCRIPTED.replace("GAIN = 0.0", "GAIN = 1.0")
    assert kept_sources(organization) == [SCRIPTED, kept]
    commit = Lineage(organization.lab / "lineage", "lab").log()[-1]
    for word in (
        "GAIN = 1.0",
        "Small letters are likelier.",
        "(certified, 2 seeds)",
        "Gains matter.",
    ):
        assert word in commit.message
    assert [purpose for purpose, *_ in organization.trials(1)] == ["candidate"]
    assert [purpose for purpose, *_ in organization.trials()] == [
        *("baseline", "baseline", "candidate"),
        *["certify"] * 4,
    ]
    with organization.notebook() as notebook:
        run = notebook.latest_run()
        assert run is not None
        assert run.ended is not None
        fresh = notebook.fresh_runs(notebook.incumbents()[-1].source_sha)
        assert [seed for seed, _ in fresh] == [1000, 1001]
        assert notebook.incumbents()[-1].val_bpb == fresh[0][1]


def test_a_change_that_is_worse_is_discarded_after_one_trial(organize: Organize):
    organization = organize(script=plain_experiment("GAIN = 0.0", "GAIN = -1.0"))
    (told,) = work(organization).asked("thinker")
    assert told.digest.terms.startswith("0.2 s of processor time, 1 thread of a CPU")
    assert "tokens/s" in told.head_telemetry or "Start-up" in told.head_telemetry
    experiment = organization.experiment()
    assert experiment.decision == "discard"
    assert experiment.effect is not None
    assert experiment.effect > 0
    assert experiment.lesson == "Gains matter."
    assert [purpose for purpose, *_ in organization.trials(1)] == ["candidate"]
    assert kept_sources(organization) == [SCRIPTED]


def test_an_edit_that_does_not_match_goes_back_with_the_nearest_lines_and_is_mended(
    organize: Organize,
):
    organization = organize(
        script=[
            *(direction(), idea()),
            *(patch("GAIN = 0.00", "GAIN = -1.0"), patch("GAIN = 0.0", "GAIN = -1.0")),
            *(screening(), review()),
        ]
    )
    worked = work(organization)
    first, second = worked.asked("engineer")
    assert first.complaint == ""
    assert "SEARCH block 1 matches nothing" in second.complaint
    assert "| GAIN = 0.0" in second.complaint
    assert "GAIN = 0.00" in second.previous
    assert organization.experiment().decision == "discard"
    assert len(organization.trials(1)) == 1


@pytest.mark.parametrize("devices", [["cpu:0"], [f"cpu:{n}" for n in range(cpu_count() or 1)]])
def test_a_patch_that_cannot_run_costs_no_trial_and_its_traceback_goes_to_the_engineer(
    organize: Organize, devices: list[str]
):
    organization = organize(
        script=[
            *(direction(), idea()),
            *(crash("the width must be even"), screening()),
            *(patch("GAIN = 0.0", "GAIN = -1.0"), screening(), review()),
        ],
        more={"devices": devices},
    )
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    _, second = worked.asked("engineer")
    assert "It does not run" in second.complaint
    assert "crashed: ValueError: the width must be even" in second.complaint
    assert "Traceback (most recent call last)" in second.log
    assert ("lab", "smoke") in organization.said()
    assert [outcome for _, outcome, _ in organization.trials(1)] == ["completed"]
    assert list((organization.lab / "smoke").iterdir()) == []


def test_a_crash_is_mended_by_an_engineer_who_was_shown_the_traceback(organize: Organize):
    organization = organize(
        script=[
            *(direction(), idea()),
            *(crash("the width must be even", in_earnest=True), screening()),
            *(patch("GAIN = 0.0", "GAIN = -1.0"), screening(), review()),
        ]
    )
    worked = work(organization)
    _, second = worked.asked("engineer")
    assert "crashed: ValueError: the width must be even" in second.complaint
    assert "Traceback (most recent call last)" in second.log
    assert "the width must be even" in second.log
    assert second.telemetry.startswith("Peak memory ") and "Start-up" in second.telemetry
    (last,) = worked.asked("reviewer")[2:]
    assert "evaluation" in last.telemetry and "evaluation" in last.head_telemetry
    outcomes = [outcome for _, outcome, _ in organization.trials(1)]
    assert outcomes == ["crashed", "completed"]
    assert organization.experiment().decision == "discard"


def test_a_crash_that_is_not_mended_in_all_attempts_ends_the_experiment(organize: Organize):
    first = crash("the width must be even", in_earnest=True)
    again = crash("it is odd still", in_earnest=True)
    organization = organize(
        attempts=2,
        script=[direction(), idea(), first, screening(), again, screening(), review()],
    )
    worked = work(organization)
    experiment = organization.experiment()
    assert experiment.decision == "crash"
    assert "given up after 2 attempts" in (experiment.reason or "")
    assert "it is odd still" in (experiment.reason or "")
    assert [outcome for _, outcome, _ in organization.trials(1)] == ["crashed", "crashed"]
    (reads,) = [each for each in worked.asked("reviewer") if isinstance(each, ReviewReads)]
    assert "it is odd still" in reads.log
    assert kept_sources(organization) == [SCRIPTED]


def test_what_was_tried_before_or_is_forbidden_is_stopped_before_it_costs_a_trial(
    organize: Organize,
):
    worse, same = "GAIN = -1.0", "GAIN = -1.0  # said otherwise"
    organization = organize(
        experiments=2,
        attempts=2,
        script=[
            *plain_experiment("GAIN = 0.0", worse),
            *(direction(), idea("The same again"), patch("GAIN = 0.0", same)),
            *(idea("Another seed"), patch("GAIN = 0.0", "GAIN = 0.5\ntorch.manual_seed(7)")),
            *(patch("GAIN = 0.0", "GAIN = 0.5"), screening("Too small.", approved=False)),
            review(),
        ],
    )
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    *_, again = worked.asked("thinker")
    assert again.objections == (
        "'The same again' was tried already: experiment 1 ran the same program.",
    )
    *_, objected = worked.asked("engineer")
    assert "seed" in objected.complaint
    second = organization.experiment(2)
    assert (second.decision, second.title) == ("discard", "Another seed")
    assert "Too small." in (second.reason or "")
    assert organization.trials(2) == []


def test_a_second_hypothesis_is_not_reviewed_by_the_patch_of_the_first(organize: Organize):
    organization = organize(
        experiments=2,
        attempts=1,
        script=[
            *plain_experiment("GAIN = 0.0", "GAIN = -1.0"),
            *(direction(), idea("The same again"), patch("GAIN = 0.0", "GAIN = -1.0")),
            *(idea("Another seed"), patch("SEED = 0", "SEED = 1"), review()),
        ],
    )
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    *_, reviewed = worked.asked("reviewer")
    assert (reviewed.hypothesis.title, reviewed.diff) == ("Another seed", "")
    second = organization.experiment(2)
    assert (second.decision, second.title) == ("crash", "Another seed")
    assert (second.patch_json, second.summary, second.candidate_sha) == (None, None, None)
    with organization.notebook() as notebook:
        rows = notebook.rows("select number from experiments where normalized_sha is not null")
    assert [row["number"] for row in rows] == [1]
    assert organization.faults() == []


def test_advisers_speak_at_their_moment_and_are_heard_by_those_after_them(organize: Organize):
    organization = organize(
        attempts=1,
        advisers=[
            {"name": "skeptic", "before": "engineer"},
            {"name": "historian", "after": "screen"},
        ],
        script=[
            *(direction(), idea(), ("skeptic", "I doubt it."), patch("GAIN = 0.0", "GAIN = 0.5")),
            *(screening("No.", approved=False), ("historian", "As in 1847."), review()),
        ],
    )
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    assert [speaker for speaker, _ in organization.said()] == [
        *("director", "thinker", "skeptic", "engineer", "reviewer", "historian", "reviewer")
    ]
    heard = {
        brief.role: tuple(a.text for a in getattr(brief.reads, "advice", ()))
        for brief in worked.briefs
    }
    assert heard["director"] == heard["thinker"] == ()
    assert heard["engineer"] == ("I doubt it.",)
    assert heard["reviewer"] == ("I doubt it.", "As in 1847.")
    (skeptic,) = worked.asked("skeptic")
    assert skeptic.moment == "before engineer"
    assert "Small letters are likelier." in skeptic.discussion


def test_an_adviser_before_the_engineer_speaks_once_about_a_hypothesis_and_sees_its_source(
    organize: Organize,
):
    organization = organize(
        advisers=[
            {"name": "historian", "before": "hypothesize"},
            {"name": "skeptic", "before": "engineer"},
        ],
        script=[
            *(direction(), ("historian", "Nothing yet."), idea("A gain of 9")),
            *(("skeptic", "Too far."), patch("GAIN = 9.0", "GAIN = 1.0")),
            *(("engineer", "CANNOT: no gain is 9 here."), ("historian", "It fell."), idea()),
            *(("skeptic", "Well."), patch("GAIN = 9.0", "GAIN = 1.0")),
            *(patch("GAIN = 0.0", "GAIN = -1.0"), screening(), review()),
        ],
    )
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    seen = {role: [each.source for each in worked.asked(role)] for role in ("historian", "skeptic")}
    assert seen["historian"][0] == ""
    assert seen["skeptic"] == [SCRIPTED, SCRIPTED]
    heard = [tuple(a.text for a in each.advice) for each in worked.asked("engineer")]
    assert heard == [*[("Nothing yet.", "Too far.")] * 2, *[("It fell.", "Well.")] * 2]
    (screened, _) = worked.asked("reviewer")
    assert screened.source == SCRIPTED


def test_what_the_engineer_cannot_do_goes_back_to_who_proposed_it_with_the_reason(
    organize: Organize,
):
    organization = organize(
        attempts=1,
        script=[
            *(direction(), idea("A longer warm-up")),
            ("engineer", "**CANNOT:** there is no\nwarm-up in this file"),
            *(idea(), patch("GAIN = 0.0", "GAIN = -1.0"), screening(), review()),
        ],
    )
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    first, second = worked.asked("thinker")
    assert first.objections == ()
    (objection,) = second.objections
    assert objection == (
        "'A longer warm-up' cannot be done, says the engineer: there is no warm-up in this file"
    )
    assert ("lab", "engineer") in organization.said()
    experiment = organization.experiment()
    assert (experiment.decision, experiment.title) == ("discard", "Another gain")
    assert len(organization.trials(1)) == 1


def test_an_engineer_who_can_do_nothing_ends_the_experiment_after_three_hypotheses(
    organize: Organize,
):
    refused = [idea(), ("engineer", f"CANNOT: {'no ' * 900}")]
    organization = organize(script=[direction(), *refused * 3, review()])
    worked = work(organization)
    assert (worked.reasons, worked.left) == ([], {})
    experiment = organization.experiment()
    assert experiment.decision == "discard"
    assert "'Another gain' cannot be done, says the engineer: no no" in (experiment.reason or "")
    assert organization.trials(1) == []


# --- two desks ------------------------------------------------------------------------------------


class InTurn(Nobody):
    """Lets two desks come to their reviews, then one whose diff has ``first`` in it be done first."""

    def __init__(self, first: str) -> None:
        self.first = first
        self.other_has_come, self.first_is_closed = threading.Event(), threading.Event()

    def hold(self, brief: Brief) -> None:
        if not isinstance(brief.reads, ReviewReads):
            return
        if self.first in brief.reads.diff:
            wait_for(self.other_has_come)
        else:
            self.other_has_come.set()
            wait_for(self.first_is_closed)

    def closed(self, experiment: Experiment, head: Value) -> None:
        self.first_is_closed.set()


def two_desks(organize: Organize, *patches: tuple[str, str], **fields: object) -> Organization:
    said = [direction(), idea(), screening()] * 2
    written = [patch(*each) for each in patches]
    return organize(
        source=TWO_LINES,
        experiments=2,
        script=[*said, *written],
        more={"desks": 2, "devices": ["cpu:0", "cpu:1"]},
        **fields,
    )


def test_of_two_that_beat_the_same_head_the_second_is_tried_again_on_top_of_the_first(
    organize: Organize,
):
    organization = two_desks(organize, ("GAIN = 0.0", "GAIN = 1.0"), ("LIFT = 0.0", "LIFT = 0.5"))
    organization.script += [review()] * 3
    organization.write()
    turns = InTurn("+GAIN = 1.0")
    worked = work(organization, turns, turns.hold)
    assert (worked.reasons, worked.left) == ([], {})
    gain = TWO_LINES.replace("GAIN = 0.0", "GAIN = 1.0")
    both = gain.replace("LIFT = 0.0", "LIFT = 0.5")
    assert kept_sources(organization) == [TWO_LINES, gain, both]
    with organization.notebook() as notebook:
        baseline, proven = notebook.incumbents()
        last = notebook.experiment(proven.experiment or "")
    assert proven.val_bpb < baseline.val_bpb
    # The second one: chosen on the old head, then once more on the new one.
    assert [purpose for purpose, *_ in organization.trials(last.number)] == ["candidate"] * 2


def test_of_two_that_beat_the_same_head_one_that_no_longer_applies_is_written_anew(
    organize: Organize,
):
    organization = two_desks(organize, ("GAIN = 0.0", "GAIN = 1.0"), ("GAIN = 0.0", "GAIN = 2.0"))
    organization.script += [review(), review()]  # the two that are held up
    organization.script += [patch("GAIN = 1.0", "GAIN = 2.0"), screening(), review()]
    organization.write()
    turns = InTurn("+GAIN = 1.0")
    worked = work(organization, turns, turns.hold)
    assert (worked.reasons, worked.left) == ([], {})
    *_, anew = worked.asked("engineer")
    assert "The head has moved" in anew.complaint
    assert "matches nothing" in anew.complaint
    assert "GAIN = 1.0" in anew.source
    one, two = (TWO_LINES.replace("GAIN = 0.0", f"GAIN = {gain}") for gain in (1.0, 2.0))
    assert kept_sources(organization) == [TWO_LINES, one, two]


# --- what a user can get wrong --------------------------------------------------------------------


def org_run(organization: Organization) -> Result:
    return CliRunner().invoke(main, ["run", "--config", str(organization.config_path)])


def complaint(result: Result) -> str:
    """What a user is told, in one line and with exit code 2."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    line = result.stderr.rstrip("\n")
    assert "\n" not in line
    assert "Traceback" not in result.output
    return line


def test_a_second_run_in_the_same_lab_is_refused_and_names_the_first(organize: Organize):
    organization = organize()
    with exclusive(organization.lab):
        assert f"in use by process {os.getpid()}" in complaint(org_run(organization))


def test_all_typos_of_an_org_yaml_are_told_at_once(organize: Organize):
    organization = organize(more={"sandbx": 2, "trial": {"second": 3}, "devices": "many"})
    result = org_run(organization)
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{organization.config_path}:") for line in lines)
    for hint in ("sandbox", "seconds", "many"):
        assert hint in result.stderr


def test_a_missing_prompt_is_one_clear_line(organize: Organize):
    organization = organize(advisers=[{"name": "skeptic", "before": "train", "prompt": "no.md"}])
    assert f"there is no {organization.folder / 'no.md'}" in complaint(org_run(organization))


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("gpt-9", "expected playbook, openai:NAME, scripted:PATH or replay:LAB, not 'gpt-9'"),
        ("openai:gpt-9", "needs a key: set OPENAI_API_KEY"),
        ("scripted:no.yaml", "no.yaml"),
        ("scripted:prompt.md", "a list is expected"),
    ],
)
def test_a_model_that_cannot_be_had_is_one_clear_line(organize: Organize, model: str, told: str):
    assert told in complaint(org_run(organize(model=model)))


def test_an_endpoint_that_is_no_url_is_one_clear_line(
    organize: Organize, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("OPENAI_BASE_URL", "somewhere")
    assert "'somewhere' is no endpoint" in complaint(org_run(organize(model="openai:test")))


def test_a_lab_that_cannot_be_written_is_one_clear_line(organize: Organize):
    organization = organize(more={"lab": "program.md/lab"})
    line = complaint(org_run(organization))
    assert f"the lab {organization.folder / 'program.md/lab'} cannot be written" in line


def test_a_corpus_that_is_too_small_is_one_clear_line(organize: Organize, tmp_path: Path):
    text = tmp_path / "short.txt"
    text.write_text("In the beginning.")
    organization = organize()
    organization.setting = organization.setting.model_copy(update={"corpus": f"files:{text}"})
    organization.write()
    assert str(text) in complaint(org_run(organization))


def test_a_train_py_that_never_hands_over_a_model_is_one_clear_line(organize: Organize):
    organization = organize(source=NO_MODEL)
    line = complaint(org_run(organization))
    assert f"the baseline {organization.folder / 'train.py'} crashed" in line
    assert "log.txt" in line


def test_another_train_py_in_the_same_lab_is_one_clear_line(organize: Organize):
    organization = organize(script=plain_experiment("GAIN = 0.0", "GAIN = -1.0"))
    work(organization)
    (organization.folder / "train.py").write_text(TWO_LINES)
    assert "began from another train.py" in complaint(org_run(organization))
