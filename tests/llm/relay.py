"""A relay between the organization and its model, which keeps account of every reply that passes."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT_SECONDS = 600.0


class Relay:
    """Passes requests on to another server; ``completions`` are the chat completions it gave."""

    def __init__(self, target: str) -> None:
        self.completions: list[dict[str, Any]] = []
        self.refusals: list[str] = []
        self._target = target
        self._lock = threading.Lock()
        # Nothing between here and there: no proxy of the environment either.
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._connection())
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def used(self) -> tuple[int, int]:
        """Tokens of all prompts and of all replies that passed."""
        counts = [completion["usage"] for completion in self.completions]
        return (
            sum(count["prompt_tokens"] for count in counts),
            sum(count["completion_tokens"] for count in counts),
        )

    def finished(self, reason: str) -> int:
        """How many replies ended for this reason: `stop` or `length`."""
        return sum(each["choices"][0]["finish_reason"] == reason for each in self.completions)

    def _pass_on(self, path: str, body: bytes | None) -> tuple[int, bytes]:
        url = f"{self._target}{path.removeprefix('/v1')}"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            with self._open(request, timeout=WAIT_SECONDS) as response:
                status, answer = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, answer = error.code, error.read()
        with self._lock:
            if status != 200:
                self.refusals.append(f"HTTP {status}: {answer.decode(errors='replace')[:200]}")
            elif path.endswith("/chat/completions"):
                self.completions.append(json.loads(answer))
        return status, answer

    def _connection(self) -> type[BaseHTTPRequestHandler]:
        relay = self

        class Connection(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers["Content-Length"])))

            def _answer(self, body: bytes | None) -> None:
                status, answer = relay._pass_on(self.path, body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing on the terminal."""

        return Connection
