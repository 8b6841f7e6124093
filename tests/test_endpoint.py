"""Where an endpoint is, whether it answers, and what its errors mean; no key is ever shown."""

from __future__ import annotations

import subprocess
import sys
import traceback

import pytest

from roles.chat import ChatModel
from roles.endpoint import endpoint_reachable
from roles.model import ModelError, ModelRefused
from roles.records import Prose
from tests.chats import BRIEF, KEY, Clock, failure, model_at
from tests.openai_server import OpenAIServer, Turn


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (401, "the key was refused (HTTP 401)"),
        (403, "not allowed with this key (HTTP 403): so it is"),
        (404, "nothing there, or no such model (HTTP 404): so it is"),
        (402, "no credit left (HTTP 402): so it is"),
    ],
)
def test_a_refusal_for_good_is_one_clear_line_after_one_request(status: int, line: str) -> None:
    with OpenAIServer(lambda body: Turn("so it is", status=status)) as server:
        model = model_at(server)
        error = failure(model)
    assert str(error) == f"{model.name}: {line}"
    assert isinstance(error, ModelRefused)
    assert len(server.chats) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500])
def test_the_key_is_in_no_error_even_if_the_server_repeats_it(status: int) -> None:
    with OpenAIServer(lambda body: Turn(f"bad key {KEY}", status=status)) as server:
        model = model_at(server, patience=Clock().patience(seconds=0))
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


def test_an_account_without_credit_is_no_rate_limit() -> None:
    broke = Turn("You exceeded your quota", status=429, error={"code": "insufficient_quota"})
    with OpenAIServer(lambda body: broke) as server:
        error = failure(model_at(server))
    assert isinstance(error, ModelRefused)
    assert "no credit left (HTTP 429)" in str(error)
    assert len(server.chats) == 1


GEMINI = b"""[{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.",
    "status": "INVALID_ARGUMENT"}}]"""
XAI = b'{"code": "Client specified an invalid argument", "error": "Incorrect API key provided: sk"}'


@pytest.mark.parametrize("body", [GEMINI, XAI])
def test_a_key_that_is_refused_with_another_status_is_a_refusal_all_the_same(body: bytes) -> None:
    with OpenAIServer(lambda _: Turn(status=400, raw=body)) as server:
        error = failure(model_at(server))
    assert isinstance(error, ModelRefused)
    assert "the key was refused (HTTP 400)" in str(error)
    assert len(server.chats) == 1


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("api.deepseek.com", {"max_tokens"}),
        ("api.mistral.ai", {"max_tokens"}),
        ("api.x.ai", {"max_completion_tokens"}),
    ],
)
def test_the_longest_reply_is_said_by_the_name_that_an_endpoint_knows(
    host: str, names: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIServer(["words"]) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
        ChatModel("m", base_url=f"http://{host}/v1", max_tokens=90).ask(BRIEF, Prose)
        (body,) = server.chats
    assert {name: body[name] for name in body if name.startswith("max")} == dict.fromkeys(names, 90)


def test_what_a_moderator_stops_is_no_matter_of_the_key() -> None:
    with OpenAIServer(lambda body: Turn("Your input was flagged", status=403)) as server:
        assert not isinstance(failure(model_at(server)), ModelRefused)


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
