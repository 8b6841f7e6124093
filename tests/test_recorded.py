"""A discussion that was recorded is run again from its record, and says where it departs from it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from org.briefs import brief_text, keep_brief
from org.cli import main
from org.lab import Lab, LabError
from org.notebook import Experiment, Notebook
from org.recorded import recorded_model
from roles.model import Brief, Cost, ModelError
from roles.recorded import Recorded, RecordedModel, RecordEnds, as_read, sha_of
from roles.records import (
    Digest,
    Direction,
    DirectorReads,
    Prose,
    Review,
    Screening,
)
from tests.organizations import (
    Hears,
    Organization,
    Organize,
    direction,
    idea,
    patch,
    plain_experiment,
    review,
    screening,
    wait_for,
    work,
)
from trainer.evidence.stack import Value

REFUSED = [
    *(direction(), idea("Half"), patch("GAIN = 0.0", "GAIN = 0.5")),
    *(screening("Too small.", approved=False), review("Bolder.")),
]
ALSO_REFUSED = [
    *(direction(), idea("More"), patch("GAIN = 0.0", "GAIN = 0.7")),
    *(screening("Still too small.", approved=False), review("Much bolder.")),
]
TRIED = plain_experiment("GAIN = 0.0", "GAIN = -1.0")


class Notes(Hears):
    @property
    def departures(self) -> list[str]:
        return [note for note in self.notes if "departs" in note]


def again(organization: Organization, name: str = "again", **changes: Any) -> Organization:
    """The same organization, replayed from its lab in a new one of that name."""
    replayed = replace(organization, **{"model": "replay:lab", "lab_name": name, **changes})
    replayed.write()
    for seed in (1, 2):
        trial = Path("trials", f"baseline-{seed}")
        shutil.copytree(organization.lab / trial, replayed.lab / trial)
    return replayed


def done(organization: Organization) -> list[tuple[Any, ...]]:
    """What came of each experiment, besides ids and times."""
    with organization.notebook() as notebook:
        return [
            (each.direction_json, each.hypothesis_json, each.patch_json, each.decision, each.lesson)
            for each in notebook.experiments()
        ]


# --- whole organizations --------------------------------------------------------------------------


def test_a_replay_comes_to_the_same_experiments_offline_and_for_nothing(organize: Organize):
    recorded = organize(experiments=2, attempts=1, script=REFUSED + TRIED)
    assert work(recorded).reasons == []
    replayed, notes = again(recorded), Notes()
    assert work(replayed, notes).reasons == []
    assert done(replayed) == done(recorded)
    assert replayed.said(2) == recorded.said(2)
    assert all("in figures only, in what reviewer reads" in each for each in notes.departures)
    with replayed.notebook() as notebook:
        models = {row["model"] for row in notebook.rows("select model from messages")}
        (row,) = notebook.rows("select sum(dollars) as dollars from messages")
    assert models == {f"replay:{recorded.lab}"}
    assert row["dollars"] == 0.0


def test_a_changed_prompt_is_named_with_its_line_and_the_run_goes_on(organize: Organize):
    recorded = organize(experiments=2, attempts=1, script=REFUSED + ALSO_REFUSED)
    work(recorded)
    replayed, notes = again(recorded), Notes()
    (replayed.folder / "prompt.md").write_text("Do your part, and be bold.\n")
    assert work(replayed, notes).reasons == []
    assert done(replayed) == done(recorded)
    (said,) = notes.departures
    assert "in what director reads in experiment 1" in said
    assert "“Do your part, and be bold.”, recorded: “Do your part.”" in said


def test_the_command_names_the_departure_and_has_an_exit_code_for_it(organize: Organize):
    recorded = organize(attempts=1, script=REFUSED)
    work(recorded)
    replayed = again(recorded)

    def org_run() -> tuple[int, str]:
        told = subprocess.run(
            [sys.executable, "-m", "org", "run"],
            cwd=replayed.folder,
            capture_output=True,
            text=True,
        )
        return told.returncode, told.stdout + told.stderr

    code, told = org_run()
    assert (code, "5 recorded replies were given; everyone read what was read then" in told) == (
        *(0, True),
    )
    third = again(recorded, "third")
    (third.folder / "program.md").write_text("Raise val_bpb.\n")
    code, told = org_run()
    assert code == 3
    assert "“Raise val_bpb.”, recorded: “Lower val_bpb.”" in told


def test_a_record_that_ends_ends_the_run_with_one_clear_line_and_more_can_follow(
    organize: Organize,
):
    recorded = organize(attempts=1, script=REFUSED)
    work(recorded)
    replayed = again(recorded, experiments=2)
    (reason,) = work(replayed).reasons
    assert "replay:" in reason and "ends here: 'director' is asked for a Direction" in reason
    assert "\n" not in reason
    replayed.model, replayed.script = "scripted:script.yaml", REFUSED + ALSO_REFUSED
    replayed.write()
    assert work(replayed).reasons == []
    assert [each[3] for each in done(replayed)] == ["discard", "discard"]


def test_a_replay_that_was_stopped_goes_on_where_it_was(organize: Organize):
    recorded = organize(experiments=2, attempts=1, script=REFUSED + ALSO_REFUSED)
    work(recorded)
    replayed = again(recorded)

    class StopsAfterOne(Notes):
        lab: Lab

        def opened(self, lab: Lab) -> None:
            self.lab = lab

        def closed(self, experiment: Experiment, head: Value) -> None:
            self.lab.stop.set()

    stopper, notes = StopsAfterOne(), Notes()
    work(replayed, stopper, opened=stopper.opened)
    assert work(replayed, notes).reasons == []
    assert done(replayed) == done(recorded)
    assert stopper.departures == notes.departures == []


class Order(Notes):
    """Keeps who is asked in one experiment waiting for what happens in the other."""

    def __init__(self, **after: str) -> None:
        super().__init__()
        self.after = after
        self.happened: dict[str, threading.Event] = defaultdict(threading.Event)

    def hold(self, brief: Brief) -> None:
        name = f"{brief.role}_{brief.experiment}"
        self.happened[name].set()
        if name in self.after:
            wait_for(self.happened[self.after[name]])

    def closed(self, experiment: Experiment, head: Value) -> None:
        self.happened[f"closed_{experiment.number}"].set()


def test_two_desks_are_replayed_in_another_order_and_nobody_departs_in_words(organize: Organize):
    recorded = organize(experiments=2, attempts=1, script=REFUSED + ALSO_REFUSED, more={"desks": 2})
    then = Order(director_2="engineer_1", engineer_1="thinker_2", thinker_2="closed_1")
    assert work(recorded, then, hold=then.hold).reasons == []
    replayed, now = again(recorded), Order(director_1="closed_2")
    assert work(replayed, now, hold=now.hold).reasons == []
    assert done(replayed) == done(recorded)
    assert [note for note in now.departures if "in figures only" not in note] == []
    told = CliRunner().invoke(main, ["check", "--config", str(replayed.config_path)])
    assert "say desks: 1, in what is recorded too" in told.output


def test_a_lab_is_not_replayed_into_itself(organize: Organize):
    recorded = organize(attempts=1, script=REFUSED)
    work(recorded)
    recorded.model = "replay:lab"
    recorded.write()
    told = CliRunner().invoke(main, ["run", "--config", str(recorded.config_path)])
    assert told.exit_code == 2
    assert "cannot be replayed into itself" in told.output


def test_where_no_lab_is_there_is_nothing_to_replay(organize: Organize, tmp_path: Path):
    organization = organize(model="replay:nowhere")
    told = CliRunner().invoke(main, ["run", "--config", str(organization.config_path)])
    assert told.exit_code == 2
    assert "expected a lab to replay" in told.output
    Notebook(tmp_path / "notebook.sqlite").close()
    with pytest.raises(LabError, match="nothing to replay"):
        recorded_model(tmp_path)


# --- the model ------------------------------------------------------------------------------------

DIGEST = Digest(program="Lower it.", baseline_bpb=2.0, incumbent_bpb=2.0, noise_bpb=0.01)
DIRECTION = Direction(category="batch", focus="halve it", assignee="optimizer", reason="steps")


def brief(role: str = "director", prompt: str = "You direct.", bpb: float = 2.0) -> Brief:
    digest = DIGEST.model_copy(update={"incumbent_bpb": bpb})
    return Brief(role=role, prompt=prompt, reads=DirectorReads(digest=digest, people=()))


def entry(reply: Any, read: Brief, experiment: int = 1, text: str = "") -> Recorded:
    return Recorded(
        role=read.role,
        experiment=experiment,
        brief_sha=sha_of(as_read(read)),
        text=text,
        reply_json=None if reply is None else reply.model_dump_json(),
    )


def model(*entries: Recorded, read: tuple[Brief, ...] = ()) -> tuple[RecordedModel, list[str]]:
    said: list[str] = []
    texts = {sha_of(as_read(each)): as_read(each) for each in read}
    return RecordedModel(entries, "replay:lab", texts.get, said.append), said


def other(focus: str) -> Direction:
    return DIRECTION.model_copy(update={"focus": focus})


def test_what_is_asked_in_another_order_finds_the_reply_to_the_very_same_brief():
    one, two = brief(prompt="one"), brief(prompt="two")
    replay, said = model(entry(other("first"), one), entry(other("second"), two))
    assert [replay.ask(each, Direction).reply.focus for each in (two, one)] == ["second", "first"]
    assert said == []


def test_the_first_departure_in_figures_and_the_first_in_words_are_told_once_each():
    read = tuple(brief(bpb=bpb) for bpb in (2.0, 1.9, 1.8, 1.7))
    replay, said = model(*(entry(DIRECTION, each, n) for n, each in enumerate(read, 1)), read=read)
    replay.ask(brief(bpb=2.0001), Direction)
    assert replay.departure is None
    replay.ask(brief(bpb=1.9001), Direction)
    replay.ask(brief(prompt="You lead.", bpb=1.8001), Direction)
    replay.ask(brief(prompt="You rule.", bpb=1.7), Direction)
    assert len(said) == 2
    assert "in figures only, in what director reads in experiment 1" in said[0]
    assert "incumbent 2.0001" in said[0] and "incumbent 2.0000" in said[0]
    assert "in experiment 3: “You lead.”, recorded: “You direct.”" in said[1]
    departure = replay.departure
    assert departure is not None and departure.now == "You lead."


def test_a_role_that_was_asked_for_several_things_gets_what_is_asked_for():
    read = brief("reviewer")
    kinds = (Screening(approved=True, reason="r"), Review(explanation="e", lesson="l"))
    replay, _ = model(*(entry(kind, read) for kind in kinds))
    assert replay.ask(read, Review).reply == kinds[1]
    assert replay.ask(read, Screening).reply == kinds[0]
    with pytest.raises(RecordEnds, match=r"after 2 recorded replies$"):
        replay.ask(read, Review)


def test_prose_is_given_word_for_word():
    replay, _ = model(entry(Prose(text="SUMMARY: x\n<<<<"), brief("engineer")))
    answer = replay.ask(brief("engineer"), Prose)
    assert answer.text == answer.reply.text == "SUMMARY: x\n<<<<"
    assert (answer.dollars, answer.prompt_tokens) == (0.0, 0)


def test_a_failure_fails_again_and_costs_nothing():
    replay, _ = model(
        entry(None, brief(), text="no fitting reply\nI shall not"), entry(DIRECTION, brief())
    )
    with pytest.raises(ModelError, match=r"^no fitting reply$") as failed:
        replay.ask(brief(), Direction)
    assert failed.value.words == "I shall not"
    assert failed.value.cost == Cost(prompt_tokens=0, reply_tokens=0, dollars=0.0)
    assert replay.ask(brief(), Direction).reply == DIRECTION


def test_what_was_given_before_a_restart_is_not_given_again():
    one, two = brief(prompt="one"), brief(prompt="two")
    replay, _ = model(entry(other("first"), one), entry(other("second"), two))
    replay.resume(entry(other("second"), two), as_read(two))
    assert replay.ask(brief(prompt="three"), Direction).reply.focus == "first"
    with pytest.raises(RecordEnds):
        replay.resume(entry(other("first"), one), as_read(one))


def test_of_what_was_given_before_a_restart_each_kind_is_left_as_it_was():
    screenings = [Screening(approved=True, reason=f"s{n}") for n in (1, 2)]
    reviews = [Review(explanation=f"e{n}", lesson="l") for n in (1, 2)]
    read = [brief("reviewer", bpb=bpb) for bpb in (2.0, 1.9, 1.8, 1.7)]
    said = [*screenings, *reviews]
    replay, _ = model(*map(entry, said, read), read=tuple(read))
    now = brief("reviewer", bpb=1.5)
    for given in (screenings[0], reviews[0]):
        replay.resume(entry(given, now), as_read(now))
    assert replay.ask(now, Screening).reply == screenings[1]
    assert replay.ask(now, Review).reply == reviews[1]


def test_what_was_said_in_the_same_experiment_comes_first_and_then_what_differs_in_figures_alone():
    read = [brief(prompt=prompt, bpb=bpb) for prompt, bpb in (("a", 2.0), ("b", 1.9), ("c", 1.8))]
    replies = [entry(other(each.prompt), each, n) for n, each in enumerate(read, 1)]
    replay, _ = model(*replies, read=tuple(read))
    now = [brief(prompt=prompt, bpb=1.5) for prompt in "bca"]
    second = now[0].model_copy(update={"experiment": 3})
    given = [replay.ask(each, Direction).reply.focus for each in (second, now[0], now[2])]
    assert given == ["c", "b", "a"]


def test_a_record_without_briefs_says_that_departures_stay_unseen():
    replay, said = model(entry(DIRECTION, brief()), entry(DIRECTION, brief()))
    for _ in range(2):
        replay.ask(brief(prompt="other"), Direction)
    assert len(said) == 1 and "departures stay unseen" in said[0]
    assert "nothing is known of departures" in replay.summary()


# --- what is kept ---------------------------------------------------------------------------------


def test_what_was_read_is_kept_word_for_word_and_each_line_once(tmp_path: Path):
    notebook = Notebook(tmp_path / "notebook.sqlite")
    texts = ["", "one\ntwo\n\none\n", "two\n\none\nthree", "\x00 ünï\r\n\tx", "one\ntwo\n\none\n"]
    shas = [keep_brief(notebook, text) for text in texts]
    assert [brief_text(notebook, sha) for sha in shas] == texts
    assert brief_text(notebook, sha_of("never read")) is None
    lines = [row["text"] for row in notebook.rows("select text from lines")]
    assert len(lines) == len(set(lines)) == 6
    notebook.close()


def test_a_thousand_lines_that_are_known_add_a_few_characters(tmp_path: Path):
    notebook = Notebook(tmp_path / "notebook.sqlite")
    known = "\n".join(f"line {number}" for number in range(1000))
    keep_brief(notebook, known)
    keep_brief(notebook, f"new\n{known}")
    (row,) = notebook.rows("select sum(length(lines)) as characters from briefs")
    assert row["characters"] < 40
    notebook.close()
