"""The channel between us and the process that parses: both of its ends, the only module here with a socket.

A message is two lengths, a header in JSON and a body in bytes; a job comes with its file's descriptor (SCM_RIGHTS).
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_HEADER = 64 << 10
"""Bytes: some twenty properties of at most 254 UTF-16 units each, escaped."""

MAX_BODY = 128 << 10
"""Bytes: a thumbnail; one taken from EXIF data comes out of a segment of less than 64 KiB."""

_PREFIX = struct.Struct("<II")


class ChannelError(Exception):
    """What came is not a message."""


class Message(NamedTuple):
    """One message.

    Attributes:
        header: What is said.
        body: A picture, or nothing.
        descriptor: Of the file, with a job; the receiver closes it.
    """

    header: dict[str, object]
    body: bytes = b""
    descriptor: int | None = None


class Channel:
    """One end of a socket pair. Used by one thread at a time."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Two ends."""
        ours, theirs = socket.socketpair()
        return cls(ours), cls(theirs)

    @classmethod
    def inherited(cls, descriptor: int) -> Channel:
        """The end that a process was started with."""
        return cls(socket.socket(fileno=descriptor))

    def fileno(self) -> int:
        """The end's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up; may be called more than once."""
        self._socket.close()

    def send(self, header: Mapping[str, object], body: bytes = b"", descriptor: int | None = None) -> None:
        """Send a message.

        Raises:
            OSError: the other end has hung up, or takes nothing.
        """
        text = json.dumps(header).encode()
        data = _PREFIX.pack(len(text), len(body)) + text + body
        sent = 0
        if descriptor is not None:
            sent = socket.send_fds(self._socket, [data], [descriptor])
        if sent < len(data):  # even to send nothing fails if the other end is gone, having taken the message
            self._socket.sendall(data[sent:])

    def receive(self, seconds: float) -> Message:
        """The next message, whole within `seconds`.

        Raises:
            TimeoutError: it is not there by then.
            EOFError: the other end has hung up, between two messages or in one.
            ChannelError: it is no message.
            OSError: as recv(2) has them.
        """
        deadline = time.monotonic() + seconds
        return self._rest(self._exactly(_PREFIX.size, deadline), deadline, None)

    def receive_job(self, seconds: float) -> Message:
        """As `receive`, for messages that bring a file's descriptor.

        Raises:
            TimeoutError: as `receive`; so are EOFError, ChannelError and OSError.
        """
        deadline = time.monotonic() + seconds
        self._socket.settimeout(seconds)
        start, descriptors, _flags, _address = socket.recv_fds(self._socket, _PREFIX.size, 1)
        if not start:
            raise EOFError
        if len(descriptors) != 1:
            raise ChannelError("a job without a file")
        prefix = start + self._exactly(_PREFIX.size - len(start), deadline)
        return self._rest(prefix, deadline, descriptors[0])

    def _rest(self, prefix: bytes, deadline: float, descriptor: int | None) -> Message:
        header_size, body_size = _PREFIX.unpack(prefix)
        if header_size > MAX_HEADER or body_size > MAX_BODY:
            raise ChannelError(f"message of {header_size} and {body_size} bytes")
        header = _parsed(self._exactly(header_size, deadline))
        return Message(header, self._exactly(body_size, deadline), descriptor)

    def _exactly(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            self._socket.settimeout(remaining)
            more = self._socket.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return bytes(data)


def _parsed(text: bytes) -> dict[str, object]:
    try:
        header: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ChannelError(f"header is not JSON: {type(error).__name__}") from error
    if not isinstance(header, dict):
        raise ChannelError("header is not an object")
    return header
