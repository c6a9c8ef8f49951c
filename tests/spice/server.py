"""A SPICE server with usbredir channels and nothing else, which behaves as spice-server does."""

from __future__ import annotations

import asyncio
import itertools
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.spice import wire
from usbredir_mtp.hotplug.qmp import SpiceChannel

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path

DATA = 101
USUAL = wire.AUTH_SELECTION | wire.AUTH_SPICE | wire.MINI_HEADER


@dataclass(slots=True)
class Connection:
    """A channel that a client has open."""

    kind: int
    number: int
    session: int
    mini: bool
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    received: list[tuple[int, bytes]] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    closed: bool = False

    def send(self, kind: int, body: bytes = b"") -> None:
        self.writer.write(wire.message(kind, body, self.mini))

    def close(self) -> None:
        self.closed = True
        self.writer.close()

    def data(self) -> bytes:
        """All usbredir bytes that the client has sent."""
        return b"".join(body for kind, body in self.received if kind == DATA)

    async def said(self, data: bytes) -> None:
        """Wait for usbredir bytes."""
        async with self.news:
            await self.news.wait_for(lambda: data in self.data())

    async def until(self, kind: int, count: int = 1) -> list[bytes]:
        """Wait for messages of a type."""

        def found() -> list[bytes]:
            return [body for each, body in self.received if each == kind]

        async with self.news:
            await self.news.wait_for(lambda: len(found()) >= count)
        return found()

    async def serve(self) -> None:
        layout = struct.Struct("<HI" if self.mini else "<QHII")
        while True:
            fields = layout.unpack(await self.reader.readexactly(layout.size))
            kind, size = fields if self.mini else fields[1:3]
            body = await self.reader.readexactly(size)
            async with self.news:
                self.received.append((kind, body))
                self.news.notify_all()


@dataclass(slots=True)
class FakeSpice:
    """The server. What is not said otherwise is as in spice-server.

    Attributes:
        password: What it wants; None if any will do.
        channels: Numbers of its usbredir channels.
        capabilities: The common ones.
        greeting: What the guest says on a usbredir channel when it is opened.
        main_greeting: What is sent on the main channel before anything else.
        refuse: Type of channel -> the error of its link reply.
        missing_error: Whether a channel that is not there is refused with an error; else the connection is closed.
        garbage: What it answers in place of SPICE.
        deaf: It never answers.
        open: The channels that clients have open.
        links: Type and number of every channel that was asked for.
    """

    password: str | None = None
    channels: tuple[int, ...] = (0,)
    capabilities: int = USUAL
    greeting: bytes = b"hello"
    main_greeting: bytes = b""
    refuse: dict[int, int] = field(default_factory=dict)
    missing_error: bool = False
    garbage: bytes | None = None
    deaf: bool = False
    close_on_connect: bool = False
    open: list[Connection] = field(default_factory=list)
    links: list[tuple[int, int]] = field(default_factory=list)
    connected: int = 0
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(0xFFFFFF00))
    _servers: list[asyncio.Server] = field(default_factory=list)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def listen(self, tls: ssl.SSLContext | None = None, port: int = 0) -> int:
        server = await asyncio.start_server(self._accept, "127.0.0.1", port, ssl=tls)
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def listen_unix(self, path: Path) -> None:
        self._servers.append(await asyncio.start_unix_server(self._accept, path))

    async def stop(self) -> None:
        """End, as QEMU does."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for writer in list(self._writers):
            writer.transport.abort()
        await self.until(lambda: not self._writers)

    async def query(self) -> tuple[SpiceChannel, ...]:
        """As QEMU's query-spice has it."""
        return tuple(SpiceChannel(each.session, each.kind, each.number) for each in self.open)

    async def until(self, condition: object) -> None:
        assert callable(condition)
        async with self.news:
            await self.news.wait_for(condition)

    async def channel(self, kind: int, number: int = 0) -> Connection:
        """Wait until a channel is open."""
        await self.until(lambda: self._find(kind, number) is not None)
        found = self._find(kind, number)
        assert found is not None
        return found

    def new_session(self) -> Connection | None:
        """A viewer comes: everybody else goes. Returns what was the main channel."""
        before = self._find(wire.MAIN)
        for each in list(self.open):
            each.close()
        self.open.clear()
        return before

    def _find(self, kind: int, number: int = 0) -> Connection | None:
        return next((each for each in self.open if (each.kind, each.number) == (kind, number)), None)

    async def _changed(self) -> None:
        async with self.news:
            self.news.notify_all()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connected += 1
        await self._changed()
        try:
            if not self.close_on_connect:
                await self._link(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open = [each for each in self.open if each.writer is not writer]
            self._writers.discard(writer)
            writer.close()
            await self._changed()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        magic, major, _minor, size = struct.unpack("<4sIII", await reader.readexactly(16))
        if magic != b"REDQ":
            writer.write(wire.refusal(wire.INVALID_MAGIC))
            return
        assert major == 2
        body = await reader.readexactly(size)
        session, kind, number, commons, _channels, offset = struct.unpack_from("<IBBIII", body)
        (theirs,) = struct.unpack_from("<I", body, offset)
        assert (commons, theirs) == (1, USUAL)
        self.links.append((kind, number))
        if self.deaf:
            await reader.read()
        elif self.garbage is not None:
            writer.write(self.garbage)
            await reader.read()
        elif kind in self.refuse:
            writer.write(wire.refusal(self.refuse[kind]))
        elif kind == wire.MAIN or number in self.channels:
            await self._authenticate(reader, writer, kind, number, session)
        elif self.missing_error:
            writer.write(wire.refusal(wire.CHANNEL_NOT_AVAILABLE))

    async def _authenticate(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: int, number: int, session: int
    ) -> None:
        writer.write(wire.link_reply(self.capabilities))
        if self.capabilities & wire.AUTH_SELECTION:
            assert await reader.readexactly(4) == struct.pack("<I", 1)
        password = wire.open_ticket(await reader.readexactly(128))
        mini = bool(self.capabilities & wire.MINI_HEADER)
        connection = Connection(kind, number, session, mini, reader, writer)
        if self.password is not None and password != self.password.encode() + b"\0":
            writer.write(struct.pack("<I", wire.PERMISSION_DENIED))
        elif kind == wire.MAIN:
            await self._serve_main(connection)
        elif all((each.kind, each.session) != (wire.MAIN, session) for each in self.open):
            writer.write(struct.pack("<I", wire.BAD_CONNECTION_ID))
        else:
            writer.write(struct.pack("<I", wire.OK))
            if self._find(kind, number) is None:
                await self._serve_usbredir(connection)

    async def _serve_main(self, connection: Connection) -> None:
        self.new_session()
        connection.session = next(self._ids)
        connection.writer.write(struct.pack("<I", wire.OK) + self.main_greeting)
        connection.writer.write(wire.message(103, struct.pack("<I28x", connection.session), connection.mini))
        self.open.append(connection)
        await self._changed()
        answering = asyncio.create_task(self._list_channels(connection))
        try:
            await connection.serve()
        finally:
            answering.cancel()
            for each in self.open:
                if each.session == connection.session:
                    each.close()

    async def _list_channels(self, connection: Connection) -> None:
        await connection.until(104)
        listed = [(2, 0), *((wire.USBREDIR, number) for number in self.channels)]
        body = struct.pack("<I", len(listed)) + b"".join(struct.pack("<BB", *each) for each in listed)
        connection.send(104, body)

    async def _serve_usbredir(self, connection: Connection) -> None:
        self.open.append(connection)
        if self.greeting:
            connection.send(DATA, self.greeting)
        await self._changed()
        await connection.serve()


@asynccontextmanager
async def serving(spice: FakeSpice, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The server on a port."""
    port = await spice.listen(tls)
    try:
        yield port
    finally:
        with suppress(OSError):
            await spice.stop()
