"""Serves one phone: accepts connections, makes them, and gives each a session."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast

from usbredir_mtp.network.direct import Turns
from usbredir_mtp.network.link import HELLO_TIMEOUT, Link
from usbredir_mtp.network.listening import peer_of
from usbredir_mtp.tally import End

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from ssl import SSLContext

    from usbredir_mtp.network.addresses import Address, Target
    from usbredir_mtp.network.dialing import Dialer
    from usbredir_mtp.network.listening import Listener
    from usbredir_mtp.session import Phone, Session

logger = logging.getLogger(__name__)

ACK_TIMEOUT = 2.0
"""Seconds for a guest to acknowledge the unplugging: a paused VM does not."""

GRACE = 10.0
"""Seconds for running transactions to end at shutdown, where nobody says otherwise."""

_BUSY_INTERVAL = 0.02


class Server:
    """Serves one phone to any number of guests.

    Args:
        phone: What the guests see.
        grace: Seconds for running transactions to end at shutdown.
        users: Ids of the users that may connect to unix sockets, beside our own and root.
        turns: The loop's, where there are more servers on it.
    """

    def __init__(
        self, phone: Phone, grace: float = GRACE, users: Collection[int] = (), turns: Turns | None = None
    ) -> None:
        self.phone = phone
        self.users = frozenset({0, os.geteuid(), *users})
        self.grace = grace
        self.turns = turns or Turns()
        self._links: set[Link] = set()
        self._servers: list[tuple[Listener, asyncio.Server]] = []
        self._dialing: set[asyncio.Task[None]] = set()
        self._given_up: list[str] = []
        self._is_ending = False

    @property
    def sessions(self) -> list[Session]:
        """Those of the connections that there are; may be asked by any thread."""
        return [link.session for link in list(self._links)]

    @property
    def trouble(self) -> Sequence[str]:
        """Why guests cannot get to the phone, by a way that they should; empty if they can."""
        if self._is_ending:
            return ["unplugging"]
        closed = [f"{listener.address}: closed" for listener, server in self._servers if not server.is_serving()]
        return [*self._given_up, *closed]

    async def listen(self, listeners: Sequence[Listener], tls: SSLContext | None = None) -> None:
        """Accept connections; those over TCP by TLS, if there is a context for it."""
        loop = asyncio.get_running_loop()
        for listener in listeners:
            if listener.socket.family == socket.AF_UNIX:
                door = partial(_Door, self, loop, listener.address)
                server = await loop.create_unix_server(door, sock=listener.socket)
            else:
                patience = None if tls is None else HELLO_TIMEOUT
                link = partial(Link, self, loop)
                server = await loop.create_server(link, sock=listener.socket, ssl=tls, ssl_handshake_timeout=patience)
            self._servers.append((listener, server))

    def dial(self, dialers: Iterable[Dialer]) -> None:
        """Keep connections up."""
        for dialer in dialers:
            task = asyncio.ensure_future(dialer.run())
            self._dialing.add(task)
            task.add_done_callback(partial(self._dialed, dialer.address))

    def _dialed(self, address: Target, task: asyncio.Task[None]) -> None:
        self._dialing.discard(task)
        if not task.cancelled():
            self._given_up.append(f"{address}: given up")

    async def adopt(self, sock: socket.socket, name: str) -> None:
        """Serve the phone on a connected unix socket, until that ends."""
        if self._is_ending:
            sock.close()
            return
        loop = asyncio.get_running_loop()
        _, link = await loop.create_unix_connection(partial(Link, self, loop, name), sock=sock)
        await asyncio.shield(link.ended)

    async def shut_down(self) -> None:
        """Accept and make no more connections, let running transactions end, unplug the devices, close."""
        self._is_ending = True
        for task in self._dialing:
            task.cancel()
        for listener, server in self._servers:
            listener.unlink()
            server.close()
        await _until(lambda: not any(link.session.busy for link in self._links), self.grace)
        for link in list(self._links):
            link.session.unplug()
        await _until(lambda: not self._links, ACK_TIMEOUT)
        for link in list(self._links):
            logger.warning("%s: did not acknowledge the unplugging", link.session.name)
            link.abort(End.NO_ANSWER)
        await _until(lambda: not self._links, ACK_TIMEOUT)

    def add(self, link: Link) -> None:
        """A connection was made."""
        self.phone.tallies.connections.begun += 1
        self._links.add(link)
        if self._is_ending:  # TLS was being agreed on, or it was accepted a moment ago
            asyncio.get_running_loop().call_soon(link.abort, End.UNPLUGGED)

    def remove(self, link: Link) -> None:
        """A connection is gone."""
        if link.end is not None:
            self.phone.tallies.connections.ended[link.end] += 1
        self._links.discard(link)


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110  (a few conditions, at shutdown only)
                await asyncio.sleep(_BUSY_INTERVAL)


class _Door(asyncio.Protocol):
    """Lets a connection to a unix socket in, if the kernel says that its user may."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop, address: Address) -> None:
        self._server = server
        self._loop = loop
        self._address = address

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)
        peer = peer_of(stream.get_extra_info("socket"))
        if peer is None or peer.uid in self._server.users:
            link = Link(self._server, self._loop)
            stream.set_protocol(link)
            link.connection_made(stream)
        else:
            self._server.phone.tallies.connections.refused += 1
            text = "%s: refused a process of user %s; --allow-user %s would let it in"
            logger.warning(text, self._address, peer.user, peer.user)
            stream.abort()
