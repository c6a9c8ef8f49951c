"""A usb-host of a few lines in memory, for the support code's own tests."""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.wire import Buffer

HELLO = bytes.fromhex("00000000 44000000 00000000") + b"peer" + bytes(60)
EP_TYPES = b"\0" + b"\xff" + b"\2" + b"\xff" * 13 + b"\0" + b"\2" + b"\xff" + b"\3" + b"\xff" * 12
EP_INTERVALS = bytes(19) + b"\6" + bytes(12)
EP_SIZES = struct.pack("<32H", *[64, 0, 512, *[0] * 13, 64, 512, 0, 28, *[0] * 12])
EP_INFO = EP_TYPES + EP_INTERVALS + bytes(32) + EP_SIZES
INTERFACES = b"\1\0\0\0" + b"".join(bytes([value]) + bytes(31) for value in (0, 6, 1, 1))
CONNECT = struct.pack("<BBBBHHH", 2, 0, 0, 0, 0x46F4, 4, 0x100)


def packet(kind: int, id_: int, body: bytes) -> bytes:
    """A packet with a 64-bit id."""
    return struct.pack("<IIQ", kind, len(body), id_) + body


PLUG_IN = packet(5, 0, EP_INFO) + packet(4, 0, INTERFACES) + packet(1, 0, CONNECT)


@dataclass
class Script:
    """A stream that says what it was given, `step` bytes at a time, then nothing more."""

    said: bytes
    step: int = 1 << 20
    heard: bytearray = field(default_factory=bytearray)
    ended: bool = False

    def settimeout(self, seconds: float | None, /) -> None:
        """Nothing here takes time."""

    def sendall(self, data: Buffer, /) -> None:
        """Keep it."""
        self.heard += data

    def recv(self, size: int, /) -> bytes:
        """The next piece; TimeoutError or the end after the last."""
        piece, self.said = self.said[: min(size, self.step)], self.said[min(size, self.step) :]
        if not piece and not self.ended:
            raise TimeoutError
        return piece

    def close(self) -> None:
        """Nothing to hang up."""


@dataclass
class Device(Script):
    """Answers bulk and control transfers: OUT data is kept, IN transfers take from `replies`.

    Attributes:
        replies: USB messages to give out; their zero-length packets are seen to.
        out: The OUT transfers that came.
        control: The control transfers that came, as (request, data); IN ones get `answers`.
    """

    said: bytes = HELLO + bytes.fromhex("7e000000") + PLUG_IN
    replies: deque[bytes] = field(default_factory=deque)
    out: list[bytes] = field(default_factory=list)
    control: list[tuple[int, bytes]] = field(default_factory=list)
    answers: deque[bytes] = field(default_factory=deque)
    waiting: list[tuple[int, int]] = field(default_factory=list)
    greeted: bool = False

    def sendall(self, data: Buffer, /) -> None:
        """Answer whole packets."""
        self.heard += data
        while size := self._whole():
            taken = bytes(self.heard[:size])
            del self.heard[:size]
            if self.greeted:
                kind, _, id_ = struct.unpack_from("<IIQ", taken)
                self._answer(kind, id_, taken[16:])
            self.greeted = True
        while self.replies and self.waiting:
            self._give(*self.waiting.pop(0))

    def _whole(self) -> int:
        header = 16 if self.greeted else 12
        if len(self.heard) < header:
            return 0
        size = header + int.from_bytes(self.heard[4:8], "little")
        return size if len(self.heard) >= size else 0

    def _answer(self, kind: int, id_: int, body: bytes) -> None:
        if kind == 101 and body[0] & 0x80:
            low, high = struct.unpack("<HxxxxH", body[2:10])
            self.waiting.append((id_, low | high << 16))
        elif kind == 101:
            self.out.append(body[10:])
            self.said += packet(101, id_, body[:10])
        elif kind == 100:
            data = self.answers.popleft() if body[0] & 0x80 else b""
            self.control.append((body[1], body[10:]))
            length = struct.pack("<H", len(data)) if data else body[8:10]
            self.said += packet(100, id_, body[:8] + length + data)
        elif kind == 21 and any(id_ == one for one, _ in self.waiting):
            self.waiting = [row for row in self.waiting if row[0] != id_]
            self.said += packet(101, id_, b"\x81\1" + bytes(8))

    def _give(self, id_: int, asked: int) -> None:
        message = self.replies.popleft()
        given, rest = message[:asked], message[asked:]
        if rest or (asked and len(given) == asked and len(given) % 512 == 0):
            self.replies.appendleft(rest)
        size = struct.pack("<HIH", len(given) & 0xFFFF, 0, len(given) >> 16)
        self.said += packet(101, id_, b"\x81\0" + size + given)
