"""An endpoint that speaks the OpenAI chat protocol, and what its errors mean: the only module that connects.

LangChain and the openai client take a second to import, so they are imported when the first model
is made or the first endpoint is tried, and not along with this module.
"""

from __future__ import annotations

import email.utils
import ipaddress
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from roles.model import ModelError, ModelRefused
from roles.patience import Kind, Passing

OPENAI_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
TIMEOUT_SECONDS = 300.0
CONNECT_SECONDS = 15.0
LIST_SECONDS = 10.0
# A connection that is lost after so long was not refused: the request was being worked on.
DROPPED_SECONDS = CONNECT_SECONDS + 5
ERROR_CHARACTERS = 300

# Who knows the longest reply by its older name alone: DeepSeek ignores the newer one without a word,
# and Mistral answers 422 to it.
OLDER_NAME_HOSTS = ("api.deepseek.com", "api.mistral.ai")

CUT_OFF = "it was cut off at the maximum of tokens: be shorter"

# What langchain raises for HTTP 200 with something else than a chat completion in it.
_NO_COMPLETION = (AttributeError, IndexError, KeyError, TypeError, ValueError)

# How servers say that a prompt does not fit, and the words before or after the number that would.
_TOO_LONG = re.compile(
    r"context[_ ](length|size|window)|maximum context|prompt is too long|request too large", re.I
)
_WINDOWS = (
    r"(?:maximum |available |model's )?context (?:length|size|window)\D{0,20}?([\d,]{3,})",
    r"([\d,]{3,}) (?:tokens? )?maximum context",
    r"> ([\d,]{3,}) maximum",
    r"Limit ([\d,]{3,})",
)
# Where a list of models tells the window: llama.cpp, vLLM, OpenRouter, Groq, Mistral, LM Studio.
_WINDOW_KEYS = (
    *("n_ctx", "max_model_len", "loaded_context_length", "context_length"),
    *("context_window", "max_context_length"),
)


class Unable(Exception):
    """The endpoint will not do what was asked, in the way in which it was asked."""


class TooLong(Exception):
    """The prompt does not fit; ``window`` and ``prompt_tokens`` where the endpoint tells them."""

    def __init__(self, text: str, window: int | None, prompt_tokens: int | None) -> None:
        super().__init__(text)
        self.window = window
        self.prompt_tokens = prompt_tokens


@dataclass(frozen=True)
class Said:
    """One reply, as it came; tokens are None where the endpoint does not count them.

    ``note`` is what is known to be wrong with it already.
    """

    text: str
    thinking: str = ""
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    note: str = ""


class Endpoint:
    """A model of an OpenAI-compatible endpoint, for any number of threads.

    What is None is left to the endpoint. ``extra_body`` goes into every request as it is. Nothing
    is ever sent twice from here: whoever asks decides about that.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None,
        api_key: str | None,
        temperature: float | None,
        reasoning_effort: str | None,
        timeout_seconds: float | None,
        max_tokens: int | None,
        extra_body: Mapping[str, Any] | None,
    ) -> None:
        from openai import Timeout

        self.model = model
        self.base_url = endpoint_url(base_url)
        self.timeout_seconds = timeout_seconds or TIMEOUT_SECONDS
        self._key = usable_key(api_key)
        extra = dict(extra_body or {})
        # Servers that people run themselves, Ollama and LM Studio among them, know the maximum by
        # its older name; OpenAI's newer models refuse that one. The former get both.
        older = urlsplit(self.base_url).hostname in OLDER_NAME_HOSTS
        if max_tokens is not None and (older or is_local(self.base_url)):
            extra.setdefault("max_tokens", max_tokens)
        self._chat = _thinking_aloud()(
            model=model,
            base_url=self.base_url,
            api_key=SecretStr(self._key or "none"),
            temperature=temperature,
            reasoning_effort=reasoning_effort,
            timeout=Timeout(self.timeout_seconds, connect=CONNECT_SECONDS),
            max_completion_tokens=None if older else max_tokens,
            extra_body=extra or None,
            max_retries=0,
            # Only OpenAI itself has models that want its other protocol; LangChain knows which.
            use_responses_api=None if self.base_url == OPENAI_URL else False,
        )

    @property
    def name(self) -> str:
        """The model, and where it is unless that is OpenAI; without any credentials in the URL."""
        place = "" if self.base_url == OPENAI_URL else f" at {_shown(self.base_url)}"
        return f"openai:{self.model}{place}"

    def say(self, messages: list[tuple[str, str]], asked: Mapping[str, Any]) -> Said:
        """Send one request and take what comes.

        Raises:
            Passing: it may go better the next time.
            TooLong: the prompt does not fit.
            Unable: the endpoint does not do it in this way.
            ModelRefused: it will not answer before a person does something about it.
            ModelError: anything else that asking again does not help.
        """
        import openai

        started = time.monotonic()
        try:
            message = self._chat.invoke(messages, **asked)
        except openai.LengthFinishReasonError as error:
            return self._cut_off(error.completion)
        except openai.ContentFilterFinishReasonError:
            return Said("", note="a content filter stopped it")
        except openai.APIStatusError as error:
            raise self._meaning(error) from None
        except openai.APITimeoutError as error:
            raise self._late(error) from None
        except openai.APIConnectionError as error:
            text = self.clean(f"no connection: {_root(error)}")
            dropped = time.monotonic() - started >= DROPPED_SECONDS
            raise Passing(text, "slow" if dropped else "down") from None
        except (openai.OpenAIError, *_NO_COMPLETION) as error:
            return Said("", note=f"no chat completion came: {self.clean(str(error))}")
        usage = message.usage_metadata
        return Said(
            _sound(_text_of(message)),
            _sound(str(message.additional_kwargs.get("thinking", ""))),
            usage["input_tokens"] if usage else None,
            _written(**usage) if usage else None,
            CUT_OFF if _was_cut_off(message.response_metadata) else "",
        )

    def window(self) -> int | None:
        """The model's window in tokens, if the endpoint's list of models tells it."""
        import openai

        with _client(self.base_url, self._key, LIST_SECONDS) as client:
            try:
                answer = client.models.with_raw_response.list().http_response.json()
            except (openai.OpenAIError, ValueError):
                return None
        listed = answer.get("data") if isinstance(answer, dict) else None
        entries = [each for each in listed or () if isinstance(each, dict)]
        # A server of one model may call it by the path of its file.
        mine = [each for each in entries if each.get("id") == self.model or len(entries) == 1]
        return next(filter(None, map(_told_window, mine)), None)

    def is_silent(self) -> bool:
        """Whether it takes connections, if that, and does not even say which models it has."""
        import openai

        with _client(self.base_url, self._key, LIST_SECONDS) as client:
            try:
                client.models.with_raw_response.list()
            except openai.APIConnectionError:
                return True
            except openai.OpenAIError:
                pass  # an answer too
        return False

    def clean(self, text: str) -> str:
        """One line, not too long, without the key, whoever may have repeated it."""
        return _clean(text, self._key)

    def _cut_off(self, completion: Any) -> Said:
        message, counts = completion.choices[0].message, completion.usage
        return Said(
            _sound(message.content or ""),
            _sound(_thoughts(message.model_dump())),
            counts.prompt_tokens if counts else None,
            _written(counts.prompt_tokens, counts.completion_tokens, counts.total_tokens)
            if counts
            else None,
            CUT_OFF,
        )

    def _late(self, error: Any) -> Passing:
        """A time-out: nobody there, or a reply that takes too long and may be paid for."""
        if _began_with(error, "ConnectTimeout"):
            return Passing(f"no connection within {CONNECT_SECONDS:g} s", "down")
        return Passing(f"no answer within {self.timeout_seconds:g} s", "slow")

    def _meaning(self, error: Any) -> Exception:
        """What an HTTP error means: whether waiting, another way or a person would help."""
        status: int = error.status_code
        body = error.body if isinstance(error.body, dict) else {}
        whole = _words(error)
        said = self.clean(whole)
        text = f"HTTP {status}: {said}"
        if status in (400, 413, 422, 429, 500) and (
            body.get("code") == "context_length_exceeded" or _TOO_LONG.search(whole)
        ):
            return TooLong(text, *_told(whole, body))
        if status == 429 and "insufficient_quota" in (body.get("code"), body.get("type")):
            return self._refused(f"no credit left (HTTP 429): {said}")
        if status in (408, 409, 429) or (status >= 500 and status != 501):
            return self._passing(error, text)
        # OpenRouter says 404 where no provider "supports" tools or schemas for this model.
        # Gemini and xAI say so of a key.
        if status == 400 and "api key" in whole.lower():
            return self._refused(f"the key was refused (HTTP 400): {said}")
        if status in (400, 415, 422, 501) or (status == 404 and "support" in whole):
            return Unable(text)
        if status == 401:
            return self._refused("the key was refused (HTTP 401)")
        if status == 403 and "flagged" in whole:
            return ModelError(f"{self.name}: a moderator stopped it (HTTP 403): {said}")
        meaning = {
            402: "no credit left",
            403: "not allowed with this key",
            404: "nothing there, or no such model",
        }.get(status)
        if meaning:
            return self._refused(f"{meaning} (HTTP {status}): {said}")
        return ModelError(f"{self.name}: the endpoint refused ({text})")

    def _passing(self, error: Any, text: str) -> Passing:
        retry_after = _retry_after(error.response.headers)
        if error.status_code == 429:
            return Passing(f"rate limit ({text})", "limit", retry_after=retry_after)
        if error.status_code in (408, 409):
            return Passing(text, "limit", retry_after=retry_after)
        # llama.cpp's Python server says 500 to a schema: that does not pass.
        kind: Kind = "error" if error.status_code == 500 else "down"
        return Passing(f"out of order ({text})", kind, retry_after=retry_after)

    def _refused(self, text: str) -> ModelRefused:
        return ModelRefused(f"{self.name}: {text}")


def endpoint_url(base_url: str | None) -> str:
    """The base URL that is meant: the given one, OPENAI_BASE_URL, or OpenAI's own.

    Raises:
        ModelError: it is no http or https URL with a host in it.
    """
    url = (base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ModelError(f"{url!r} is no endpoint: something like http://127.0.0.1:8080/v1 is")
    return url


def is_local(url: str) -> bool:
    """Whether an endpoint is on this machine or its network, where servers ask for no key."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(".local")


def usable_key(key: str | None) -> str:
    """A key without the white space around it, as comes with a key read from a file; "" for none.

    Raises:
        ModelError: it cannot stand in an HTTP header, whose errors would repeat it.
    """
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ModelError("the key has characters in it that no key has")
    return key


def endpoint_reachable(
    base_url: str | None, api_key: str | None, timeout_seconds: float
) -> str | None:
    """Ask an endpoint for its models, once: None if it answers, else why not, in one line.

    An endpoint that has no such list counts as reachable: it answered.
    """
    import openai

    try:
        url, key = endpoint_url(base_url), usable_key(api_key)
    except ModelError as error:
        return str(error)
    with _client(url, key, timeout_seconds) as client:
        try:
            client.models.with_raw_response.list()
        except (openai.NotFoundError, openai.APIResponseValidationError):
            return None
        except openai.AuthenticationError:
            return f"{_shown(url)} refuses the key (HTTP 401)"
        except openai.APIStatusError as error:
            return _clean(f"{_shown(url)} answers: HTTP {error.status_code}: {_words(error)}", key)
        except openai.APITimeoutError:
            return f"{_shown(url)} does not answer within {timeout_seconds:g} s"
        except openai.APIConnectionError as error:
            return _clean(f"{_shown(url)} cannot be reached: {_root(error)}", key)
    return None


def _client(url: str, key: str, timeout_seconds: float) -> Any:
    import openai

    return openai.OpenAI(
        base_url=url, api_key=key or "none", timeout=timeout_seconds, max_retries=0
    )


@cache
def _thinking_aloud() -> Any:
    """ChatOpenAI, which leaves out what a model thinks, with it; a class, made when wanted."""
    from langchain_openai import ChatOpenAI

    class ThinkingAloud(ChatOpenAI):
        def _create_chat_result(
            self, response: Any, generation_info: dict[str, Any] | None = None
        ) -> Any:
            result = super()._create_chat_result(response, generation_info)
            said = response if isinstance(response, dict) else response.model_dump(warnings=False)
            for generation, choice in zip(result.generations, said["choices"], strict=False):
                generation.message.additional_kwargs["thinking"] = _thoughts(choice["message"])
            return result

    return ThinkingAloud


def _thoughts(message: Mapping[str, Any]) -> str:
    """What a model thought: llama.cpp, DeepSeek, LM Studio; then OpenRouter, Groq, Ollama, vLLM."""
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    return thoughts if isinstance(thoughts, str) else ""


def _text_of(message: Any) -> str:
    """What a langchain message says: its text, or the arguments of the tool that it calls."""
    if message.tool_calls:
        return json.dumps(message.tool_calls[0]["args"], ensure_ascii=False)
    if message.invalid_tool_calls:
        return message.invalid_tool_calls[0]["args"] or ""
    return str(message.text)


def _written(input_tokens: int, output_tokens: int, total_tokens: int, **_: Any) -> int:
    """What is paid as written: xAI and some gateways count thoughts in the total alone."""
    return max(output_tokens, total_tokens - input_tokens)


def _was_cut_off(metadata: Mapping[str, Any]) -> bool:
    incomplete = metadata.get("incomplete_details") or {}
    return metadata.get("finish_reason") == "length" or (
        isinstance(incomplete, dict) and incomplete.get("reason") == "max_output_tokens"
    )


def _words(error: Any) -> str:
    """What an HTTP error says: the client passes over what is not in OpenAI's own form."""
    said = str(error.message).removeprefix(f"Error code: {error.status_code}").removeprefix(" - ")
    return said or ("nothing" if error.body is None else str(error.body))


def _told(message: str, body: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The window and the prompt's tokens, as far as an error tells them."""
    found = (re.search(pattern, message, re.I) for pattern in _WINDOWS)
    numbers = [int(each[1].replace(",", "")) for each in found if each]
    window, prompt = body.get("n_ctx"), body.get("n_prompt_tokens")
    return (
        window if isinstance(window, int) else next(iter(numbers), None),
        prompt if isinstance(prompt, int) else None,
    )


def _told_window(entry: Mapping[str, Any]) -> int | None:
    """The window of a model, by its entry in a list of models."""
    meta = entry.get("meta")
    for place in (entry, meta if isinstance(meta, dict) else {}):
        for key in _WINDOW_KEYS:
            if isinstance(place.get(key), int) and place[key] > 0:
                return int(place[key])
    return None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """For how many seconds an endpoint asks to be left alone: RFC 9110, 10.2.3."""
    said = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    date = email.utils.parsedate_tz(said)
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None


def _root(error: BaseException) -> BaseException:
    """What an error began with: "connection refused" rather than "connection error"."""
    return _root(error.__cause__) if error.__cause__ else error


def _began_with(error: BaseException, *names: str) -> bool:
    """Whether an error of these names is among its causes; whose library it is, clients change."""
    cause = error.__cause__
    return cause is not None and (type(cause).__name__ in names or _began_with(cause, *names))


def _sound(text: str) -> str:
    """A text that can be written down: half a character, as some endpoints send, is a ?."""
    return text.encode("utf-8", "replace").decode()


def _clean(text: str, key: str) -> str:
    text = _sound(text)
    shown = " ".join((text.replace(key, "[key]") if key else text).split())
    return shown if len(shown) <= ERROR_CHARACTERS else f"{shown[:ERROR_CHARACTERS]}…"


def _shown(url: str) -> str:
    """A URL without credentials and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
