"""download: whole files only, from a real server that breaks off, refuses and lies."""

from __future__ import annotations

import hashlib
import random
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trainer.download import DownloadError, download

CONTENT = random.Random(1).randbytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT at /file; what it does wrong is set by the test."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.ranges: list[str | None] = []  # the Range header of each request for the file
        self.statuses: list[int] = []  # answered first, one per request
        self.breaks_off_after: list[int] = []  # bytes sent before the connection is dropped
        self.knows_ranges = True
        self.announced = ""
        self.url = f"http://127.0.0.1:{self.server_address[1]}/file"
        self.url_of_the_hub = self.url.replace("/file", "/moved")  # announces a checksum


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.send_header("X-Linked-ETag", f'"{self.server.announced}"')
            self.end_headers()
            return
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        start = 0
        if asked and self.server.knows_ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        cut = self.server.breaks_off_after
        self.wfile.write(CONTENT[start:][: cut.pop(0) if cut else None])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.download.BACKOFF_SECONDS", 0.0)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_arrives_whole_and_alone(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = download(
        server.url,
        tmp_path / "new folder" / "file",
        progress=lambda received, total: seen.append((received, total)),
    )
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


def test_a_file_that_is_there_is_not_asked_for(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    download(server.url, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    assert server.ranges == []


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(
    server: Server, tmp_path: Path
) -> None:
    server.breaks_off_after = [300_000, 500_000]
    path = download(server.url, tmp_path / "file")
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=800000-"]


def test_a_later_call_goes_on_with_what_an_earlier_one_left(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.download.ATTEMPTS", 1)
    server.breaks_off_after = [300_000]
    with pytest.raises(DownloadError, match="broke off after 300000 of 1000000 bytes"):
        download(server.url, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    path = download(server.url, tmp_path / "file")
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-"]


def test_a_server_that_knows_no_ranges_is_read_from_the_start(
    server: Server, tmp_path: Path
) -> None:
    server.knows_ranges = False
    server.breaks_off_after = [300_000]
    path = download(server.url, tmp_path / "file")
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-"]


def test_another_file_than_the_hub_announces_on_its_redirect_leaves_none(
    server: Server, tmp_path: Path
) -> None:
    server.announced = "0" * 64
    with pytest.raises(DownloadError, match="the checksum is"):
        download(server.url_of_the_hub, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    assert len(server.ranges) == 1


def test_a_wrong_beginning_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"of another file")
    server.announced = SHA256
    path = download(server.url_of_the_hub, tmp_path / "file")
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=15-", None]


def test_a_beginning_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(bytes(len(CONTENT) + 1))
    path = download(server.url, tmp_path / "file")
    assert path.read_bytes() == CONTENT


def test_the_file_that_the_hub_announces_on_its_redirect_is_taken(
    server: Server, tmp_path: Path
) -> None:
    server.announced = SHA256
    assert download(server.url_of_the_hub, tmp_path / "file").read_bytes() == CONTENT


def test_a_refusal_is_not_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(DownloadError, match=r"/file: 404 Not Found"):
        download(server.url, tmp_path / "file")
    assert len(server.ranges) == 1


def test_a_server_in_trouble_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    path = download(server.url, tmp_path / "file")
    assert path.read_bytes() == CONTENT


def test_patience_ends_after_the_last_attempt(server: Server, tmp_path: Path) -> None:
    server.statuses = [500] * 6
    with pytest.raises(DownloadError, match="500 Internal Server Error; given up after 5 attempts"):
        download(server.url, tmp_path / "file")
    assert len(server.ranges) == 5


def test_nobody_at_the_address_is_an_error_of_one_line(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/file"
        with pytest.raises(DownloadError, match="refused") as error:
            download(url, tmp_path / "file")
    assert "\n" not in str(error.value)


def test_what_is_no_url_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="unknown url type"):
        download("no address", tmp_path / "file")


def test_of_many_who_want_one_file_only_one_fetches_it(server: Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for path in pool.map(lambda _: download(server.url, tmp_path / "file"), range(8)):
            assert path.read_bytes() == CONTENT
    assert server.ranges == [None]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
