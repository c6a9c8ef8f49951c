"""One connection: the thin shell around a session, and its transport."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, cast

from usbredir_mtp.logs import Peer
from usbredir_mtp.network.direct import DirectSocket, Turns
from usbredir_mtp.network.listening import peer_of
from usbredir_mtp.protocol.errors import RemoteProtocolError
from usbredir_mtp.session import Session
from usbredir_mtp.tally import End

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from usbredir_mtp.session import Buffer, Phone

logger = logging.getLogger(__name__)

HELLO_TIMEOUT = 10.0
"""Seconds until a peer must have said hello. QEMU does so at once; after a live migration it never will, and a new
connection is what it needs."""

RECEIVE_BUFFER = 256 << 10
"""Bytes read from a socket at once: the packet of a large upload in few calls."""

WRITE_HIGH = 896 << 10
"""Bytes that may wait in a socket's write buffer before the device pauses. The kernel's own buffer keeps the line busy;
here short replies cost several times their length, and a peer may never read them."""

UNIX_BUFFER = 512 << 10
"""Bytes of the kernel's buffer of a unix socket, as far as the machine lets us (net.core.wmem_max): what it comes with
holds less than one large transfer, and the sender would be woken several times for each. TCP's grows by itself."""


RECORD = 4 << 10
"""Bytes in a TLS record of ours. QEMU reads as many at once, and version 7.2 does not look at the rest of a record
until more comes over the network, which may be never."""


class Owner(Protocol):
    """Whose links they are: a server."""

    phone: Phone
    turns: Turns

    def add(self, link: Link) -> None:
        """A connection was made."""

    def remove(self, link: Link) -> None:
        """A connection is gone."""


class Framing(Protocol):
    """What usbredir's bytes are wrapped in, where the connection is not theirs alone."""

    def receive(self, data: memoryview) -> Iterable[Buffer]:
        """The guest's bytes in what has arrived.

        Raises:
            RemoteProtocolError: what has arrived breaks the protocol.
        """

    def replies(self) -> Sequence[Buffer]:
        """What has to be written in answer to what has arrived, and is none of the session's."""

    def frame(self, buffers: Sequence[Buffer]) -> Sequence[Buffer]:
        """What to write for these bytes."""


class Link(asyncio.BufferedProtocol):
    """One connection: the thin shell around a session, and its transport.

    Args:
        owner: The server.
        loop: The running one.
        name: The peer, for the log; None for what the socket tells.
        framing: What the bytes come in; None for nothing.

    Attributes:
        session: From `connection_made` on.
        ended: Done when the connection is gone; whoever waits for it shields it, since others do as well.
        end: Why it is over.
    """

    def __init__(
        self,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        name: str | None = None,
        framing: Framing | None = None,
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._name = name
        self._framing = framing
        self._view = memoryview(bytearray(RECEIVE_BUFFER))
        self._transport: asyncio.Transport
        self._reading = True
        self._is_tls = False
        self._direct: DirectSocket | None = None
        self._hello_timer: asyncio.TimerHandle | None = None
        self.session: Session
        self.ended: asyncio.Future[None] = loop.create_future()
        self.end: End | None = None

    # -- asyncio's side --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: the device is plugged in as soon as the guest has said hello."""
        self._transport = cast("asyncio.Transport", transport)
        # It goes on soon, so that the socket never runs dry.
        self._transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_HIGH * 3 // 4)
        _tune(transport)
        self._is_tls = transport.get_extra_info("sslcontext") is not None
        self._direct = None if self._is_tls else _direct(transport, self._owner.turns)
        phone = self._owner.phone
        name = Peer(self._name or _peer_name(transport), phone.name)
        logger.info("%s: connected", name)
        self.session = Session(phone, self, self._post, name)
        self._owner.add(self)
        self._hello_timer = self._loop.call_later(HELLO_TIMEOUT, self._check_hello)
        self.session.start()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where to read to."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        if self._direct is None:
            self._receive(self._view[:nbytes])
        else:
            self._direct.converse(self._view[:nbytes], self._view, self._receive)

    def pause_writing(self) -> None:
        """The guest does not read."""
        self._guard(self.session.pause_writing)

    def resume_writing(self) -> None:
        """It reads again."""
        self._guard(self.session.resume_writing)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        if self._direct is not None:
            self._direct.close()
        logger.info("%s: disconnected%s", self.session.name, f": {exc}" if exc else "")
        self.session.closed()
        gone = End.ERROR if exc else End.GUEST
        self.end = self.end or (End.UNPLUGGED if self.session.unplugging else gone)
        self._owner.remove(self)
        self.ended.set_result(None)
        self._view = memoryview(b"")  # the rest, which refers to itself in circles, is small until it is collected

    # -- the session's side (see session.Transport) ------------------------------------------------------------------

    def write(self, buffers: Sequence[Buffer]) -> None:
        """See `session.Transport`, as for all that follow."""
        if self._framing is not None:
            buffers = self._framing.frame(buffers)
        self._write(buffers)

    def _write(self, buffers: Sequence[Buffer]) -> None:
        if self._direct is not None and not self._transport.get_write_buffer_size():
            buffers = self._direct.write(buffers)
        if buffers:
            self._transport.writelines(_records(buffers) if self._is_tls else buffers)

    def pause_reading(self) -> None:
        """Read no more."""
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def close(self) -> None:
        """Send what is written, then close."""
        self._transport.close()

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Run a function of the session's after some seconds."""
        self._loop.call_later(seconds, self._guard, function)

    # ------------------------------------------------------------------------------------------------------------------

    def abort(self, end: End) -> None:
        """Close without waiting for anything; `end` is why."""
        self.end = self.end or end
        self.session.closed()
        self._transport.abort()

    def _receive(self, data: memoryview) -> bool:
        """Take bytes from the guest; returns whether to read more."""
        self._guard(self.session.receive if self._framing is None else self._unwrap, data)
        return self._reading and not self._transport.is_closing()

    def _unwrap(self, data: memoryview) -> None:
        assert self._framing is not None
        for piece in self._framing.receive(data):
            self.session.receive(piece)
        if replies := self._framing.replies():
            self._write(replies)

    def _post(self, function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to care
            self._loop.call_soon_threadsafe(self._guard, function)

    def _guard(self, function: Callable[..., None], *args: object) -> None:
        """Call into the session: what goes wrong there costs this guest its connection, and nothing else."""
        try:
            function(*args)
        except RemoteProtocolError as error:
            logger.warning("%s: breaks the protocol and is disconnected: %s", self.session.name, error)
            self.abort(End.PROTOCOL)
        except Exception:
            logger.exception("%s: disconnected; a fault of usbredir-mtp's, please report it", self.session.name)
            self.abort(End.FAULT)

    def _check_hello(self) -> None:
        if not self.session.greeted:
            level = logging.WARNING if self._name is None else logging.INFO  # whoever dialled says what it means
            logger.log(level, "%s: no hello within %g s, disconnected", self.session.name, HELLO_TIMEOUT)
            self.abort(End.NO_HELLO)


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
    """The fast path, where there is a socket."""
    sock = transport.get_extra_info("socket")
    return None if sock is None else DirectSocket(sock.fileno(), turns)


def _records(buffers: Sequence[Buffer]) -> list[memoryview]:
    """Pieces that each become a TLS record."""
    data = memoryview(b"".join(buffers))
    return [data[start : start + RECORD] for start in range(0, len(data), RECORD)]


def _peer_name(transport: asyncio.BaseTransport) -> str:
    name, sock = transport.get_extra_info("peername"), transport.get_extra_info("socket")
    if isinstance(name, tuple):
        return f"{name[0]}:{name[1]}"
    peer = None if sock is None else peer_of(sock)
    return "guest" if peer is None else f"process {peer.pid}"
