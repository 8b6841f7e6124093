"""What a role reads fits into its model's window, and what was cut is said."""

from __future__ import annotations

import pytest

from roles.fit import fit
from roles.model import Brief
from roles.records import (
    Advice,
    AdviserReads,
    Digest,
    Direction,
    EngineerReads,
    Entry,
    Hypothesis,
    HypothesisReads,
    Prose,
    Reads,
    Screening,
    ScreeningReads,
)
from roles.render import render
from roles.tokens import count_tokens
from tests.chats import GOOD, Clock, failure, model_at
from tests.openai_server import Body, OpenAIServer, Turn, prompt_of

SOURCE = "".join(f"line_{number} = {number} * width  # what it is for\n" for number in range(400))
HYPOTHESIS = Hypothesis(
    title="Half the batch",
    category="batch",
    change="Halve it.",
    mechanism="More steps.",
    expected_effect=-0.01,
)
DIGEST = Digest(
    program="Be bold, says the program.",
    baseline_bpb=2.0,
    incumbent_bpb=1.9,
    noise_bpb=0.01,
    entries=tuple(
        Entry(
            number=number,
            title=f"idea {number}",
            category="optimizer",
            change="It changes this and that. " * 8,
            decision="keep" if number == 3 else "discard",
            effect=0.01,
        )
        for number in range(1, 61)
    ),
)
ENGINEER = EngineerReads(
    hypothesis=HYPOTHESIS,
    source=SOURCE,
    previous="an earlier reply. " * 500,
    complaint="it does not apply",
    log="step 1 loss 3.2\n" * 300,
)
HYPOTHESIZE = HypothesisReads(
    digest=DIGEST,
    direction=Direction(category="batch", focus="f", assignee="a", reason="r"),
    source=SOURCE,
    advice=(Advice(speaker="skeptic", text="I doubt it. " * 300),),
)
ADVISER = AdviserReads(
    digest=DIGEST, moment="before engineer", source=SOURCE, discussion="They talk. " * 3000
)
SCREENING = ScreeningReads(
    digest=DIGEST, hypothesis=HYPOTHESIS, source=SOURCE, diff="-width = 1\n+width = 2\n" * 400
)
ALL: dict[str, Reads] = {
    "engineer": ENGINEER,
    "hypothesis": HYPOTHESIZE,
    "adviser": ADVISER,
    "screening": SCREENING,
}


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        # What SmolLM2's tokenizer, with 49,152 tokens, makes of them: the least that is right.
        ("今日は天気がいいです", 18, 25),
        ("Würde der Käufer überhaupt zögern? Größenordnungsmäßig nicht.", 33, 50),
        (
            "def loss(self, rows):\n    return F.cross_entropy(self(rows[:, :-1]), rows[:, 1:])",
            25,
            50,
        ),
        ("", 0, 0),
    ],
)
def test_tokens_are_counted_rather_too_high(text: str, least: int, most: int) -> None:
    assert least <= count_tokens(text) <= most


@pytest.mark.parametrize("who", ALL)
def test_what_has_room_is_not_cut(who: str) -> None:
    assert fit(ALL[who], None) == fit(ALL[who], 1_000_000) == render(ALL[who])


@pytest.mark.parametrize("who", ALL)
@pytest.mark.parametrize("room", [9000, 6000, 3000, 1500, 700, 300])
def test_what_has_little_room_fits_and_says_that_it_was_cut(who: str, room: int) -> None:
    text = fit(ALL[who], room)
    assert count_tokens(text) <= room
    assert text.startswith("## What was cut")


@pytest.mark.parametrize("who", ALL)
def test_no_room_at_all_is_no_error(who: str) -> None:
    assert len(fit(ALL[who], -50)) < 200


def test_the_source_is_cut_last_and_its_lines_are_whole() -> None:
    assert SOURCE.rstrip() in fit(ENGINEER, 9500)
    text = fit(ENGINEER, 4000)
    assert "Lines " in text
    assert "of 400 are not shown: leave them as they are." in text
    shown = [each for each in text.splitlines() if each.startswith("line_")]
    assert 50 < len(shown) < 350
    assert set(shown) <= set(SOURCE.splitlines())
    assert {shown[0], shown[-1]} == {SOURCE.splitlines()[0], SOURCE.splitlines()[-1]}
    assert "Halve it." in text
    assert "it does not apply" in text


@pytest.mark.parametrize("reads", [ADVISER, SCREENING], ids=lambda reads: type(reads).__name__)
def test_who_edits_nothing_loses_the_source_first_and_is_told_so(reads: Reads) -> None:
    whole, without = count_tokens(render(reads)), count_tokens(render(reads, 1.0, 0))
    text = fit(reads, (whole + without) // 2)
    assert "the middle is left out" in text
    assert 50 < len([each for each in text.splitlines() if each.startswith("line_")]) < 350
    assert text.count("- #") == 60
    text = fit(reads, without)
    assert "Lines 1 to 400 of 400 are not shown" in text
    assert text.count("- #") > 20


@pytest.mark.parametrize("room", [20_000, 9000, 4500, 1500])
def test_a_text_of_many_tokens_and_few_letters_fits_too(room: int) -> None:
    reads = AdviserReads(
        digest=DIGEST, moment="before engineer", discussion="今天天气很好。" * 1200
    )
    text = fit(reads, room)
    assert count_tokens(text) <= room
    assert text.startswith("## What was cut") == (count_tokens(render(reads)) > room)


def test_of_the_notebook_what_is_kept_and_what_is_new_stays_longest() -> None:
    text = fit(ADVISER, 4000)
    assert ": idea 3\n" in text
    assert ": idea 60\n" in text
    assert ": idea 20\n" not in text
    left_out = 60 - text.count("- #")
    assert f"{left_out} experiments are not shown." in text
    assert "Be bold, says the program." in text


def brief_of(reads: Reads) -> Brief:
    return Brief(role="engineer", prompt="You write patches.", reads=reads)


def window_of(tokens: int, refuse: Turn) -> object:
    """An endpoint with a window of so many tokens, by a count that is harsher than ours."""
    return lambda body: GOOD if 1.2 * count_tokens(prompt_of(body)) < tokens else refuse


REFUSALS = {
    "llama.cpp": Turn(
        "request (9301 tokens) exceeds the available context size (4096 tokens), try increasing it",
        status=400,
        error={"type": "exceed_context_size_error", "n_prompt_tokens": 9301, "n_ctx": 4096},
    ),
    "OpenAI": Turn(
        "This model's maximum context length is 4096 tokens. However, you sent 9301.",
        status=400,
        error={"code": "context_length_exceeded"},
    ),
    "Anthropic": Turn("prompt is too long: 9301 tokens > 4096 maximum", status=400),
    "LM Studio": Turn("the model is loaded with context length of only 4,096 tokens", status=400),
    "llama-cpp-python": Turn("Requested tokens (9301) exceed context window of 4096", status=500),
    "who says no number": Turn("the prompt exceeds the context window", status=400),
}


@pytest.mark.parametrize("who", REFUSALS)
def test_the_window_is_found_out_from_an_error_and_remembered(who: str) -> None:
    answer = window_of(4096, REFUSALS[who])
    with OpenAIServer(answer) as server:  # type: ignore[arg-type]
        model = model_at(server)
        assert model.ask(brief_of(ENGINEER), Prose).text == GOOD
        asked = len(server.chats)
        model.ask(brief_of(ENGINEER), Prose)
        model.ask(brief_of(ADVISER), Screening)
    assert asked <= 5
    assert len(server.chats) == asked + 2
    assert "## What was cut" in prompt_of(server.chats[-1])


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "other", "max_model_len": 4096},
        {"id": "other", "context_length": 4096},
        {"id": "other", "meta": {"n_ctx": 4096, "n_ctx_train": 8192}},
    ],
)
def test_the_window_is_looked_up_where_the_error_does_not_tell_it(entry: Body) -> None:
    refuse = REFUSALS["who says no number"]
    with OpenAIServer(window_of(4096, refuse), models=[entry]) as server:  # type: ignore[arg-type]
        model = model_at(server)
        model.ask(brief_of(ENGINEER), Prose)
    assert model.window == 4096


def test_a_window_that_is_given_is_kept_to_from_the_start() -> None:
    with OpenAIServer([GOOD]) as server:
        model_at(server, window=3000, max_tokens=500).ask(brief_of(ENGINEER), Prose)
    assert 1800 < count_tokens(prompt_of(server.chats[0])) <= 2500


def test_the_complaint_about_a_reply_fits_too() -> None:
    with OpenAIServer(["no " * 2000, GOOD]) as server:
        model_at(server, window=4000).ask(brief_of(ADVISER), Screening)
    assert all(count_tokens(prompt_of(body)) <= 3000 for body in server.chats)


def test_an_endpoint_into_which_nothing_fits_is_one_clear_line() -> None:
    refuse = REFUSALS["OpenAI"]
    with OpenAIServer(lambda body: refuse) as server:
        error = failure(model_at(server, patience=Clock().patience()), Screening, brief_of(ADVISER))
    assert "maximum context length is 4096 tokens" in str(error)
    assert len(server.chats) <= 8
