"""The prompts, and all that is told with them: right in their examples, and short enough."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from org.config_reading import load_config
from org.digest import make_digest
from org.lab import DIGEST_TOKENS
from org.notebook import Notebook
from roles.constants import find_constants
from roles.model import Brief
from roles.records import (
    Advice,
    AdviserReads,
    Decision,
    Digest,
    Direction,
    DirectorReads,
    EngineerReads,
    Hypothesis,
    HypothesisReads,
    Note,
    Person,
    Prose,
    Reads,
    Record,
    Review,
    ReviewReads,
    Screening,
    ScreeningReads,
    Verdict,
)
from roles.tokens import count_tokens
from tests.chats import model_at
from tests.notebooks import RUN, Night
from tests.openai_server import OpenAIServer, prompt_of
from trainer.patch import Edit, Patch
from trainer.setting import PROFILES

ROOT = Path(__file__).parents[1]
CONFIG = load_config(ROOT / "org.yaml", to_run=False)
TRAIN = (ROOT / "trainer" / "train.py").read_text()
PROGRAM = (ROOT / "program.md").read_text()
WINDOW_TOKENS = 16_384

# --- a full notebook ----------------------------------------------------------------------------

WORDS = "Twice the batch takes half the steps, each 1.9 times as long: 0.0123 lost. "
TITLE = ("Raise MATRIX_LR from 0.06 to 0.12, and " * 9)[:200]
LONG = (WORDS * 30)[:1500]
EXPERIMENTS = 200


def decision_on(number: int) -> Decision | None:
    """Two are open, five on the stack, and of the others every tenth was kept."""
    if number > EXPERIMENTS - 2:
        return None
    if 190 < number <= 195:
        return "provisional"
    return {0: "keep", 3: "dropped", 7: "crash"}.get(number % 10, "discard")


LOG = 'File "train.py", line 412, in step\n    loss = self.add_gradients(batches)\n' * 400
DIFF = "".join(f"-LAYER_{n} = {n}\n+LAYER_{n} = {n + 1}  # one more\n" for n in range(900))


def full_digest() -> Digest:
    """Of a notebook of two hundred experiments, each of many words."""
    with TemporaryDirectory() as folder, closing(Notebook(Path(folder, "n.sqlite"))) as notebook:
        night = Night(notebook)
        idea = Hypothesis(
            title=TITLE,
            category="optimizer",
            change=LONG[:600],
            mechanism=LONG,
            expected_effect=-0.01,
        )
        patch = Patch(edits=(Edit(search="a", replace="b"),), summary=TITLE)
        with notebook.transaction():
            for number in range(1, EXPERIMENTS + 1):
                experiment = notebook.reserve_experiment(RUN, "desk 1", None)
                assert experiment is not None
                notebook.set_hypothesis(experiment.id, idea)
                sha = notebook.keep_source(str(number))
                shas = {"head_sha": night.head, "candidate_sha": sha, "normalized_sha": sha}
                notebook.set_patch(experiment.id, patch, **shas)
                if decision := decision_on(number):
                    verdict = Verdict(decision=decision, reason=LONG[:300], lesson=LONG[:600])
                    notebook.close_experiment(experiment.id, verdict, -0.0123, 0.0045)
        return make_digest(
            notebook,
            PROGRAM,
            besides=0,
            baseline_bpb=1.3642,
            incumbent_bpb=1.3211,
            head_bpb=1.3144,
            stacked=5,
            noise_bpb=0.0041,
            terms=PROFILES["cpu"].in_words(),
            count_tokens=count_tokens,
            at_most_tokens=DIGEST_TOKENS,
        )


DIGEST = full_digest()
HYPOTHESIS = Hypothesis(
    title=TITLE, category="optimizer", change=LONG, mechanism=LONG, expected_effect=-0.01
)
DIRECTION = Direction(
    category="optimizer", focus=LONG[:450], assignee="optimizer", reason=LONG[:450]
)
ADVICE = (Advice(speaker="skeptic", text=LONG),)
FULL: dict[str, tuple[str, Reads, type[Record]]] = {
    "directing": (
        "director",
        DirectorReads(
            digest=DIGEST,
            people=tuple(Person(name=p.name, focus=p.focus) for p in CONFIG.roles.hypothesis),
            notes=(Note(author="ada", text=LONG),),
            advice=ADVICE,
        ),
        Direction,
    ),
    "proposing": (
        "hypothesis",
        HypothesisReads(
            digest=DIGEST,
            direction=DIRECTION,
            focus=CONFIG.roles.hypothesis[0].focus,
            source=TRAIN,
            head_telemetry=LONG[:420],
            objections=(LONG, LONG),
            advice=ADVICE,
        ),
        Hypothesis,
    ),
    "writing": ("engineer", EngineerReads(hypothesis=HYPOTHESIS, source=TRAIN), Prose),
    "mending": (
        "engineer",
        EngineerReads(
            hypothesis=HYPOTHESIS,
            source=TRAIN,
            previous=DIFF,
            complaint=LOG,
            telemetry=LONG[:420],
            log=LOG,
            advice=ADVICE,
        ),
        Prose,
    ),
    "screening": (
        "reviewer",
        ScreeningReads(
            digest=DIGEST, hypothesis=HYPOTHESIS, source=TRAIN, diff=DIFF, advice=ADVICE
        ),
        Screening,
    ),
    "reviewing": (
        "reviewer",
        ReviewReads(
            hypothesis=HYPOTHESIS,
            diff=DIFF,
            decision="crash",
            evidence=LONG,
            telemetry=LONG[:420],
            head_telemetry=LONG[:420],
            log=LOG,
            advice=ADVICE,
        ),
        Review,
    ),
    "advising": (
        "skeptic",
        AdviserReads(
            digest=DIGEST,
            moment="before engineer",
            source=TRAIN,
            discussion=f"{LONG}\n{DIFF}" * 9,
        ),
        Prose,
    ),
}
# Where there is no room for all that could be, quotes and notebook are cut; train.py never is for
# those who change it, and first for those who only look at it.
CUT = ("proposing", "mending", "screening", "advising")
EDITING = ("proposing", "writing", "mending")


def prompt(name: str) -> str:
    return (ROOT / "roles" / f"{name}.md").read_text()


def told(moment: str, window: int | None) -> str:
    """All that a language model is told, as it comes to the endpoint."""
    role, reads, reply_type = FULL[moment]
    brief = Brief(role=role, prompt=prompt(role), reads=reads)
    example = examples(role, reply_type)[0] if reply_type is not Prose else "SUMMARY: none"
    with OpenAIServer([example]) as server:
        model_at(server, window=window).ask(brief, reply_type)
    return prompt_of(server.chats[0])


def examples(role: str, kind: type[Record]) -> list[str]:
    """The replies of one kind that a prompt shows."""
    (shown,) = re.findall(r"```json\n(.*?)```", prompt(role), re.DOTALL)
    return [
        each for each in shown.splitlines() if json.loads(each).keys() <= kind.model_fields.keys()
    ]


@pytest.mark.parametrize("moment", FULL)
def test_with_a_full_notebook_all_that_is_told_fits_into_16k_tokens(moment: str) -> None:
    text = told(moment, WINDOW_TOKENS)
    assert count_tokens(text) <= WINDOW_TOKENS
    assert ("## What was cut" in text) == (moment in CUT)
    assert (TRAIN in text) == (moment in EDITING)
    if hasattr(FULL[moment][1], "source") and moment not in EDITING:
        lines = TRAIN.count("\n")
        assert f"Lines 1 to {lines} of {lines} are not shown" in text


@pytest.mark.parametrize("moment", [each for each in FULL if hasattr(FULL[each][1], "digest")])
def test_in_16k_tokens_the_program_and_the_latest_results_are_there(moment: str) -> None:
    text = told(moment, WINDOW_TOKENS)
    assert PROGRAM.strip() in text
    assert "experiments are not shown" in text
    # The latest of all, of those that are over, and of those that are on the stack.
    for number in (200, 198, 195):
        assert f"\n- #{number} [" in text


@pytest.mark.parametrize("moment", FULL)
def test_where_no_window_is_known_nothing_is_cut_and_all_there_is_comes_to_32k_tokens_at_most(
    moment: str,
) -> None:
    text = told(moment, None)
    assert count_tokens(text) <= 2 * WINDOW_TOKENS
    assert "## What was cut" not in text
    assert getattr(FULL[moment][1], "source", "") in text


@pytest.mark.parametrize("moment", FULL)
def test_in_4k_tokens_each_still_has_its_prompt_and_knows_that_much_was_cut(moment: str) -> None:
    text = told(moment, 4096)
    assert count_tokens(text) <= 4096
    assert prompt(FULL[moment][0]).strip() in text
    assert "cut" in text


# --- what the prompts say -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "kind"),
    [
        ("director", Direction),
        ("hypothesis", Hypothesis),
        ("reviewer", Screening),
        ("reviewer", Review),
    ],
)
def test_the_example_of_a_prompt_is_a_reply_with_every_field(role: str, kind: type[Record]) -> None:
    (example,) = examples(role, kind)
    fields = json.loads(example)
    kind.model_validate(fields)
    assert fields.keys() == kind.model_fields.keys()


def test_the_directors_example_assigns_someone_of_the_default_organization() -> None:
    (example,) = examples("director", Direction)
    assert json.loads(example)["assignee"] in [role.name for role in CONFIG.roles.hypothesis]


@pytest.mark.parametrize("role", ["director", "hypothesis", "engineer", "reviewer"])
def test_a_prompt_says_what_is_read_written_judged_and_what_goes_wrong(role: str) -> None:
    text = prompt(role)
    assert "ou read" in text
    assert "ou write" in text
    assert "## How you are judged" in text
    assert "## What goes wrong, and what to do instead" in text
    assert count_tokens(text) <= 1050


PROMPTS = sorted((ROOT / "roles").glob("*.md")) + [
    path for path in sorted((ROOT / "examples").glob("*/*.md")) if path.name != "README.md"
]


@pytest.mark.parametrize("path", PROMPTS, ids=lambda path: path.name)
def test_constants_that_a_prompt_names_are_there_with_the_values_that_it_says(path: Path) -> None:
    text = path.read_text()
    constants = {each.name: each.values for each in find_constants(TRAIN, "cpu").values()}
    for name in re.findall(r"\b[A-Z]+_[A-Z]+\b", text):
        assert re.search(rf"\b{name} = ", TRAIN + text), name
    for name, old in re.findall(r"\b([A-Z][A-Z_]+)\b(?: for cpu)? from ([\d.]*\d)", text):
        assert constants[name] == (float(old),), f"{name} is not {old}"


PEOPLE = sorted(
    {
        (role.prompt.resolve().relative_to(ROOT).as_posix(), kind)
        for path in (ROOT / "org.yaml", *(ROOT / "examples").glob("*/org.yaml"))
        for roles in [load_config(path, to_run=False).roles]
        for role, *kinds in (
            (roles.director, Direction),
            *((each, Hypothesis) for each in roles.hypothesis),
            (roles.engineer, Prose),
            *((each, Screening, Review) for each in roles.reviewers),
        )
        for kind in kinds
    },
    key=str,
)


@pytest.mark.parametrize(("path", "kind"), PEOPLE)
def test_whoever_has_a_prompt_is_told_every_field_of_their_reply(
    path: str, kind: type[Record]
) -> None:
    text = (ROOT / path).read_text()
    if kind is Prose:
        said = ["`SUMMARY:", "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE", "`CANNOT:"]
        assert [each for each in said if each not in text] == []
    else:
        assert [name for name in kind.model_fields if f"`{name}`" not in text] == []
    if kind is Direction:
        assert "notes of a person" in " ".join(text.split())
