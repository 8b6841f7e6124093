"""A script behind the door: each role its replies in order, and loud when it does not fit."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from roles.model import Brief, ModelError, Reply
from roles.records import AdviserReads, Digest, Direction, Prose, Review, Screening
from roles.scripted import ScriptedModel, ScriptExhausted, ScriptMisfit

READS = AdviserReads(
    digest=Digest(program="", baseline_bpb=2.0, incumbent_bpb=2.0, noise_bpb=0.01),
    moment="",
    discussion="",
)
YES = Screening(approved=True, reason="fine")
NO = Screening(approved=False, reason="two changes in one")


def ask(model: ScriptedModel, role: str, reply_type: type[Reply]) -> Reply:
    return model.ask(Brief(role=role, prompt="", reads=READS), reply_type).reply


def written(folder: Path, text: str) -> Path:
    path = folder / "script.yaml"
    path.write_text(text)
    return path


def test_each_role_gets_its_own_replies_in_order() -> None:
    model = ScriptedModel([("reviewer", YES), ("engineer", "a patch"), ("reviewer", NO)])
    assert ask(model, "reviewer", Screening) == YES
    assert model.remaining() == {"reviewer": 1, "engineer": 1}
    assert ask(model, "reviewer", Screening) == NO
    assert ask(model, "engineer", Prose) == Prose(text="a patch")
    assert model.remaining() == {}


def test_an_answer_says_that_it_was_scripted_and_cost_nothing_that_is_known() -> None:
    model = ScriptedModel([("reviewer", YES)])
    answer = model.ask(Brief(role="reviewer", prompt="", reads=READS), Screening)
    assert (answer.model, answer.text) == ("scripted", YES.model_dump_json())
    assert (answer.prompt_tokens, answer.reply_tokens, answer.dollars) == (None, None, None)


def test_a_script_is_read_from_yaml(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "- director: {category: optimizer, focus: f, assignee: a, reason: r}\n"
        "- engineer: |\n    SUMMARY: x\n    no block\n"
        "- reviewer: {explanation: it fell, lesson: warm up}\n",
    )
    model = ScriptedModel.read(path)
    assert model.name == f"scripted:{path}"
    assert ask(model, "director", Direction).assignee == "a"
    assert ask(model, "engineer", Prose).text == "SUMMARY: x\nno block\n"
    assert ask(model, "reviewer", Review).objects is False
    assert model.remaining() == {}


def test_a_script_that_runs_out_says_who_asked_for_what() -> None:
    model = ScriptedModel([("reviewer", YES)])
    ask(model, "reviewer", Screening)
    with pytest.raises(ScriptExhausted, match="'reviewer' is asked for reply 2, a Review, but the"):
        ask(model, "reviewer", Review)
    with pytest.raises(ScriptExhausted, match=r"'enginer' .* has 0 for it \(it has reviewer\)"):
        ask(model, "enginer", Prose)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (NO, "should be a Direction; it is a Screening"),
        ("optimizer", "should be a Direction; it is the text 'optimizer'"),
        ({"category": "luck"}, "should be a Direction; category: Input should be"),
        ({"category": "batch", "focus": "", "assignee": "", "reason": "", "x": 1}, "x: Extra"),
    ],
)
def test_a_reply_that_does_not_fit_says_which_and_why(
    reply: Screening | dict[str, object] | str, reason: str
) -> None:
    model = ScriptedModel([("director", reply)])
    with pytest.raises(ScriptMisfit) as raised:
        ask(model, "director", Direction)
    assert "reply 1 of 'director'" in str(raised.value)
    assert reason in str(raised.value)
    assert model.remaining() == {"director": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("director: x", "a list is expected"),
        ("- director: x\n- {a: b, c: d}", "item 2 should be `role: reply`"),
        ("- director", "item 1 should be `role: reply`"),
        ("- director: 3", "item 1 should be `role: reply`"),
        ("- a: [", "line 1"),
        ("", "a list is expected"),
    ],
)
def test_a_file_that_is_no_script_is_one_clear_line(tmp_path: Path, text: str, reason: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ScriptMisfit) as raised:
        ScriptedModel.read(path)
    assert str(raised.value).startswith(f"script {path}: ")
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_script_that_is_not_there_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        ScriptedModel.read(tmp_path / "none.yaml")


def test_a_resumed_script_goes_on_after_what_is_recorded() -> None:
    script: list[tuple[str, Screening | str]] = [
        ("reviewer", YES),
        ("reviewer", NO),
        ("engineer", "p"),
    ]
    resumed = ScriptedModel(script)
    resumed.skip("reviewer", 1)
    resumed.skip("director", 0)
    assert resumed.remaining() == {"reviewer": 1, "engineer": 1}
    assert ask(resumed, "reviewer", Screening) == NO
    resumed.skip("reviewer", 1)
    assert resumed.remaining() == {"engineer": 1}


def test_a_script_shorter_than_the_record_is_not_the_one_that_was_begun_with() -> None:
    with pytest.raises(
        ScriptExhausted, match=r"2 replies of 'reviewer' are recorded, but .* has 1"
    ):
        ScriptedModel([("reviewer", YES)]).skip("reviewer", 2)


def test_desks_that_share_a_script_get_every_reply_once() -> None:
    model = ScriptedModel([("engineer", str(number)) for number in range(200)])
    with ThreadPoolExecutor(8) as pool:
        texts = pool.map(lambda _: ask(model, "engineer", Prose).text, range(200))
        assert Counter(texts) == Counter(str(number) for number in range(200))
    assert model.remaining() == {}
