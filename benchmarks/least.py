"""The least that Python can do in the server's place: on uvloop, a responder that gives one mapped file.

What it takes more than the floor in C is the price of the language and its event loop, before the first line of ours.
It checks nothing and takes no uploads. Usage: python benchmarks/least.py WHERE FILE
"""

from __future__ import annotations

import asyncio
import mmap
import socket
import struct
import sys
from collections import deque
from pathlib import Path
from typing import cast

import uvloop

HELLO = struct.Struct("<III64sI")
HEADER = struct.Struct("<IIQ")
BULK = struct.Struct("<BBHIH")
COMPLETION = struct.Struct("<IIQBBHIH")
CONTAINER = struct.Struct("<IHHI")
SET_CONFIGURATION, CONFIGURATION_STATUS, BULK_PACKET = 6, 8, 101
BULK_IN, CAPS, OK = 0x81, 0x7E, 0x2001
GET_OBJECT_HANDLES, GET_OBJECT = 0x1007, 0x1009
EMPTY = memoryview(b"")

FILE: memoryview


class Guest(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(256 << 10))
        self.filled = 0
        self.greeted = False
        self.asked: deque[tuple[int, int]] = deque()
        self.replies: deque[bytes] = deque()
        self.head = b""
        self.left = EMPTY
        self.sending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Plug the device in."""
        self.transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport.write(HELLO.pack(0, 68, 0, b"least", CAPS))
        for kind, size in ((5, 288), (4, 132), (1, 10)):
            self.transport.write(HEADER.pack(kind, size, 0) + bytes(size))

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where to read to."""
        return self.view[self.filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Answer what has come."""
        self.filled += nbytes
        out: list[bytes | memoryview] = []
        used = 0 if self.greeted else HELLO.size
        self.greeted = True
        while self.filled - used >= HEADER.size:
            kind, length, id_ = HEADER.unpack_from(self.view, used)
            body = used + HEADER.size
            if self.filled < body + length:
                break
            used = body + length
            if kind == SET_CONFIGURATION:
                out.append(HEADER.pack(CONFIGURATION_STATUS, 2, id_) + bytes([0, self.view[body]]))
            elif kind == BULK_PACKET:
                self.take(id_, body, out)
        rest = bytes(self.view[used : self.filled])
        self.filled = len(rest)
        self.view[: self.filled] = rest
        self.serve(out)
        if out:
            self.transport.writelines(out)

    def take(self, id_: int, body: int, out: list[bytes | memoryview]) -> None:
        """A transfer."""
        endpoint, _, low, _, high = BULK.unpack_from(self.view, body)
        if endpoint == BULK_IN:
            self.asked.append((id_, high << 16 | low))
            return
        out.append(COMPLETION.pack(BULK_PACKET, BULK.size, id_, endpoint, 0, low, 0, high))
        _, _, code, transaction = CONTAINER.unpack_from(self.view, body + BULK.size)
        if code == GET_OBJECT_HANDLES:
            self.replies.append(CONTAINER.pack(20, 2, code, transaction) + struct.pack("<II", 1, 1))
        if code == GET_OBJECT:
            self.head, self.left = CONTAINER.pack(12 + len(FILE), 2, code, transaction), FILE
            self.sending = True
        self.replies.append(CONTAINER.pack(12, 3, OK, transaction))

    def serve(self, out: list[bytes | memoryview]) -> None:
        """Complete what can be completed."""
        while self.asked and (self.sending or self.replies):
            id_, length = self.asked.popleft()
            if not self.sending:
                reply = self.replies.popleft()
                out += (COMPLETION.pack(BULK_PACKET, BULK.size + len(reply), id_, BULK_IN, 0, len(reply), 0, 0), reply)
                continue
            head, self.head = self.head, b""
            data = self.left[: length - len(head)]
            self.left = self.left[len(data) :]
            size = len(head) + len(data)
            self.sending = bool(self.left) or (size == length and size % 512 == 0)
            out += (
                COMPLETION.pack(BULK_PACKET, BULK.size + size, id_, BULK_IN, 0, size & 0xFFFF, 0, size >> 16),
                head,
                data,
            )


async def main(where: str) -> None:
    """Listen."""
    loop = asyncio.get_running_loop()
    if "/" in where:
        server: asyncio.Server = await loop.create_unix_server(Guest, where)
    else:
        server = await loop.create_server(Guest, "127.0.0.1", int(where))
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with Path(sys.argv[2]).open("rb") as file:
        FILE = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        uvloop.run(main(sys.argv[1]))
