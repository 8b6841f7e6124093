"""A reply that was paid for is found again in the notebook and not asked for twice."""

import pytest

from org.discussion import OnRecord, say, spoken
from org.notebook import Notebook, Run
from roles.director import leading
from roles.model import Brief
from roles.records import (
    AdviserReads,
    Digest,
    Direction,
    DirectorReads,
    EngineerReads,
    Hypothesis,
    Prose,
    Review,
    Screening,
    WaysOut,
)
from roles.scripted import ScriptedModel, ScriptExhausted

DIRECTION = {"category": "batch", "focus": "halve it", "assignee": "optimizer", "reason": "steps"}
READS = DirectorReads(
    digest=Digest(program="p", baseline_bpb=2.0, incumbent_bpb=2.0, noise_bpb=0.01), people=()
)
BRIEF = Brief(role="director", prompt="You direct.", reads=READS)


@pytest.fixture
def notebook(tmp_path):
    book = Notebook(tmp_path / "notebook.sqlite")
    sha = book.keep_source("x = 1\n")
    terms = {"org_yaml": "", "setting_json": "", "pins_json": "", "models_json": ""}
    book.begin_run(Run(id="r", started=1.0, baseline_sha=sha, **terms))
    book.reserve_experiment("r", "desk 1", None)
    yield book
    book.close()


def test_a_step_that_runs_again_hears_the_same_reply_for_free(notebook):
    script = ScriptedModel([("director", DIRECTION)])
    for _ in range(2):
        voice = OnRecord(script, notebook, "r", "r-0001", "direct")
        answer = voice.ask(BRIEF, Direction)
        assert answer.reply.focus == "halve it"
    assert not script.remaining()
    assert len(notebook.messages("r-0001")) == 1


def test_a_reply_that_was_accepted_stays_accepted_where_more_is_asked_of_it_by_now(notebook):
    """As on a plateau that was not there yet when the director spoke, before a kill."""
    script = ScriptedModel([("director", DIRECTION)])
    OnRecord(script, notebook, "r", "r-0001", "direct").ask(BRIEF, Direction)
    narrower = leading(WaysOut(evidence="nothing was gained", ways=("simplify",), stale=()))
    answer = OnRecord(script, notebook, "r", "r-0001", "direct").ask(BRIEF, narrower)
    assert (answer.reply.way_out, answer.reply.category) == (None, "batch")


def test_another_step_is_asked_anew(notebook):
    script = ScriptedModel([("director", DIRECTION)])
    OnRecord(script, notebook, "r", "r-0001", "direct").ask(BRIEF, Direction)
    with pytest.raises(ScriptExhausted):
        OnRecord(script, notebook, "r", "r-0001", "direct.2").ask(BRIEF, Direction)


def test_a_message_says_who_spoke_to_whom_and_what_was_asked(notebook):
    script = ScriptedModel([("director", DIRECTION)])
    OnRecord(script, notebook, "r", "r-0001", "direct").ask(BRIEF, Direction)
    (message,) = notebook.messages("r-0001")
    assert (message.speaker, message.listener, message.kind) == (
        "director",
        "hypothesis",
        "direct",
    )
    assert message.brief_sha is not None and message.model == script.name


def test_advice_is_said_to_everyone_and_a_patch_to_the_reviewer(notebook):
    digest, source = READS.digest, "x = 1\n"
    hypothesis = Hypothesis(
        title="t", category="batch", change="c", mechanism="m", expected_effect=-0.01
    )
    heard = {
        "sage": AdviserReads(digest=digest, moment="before engineer", discussion=""),
        "engineer": EngineerReads(hypothesis=hypothesis, source=source),
    }
    for role, reads in heard.items():
        script = ScriptedModel([(role, "So it is.")])
        brief = Brief(role=role, prompt="Speak.", reads=reads)
        OnRecord(script, notebook, "r", "r-0001", "s").ask(brief, Prose)
    said = {each.speaker: each.listener for each in notebook.messages("r-0001")}
    assert said == {"sage": "everyone", "engineer": "reviewer"}


def test_the_lab_says_a_thing_once_and_has_no_model(notebook):
    for _ in range(2):
        say(notebook, "r", "r-0001", "engineer.1.1", "engineer", "it does not fit")
    (message,) = notebook.messages("r-0001")
    assert message.speaker == "lab" and message.model is None and message.dollars is None


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        (Direction.model_validate(DIRECTION), "halve it"),
        (Direction.model_validate({**DIRECTION, "urgent": True}), ", urgent: halve it"),
        (
            Hypothesis(
                title="t", category="batch", change="c", mechanism="m", expected_effect=-0.01
            ),
            "−0.0100 bpb",
        ),
        (Screening(approved=False, reason="two changes"), "Objection: two changes"),
        (Review(explanation="e", lesson="l", objects=True), "must not go on the stack. e"),
        (Review(explanation="e", lesson="l", certify=True), "should be certified now. e"),
        (Prose(text="as it is"), "as it is"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_reply_can_be_said_aloud(reply, word):
    assert word in spoken(reply)
