"""A language model behind the door, over the OpenAI chat protocol: the only module that connects.

LangChain and the openai client take a second to import, so they are imported when the first model
is made or the first endpoint is tried, and not along with this module.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from roles.model import Answer, Brief, ModelError, Reply
from roles.records import Prose, Record
from roles.render import render
from roles.replies import UnfitError, read_reply, schema_of

OPENAI_URL = "https://api.openai.com/v1"
TIMEOUT_SECONDS = 300.0
ERROR_CHARACTERS = 300
REPEATED_CHARACTERS = 4_000

# How a reply is asked for: held to a JSON schema by the endpoint, as the call of a tool, or in so
# many words. Prose is only ever asked for in words.
Way = Literal["json_schema", "tool", "text"]
LADDER: tuple[Way, ...] = ("json_schema", "tool", "text")

_CUT_OFF = "it was cut off at the maximum of tokens: be shorter"

# What langchain raises for HTTP 200 with something else than a chat completion in it.
_NO_COMPLETION = (AttributeError, IndexError, KeyError, TypeError, ValueError)

# What was found out about endpoints, by URL and model: for the rest of the process.
_found_way: dict[tuple[str, str], Way] = {}


class _WayRefusedError(Exception):
    """The endpoint does not do what a way of asking needs."""


@dataclass(frozen=True)
class _Said:
    """One reply, as it came; tokens are None where the endpoint does not count them.

    ``note`` is what is known to be wrong with it already.
    """

    text: str
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    note: str = ""


class ChatModel:
    """A model of an OpenAI-compatible endpoint, shared by any number of threads.

    ``base_url`` None means OPENAI_BASE_URL or else OpenAI itself. ``api_key`` is left out for a
    server that wants none; it is never shown. ``attempts`` is how many replies are asked for, each
    with what was wrong with the last one, before a way of asking is given up. ``retries`` is how
    often one request is repeated after HTTP 408, 409, 429 or 5xx, a dropped connection or a
    time-out; the openai client waits in between, as long as Retry-After says (up to two minutes)
    or else from half a second, doubling, to 8 s, with jitter. ``price`` is in dollars per million
    tokens, of prompt and reply. Temperature and maximum are left to the endpoint unless given.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        temperature: float | None = None,
        timeout_seconds: float | None = None,
        max_tokens: int | None = None,
        attempts: int = 3,
        retries: int = 5,
        price: tuple[float, float] | None = None,
    ) -> None:
        from langchain_openai import ChatOpenAI

        self.model = model
        self.base_url = endpoint_url(base_url)
        self.timeout_seconds = timeout_seconds or TIMEOUT_SECONDS
        self.attempts = attempts
        self.price = price
        self._key = usable_key(api_key)
        self._chat = ChatOpenAI(
            model=model,
            base_url=self.base_url,
            api_key=SecretStr(self._key or "none"),
            temperature=temperature,
            timeout=self.timeout_seconds,
            max_completion_tokens=max_tokens,
            max_retries=retries,
        )

    @property
    def name(self) -> str:
        """The model, and where it is unless that is OpenAI; without any credentials in the URL."""
        place = "" if self.base_url == OPENAI_URL else f" at {_shown(self.base_url)}"
        return f"openai:{self.model}{place}"

    def ask(self, brief: Brief, reply_type: type[Reply]) -> Answer[Reply]:
        """Answer a brief, by the best way of asking that the endpoint supports.

        A way that the endpoint refuses, or by which no fitting reply could be had although the
        way has never worked before, is given up for the next one of the ladder. A string that is
        too long is asked for again; in the last attempt it is cut to its maximum length, and
        ``text`` still has all of it.

        Raises:
            ModelError: nobody answers there, the endpoint refuses, or no reply fits.
        """
        started = time.monotonic()
        said: list[_Said] = []
        trouble = ""
        for way in self._ways(reply_type):
            try:
                reply = self._converse(brief, reply_type, way, said)
            except (_WayRefusedError, UnfitError) as error:
                trouble = str(error)
                continue
            if reply_type is not Prose:
                _found_way[self.base_url, self.model] = way
            return self._answer(reply, said, time.monotonic() - started)
        raise self._error(trouble)

    def _ways(self, reply_type: type[Record]) -> Sequence[Way]:
        if reply_type is Prose:
            return ("text",)
        found = _found_way.get((self.base_url, self.model))
        return (found,) if found else LADDER

    def _converse(
        self, brief: Brief, reply_type: type[Reply], way: Way, said: list[_Said]
    ) -> Reply:
        """Ask until a reply fits, each time with what was wrong with the one before."""
        opening = [
            ("system", f"Your name here is {brief.role}.\n\n{brief.prompt}"),
            ("human", f"{render(brief.reads)}\n\n{_wanted(way, reply_type)}".rstrip()),
        ]
        messages = opening
        trouble = ""
        for attempt in range(1, self.attempts + 1):
            words = self._say(messages, way, reply_type)
            said.append(words)
            try:
                return read_reply(words.text, reply_type, shorten=attempt == self.attempts)
            except UnfitError as error:
                trouble = f"{error} ({words.note})" if words.note else str(error)
            repeated = [("ai", words.text[:REPEATED_CHARACTERS])] if words.text.strip() else []
            again = f"Your reply could not be used: {trouble}. Reply again, with nothing else."
            messages = [*opening, *repeated, ("human", again)]
        raise UnfitError(f"no fitting reply in {self.attempts} attempts; the last: {trouble}")

    def _say(self, messages: list[tuple[str, str]], way: Way, reply_type: type[Record]) -> _Said:
        """Send one request, repeated by the client where that may help, and take what comes."""
        import openai

        try:
            message = self._chat.invoke(messages, **_asked(way, reply_type))
        except openai.LengthFinishReasonError as error:
            counts = error.completion.usage
            return _Said(
                error.completion.choices[0].message.content or "",
                counts.prompt_tokens if counts else None,
                counts.completion_tokens if counts else None,
                _CUT_OFF,
            )
        except openai.ContentFilterFinishReasonError:
            return _Said("", note="a content filter stopped it")
        except openai.APIStatusError as error:
            raise self._refusal(error.status_code, error.message, way, reply_type) from None
        except openai.APITimeoutError:
            raise self._error(f"no answer within {self.timeout_seconds:g} s") from None
        except openai.APIConnectionError as error:
            raise self._error(f"no connection: {_root(error)}") from None
        except (openai.OpenAIError, *_NO_COMPLETION) as error:
            return _Said("", note=f"no chat completion came: {self._clean(str(error))}")
        usage = message.usage_metadata
        return _Said(
            _text_of(message),
            usage["input_tokens"] if usage else None,
            usage["output_tokens"] if usage else None,
            _CUT_OFF if message.response_metadata.get("finish_reason") == "length" else "",
        )

    def _refusal(self, status: int, message: str, way: Way, reply_type: type[Record]) -> Exception:
        """What an HTTP error means: that another way should be tried, or that it is no use."""
        message = message.removeprefix(f"Error code: {status} - ")
        # Most say 400. OpenRouter says 404 where no provider "supports" tools or schemas for this
        # model; llama.cpp's Python server says 500 to a schema.
        unable = status in (400, 415, 422, 500, 501) or (status == 404 and "support" in message)
        if unable and way != "text" and reply_type is not Prose:
            return _WayRefusedError(f"HTTP {status}: {message}")
        if status == 401:
            return self._error("the key was refused (HTTP 401)")
        meaning = {
            403: "not allowed with this key",
            404: "nothing there, or no such model",
            429: "rate limit or quota",
        }.get(status, "the endpoint refused")
        return self._error(f"{meaning} (HTTP {status}): {message}")

    def _answer(self, reply: Reply, said: list[_Said], seconds: float) -> Answer[Reply]:
        prompt_tokens = _sum([each.prompt_tokens for each in said])
        reply_tokens = _sum([each.reply_tokens for each in said])
        dollars = None
        if self.price and prompt_tokens is not None and reply_tokens is not None:
            dollars = (prompt_tokens * self.price[0] + reply_tokens * self.price[1]) / 1e6
        return Answer(
            reply=reply,
            text=said[-1].text,
            model=self.name,
            prompt_tokens=prompt_tokens,
            reply_tokens=reply_tokens,
            seconds=seconds,
            dollars=dollars,
        )

    def _error(self, trouble: str) -> ModelError:
        return ModelError(f"{self.name}: {self._clean(trouble)}")

    def _clean(self, text: str) -> str:
        """One line, not too long, without the key, whoever may have repeated it."""
        return _clean(text, self._key)


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
    client = openai.OpenAI(
        base_url=url, api_key=key or "none", timeout=timeout_seconds, max_retries=0
    )
    try:
        client.models.with_raw_response.list()
    except (openai.NotFoundError, openai.APIResponseValidationError):
        return None
    except openai.AuthenticationError:
        return f"{_shown(url)} refuses the key (HTTP 401)"
    except openai.APIStatusError as error:
        return _clean(f"{_shown(url)} answers: {error.message}", key)
    except openai.APITimeoutError:
        return f"{_shown(url)} does not answer within {timeout_seconds:g} s"
    except openai.APIConnectionError as error:
        return _clean(f"{_shown(url)} cannot be reached: {_root(error)}", key)
    finally:
        client.close()
    return None


def _asked(way: Way, reply_type: type[Record]) -> dict[str, Any]:
    """The request's parameters for one way of asking."""
    if way == "text":
        return {}
    name, schema = reply_type.__name__, schema_of(reply_type)
    if way == "json_schema":
        held_to = {"name": name, "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": held_to}}
    function = {"name": name, "description": schema["description"], "parameters": schema}
    # There is one tool, so "required" names it; LM Studio refuses to have it named by an object.
    return {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}


def _wanted(way: Way, reply_type: type[Record]) -> str:
    """The same in words, for the end of the brief."""
    if reply_type is Prose:
        return ""
    if way == "tool":
        return f"Reply by calling {reply_type.__name__}, once."
    schema = json.dumps(schema_of(reply_type), ensure_ascii=False)
    return f"Reply with one JSON object and nothing else. Its JSON schema is:\n{schema}"


def _text_of(message: Any) -> str:
    """What a langchain message says: its text, or the arguments of the tool that it calls."""
    if message.tool_calls:
        return json.dumps(message.tool_calls[0]["args"], ensure_ascii=False)
    if message.invalid_tool_calls:
        return message.invalid_tool_calls[0]["args"] or ""
    return str(message.text)


def _root(error: BaseException) -> BaseException:
    """What an error began with: "connection refused" rather than "connection error"."""
    return _root(error.__cause__) if error.__cause__ else error


def _sum(counts: list[int | None]) -> int | None:
    """The sum of what is known in full; None as soon as one count is unknown."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _clean(text: str, key: str) -> str:
    shown = " ".join((text.replace(key, "[key]") if key else text).split())
    return shown if len(shown) <= ERROR_CHARACTERS else f"{shown[:ERROR_CHARACTERS]}…"


def _shown(url: str) -> str:
    """A URL without credentials and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
