"""The people: what they are told, what code mends or objects to, and what stays a quotation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from roles.adviser import advise
from roles.bounds import trespasses
from roles.director import direct
from roles.engineer import candidate_source, write_patch
from roles.hypothesis import hypothesize
from roles.model import Answer, Brief, Model, Reply
from roles.records import (
    OBJECTION,
    OBJECTIONS,
    Advice,
    AdviserReads,
    Digest,
    Direction,
    DirectorReads,
    EngineerReads,
    Entry,
    Hypothesis,
    HypothesisReads,
    NearMisses,
    PaidOff,
    Part,
    Person,
    Prose,
    Reads,
    Review,
    ReviewReads,
    Screening,
    ScreeningReads,
    Suggestion,
    WaysOut,
)
from roles.render import LOG_CHARACTERS, render
from roles.reviewer import mechanical_objection, review, screen
from roles.scripted import ScriptedModel
from tests.test_quoting import outside
from trainer.patch import PatchError

TRAIN = (Path(__file__).parents[1] / "trainer" / "train.py").read_text()

# The imports of a train.py, for what code objects to in the rest.
SOURCE = """
import ctypes
import sys
import time

import torch
import torch.nn.functional as F

from trainer import prepare

SETTING = prepare.setting()
torch.manual_seed(SETTING.seed)
libc = ctypes.CDLL(None)
"""

DIGEST = Digest(
    program="Be bold.\n- no new files",
    baseline_bpb=2.0,
    incumbent_bpb=1.95,
    noise_bpb=0.01,
    entries=(
        Entry(number=1, title="Raise LR", category="optimizer", decision="keep", effect=-0.05),
        Entry(
            number=2,
            title="Wider\n## Heading",
            category="architecture",
            decision="discard",
            effect=-0.004,
            lesson="half as many steps",
        ),
        Entry(number=3, title="Longer warm-up", category="schedule"),
    ),
    left_out=7,
)
DIRECTION = Direction(category="schedule", focus="warm-down", assignee="ada", reason="untried")
HYPOTHESIS = Hypothesis(
    title="Longer warm-down",
    category="schedule",
    change="0.5 to 0.7",
    mechanism="less noise at the end",
    expected_effect=-0.01,
)
PART = Part(
    number=7, title="warm up", category="schedule", effect=0.0004, patch="WARMUP = 0.1 of old"
)
ADVICE = (Advice(speaker="critic", text="count the steps"),)

READS: dict[str, Reads] = {
    "director": DirectorReads(
        digest=DIGEST,
        people=(Person(name="ada", focus="optimizers"),),
        paid_off=(PaidOff(name="ada", tried=9, kept=2, stacked=1, certified_bpb=-0.0123),),
        suggestion=Suggestion(assignee="ada", reason="she has paid off"),
        ways_out=WaysOut(
            evidence="nothing was gained of late",
            ways=("combine near misses", "go back"),
            near_misses=(NearMisses(first=PART, second=PART),),
            keeps=(PART,),
        ),
        advice=ADVICE,
    ),
    "hypothesis": HypothesisReads(
        digest=DIGEST,
        direction=DIRECTION,
        focus="time is the budget",
        source="LR = 0.1\n",
        head_telemetry="1,040 steps",
        objections=("tried already",),
        parts=(PART,),
        advice=ADVICE,
    ),
    "engineer": EngineerReads(
        hypothesis=HYPOTHESIS,
        source="LR = 0.1\n",
        parts=(PART,),
        previous="my last reply",
        complaint="No block found.",
        telemetry="MFU 12 %",
        log="Traceback: boom",
        advice=ADVICE,
    ),
    "screening": ScreeningReads(
        digest=DIGEST,
        hypothesis=HYPOTHESIS,
        source="LR = 0.1  # peak\n",
        diff="-LR = 0.1\n+LR = 0.2\n",
        advice=ADVICE,
    ),
    "review": ReviewReads(
        hypothesis=HYPOTHESIS,
        diff="-LR = 0.1\n+LR = 0.2\n",
        decision="discard",
        evidence="+0.0100 bpb",
        telemetry="90 tokens/s",
        head_telemetry="99 tokens/s",
        log="step 1",
        advice=ADVICE,
    ),
    "adviser": AdviserReads(
        digest=DIGEST,
        moment="before engineer",
        source="LR = 0.1  # peak\n",
        discussion="ada: hello",
    ),
}


def headings(text: str) -> list[str]:
    """The headings that a reader of the markdown sees: those that are not inside of a fence."""
    return [line.lstrip("# ") for line in outside(text).split("\n") if line.startswith("#")]


# What is read.


def test_a_digest_shows_program_figures_failures_near_misses_and_what_was_left_out() -> None:
    text = render(READS["director"])
    assert "Be bold.\n- no new files" in text
    assert "Baseline 2.0000 val_bpb, incumbent 1.9500" in text
    assert "#1 [optimizer] keep, effect -0.0500: Raise LR" in text
    assert "#2 [architecture] discard, effect -0.0040 (a near miss): Wider ## Heading" in text
    assert "lesson: half as many steps" in text
    assert "#3 [schedule] open: Longer warm-up" in text
    assert "7 experiments are not shown" in text
    assert "- ada: optimizers" in text


@pytest.mark.parametrize("who", [OBJECTION, OBJECTIONS])
def test_what_the_review_kept_off_the_stack_is_no_near_miss_in_a_digest(who: str) -> None:
    cheat = Entry(
        number=4,
        title="Remember the text",
        category="architecture",
        decision="discard",
        effect=-0.3,
        error=0.01,
        reason=f"{who}: it has learnt the text by heart.",
    )
    assert cheat.objected
    director = _as(DirectorReads, READS["director"])
    digest = director.digest.model_copy(update={"entries": (cheat,)})
    text = render(director.model_copy(update={"digest": digest}))
    assert "discard, effect -0.3000 ± 0.0100 (kept off the stack by the review): Rem" in text
    assert "(a near miss)" not in text


def test_a_director_reads_what_has_paid_off_and_whom_that_suggests_or_who_is_settled() -> None:
    text = render(READS["director"])
    assert "- ada: 2 kept and 1 on the stack of 9 finished, certified -0.0123" in text
    assert "Suggested: ada, she has paid off. The choice is yours." in text
    settled = Suggestion(assignee="ada", category="batch", reason="she was asked least")
    explores = _as(DirectorReads, READS["director"]).model_copy(update={"suggestion": settled})
    assert "Settled: ada, in batch." in render(explores)


def test_on_a_plateau_a_director_reads_why_it_is_one_and_what_each_way_asks_for() -> None:
    ways_out = WaysOut(
        evidence="nothing was gained of late",
        ways=("combine near misses", "go back"),
        near_misses=(NearMisses(first=PART, second=PART.model_copy(update={"number": 9})),),
        keeps=(PART,),
    )
    text = render(DirectorReads(digest=DIGEST, people=(), ways_out=ways_out))
    assert "plateau: nothing was gained of late." in text
    assert "- combine near misses: `builds_on` one of these pairs: [7, 9]\n" in text
    assert "#7 warm up: +0.0004\n#9 warm up: +0.0004" in text
    assert "- go back: `builds_on` one of these kept changes" in text
    assert "simplify" not in text.partition("The way off the plateau")[2]
    led = DIRECTION.model_copy(update={"way_out": "go back", "builds_on": (7,)})
    reads = _as(HypothesisReads, READS["hypothesis"]).model_copy(update={"direction": led})
    assert "way off the plateau: go back, from experiments 7" in render(reads)


@pytest.mark.parametrize("who", ["hypothesis", "engineer"])
def test_near_misses_to_be_put_together_are_quoted(who: str) -> None:
    text = render(READS[who])
    assert "To be put together: the patch of #7, effect +0.0004" in headings(text)
    assert "WARMUP = 0.1 of old" in text


def test_what_is_not_proven_is_told_apart_from_what_is_and_with_its_uncertainty() -> None:
    on_top = Entry(
        number=4,
        title="Decay",
        category="schedule",
        decision="provisional",
        effect=-0.02,
        error=0.005,
    )
    digest = DIGEST.model_copy(
        update={"entries": (*DIGEST.entries, on_top), "head_bpb": 1.9382, "stacked": 1}
    )
    text = render(DirectorReads(digest=digest, people=()))
    assert "incumbent 1.9500 (proven)" in text
    assert "not proven yet: 1 changes, with which the head is expected to score 1.9382" in text
    assert "#4 [schedule] provisional, effect -0.0200 ± 0.0050: Decay" in text
    assert "expected to score" not in render(READS["director"])


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (
            "hypothesis",
            ["warm-down", "time is the budget", "tried already", "LR = 0.1", "1,040 steps"],
        ),
        (
            "engineer",
            ["0.5 to 0.7", "LR = 0.1", "my last reply", "No block found.", "MFU 12 %", "boom"],
        ),
        ("screening", ["Be bold.", "less noise at the end", "LR = 0.1  # peak", "+LR = 0.2"]),
        (
            "review",
            [
                "Longer warm-down",
                "+LR = 0.2",
                "+0.0100 bpb",
                "90 tokens/s",
                "99 tokens/s",
                "step 1",
            ],
        ),
        ("adviser", ["Be bold.", "before engineer", "LR = 0.1  # peak", "ada: hello"]),
    ],
)
def test_everyone_is_shown_all_that_they_read(who: str, expected: list[str]) -> None:
    text = render(READS[who])
    assert [part for part in expected if part not in text] == []
    assert ("count the steps" in text) == (who != "adviser")
    assert "\n\n\n" not in text


def test_what_is_not_there_has_no_heading() -> None:
    text = render(EngineerReads(hypothesis=HYPOTHESIS, source="LR = 0.1\n"))
    assert headings(text) == ["The hypothesis", "train.py as it stands"]


def test_a_source_is_shown_whole_and_as_it_is() -> None:
    assert TRAIN in render(EngineerReads(hypothesis=HYPOTHESIS, source=TRAIN))


def test_a_long_log_keeps_its_two_ends_and_says_what_was_cut() -> None:
    log = "first\n" + "x" * 3 * LOG_CHARACTERS + "\nlast"
    text = render(EngineerReads(hypothesis=HYPOTHESIS, source="", log=log))
    assert "```text\nfirst\n" in text
    assert text.endswith("\nlast\n```")
    cut = re.search(r"\[… (\d+) characters, \d+ line ends, were cut here …\]", text)
    assert cut is not None
    assert text.count("x" * 100) > 0
    assert len(log) - int(cut[1]) == LOG_CHARACTERS


# The people.


class Listener:
    """A model that keeps the briefs on their way to a script."""

    def __init__(self, *replies: tuple[str, Direction | Hypothesis | Screening | Review | str]):
        self.script = ScriptedModel(replies)
        self.briefs: list[Brief] = []

    @property
    def name(self) -> str:
        return self.script.name

    def ask(self, brief: Brief, reply_type: type[Reply]) -> Answer[Reply]:
        self.briefs.append(brief)
        return self.script.ask(brief, reply_type)


def test_each_role_speaks_under_its_name_with_its_prompt_and_reads() -> None:
    screening = Screening(approved=True, reason="fine")
    words = Review(explanation="it fell", lesson="warm up")
    led = DIRECTION.model_copy(update={"way_out": "go back", "builds_on": (7,)})
    model: Model = Listener(
        ("boss", led),
        ("ada", HYPOTHESIS),
        ("eve", "a patch"),
        ("rex", screening),
        ("rex", words),
        ("sage", "count the steps"),
    )
    reads = READS
    assert direct(model, "boss", "p1", _as(DirectorReads, reads["director"])).reply == led
    asked = hypothesize(model, "ada", "p2", _as(HypothesisReads, reads["hypothesis"]))
    assert asked.reply == HYPOTHESIS
    patch = write_patch(model, "eve", "p3", _as(EngineerReads, reads["engineer"]))
    assert patch.reply == Prose(text="a patch")
    screened = screen(model, "rex", "p4", _as(ScreeningReads, reads["screening"]))
    assert screened.reply == screening
    assert review(model, "rex", "p4", _as(ReviewReads, reads["review"])).reply == words
    advice = advise(model, "sage", "p5", _as(AdviserReads, reads["adviser"]))
    assert advice.reply.text == "count the steps"
    assert isinstance(model, Listener)
    assert [(brief.role, brief.prompt) for brief in model.briefs] == [
        ("boss", "p1"),
        ("ada", "p2"),
        ("eve", "p3"),
        ("rex", "p4"),
        ("rex", "p4"),
        ("sage", "p5"),
    ]
    assert [brief.reads for brief in model.briefs] == list(reads.values())


def _as(kind: type[Reply], reads: Reads) -> Reply:
    assert isinstance(reads, kind)
    return reads


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("ada", "ada"),
        ("Grace", "grace"),
        ("grace (schedules)", "grace"),
        ("gracie", "grace"),
        ("nobody I know", "ada"),
        ("", "ada"),
    ],
)
def test_an_assignee_who_does_not_work_here_is_mended_to_one_who_does(
    said: str, meant: str
) -> None:
    reads = DirectorReads(digest=DIGEST, people=(Person(name="ada"), Person(name="grace")))
    direction = DIRECTION.model_copy(update={"assignee": said})
    answer = direct(ScriptedModel([("director", direction)]), "director", "", reads)
    assert answer.reply == DIRECTION.model_copy(update={"assignee": meant})
    assert answer.text == direction.model_dump_json()


def test_an_engineers_text_becomes_a_source_or_a_complaint() -> None:
    text = "SUMMARY: x\n<<<<<<< SEARCH\na = 1\n=======\na = 2\n>>>>>>> REPLACE\n"
    patch, source = candidate_source(text, "a = 1\nb = 2\n")
    assert (patch.summary, source) == ("x", "a = 2\nb = 2\n")
    with pytest.raises(PatchError, match="SEARCH block 1 matches nothing"):
        candidate_source(text, "b = 2\n")


# What code objects to.


@pytest.mark.parametrize(
    "code",
    [
        "import itertools\nfrom functools import cache\nimport numpy as np",
        "from torch.nn import functional, init",
        "torch.backends.mkldnn.enabled = True",
        "torch._inductor.config.coordinate_descent_tuning = True",
        "torch.cuda.manual_seed(prepare.setting().seed)",
        "noise = torch.Generator().manual_seed(prepare.setting().seed)",
        "GPT().eval()\nGPT.depth = 7",
        "print(sys.platform)\nsys.exit('cannot go on')",
        "def explained():\n    " + repr("Why it is so. " * 60),
        f"WINDOWS = {[64] * 64}",
    ],
)
def test_the_baseline_may_be_changed_as_an_engineer_would(code: str) -> None:
    assert mechanical_objection(f"{TRAIN}{code}\n", TRAIN) is None


def test_a_patch_that_changes_no_code_is_objected_to() -> None:
    said = mechanical_objection(TRAIN + "\n# better\n", TRAIN)
    assert said == "The patch changes nothing but comments or layout."


@pytest.mark.parametrize("unseen", ["\u202e", "\x0c", "\U000e0041", "<|im_start|>", "[INST]"])
def test_a_line_that_could_not_be_shown_as_it_is_is_objected_to(unseen: str) -> None:
    source = f"{SOURCE}# known {unseen}\n"
    assert mechanical_objection(f"{source}a = 1\n", source) is None
    said = mechanical_objection(f"{source}a = 1  # {unseen}\n", source)
    assert said is not None and said.isprintable()
    assert f"in line {source.count(chr(10)) + 1}: 'a = 1" in said


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import os", "imports os"),
        ("import os.path as p", "imports os.path"),
        ("from subprocess import run", "imports subprocess.run"),
        ("import socket, math", "imports socket"),
        ("import torch.multiprocessing", "imports torch.multiprocessing"),
        ("from torch import load", "imports torch.load"),
        ("from trainer import trial", "imports trainer.trial"),
        ("import trainer.scorer", "imports trainer.scorer"),
        ("from trainer.prepare import _trial", "imports trainer.prepare._trial"),
        ("from org import lab", "imports org.lab"),
        ("from . import prepare as p", "imports .prepare"),
        ("ctypes.CDLL('libevil.so')", "calls ctypes.CDLL('libevil.so')"),
        ("sys.modules['x']", "uses sys.modules"),
        ("torch.load('weights.pt')", "calls torch.load('weights.pt')"),
        ("torch.hub.load('a', 'b')", "calls torch.hub.load('a', 'b')"),
        ("prepare._trial()", "calls prepare._trial()"),
        ("prepare.os.environ['KEY']", "uses trainer.prepare.os.environ"),
        ("p = prepare", "hands trainer.prepare around"),
        ("prepare.evaluate = print", "assigns to trainer.prepare.evaluate"),
        ("time.monotonic = lambda: 0.0", "assigns to time.monotonic"),
        ("F.cross_entropy = min", "assigns to torch.nn.functional.cross_entropy"),
        ("del torch.compile", "assigns to torch.compile"),
        ("setattr(prepare, 'x', 1)", "sets an attribute by its name: setattr(prepare, 'x', 1)"),
        ("open('/etc/passwd')", "uses open"),
        ("f = eval", "uses eval"),
        ("exec('x = 1')", "uses exec"),
        ("__import__('os')", "uses __import__"),
        ("(lambda: 0).__globals__", "uses (lambda: 0).__globals__"),
        ("torch.manual_seed(7)", "sets a seed of its own: torch.manual_seed(7)"),
        ("torch.manual_seed(SETTING.seed + 1)", "sets a seed of its own: torch.manual_seed("),
        ("torch.seed()", "sets a seed of its own: torch.seed()"),
        ("seed = 7", "has a seed of its own"),
        ("SETTING.seed = 7", "assigns to SETTING.seed"),
        ("object.__setattr__(SETTING, 'seed', 7)", "sets an attribute by its name"),
        ("dict(seed=7)", "sets a seed of its own: seed=7"),
        (f"VERSE = {'In the beginning ' * 40!r}", "holds a text of 680 characters"),
        (f"VERSE = {b'x' * 301!r}", "holds a text of 301 characters"),
        (f"BIAS = {list(range(65))}", "holds a table of 65 elements"),
        (f"BIAS = {dict.fromkeys(range(65), 1)}", "holds a table of 65 elements"),
        (f"PACKED = {1 << 4000}", "holds a number of 4001 bits"),
        ("text = GPT.__doc__", "uses GPT.__doc__"),
    ],
)
def test_what_is_none_of_its_business_is_objected_to_with_the_line(code: str, what: str) -> None:
    line = SOURCE.count("\n") + 1
    said = mechanical_objection(f"{SOURCE}{code}\n", SOURCE)
    assert said is not None
    assert f"line {line} {what}" in said


def test_many_trespasses_make_one_objection_of_bounded_length() -> None:
    code = "".join(
        f"open('{'x' * 250}{number}')\neval('{number}')\nimport os{number}\n"
        for number in range(50)
    )
    said = mechanical_objection(code, "a = 1\n")
    assert said is not None
    assert "and 47 more" in said
    assert len(said) <= 1500


def test_what_the_source_does_already_is_no_objection() -> None:
    source = "import os\nprint(os.environ['A'], open('x'))\n"
    assert set(trespasses(source)) == {"imports os", "uses os.environ", "uses open"}
    assert mechanical_objection(source + "a = 1\n", source) is None
    said = mechanical_objection(source + "os.kill(1, 9)\n", source)
    assert said is not None
    assert said.endswith("line 3 calls os.kill(1, 9).")


def test_of_several_pieces_each_is_read_with_what_the_others_import() -> None:
    text = "In the beginning " * 40
    source = f"""def f():
    import gc as F


{text!r}


F.gelu = print
import torch.nn.functional as F


class A:
    {text!r}
"""
    assert trespasses(source) == {"holds a text of 680 characters": 5, "assigns to gc.gelu": 8}
    docstring = f"# a licence\n\n\n{text!r}\n\n\na = 1\n"
    assert trespasses(docstring) == {}
