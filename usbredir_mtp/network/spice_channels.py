"""SPICE's connections: one is made, a channel opened on it, and the main channel kept."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from usbredir_mtp.network.dialing import CONNECT_TIMEOUT, connect
from usbredir_mtp.spice.constants import ChannelType
from usbredir_mtp.spice.errors import SpiceProtocolError
from usbredir_mtp.spice.handshake import Handshake
from usbredir_mtp.spice.main_channel import MainChannel

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext

    from usbredir_mtp.network.addresses import Spice

logger = logging.getLogger(__name__)

LINK_TIMEOUT = CONNECT_TIMEOUT
"""Seconds for a server to open a channel, and to tell about its session: it does so at once."""

WRITE_HIGH = 64 << 10
"""Bytes that may wait to be written on a main channel before it is no longer read: we only answer there."""


IDLE_TIMEOUT = 10.0
"""Seconds that a session of ours stays open without a usbredir channel: longer than a dialer waits between tries, so
that those in vain do not throw somebody out each time."""


class NoReplyError(Exception):
    """The server has closed the connection in place of an answer."""


class Wire(asyncio.Protocol):
    """A connection that is read no further than somebody asks for, until another protocol takes it over."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.lost = False
        self._data = bytearray()
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._data += data
        self.transport.pause_reading()
        self._news.set()

    def connection_lost(self, _exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.lost = True
        self._news.set()

    async def wait(self) -> bool:
        """Wait until something has come, or the connection has ended; returns whether something has come."""
        await self._news.wait()
        return bool(self._data)

    async def read(self) -> bytes:
        """What comes next.

        Raises:
            NoReplyError: The connection has ended.
        """
        if not await self.wait():
            raise NoReplyError
        return self.take()

    def take(self) -> bytes:
        """What has come; the connection is read on."""
        data = bytes(self._data)
        self._data.clear()
        if not self.lost:
            self._news.clear()
            if not self.transport.is_closing():
                self.transport.resume_reading()
        return data


@dataclass(slots=True, frozen=True)
class SpiceServer:
    """A VM's SPICE server, and what it wants to know.

    Attributes:
        address: Where it is.
        password: From `ticket.check_password`; empty where it asks for none.
        tls: How to check it, where its port is for TLS.
    """

    address: Spice
    password: bytes = field(default=b"", repr=False)
    tls: SSLContext | None = None

    async def connect(self) -> Wire:
        """A connection on which nothing is said yet.

        Raises:
            OSError: There is none to be had; `ssl.SSLError` where TLS is the reason.
        """
        return await connect(Wire, self.address.where, self.tls)

    async def open(self, channel: ChannelType, number: int = 0, connection_id: int = 0) -> tuple[Wire, Handshake]:
        """Open a channel.

        Returns:
            Its connection, and how its messages look; what has come of them is the handshake's rest.

        Raises:
            OSError: There is no connection, or no answer in time (TimeoutError).
            LinkRefusedError: The server does not open it.
            NoReplyError: It hangs up without a word.
            SpiceProtocolError: It is none of SPICE.
        """
        handshake = Handshake(channel, number, connection_id, self.password)
        wire = await self.connect()
        try:
            wire.transport.write(handshake.start())
            async with asyncio.timeout(LINK_TIMEOUT):
                while not handshake.linked:
                    wire.transport.write(handshake.receive(await wire.read()))
        except BaseException:
            wire.transport.abort()
            raise
        return wire, handshake

    async def open_main(self) -> MainLink:
        """Open a session, whose main channel is served from then on. Whoever was connected is thrown out.

        Raises:
            OSError, LinkRefusedError, NoReplyError, SpiceProtocolError: as `open`.
        """
        wire, handshake = await self.open(ChannelType.MAIN)
        main = MainLink(wire, MainChannel(str(self.address), mini_header=handshake.mini_header))
        main.begin(handshake.rest)
        try:
            async with asyncio.timeout(LINK_TIMEOUT):
                await main.told
        except BaseException:
            main.close()
            raise
        return main


class MainLink(asyncio.Protocol):
    """A session of ours: its main channel, which lives as long as it.

    Attributes:
        channel: What the server told.
        told: Done when it has told all that we need.
        ended: Set when the session is over.
        thrown_out: Whether it was the server that ended it.
    """

    def __init__(self, wire: Wire, channel: MainChannel) -> None:
        self.channel = channel
        self.told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self.thrown_out = False
        self._wire = wire
        self._transport = wire.transport
        self._on_end: Callable[[], None] = lambda: None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def begin(self, first: bytes) -> None:
        """Take the connection over, and what has come on it."""
        self._transport.set_write_buffer_limits(high=WRITE_HIGH)
        self._transport.set_protocol(self)
        self.data_received(first)
        self.data_received(self._wire.take())
        if self._wire.lost:
            self.connection_lost(None)

    def keep(self, on_end: Callable[[], None] = lambda: None) -> None:
        """It is in use.

        Args:
            on_end: Called when it is over.
        """
        self._set_timer(None)
        self._on_end = on_end
        if self.ended.is_set():
            on_end()

    def idle(self) -> None:
        """It is not in use; if that stays so it is closed."""
        self.keep()
        if not self.ended.is_set():
            self._set_timer(asyncio.get_running_loop().call_later(IDLE_TIMEOUT, self.close))

    async def see_off(self, seconds: float) -> None:
        """Wait for the end that the server knows of, or end it ourselves."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.ended.wait()
        self.close()

    def close(self) -> None:
        """End the session."""
        self._closed = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._closed:
            return
        try:
            self.channel.receive(memoryview(data))
        except SpiceProtocolError as error:
            self._fail(error)
            return
        self._transport.writelines(self.channel.replies())
        if self.channel.session_id is not None and self.channel.usbredir is not None and not self.told.done():
            self.told.set_result(None)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        # Only a server closes in order, or at once; a network that fails says so in other ways.
        self.thrown_out = not self._closed and (exc is None or isinstance(exc, ConnectionResetError))
        self._end(NoReplyError())

    def _fail(self, error: SpiceProtocolError) -> None:
        if self.told.done():
            logger.warning("%s: breaks the protocol and is disconnected: %s", self.channel.name, error)
        self._closed = True
        self._transport.abort()
        self._end(error)

    def _end(self, error: Exception) -> None:
        if not self.told.done():
            self.told.set_exception(error)
        if not self.ended.is_set():
            self.ended.set()
            self._set_timer(None)
            self._on_end()

    def _set_timer(self, timer: asyncio.TimerHandle | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer
