"""Network I/O: the only importer of asyncio and uvloop. Listens, and gives each connection a session."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast

from usbredir_mtp.direct import DirectSocket, Turns
from usbredir_mtp.listening import peer_of
from usbredir_mtp.protocol.errors import RemoteProtocolError
from usbredir_mtp.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence
    from typing import Any

    from usbredir_mtp.addresses import Address
    from usbredir_mtp.listening import Listener
    from usbredir_mtp.session import Buffer, Phone

logger = logging.getLogger(__name__)

HELLO_TIMEOUT = 10.0
"""Seconds until a peer must have said hello. QEMU does so at once; after a live migration it never will, and a new
connection is what it needs."""

ACK_TIMEOUT = 2.0
"""Seconds for a guest to acknowledge the unplugging: a paused VM does not."""

GRACE = 10.0
"""Seconds for running transactions to end at shutdown, where nobody says otherwise."""

_BUSY_INTERVAL = 0.02

RECEIVE_BUFFER = 256 << 10
"""Bytes read from a socket at once: the packet of a large upload in few calls."""

WRITE_HIGH = 896 << 10
"""Bytes that may wait in a socket's write buffer before the device pauses. The kernel's own buffer keeps the line busy;
here short replies cost several times their length, and a peer may never read them."""

UNIX_BUFFER = 512 << 10
"""Bytes of the kernel's buffer of a unix socket, as far as the machine lets us (net.core.wmem_max): what it comes with
holds less than one large transfer, and the sender would be woken several times for each. TCP's grows by itself."""


class Server:
    """Serves one phone to any number of guests.

    Args:
        phone: What the guests see.
        grace: Seconds for running transactions to end at shutdown.
        users: Ids of the users that may connect to unix sockets, beside our own and root.
    """

    def __init__(self, phone: Phone, grace: float = GRACE, users: Collection[int] = ()) -> None:
        self.phone = phone
        self.users = frozenset({0, os.geteuid(), *users})
        self.grace = grace
        self.turns = Turns()
        self._links: set[_Link] = set()
        self._servers: list[tuple[Listener, asyncio.Server]] = []

    async def listen(self, listeners: Sequence[Listener]) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        for listener in listeners:
            if listener.socket.family == socket.AF_UNIX:
                door = partial(_Door, self, loop, listener.address)
                server = await loop.create_unix_server(door, sock=listener.socket)
            else:
                server = await loop.create_server(partial(_Link, self, loop), sock=listener.socket)
            self._servers.append((listener, server))

    async def shut_down(self) -> None:
        """Accept no more, let running transactions end, unplug the devices, close."""
        for listener, server in self._servers:
            listener.unlink()
            server.close()
        await _until(lambda: not any(link.session.busy for link in self._links), self.grace)
        for link in list(self._links):
            link.session.unplug()
        await _until(lambda: not self._links, ACK_TIMEOUT)
        for link in list(self._links):
            logger.warning("%s: did not acknowledge the unplugging", link.session.name)
            link.abort()
        await _until(lambda: not self._links, ACK_TIMEOUT)

    def add(self, link: _Link) -> None:
        """A connection was made."""
        self._links.add(link)

    def remove(self, link: _Link) -> None:
        """A connection is gone."""
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
            link = _Link(self._server, self._loop)
            stream.set_protocol(link)
            link.connection_made(stream)
        else:
            text = "%s: refused a process of user %s; --allow-user %s would let it in"
            logger.warning(text, self._address, peer.user, peer.user)
            stream.abort()


class _Link(asyncio.BufferedProtocol):
    """One connection: the thin shell around a session, and its transport."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._view = memoryview(bytearray(RECEIVE_BUFFER))
        self._transport: asyncio.Transport
        self._reading = True
        self._direct: DirectSocket | None = None
        self._hello_timer: asyncio.TimerHandle | None = None
        self.session: Session

    # -- asyncio's side --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # It goes on soon, so that the socket never runs dry.
        self._transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_HIGH * 3 // 4)
        _tune(transport)
        self._direct = _direct(transport, self._server.turns)
        name = _peer_name(transport)
        logger.info("%s: connected", name)
        self.session = Session(self._server.phone, self, self._post, name)
        self._server.add(self)
        self._hello_timer = self._loop.call_later(HELLO_TIMEOUT, self._check_hello)
        self.session.start()

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        if self._direct is None:
            self._receive(self._view[:nbytes])
        else:
            self._direct.converse(self._view[:nbytes], self._view, self._receive)

    def pause_writing(self) -> None:
        self._guard(self.session.pause_writing)

    def resume_writing(self) -> None:
        self._guard(self.session.resume_writing)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        if self._direct is not None:
            self._direct.close()
        logger.info("%s: disconnected%s", self.session.name, f": {exc}" if exc else "")
        self.session.closed()
        self._server.remove(self)
        self._view = memoryview(b"")  # the rest, which refers to itself in circles, is small until it is collected

    # -- the session's side (see session.Transport) ------------------------------------------------------------------

    def write(self, buffers: Sequence[Buffer]) -> None:
        if self._direct is not None and not self._transport.get_write_buffer_size():
            buffers = self._direct.write(buffers)
        if buffers:
            self._transport.writelines(buffers)

    def pause_reading(self) -> None:
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def close(self) -> None:
        self._transport.close()

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        self._loop.call_later(seconds, self._guard, function)

    # ------------------------------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """Close without waiting for anything."""
        self.session.closed()
        self._transport.abort()

    def _receive(self, data: memoryview) -> bool:
        """Take bytes from the guest; returns whether to read more."""
        self._guard(self.session.receive, data)
        return self._reading and not self._transport.is_closing()

    def _post(self, function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to care
            self._loop.call_soon_threadsafe(self._guard, function)

    def _guard(self, function: Callable[..., None], *args: object) -> None:
        """Call into the session: what goes wrong there costs this guest its connection, and nothing else."""
        try:
            function(*args)
        except RemoteProtocolError as error:
            logger.warning("%s: breaks the protocol and is disconnected: %s", self.session.name, error)
            self.abort()
        except Exception:
            logger.exception("%s: disconnected; a fault of usbredir-mtp's, please report it", self.session.name)
            self.abort()

    def _check_hello(self) -> None:
        if not self.session.greeted:
            logger.warning("%s: no hello within %g s, disconnected", self.session.name, HELLO_TIMEOUT)
            self.abort()


_OPTIONS = {
    socket.AF_INET: (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    socket.AF_INET6: (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    socket.AF_UNIX: (socket.SOL_SOCKET, socket.SO_SNDBUF, UNIX_BUFFER),
}
"""Address family -> the socket option that makes a connection quick."""


def _tune(transport: asyncio.BaseTransport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in _OPTIONS:
        sock.setsockopt(*_OPTIONS[sock.family])


def _direct(transport: asyncio.BaseTransport, turns: Turns) -> DirectSocket | None:
    """The fast path, where bytes on the socket are the guest's own."""
    sock = transport.get_extra_info("socket")
    is_plain = sock is not None and transport.get_extra_info("sslcontext") is None
    return DirectSocket(sock.fileno(), turns) if is_plain else None


def _peer_name(transport: asyncio.BaseTransport) -> str:
    name, sock = transport.get_extra_info("peername"), transport.get_extra_info("socket")
    if isinstance(name, tuple):
        return f"{name[0]}:{name[1]}"
    peer = None if sock is None else peer_of(sock)
    return "guest" if peer is None else f"process {peer.pid}"


async def serve(
    server: Server,
    listeners: Sequence[Listener],
    ready: Callable[[], None],
    reload: Callable[[], None] = lambda: None,
) -> None:
    """Accept connections until SIGINT or SIGTERM, then shut down; a second signal ends that at once.

    Args:
        server: What to serve.
        listeners: Where, from `listening.listening`.
        ready: Called once connections are accepted.
        reload: Called on SIGHUP, on another thread; one call at a time.

    Raises:
        KeyboardInterrupt: the second signal.
    """
    loop = asyncio.get_running_loop()
    stop, stop_now = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (stop_now if stop.is_set() else stop).set()

    reloads = ThreadPoolExecutor(1, thread_name_prefix="reload")  # no thread before the first signal
    await server.listen(listeners)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(signal.SIGHUP, lambda: reloads.submit(reload))
    ready()
    await stop.wait()
    logger.info("unplugging")
    reloads.shutdown(wait=False, cancel_futures=True)
    shutting_down = asyncio.ensure_future(server.shut_down())
    at_once = asyncio.ensure_future(stop_now.wait())
    await asyncio.wait({shutting_down, at_once}, return_when=asyncio.FIRST_COMPLETED)
    at_once.cancel()
    if not shutting_down.done():
        shutting_down.cancel()
        raise KeyboardInterrupt


def run(main: Coroutine[Any, Any, None], loop: str = "auto") -> None:
    """Run `main` on an event loop: "uvloop", "asyncio", or "auto" for uvloop where it is installed."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if loop != "asyncio" and sys.platform != "win32":
        try:
            import uvloop  # noqa: PLC0415  (not on every platform, and not needed where it is turned off)
        except ImportError:
            if loop == "uvloop":
                main.close()
                raise
        else:
            factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)
