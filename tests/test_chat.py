"""A language model behind the door, over real HTTP to a real local server."""

from __future__ import annotations

import email.utils
import itertools
import json
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from roles.chat import ChatModel, endpoint_reachable
from roles.model import Brief, ModelError
from roles.records import AdviserReads, Digest, Direction, Prose, Record, Review, Screening
from tests.openai_server import OpenAIServer, Turn, asked_for, speaker

KEY = "sk-this-is-a-secret-0123456789"
BRIEF = Brief(
    role="reviewer",
    prompt="You look at patches.",
    reads=AdviserReads(
        digest=Digest(program="Be bold.", baseline_bpb=2.0, incumbent_bpb=1.9, noise_bpb=0.01),
        moment="after the trial",
        discussion="nothing yet",
    ),
)
GOOD = json.dumps({"approved": True, "reason": "small and clear"})
AT_ONCE = {"Retry-After": "0.01"}
numbers = itertools.count()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def model_at(server: OpenAIServer, **settings: object) -> ChatModel:
    """A model of its own for each test: what is found out about one is remembered."""
    return ChatModel(f"m{next(numbers)}", base_url=server.url, api_key=KEY, **settings)  # type: ignore[arg-type]


def ways(server: OpenAIServer) -> list[str]:
    """How each request asked for its reply."""
    return [
        "json_schema" if "response_format" in body else "tool" if "tools" in body else "text"
        for body in server.chats
    ]


def failure(model: ChatModel, reply_type: type[Record] = Screening) -> ModelError:
    """The error with which a question ends."""
    with pytest.raises(ModelError) as raised:
        model.ask(BRIEF, reply_type)
    return raised.value


def test_a_good_reply_comes_back_with_its_words_and_its_cost() -> None:
    with OpenAIServer([Turn(GOOD, usage=(1000, 500))]) as server:
        model = model_at(server, price=(2.0, 8.0), temperature=0.3, max_tokens=99)
        answer = model.ask(BRIEF, Screening)
    assert answer.reply == Screening(approved=True, reason="small and clear")
    assert answer.text == GOOD
    assert answer.model == model.name == f"openai:{model.model} at {server.url}"
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
    assert schema["required"] == ["explanation", "lesson", "objects"]
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
    assert answer.text == text
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
    with OpenAIServer([" \n", "<think>only a thought</think>", "words"]) as server:
        assert model_at(server).ask(BRIEF, Prose).reply.text == "words"


def test_a_string_that_stays_too_long_is_cut_and_kept_whole_in_the_text() -> None:
    rambling = json.dumps({"approved": False, "reason": "na " * 1000})
    with OpenAIServer([rambling] * 3) as server:
        answer = model_at(server).ask(BRIEF, Screening)
    assert len(server.chats) == 3
    assert "at most 1500 characters" in server.chats[1]["messages"][-1]["content"]
    assert len(answer.reply.reason) == 1500
    assert answer.reply.reason.endswith("…")
    assert answer.text == rambling


@pytest.mark.parametrize("reply_type", [Screening, Prose])
def test_a_reply_that_was_cut_off_is_read_as_it_is(reply_type: type[Screening | Prose]) -> None:
    with OpenAIServer([Turn(GOOD[:20], finish_reason="length"), GOOD]) as server:
        answer = model_at(server).ask(BRIEF, reply_type)
    if reply_type is Prose:
        assert answer.text == GOOD[:20]
    else:
        assert answer.reply == Screening(approved=True, reason="small and clear")
        assert answer.reply_tokens == 14
        assert "cut off" in server.chats[1]["messages"][-1]["content"]


def test_tokens_are_unknown_as_soon_as_one_reply_is_not_counted() -> None:
    with OpenAIServer([Turn("", usage=None), GOOD]) as server:
        answer = model_at(server, price=(1.0, 1.0)).ask(BRIEF, Screening)
    assert (answer.prompt_tokens, answer.reply_tokens, answer.dollars) == (None, None, None)


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


def test_an_endpoint_without_schemas_is_asked_by_tool_call_from_then_on() -> None:
    with OpenAIServer([GOOD] * 3, supports={"tool"}) as server:
        model = model_at(server)
        for _ in range(2):
            assert model.ask(BRIEF, Screening).reply.approved
        again = ChatModel(model.model, base_url=server.url, api_key=KEY)
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
        Turn("grammar failed", status=500, headers=AT_ONCE),
        Turn("unknown field", status=422),
    ],
)
def test_other_ways_of_refusing_a_schema_lead_down_the_ladder_too(refusal: Turn) -> None:
    def answer(body: dict[str, object]) -> Turn | str:
        return refusal if "response_format" in body else GOOD

    with OpenAIServer(answer) as server:
        assert model_at(server, retries=1).ask(BRIEF, Screening).reply.approved
    assert ways(server)[-1] == "tool"


def test_tool_arguments_that_are_no_json_are_asked_for_again() -> None:
    with OpenAIServer(['{"approved": tru', GOOD], supports={"tool"}) as server:
        assert model_at(server).ask(BRIEF, Screening).reply.approved
    assert server.chats[2]["messages"][-2]["content"] == '{"approved": tru'


def test_a_model_that_never_fits_is_one_clear_line_with_the_last_trouble() -> None:
    with OpenAIServer(lambda body: "no idea") as server:
        said = str(failure(model_at(server, attempts=2), Direction))
    assert "no fitting reply in 2 attempts; the last: there is no JSON object" in said
    assert ways(server) == ["json_schema"] * 2 + ["tool"] * 2 + ["text"] * 2


def test_a_way_that_worked_is_not_left_for_one_bad_reply() -> None:
    with OpenAIServer([GOOD, "no", "no"]) as server:
        model = model_at(server, attempts=2)
        model.ask(BRIEF, Screening)
        failure(model)
    assert ways(server) == ["json_schema"] * 3


# Trouble on the way.


@pytest.mark.parametrize(
    "trouble",
    [
        Turn("slow down", status=429, headers=AT_ONCE),
        Turn("oh no", status=500, headers=AT_ONCE),
        Turn("away", status=503, headers=AT_ONCE),
        Turn(drop=True),
    ],
)
def test_passing_trouble_is_waited_out(trouble: Turn) -> None:
    with OpenAIServer([trouble, GOOD]) as server:
        answer = model_at(server).ask(BRIEF, Screening)
    assert answer.reply.approved
    assert answer.prompt_tokens == 11
    assert ways(server) == ["json_schema"] * 2


def test_a_date_in_retry_after_is_waited_for() -> None:
    date = int(time.time()) + 2
    headers = {"Retry-After": email.utils.formatdate(date, usegmt=True)}
    with OpenAIServer([Turn("slow down", status=429, headers=headers), "words"]) as server:
        model_at(server).ask(BRIEF, Prose)
    assert server.requests[1].at >= date - 0.01


def test_trouble_that_does_not_pass_is_one_clear_line() -> None:
    busy = Turn("quota used up", status=429, headers=AT_ONCE)
    with OpenAIServer(lambda body: busy) as server:
        said = str(failure(model_at(server, retries=2)))
    assert said.endswith("quota used up")
    assert "rate limit or quota (HTTP 429)" in said
    assert len(server.chats) == 3


def test_no_answer_in_time_is_one_clear_line() -> None:
    with OpenAIServer([Turn(GOOD, delay_seconds=60)]) as server:
        said = str(failure(model_at(server, timeout_seconds=0.2, retries=0)))
    assert said.endswith("no answer within 0.2 s")


def test_nobody_there_is_one_clear_line() -> None:
    with OpenAIServer([]) as server:
        url = server.url
    said = str(failure(ChatModel("m", base_url=url, retries=0)))
    assert "no connection: " in said
    assert "refused" in said


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (401, "the key was refused (HTTP 401)"),
        (403, "not allowed with this key (HTTP 403): so it is"),
        (404, "nothing there, or no such model (HTTP 404): so it is"),
    ],
)
def test_a_refusal_for_good_is_one_clear_line_after_one_request(status: int, line: str) -> None:
    with OpenAIServer(lambda body: Turn("so it is", status=status)) as server:
        model = model_at(server)
        assert str(failure(model)) == f"{model.name}: {line}"
    assert len(server.chats) == 1


def test_too_long_a_prompt_says_what_the_endpoint_says() -> None:
    over = Turn("the request exceeds the available context size (8192 tokens)", status=400)
    with OpenAIServer(lambda body: over) as server:
        assert str(failure(model_at(server))).endswith(f"(HTTP 400): {over.text}")


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500])
def test_the_key_is_in_no_error_even_if_the_server_repeats_it(status: int) -> None:
    with OpenAIServer(lambda body: Turn(f"bad key {KEY}", status=status)) as server:
        model = model_at(server, retries=0)
        error = failure(model)
    shown = "".join(traceback.format_exception(error)) + repr(model) + model.name
    assert KEY not in shown
    assert "[key]" in str(error)


def test_the_key_is_in_no_error_where_it_is_wrong() -> None:
    with OpenAIServer([], key="another") as server:
        error = failure(model_at(server))
        assert KEY not in "".join(traceback.format_exception(error))
        assert KEY not in str(endpoint_reachable(server.url, KEY, 5))


@pytest.mark.parametrize("key", ["sk-schlüssel", "sk-one\nsk-two"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ModelError) as raised:
        ChatModel("m", base_url="http://127.0.0.1:1/v1", api_key=key)
    assert key not in str(raised.value)
    assert endpoint_reachable("http://127.0.0.1:1/v1", key, 1) == str(raised.value)


def test_white_space_around_a_key_is_not_part_of_it() -> None:
    with OpenAIServer(["words"], key="sk-right") as server:
        model = ChatModel("m", base_url=server.url, api_key="sk-right\n")
        assert model.ask(BRIEF, Prose).reply.text == "words"


def test_desks_can_share_a_model() -> None:
    def answer(body: dict[str, object]) -> str:
        return json.dumps({"approved": True, "reason": str(body["messages"])[-30:]})

    with OpenAIServer(answer) as server, ThreadPoolExecutor(8) as pool:
        model = model_at(server)
        answers = list(pool.map(lambda _: model.ask(BRIEF, Screening), range(24)))
    assert len(server.chats) == len(answers) == 24


# Where the endpoint is, and whether it answers.


def test_the_base_url_comes_from_the_environment_unless_it_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ChatModel("gpt-x").name == "openai:gpt-x"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:word@127.0.0.1:9/v1/?q=1")
    assert ChatModel("gpt-x").name == "openai:gpt-x at http://127.0.0.1:9/v1/"
    assert ChatModel("m", base_url="http://10.0.0.1/v1").name == "openai:m at http://10.0.0.1/v1"


@pytest.mark.parametrize("url", ["localhost", "ftp://x/v1", "http://", "http://[::bad/v1"])
def test_what_is_no_url_of_an_endpoint_is_one_clear_line(url: str) -> None:
    with pytest.raises(ModelError, match="is no endpoint"):
        ChatModel("m", base_url=url)
    assert "is no endpoint" in str(endpoint_reachable(url, KEY, 1))


def test_an_endpoint_is_reachable_if_it_answers_with_this_key() -> None:
    with OpenAIServer([], key=KEY) as server:
        assert endpoint_reachable(server.url, KEY, 5) is None
        assert "refuses the key" in str(endpoint_reachable(server.url, "sk-wrong", 5))
        assert endpoint_reachable(f"{server.url}/elsewhere", KEY, 5) is None
        url = server.url
    assert "refused" in str(endpoint_reachable(url, KEY, 5))


def test_importing_the_module_does_not_import_langchain() -> None:
    code = "import roles.chat, sys; print({'openai', 'langchain_openai'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
