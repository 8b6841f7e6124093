"""A small server that speaks the OpenAI chat protocol for real, over HTTP on 127.0.0.1.

It stands at the far end of the door to models: what it says is scripted, how it says it is not.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Body = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """One answer of the server. ``text`` goes out as the request asks: as text or as a tool call.

    ``thinking`` goes with it under the name ``thinking_key``. ``usage`` counts tokens of prompt and
    reply, and of thoughts that are in the total alone where there is a third. A ``status`` other
    than 200 says ``text`` as its error message, and ``error`` beside it. ``raw`` replaces the whole
    body; ``drop`` closes the connection without a word; ``delay_seconds`` comes before either.
    """

    text: str = ""
    thinking: str = ""
    thinking_key: str = "reasoning_content"
    status: int = 200
    error: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    usage: tuple[int, ...] | None = (11, 7)
    finish_reason: str = "stop"
    raw: bytes | None = None
    drop: bool = False
    delay_seconds: float = 0.0


@dataclass(frozen=True)
class Request:
    """What a client sent. ``at`` is the wall clock, in seconds."""

    path: str
    headers: Mapping[str, str]
    body: Body
    at: float


class OpenAIServer:
    """Answers chat completions, one turn after another or by a function of the request's body.

    ``supports`` names what it can do besides plain text: "json_schema", "tool"; asked for anything
    else it says HTTP 400 and no turn is used up. With a ``key`` it refuses all others, and repeats
    them in its refusal as some servers do. ``models`` is what its list of models says. Once the
    turns have run out it says HTTP 403. While it ``hangs``, it takes requests and answers none.
    """

    def __init__(
        self,
        answers: Iterable[Turn | str] | Callable[[Body], Turn | str],
        *,
        supports: Iterable[str] = ("json_schema", "tool"),
        key: str | None = None,
        models: Iterable[Body] = (),
    ) -> None:
        self.requests: list[Request] = []
        self._models = list(models)
        self._answers = answers if callable(answers) else _one_by_one(iter(answers))
        self._supports = frozenset(supports)
        self._key = key
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.hangs = False
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._connection())
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> OpenAIServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The base URL that a client needs."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def chats(self) -> list[Body]:
        """The bodies of all requests for a chat completion so far, those refused included."""
        return [each.body for each in self.requests if each.path.endswith("/chat/completions")]

    def _connection(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Connection(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, body: Body) -> None:
                if server.hangs:
                    server._closing.wait()
                    self.close_connection = True
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                path = urlsplit(self.path).path  # of a whole URL, asked as a proxy is
                turn, reply = server._respond(Request(path, headers, body, time.time()))
                server._closing.wait(turn.delay_seconds)
                if turn.drop:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(turn.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reply)))
                for name, value in turn.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: object) -> None:
                """Say nothing on the terminal."""

        return Connection

    def _respond(self, request: Request) -> tuple[Turn, bytes]:
        with self._lock:
            self.requests.append(request)
            turn = self._refused(request)
            if turn is None and request.path == "/v1/models":
                return Turn(), _json({"object": "list", "data": self._models})
            if turn is None:
                answer = self._answers(request.body)
                turn = Turn(answer) if isinstance(answer, str) else answer
        if turn.raw is not None:
            return turn, turn.raw
        if turn.status != 200:
            said = {"message": turn.text, "code": turn.status, **turn.error}
            return turn, _json({"error": said})
        return turn, _json(_completion(turn, request.body))

    def _refused(self, request: Request) -> Turn | None:
        """What a server of this kind says before it looks at the messages, if anything."""
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._key is not None and given != self._key:
            return Turn(f"Incorrect API key provided: {given}.", status=401)
        if request.path not in ("/v1/chat/completions", "/v1/models"):
            return Turn(f"there is no {request.path}", status=404)
        if request.path == "/v1/models":
            return None
        body = request.body
        if not isinstance(body.get("model"), str) or not _are_messages(body.get("messages")):
            return Turn("model or messages missing or ill-formed", status=422)
        wanted = body.get("response_format", {}).get("type") or ("tool" if "tools" in body else "")
        if wanted and wanted not in self._supports:
            return Turn(f"{wanted} cannot be done here", status=400)
        return None


def prompt_of(body: Body) -> str:
    """All that a request says, as one text."""
    return "\n\n".join(str(message["content"]) for message in body["messages"])


def asked_for(body: Body) -> str:
    """The name of the record that a request wants, whichever way it asks; Prose for plain text."""
    if "response_format" in body:
        return str(body["response_format"]["json_schema"]["name"])
    if "tools" in body:
        return str(body["tools"][0]["function"]["name"])
    # In plain words the schema stands at the end of the brief, and its title ends the schema or
    # comes before "type": a schema that a brief quotes elsewhere comes earlier.
    titles = re.findall(r'"title": "(\w+)", "type": "object"', body["messages"][1]["content"])
    return titles[-1] if titles else "Prose"


def speaker(body: Body) -> str:
    """The role that a request speaks for, by its name in org.yaml."""
    named = re.match(r"Your name here is (.+)\.\n", body["messages"][0]["content"])
    return named[1] if named else ""


def _one_by_one(turns: Iterator[Turn | str]) -> Callable[[Body], Turn | str]:
    over = Turn("the test's server has no turn left", status=403)
    return lambda body: next(turns, over)


def _are_messages(messages: object) -> bool:
    return (
        isinstance(messages, list)
        and bool(messages)
        and all(
            message.get("role") in ("system", "user", "assistant")
            and isinstance(message.get("content"), str)
            for message in messages
        )
    )


def _json(body: Body) -> bytes:
    return json.dumps(body).encode()


def _completion(turn: Turn, body: Body) -> Body:
    message: Body = {"role": "assistant", "content": turn.text, "refusal": None}
    if turn.thinking:
        message[turn.thinking_key] = turn.thinking
    if "tools" in body and turn.text.startswith("{"):
        function = {"name": body["tools"][0]["function"]["name"], "arguments": turn.text}
        message["content"] = None
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    completion = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": turn.finish_reason}],
    }
    if turn.usage is not None:
        prompt, reply, *_ = turn.usage
        completion["usage"] = {
            "prompt_tokens": prompt,
            "completion_tokens": reply,
            "total_tokens": sum(turn.usage),
        }
    return completion
