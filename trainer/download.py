"""A file from a URL: resumed where it broke off, checked, and put in place in one step."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from io import BufferedRandom
from pathlib import Path
from typing import IO, Any

CHUNK_BYTES = 262_144
TIMEOUT_SECONDS = 30.0  # without a byte from the server
ATTEMPTS = 5
BACKOFF_SECONDS = 1.0  # before the second attempt; before each further one twice as long
RETRIED_STATUSES = frozenset({408, 425, 429}) | frozenset(range(500, 600))

Progress = Callable[[int, int | None], None]


class DownloadError(Exception):
    """A file that could not be had; the message says in one line which and why."""


class _BrokenOffError(Exception):
    """An attempt that may succeed when it is made again."""


def download(
    url: str,
    path: Path,
    *,
    progress: Progress = lambda received, total: None,
) -> Path:
    """Fetch ``url`` to ``path``, unless ``path`` is there already.

    What has arrived is kept in ``path`` + ``.part`` and asked for no second time, in this call or
    a later one. Only a whole file gets the name ``path``, with the right checksum where the server
    sends a SHA-256 along, as the Hugging Face hub does (the header X-Linked-ETag, on its redirect).
    ``progress`` is told the bytes here so far and the bytes in all (None where the server does not
    say). Of two processes that want the same file, the second waits for the first.

    Raises:
        DownloadError: the server refuses, every attempt broke off, or the checksum is wrong.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():  # another process has just finished it
            part.unlink(missing_ok=True)
            return path
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
            try:
                _fetch_rest(url, file, progress)
            except _BrokenOffError as error:
                reason = str(error)
                continue
            part.replace(path)
            return path
    raise DownloadError(f"{url}: {reason}; given up after {ATTEMPTS} attempts")


def _fetch_rest(url: str, file: BufferedRandom, progress: Progress) -> None:
    """Append to ``file`` what it lacks, and check the whole."""
    resumed_at = file.seek(0, os.SEEK_END)
    redirects = _Redirects()
    try:
        with _open(url, resumed_at, redirects) as response:
            if resumed_at and response.status != 206:  # a server that ignores Range starts over
                resumed_at = file.truncate(0)
            total = _total_bytes(response, resumed_at)
            received = resumed_at
            while chunk := response.read(CHUNK_BYTES):
                received += file.write(chunk)
                progress(received, total)
            announced = redirects.announced or _announced_sha256(response.headers)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # what is here cannot be a beginning of what is there
            file.truncate(0)
        elif error.code not in RETRIED_STATUSES:
            raise DownloadError(f"{url}: {error.code} {error.reason}") from error
        raise _BrokenOffError(f"{error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from error
    finally:
        file.flush()
    if total is not None and received != total:
        raise _BrokenOffError(f"broke off after {received} of {total} bytes")
    _check(url, file, announced, fresh=not resumed_at)


def _open(url: str, start: int, redirects: _Redirects) -> http.client.HTTPResponse:
    headers = {"User-Agent": "autoresearch-org"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        request = urllib.request.Request(url, headers=headers)
    except ValueError as error:
        raise DownloadError(f"{url}: {error}") from error
    opener = urllib.request.build_opener(redirects)
    response: http.client.HTTPResponse = opener.open(request, timeout=TIMEOUT_SECONDS)
    return response


def _total_bytes(response: http.client.HTTPResponse, resumed_at: int) -> int | None:
    """The size of the whole file, where the server says it."""
    if resumed_at:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != resumed_at:
            raise _BrokenOffError("the server resumed at another place than asked")
        return int(match[2])
    length = response.headers.get("Content-Length")
    return int(length) if length else None


def _check(url: str, file: BufferedRandom, sha256: str | None, *, fresh: bool) -> None:
    """Compare checksums; a wrong file is emptied, and worth another attempt if it was patched."""
    if sha256 is None:
        return
    file.seek(0)
    found = hashlib.file_digest(file, "sha256").hexdigest()
    if found == sha256:
        return
    file.truncate(0)
    reason = f"the checksum is {found[:12]}…, not {sha256[:12]}…"
    if fresh:
        raise DownloadError(f"{url}: {reason}")
    raise _BrokenOffError(reason)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and remembers a checksum that came with one."""

    announced: str | None = None

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        self.announced = self.announced or _announced_sha256(headers)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _announced_sha256(headers: Message) -> str | None:
    tag = headers.get("X-Linked-ETag", "").removeprefix("W/").strip('"')
    return tag if re.fullmatch(r"[0-9a-f]{64}", tag) else None
