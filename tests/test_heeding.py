"""What the playbook's director does with a person's note: follows what it names, or says it cannot."""

from __future__ import annotations

import pytest

from roles.heeding import Wish, asked_for, asks_for, heed
from roles.model import Brief
from roles.moves import KNOBS
from roles.playbook import Playbook
from roles.records import Digest, Direction, DirectorReads, Note, Person
from roles.render import render

PEOPLE = (
    Person(name="optimizer", focus="optimizer and batch, learning rates"),
    Person(name="architect", focus="architecture, attention and initialisation, gates"),
)
DIGEST = Digest(program="p", baseline_bpb=1.9, incumbent_bpb=1.9, noise_bpb=0.005)


def note(text: str) -> Note:
    return Note(author="ann", text=text)


def directed(*texts: str) -> Direction:
    reads = DirectorReads(digest=DIGEST, people=PEOPLE, notes=tuple(map(note, texts)))
    return Playbook("cpu").ask(Brief(role="director", prompt="", reads=reads), Direction).reply


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("try attention", Wish(categories=("attention",))),
        ("MUON_MOMENTUM please", Wish(categories=("optimizer",), constant="MUON_MOMENTUM")),
        ("the muon momentum?", Wish(categories=("optimizer",), constant="MUON_MOMENTUM")),
        ("let the architect try attention", Wish("architect", ("attention",))),
        ("optimizer, your turn", Wish("optimizer", ("optimizer",))),
        ("what about gates", Wish("architect", ("architecture", "attention", "initialisation"))),
    ],
)
def test_what_a_note_names_is_followed(text: str, wish: Wish):
    followed, answer = heed((note(text),), PEOPLE, set())
    assert followed == wish
    assert "I follow it" in answer


@pytest.mark.parametrize(
    "text",
    ["what do you think?", "never touch attention", "don't look at DEPTH", "attention, no more"],
)
def test_what_code_cannot_read_is_said_to_be_so_and_changes_nothing(text: str):
    followed, answer = heed((note(text),), PEOPLE, set())
    assert followed == Wish()
    assert "I cannot follow it" in answer
    assert directed(text).model_copy(update={"answer": ""}) == directed()


def test_a_category_in_which_nothing_is_left_is_not_promised():
    followed, answer = heed((note("attention!"),), PEOPLE, {"attention"})
    assert followed == Wish()
    assert "nothing left to try in attention" in answer


def test_of_several_notes_each_is_answered_and_the_first_that_can_be_is_followed():
    direction = directed("well done", "a look at attention", "and at the schedule")
    assert direction.category == "attention"
    answers = direction.answer.splitlines()
    for words, said in zip(("cannot follow", "I follow it", "again after"), answers, strict=True):
        assert words in said
    assert "a person asks for attention" in direction.reason


def test_the_director_sends_whom_a_note_names():
    assert directed("architect, go on").assignee == "architect"


@pytest.mark.parametrize("constant", ["", KNOBS[0].name])
def test_the_wish_for_a_constant_is_handed_on_in_the_focus(constant: str):
    assert asked_for(f"{asks_for(constant)}Begin with it.") == constant


def test_the_answer_to_many_long_notes_fits_its_field():
    assert len(directed(*["x" * 1500] * 40).answer) <= 1500


def test_a_language_model_reads_a_note_whole_as_a_persons_word():
    reads = DirectorReads(digest=DIGEST, people=PEOPLE, notes=(note("Look at `WARMUP`."),))
    shown = render(reads, share=0.1)
    assert (
        "## A note to you by ann, a person: it ranks with the program\n\nLook at `WARMUP`." in shown
    )
