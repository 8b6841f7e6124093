"""The channel: whole messages and descriptors get through, anything else is an error that says so."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from trainer.channel import MESSAGE_LIMIT_BYTES, Channel, ChannelClosed, ChannelError

Ends = tuple[Channel, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Our channel, and the bare socket at its other end."""
    ours, its = socket.socketpair()
    channel = Channel(ours)
    yield channel, its
    channel.close()
    its.close()


def framed(text: bytes) -> bytes:
    return struct.pack("!I", len(text)) + text


def test_messages_arrive_whole_in_order_and_with_their_own_descriptors(ends: Ends) -> None:
    ours, its = ends[0], Channel(ends[1], descriptors=True)
    pipes = [os.pipe() for _ in range(2)]
    ours.send("first", {"n": [1, 2]}, [pipes[0][1]])
    ours.send("second")
    ours.send("third", {}, [pipes[1][1]])
    messages = [its.receive(10) for _ in range(3)]
    assert all(messages) and its.receive(0) is None
    kinds = [(message["kind"], len(message["descriptors"])) for message in messages if message]
    assert kinds == [("first", 1), ("second", 0), ("third", 1)]
    for message, (reading, writing) in zip([messages[0], messages[2]], pipes, strict=True):
        assert message
        (got,) = message["descriptors"]
        os.write(got, b"!")
        assert os.read(reading, 9) == b"!"
        for descriptor in (got, reading, writing):
            os.close(descriptor)


def test_a_message_in_pieces_is_waited_for_and_its_pieces_are_kept(ends: Ends) -> None:
    channel, other = ends
    text = framed(b'{"kind": "slow"}')
    for byte in text[:-1]:
        other.send(bytes([byte]))
        assert channel.receive(0) is None
    other.send(text[-1:])
    assert channel.receive(10) == {"kind": "slow"}


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (framed(b"{"), "not JSON"),
        (framed(b"\xff\xfe"), "not JSON"),
        (framed(b"[" * 100_000), "not JSON"),
        (framed(b'{"kind": "k", "x": NaN}'), "not JSON"),
        (framed(b"[1, 2]"), "nothing of its kind"),
        (framed(b'{"kind": 7}'), "nothing of its kind"),
        (struct.pack("!I", MESSAGE_LIMIT_BYTES + 1), "bytes; 1048576 are allowed"),
    ],
)
def test_what_is_no_message_is_an_error_that_says_so(
    ends: Ends, sent: bytes, complaint: str
) -> None:
    ends[1].sendall(sent)
    with pytest.raises(ChannelError, match=complaint):
        ends[0].receive(10)


def test_descriptors_that_nobody_asked_for_are_not_taken(ends: Ends) -> None:
    reading, writing = os.pipe()
    socket.send_fds(ends[1], [framed(b'{"kind": "k"}')], [writing])
    os.close(writing)
    assert ends[0].receive(10) == {"kind": "k"}
    assert os.read(reading, 1) == b""  # no copy of the writing end is left
    os.close(reading)


def test_an_end_that_is_gone_or_does_not_listen_is_an_error(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, other = ends
    monkeypatch.setattr("trainer.channel.SEND_SECONDS", 0.01)
    with pytest.raises(ChannelError, match="nothing was read"):
        for _ in range(100):
            channel.send("much", {"text": "x" * 100_000})
    other.close()
    with pytest.raises(ChannelClosed):
        channel.receive(10)
    with pytest.raises(ChannelClosed):
        channel.send("anybody")
