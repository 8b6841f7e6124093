"""A language model behind the door, over real HTTP to a real local server."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from roles.chat import ChatModel
from roles.model import Cost, ModelError
from roles.purse import BudgetSpent, Purse
from roles.records import Direction, Prose, Review, Screening
from roles.tokens import count_tokens
from tests.chats import BRIEF, GOOD, KEY, failure, model_at, ways
from tests.openai_server import Body, OpenAIServer, Turn, asked_for, prompt_of, speaker


def test_a_good_reply_comes_back_with_its_words_and_its_cost() -> None:
    with OpenAIServer([Turn(GOOD, usage=(1000, 500))]) as server:
        model = model_at(server, price=(2.0, 8.0), temperature=0.3, max_tokens=99)
        answer = model.ask(BRIEF, Screening)
    assert answer.reply == Screening(approved=True, reason="small and clear")
    assert answer.text == GOOD
    assert answer.model == model.name == f"openai:{model.endpoint.model} at {server.url}"
    assert (answer.prompt_tokens, answer.reply_tokens) == (1000, 500)
    assert answer.dollars == pytest.approx(0.006)
    assert answer.seconds > 0
    (body,) = server.chats
    assert (body["temperature"], body["max_completion_tokens"]) == (0.3, 99)
    assert "You look at patches." in body["messages"][0]["content"]
    assert "Be bold." in body["messages"][1]["content"]
    assert (speaker(body), asked_for(body)) == ("reviewer", "Screening")


def test_the_schema_that_is_asked_for_bounds_every_string() -> None:
    review = json.dumps({"explanation": "it fell", "lesson": "warm up", "objects": False})
    with OpenAIServer([review]) as server:
        model_at(server).ask(BRIEF, Review)
    held_to = server.chats[0]["response_format"]["json_schema"]
    assert held_to["strict"] is True
    schema = held_to["schema"]
    assert schema["required"] == list(Review.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["lesson"]["maxLength"] == 1500
    assert "default" not in schema["properties"]["objects"]


def test_prose_is_asked_for_without_a_schema_and_comes_back_word_for_word() -> None:
    text = "SUMMARY: x\n<<<<<<< SEARCH\na = 1\n=======\na = 2\n>>>>>>> REPLACE\n"
    with OpenAIServer([text]) as server:
        answer = model_at(server).ask(BRIEF, Prose)
    assert answer.reply.text == answer.text == text
    assert ways(server) == ["text"]
    assert asked_for(server.chats[0]) == "Prose"


def test_half_a_character_is_a_question_mark_and_can_be_written_down() -> None:
    with OpenAIServer([Turn("a scale \ud83d", thinking="hm \ud83d")]) as server:
        answer = model_at(server).ask(BRIEF, Prose)
    assert (answer.text, answer.reply.text) == ("a scale ?", "a scale ?")
    assert answer.thinking == "hm ?"
    assert answer.model_dump_json()


@pytest.mark.parametrize(
    "text",
    [
        f"Sure, here you are:\n```json\n{GOOD}\n```\nAnything else?",
        f"I thought of {{this}} first. {GOOD}",
        f"<think>perhaps {{'approved': 1}}?</think>\n{GOOD}",
        f'{{"approved": false, "reason": "a draft"}} No, rather: {GOOD}',
        f'{{"Screening": {GOOD}}}',
    ],
)
def test_json_is_found_in_whatever_stands_around_it(text: str) -> None:
    with OpenAIServer([text]) as server:
        answer = model_at(server).ask(BRIEF, Screening)
    assert answer.reply == Screening(approved=True, reason="small and clear")
    assert len(server.chats) == 1


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ('{"approved": tr', "no JSON object"),
        ("I would rather not say.", "no JSON object"),
        ('{"approved": "perhaps", "reason": "r"}', "approved: "),
        ('{"approved": true}', "reason: "),
        ('{"approved": true, "reason": "r", "score": 9}', "score: "),
        ("", "it is empty"),
    ],
)
def test_an_ill_formed_reply_is_asked_for_again_with_what_was_wrong(
    bad: str, complaint: str
) -> None:
    with OpenAIServer([bad, GOOD]) as server:
        answer = model_at(server).ask(BRIEF, Screening)
    assert answer.reply.approved
    assert (answer.prompt_tokens, answer.reply_tokens) == (22, 14)
    first, second = server.chats
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert complaint in second["messages"][-1]["content"]
    repeated = [each["content"] for each in second["messages"] if each["role"] == "assistant"]
    assert repeated == ([bad] if bad else [])


def test_an_empty_reply_in_prose_is_asked_for_again() -> None:
    with OpenAIServer(["<think>only a thought</think> \n", "words"]) as server:
        assert model_at(server).ask(BRIEF, Prose).reply.text == "words"


def test_a_string_that_stays_too_long_is_cut_and_kept_whole_in_the_text() -> None:
    rambling = json.dumps({"approved": False, "reason": "na " * 1000})
    with OpenAIServer([rambling] * 2) as server:
        answer = model_at(server).ask(BRIEF, Screening)
    assert len(server.chats) == 2
    assert "at most 1500 characters" in server.chats[1]["messages"][-1]["content"]
    assert len(answer.reply.reason) == 1500
    assert answer.reply.reason.endswith("characters were cut]")
    assert answer.text == rambling


@pytest.mark.parametrize("reply_type", [Screening, Prose])
def test_a_reply_that_was_cut_off_is_asked_for_again(reply_type: type[Screening | Prose]) -> None:
    with OpenAIServer([Turn(GOOD[:20], finish_reason="length"), GOOD]) as server:
        answer = model_at(server).ask(BRIEF, reply_type)
    assert answer.text == GOOD
    assert (answer.reply_tokens, answer.replies) == (14, 2)
    assert "cut off" in server.chats[1]["messages"][-1]["content"]


def test_prose_that_is_cut_off_every_time_is_read_as_it_is() -> None:
    with OpenAIServer([Turn("na na", finish_reason="length")] * 2) as server:
        assert model_at(server).ask(BRIEF, Prose).reply.text == "na na"


# What it cost.


def test_tokens_that_the_endpoint_does_not_count_are_counted_here_and_said_to_be() -> None:
    with OpenAIServer([Turn("no", usage=None), Turn(GOOD, usage=None)]) as server:
        answer = model_at(server, price=(1.0, 1.0)).ask(BRIEF, Screening)
    sent = sum(len(prompt_of(body)) for body in server.chats)
    assert answer.counted
    assert answer.prompt_tokens and sent / 6 < answer.prompt_tokens < sent / 2
    assert answer.reply_tokens and 5 < answer.reply_tokens < 40
    assert answer.dollars == pytest.approx((answer.prompt_tokens + answer.reply_tokens) / 1e6)


def test_tokens_that_the_endpoint_counts_are_its_own() -> None:
    with OpenAIServer([GOOD]) as server:
        assert not model_at(server).ask(BRIEF, Screening).counted


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_thoughts_that_are_counted_in_the_total_alone_are_paid_as_written(reason: str) -> None:
    turn = Turn("words", usage=(11, 7, 500), finish_reason=reason)
    with OpenAIServer([turn, turn]) as server:
        answer = model_at(server, price=(0.0, 1.0)).ask(BRIEF, Prose)
    assert (answer.prompt_tokens, answer.reply_tokens) == (
        11 * answer.replies,
        507 * answer.replies,
    )
    assert answer.dollars == pytest.approx(507 * answer.replies / 1e6)


def test_dollars_are_unknown_without_a_price_and_none_at_the_price_of_nothing() -> None:
    with OpenAIServer([GOOD] * 2) as server:
        assert model_at(server).ask(BRIEF, Screening).dollars is None
        assert model_at(server, price=(0.0, 0.0)).ask(BRIEF, Screening).dollars == 0.0


def test_a_question_that_came_to_nothing_has_its_cost_and_the_last_words() -> None:
    with OpenAIServer(lambda body: "no idea") as server:
        error = failure(model_at(server, price=(1.0, 2.0)))
    assert error.words == "no idea"
    assert error.cost
    assert (error.cost.prompt_tokens, error.cost.reply_tokens) == (6 * 11, 6 * 7)
    assert error.cost.replies == 6
    assert error.cost.dollars == pytest.approx((66 + 2 * 42) / 1e6)


def test_a_refusal_costs_nothing_and_that_is_known() -> None:
    with OpenAIServer([], key="another") as server:
        cost = failure(model_at(server, price=(1.0, 2.0))).cost
    assert cost
    assert (cost.replies, cost.prompt_tokens, cost.dollars) == (0, 0, 0.0)


def test_what_a_request_cost_that_was_lost_on_the_way_is_unknown_but_not_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("roles.endpoint.DROPPED_SECONDS", 0.0)
    with OpenAIServer([Turn(drop=True), GOOD]) as server:
        model = model_at(server, price=(1.0, 2.0), max_tokens=90)
        most = model.most_dollars(BRIEF, Screening)
        answer = model.ask(BRIEF, Screening)
    assert (answer.prompt_tokens, answer.reply_tokens, answer.dollars) == (None, None, None)
    assert answer.replies == 1
    assert most
    assert answer.most_dollars == pytest.approx((11 * 1.0 + 7 * 2.0) / 1e6 + most)
    assert model.purse.spent == pytest.approx(answer.most_dollars)


def test_a_connection_that_is_refused_at_once_costs_nothing() -> None:
    with OpenAIServer([Turn(drop=True), GOOD]) as server:
        answer = model_at(server, price=(1.0, 2.0)).ask(BRIEF, Screening)
    assert answer.dollars == answer.most_dollars == pytest.approx((11 * 1.0 + 7 * 2.0) / 1e6)


def rambling(body: Body) -> Turn:
    return Turn("no " * 30, usage=(count_tokens(prompt_of(body)), 90), finish_reason="length")


@pytest.mark.parametrize("reply_type", [Screening, Prose])
def test_the_most_that_a_request_can_cost_is_known_before_and_is_never_exceeded(
    reply_type: type[Screening | Prose],
) -> None:
    with OpenAIServer(rambling) as server:
        model = model_at(server, price=(3.0, 15.0), max_tokens=90)
        most = model.most_dollars(BRIEF, reply_type)
        try:
            cost: Cost | None = model.ask(BRIEF, reply_type)
        except ModelError as error:
            cost = error.cost
    dearest = max(3.0 * count_tokens(prompt_of(body)) + 15.0 * 90 for body in server.chats) / 1e6
    assert most and cost and cost.dollars
    assert dearest < most < 10 * dearest
    assert model.purse.spent == pytest.approx(cost.dollars)
    assert server.chats[0]["max_tokens"] == server.chats[0]["max_completion_tokens"] == 90


def test_a_question_ends_with_the_request_that_the_purse_has_too_little_for() -> None:
    with OpenAIServer(rambling) as server:
        model = model_at(server, price=(3.0, 15.0), max_tokens=90)
        most = model.most_dollars(BRIEF, Screening) or 0.0
        model.purse = Purse(1.1 * most)
        error = failure(model)
    assert isinstance(error, BudgetSpent)
    assert len(server.chats) == 1
    assert error.cost and error.cost.dollars == pytest.approx(model.purse.spent)
    assert 0 < model.purse.spent < most


def test_the_most_is_unknown_where_the_price_or_the_longest_reply_is_unless_all_is_free() -> None:
    def most(**settings: Any) -> float | None:
        return ChatModel("m", base_url="http://127.0.0.1:1/v1", **settings).most_dollars(
            BRIEF, Screening
        )

    assert most(max_tokens=9) is None
    assert most(price=(1.0, 1.0)) is None
    assert most(price=(0.0, 0.0)) == 0.0


# What it thinks.


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("reply_type", [Screening, Prose])
def test_thoughts_are_kept_apart_from_the_reply(
    key: str, reply_type: type[Screening | Prose]
) -> None:
    with OpenAIServer([Turn(GOOD, thinking="Is it small?", thinking_key=key)]) as server:
        answer = model_at(server).ask(BRIEF, reply_type)
    assert (answer.thinking, answer.text) == ("Is it small?", GOOD)


@pytest.mark.parametrize("thought", ["<think>Is it small?</think>", "Is it small?\n</think>\n"])
def test_thoughts_that_the_server_left_in_the_reply_are_taken_out(thought: str) -> None:
    with OpenAIServer([f"{thought}{GOOD}"]) as server:
        answer = model_at(server).ask(BRIEF, Screening)
    assert (answer.thinking, answer.text) == ("Is it small?", GOOD)


def test_thoughts_are_not_sent_back() -> None:
    bad = Turn("<think>SECRET THOUGHT</think>I would say yes.", thinking="ANOTHER THOUGHT")
    with OpenAIServer([bad, GOOD]) as server:
        model_at(server).ask(BRIEF, Screening)
    assert "I would say yes." in prompt_of(server.chats[1])
    assert "THOUGHT" not in prompt_of(server.chats[1])


def test_a_model_that_is_cut_off_in_thought_is_told_to_be_shorter() -> None:
    with OpenAIServer([Turn("", thinking="Hm", finish_reason="length"), GOOD]) as server:
        assert model_at(server).ask(BRIEF, Screening).reply.approved
    assert "be shorter" in prompt_of(server.chats[1])


# What is asked of the endpoint besides.


def test_settings_go_into_every_request_and_what_is_not_set_does_not() -> None:
    with OpenAIServer([GOOD] * 2) as server:
        extra = {"top_k": 3, "chat_template_kwargs": {"enable_thinking": False}}
        model_at(server, reasoning_effort="low", extra_body=extra).ask(BRIEF, Screening)
        model_at(server).ask(BRIEF, Screening)
    full, bare = server.chats
    assert full["reasoning_effort"] == "low"
    assert full["top_k"] == 3
    assert full["chat_template_kwargs"] == {"enable_thinking": False}
    assert set(bare) - {"stream"} == {"model", "messages", "response_format"}


@pytest.mark.parametrize("reply_type", [Screening, Prose])
@pytest.mark.parametrize(
    "raw",
    [b"<html>soon</html>", b'{"choices": null}', b'{"choices": []}', b"[1]", b'{"error": {}}'],
)
def test_a_body_that_is_no_completion_is_asked_for_again(
    raw: bytes, reply_type: type[Screening | Prose]
) -> None:
    with OpenAIServer([Turn(raw=raw), GOOD]) as server:
        assert model_at(server).ask(BRIEF, reply_type).text == GOOD


# The ladder.


def test_an_endpoint_that_knows_no_bounds_is_asked_for_a_schema_without_them() -> None:
    def answer(body: Body) -> Turn | str:
        schema = body["response_format"]["json_schema"]["schema"]
        refused = "maxLength" in json.dumps(schema)
        return Turn("'maxLength' is not permitted", status=400) if refused else GOOD

    with OpenAIServer(answer) as server:
        model = model_at(server)
        for _ in range(2):
            assert model.ask(BRIEF, Screening).reply.approved
    assert ways(server) == ["json_schema"] * 3
    assert "maxLength" in prompt_of(server.chats[1])


def test_an_endpoint_without_schemas_is_asked_by_tool_call_from_then_on() -> None:
    with OpenAIServer([GOOD] * 3, supports={"tool"}) as server:
        model = model_at(server)
        for _ in range(2):
            assert model.ask(BRIEF, Screening).reply.approved
        again = ChatModel(model.endpoint.model, base_url=server.url, api_key=KEY)
        assert again.ask(BRIEF, Screening).reply.approved
    assert ways(server) == ["json_schema", "tool", "tool", "tool"]
    assert server.chats[1]["tool_choice"] == "required"


def test_an_endpoint_that_can_do_neither_is_asked_in_words() -> None:
    with OpenAIServer([f"Here: {GOOD}"] * 2, supports=()) as server:
        model = model_at(server)
        for _ in range(2):
            assert model.ask(BRIEF, Screening).reply.approved
    assert ways(server) == ["json_schema", "tool", "text", "text"]
    assert asked_for(server.chats[-1]) == "Screening"


@pytest.mark.parametrize(
    "refusal",
    [
        Turn("No endpoints found that support tool use", status=404),
        Turn("grammar failed", status=500),
        Turn("unknown field", status=422),
    ],
)
def test_other_ways_of_refusing_a_schema_lead_down_the_ladder_too(refusal: Turn) -> None:
    def answer(body: dict[str, object]) -> Turn | str:
        return refusal if "response_format" in body else GOOD

    with OpenAIServer(answer) as server:
        assert model_at(server).ask(BRIEF, Screening).reply.approved
    assert ways(server)[-1] == "tool"


def test_tool_arguments_that_are_no_json_are_asked_for_again() -> None:
    with OpenAIServer(['{"approved": tru', GOOD], supports={"tool"}) as server:
        assert model_at(server).ask(BRIEF, Screening).reply.approved
    assert server.chats[2]["messages"][-2]["content"] == '{"approved": tru'


def test_a_model_that_never_fits_is_one_clear_line_with_the_last_trouble() -> None:
    with OpenAIServer(lambda body: "no idea") as server:
        said = str(failure(model_at(server), Direction))
    assert "no fitting reply in 2 attempts; the last: there is no JSON object" in said
    assert ways(server) == ["json_schema"] * 2 + ["tool"] * 2 + ["text"] * 2


def test_a_way_that_worked_is_not_left_for_one_bad_reply() -> None:
    with OpenAIServer([GOOD, "no", "no"]) as server:
        model = model_at(server)
        model.ask(BRIEF, Screening)
        failure(model)
    assert ways(server) == ["json_schema"] * 3


def test_desks_can_share_a_model() -> None:
    def answer(body: Body) -> str:
        return json.dumps({"approved": True, "reason": str(body["messages"])[-30:]})

    with OpenAIServer(answer) as server, ThreadPoolExecutor(8) as pool:
        model = model_at(server)
        answers = list(pool.map(lambda _: model.ask(BRIEF, Screening), range(24)))
    assert len(server.chats) == len(answers) == 24
