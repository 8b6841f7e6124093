"""Messages between a trial and its supervisor: JSON and file descriptors over a Unix socket.

Neither side trusts the other's bytes: sizes are bounded, nothing waits for ever, and whatever is
not a message is a `ChannelError` that says so.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

Message = dict[str, Any]

CHANNEL_VARIABLE = "TRIAL_CHANNEL"  # under it a trial finds the descriptor of its end
WEIGHTS_FILE = "weights.pt"  # in its home it leaves there what it has learned
MESSAGE_LIMIT_BYTES = 1 << 20
SEND_SECONDS = 30.0  # for the other side to make room
_SIZE = struct.Struct("!I")
_MOST_DESCRIPTORS = 8


class ChannelError(Exception):
    """The other side closed the channel or sent what is not a message; the text says which."""


class ChannelClosed(ChannelError):
    """The other side is gone, or hung up."""


class Channel:
    """One end of a stream socket: whole messages in, whole messages out.

    A message is a JSON object with a string under ``kind``, preceded by its length. Descriptors
    are accepted only where ``descriptors`` says so: a trial cannot push any at its supervisor.
    """

    def __init__(self, end: socket.socket, *, descriptors: bool = False) -> None:
        self._end = end
        self._end.setblocking(False)
        self._descriptors = descriptors
        self._arrived = bytearray()
        self._arrived_descriptors: list[int] = []

    def send(
        self,
        kind: str,
        values: Mapping[str, object] = {},
        descriptors: Sequence[int] = (),
    ) -> None:
        """Send one message; give up when the other side does not take it within `SEND_SECONDS`.

        Raises:
            ChannelError: it is gone, or did not read in time.
        """
        text = json.dumps({**values, "kind": kind, "descriptors": len(descriptors)}).encode()
        unsent = memoryview(_SIZE.pack(len(text)) + text)
        deadline = time.monotonic() + SEND_SECONDS
        while unsent:
            if not _ready([], [self._end], deadline):
                raise ChannelError(f"nothing was read from the channel for {SEND_SECONDS:g} s")
            try:
                # Descriptors travel with the first byte; what is left follows without them.
                count = socket.send_fds(self._end, [unsent], descriptors)
            except BlockingIOError:
                continue
            except OSError as error:
                raise ChannelClosed(f"the channel was closed: {error.strerror}") from error
            unsent, descriptors = unsent[count:], ()

    def receive(self, seconds: float) -> Message | None:
        """The next message, or None when it is not complete within ``seconds``; a part is kept.

        Descriptors that came with it stand under ``descriptors``; they are the caller's to close.

        Raises:
            ChannelError: the other side closed the channel, or what it sent is not a message.
        """
        deadline = time.monotonic() + seconds
        while (message := self._take()) is None:
            if not _ready([self._end], [], deadline):
                return None
            self._read()
        return message

    def close(self) -> None:
        """Hang up."""
        self._end.close()
        for descriptor in self._arrived_descriptors:
            os.close(descriptor)

    def _read(self) -> None:
        try:
            if self._descriptors:
                part, fresh, _, _ = socket.recv_fds(self._end, 1 << 16, _MOST_DESCRIPTORS)
                self._arrived_descriptors += fresh
            else:
                part = self._end.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            raise ChannelClosed(f"the channel was closed: {error.strerror}") from error
        if not part:
            raise ChannelClosed("the channel was closed")
        self._arrived += part

    def _take(self) -> Message | None:
        if len(self._arrived) < _SIZE.size:
            return None
        (size,) = _SIZE.unpack_from(self._arrived)
        if size > MESSAGE_LIMIT_BYTES:
            raise ChannelError(f"a message of {size} bytes; {MESSAGE_LIMIT_BYTES} are allowed")
        end = _SIZE.size + size
        if len(self._arrived) < end:
            return None
        message = _parse(bytes(self._arrived[_SIZE.size : end]))
        del self._arrived[:end]
        count = message.pop("descriptors", 0)
        if self._descriptors:
            message["descriptors"] = self._arrived_descriptors[:count]
            del self._arrived_descriptors[:count]
        return message


def _ready(reading: list[socket.socket], writing: list[socket.socket], deadline: float) -> bool:
    """Wait until one of the sockets can be used, or the deadline (monotonic seconds) passes."""
    left = max(0.0, deadline - time.monotonic())
    return any(select.select(reading, writing, [], left))


def _parse(text: bytes) -> Message:
    try:
        message = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ChannelError("a message that is not JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise ChannelError("a message that says nothing of its kind")
    return message


def _refuse_constant(name: str) -> float:
    raise ValueError(name)
