"""A server for a few small pages, over HTTP/1.1: as much of it as a monitor's GET needs, and no more (RFC 9112).

Whoever is slow, silent or insistent costs a few kilobytes for a few seconds: a request has a bound, a connection one
request and a time to be done, and the oldest connection gives way to one too many.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from usbredir_mtp.network.listening import peer_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from usbredir_mtp.network.listening import Listener

logger = logging.getLogger(__name__)

MAX_REQUEST: Final = 8 << 10
"""Bytes of a request: a monitor's has some hundred."""

MAX_CONNECTIONS: Final = 16
"""At a time: two monitors, and somebody who looks."""

TIMEOUT: Final = 5.0
"""Seconds from the beginning of a connection until its answer has been taken."""

KEEP: Final = 1.0
"""Seconds that a page that takes work is good for: asking for it all the time is not more of that."""

_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) (\S+) HTTP/1\.[0-9]\r?\n")
_END = re.compile(rb"\r?\n\r?\n")
_METHODS: Final = (b"GET", b"HEAD")


@dataclass(slots=True, frozen=True)
class Page:
    """What is answered."""

    body: bytes
    type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK


Pages = Mapping[str, Callable[[], Awaitable[Page]]]
"""Path -> what makes its page, on the loop's thread."""


@dataclass(slots=True, frozen=True)
class Request:
    """A request for a page; `path` is without the query."""

    path: str
    with_body: bool


def parse(data: bytes | bytearray) -> Request | HTTPStatus | None:
    """The request that these bytes begin with; None if it is not whole yet, or what to refuse it with."""
    end = _END.search(data, 0, MAX_REQUEST)
    if end is None:
        return None if len(data) < MAX_REQUEST else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    line = _REQUEST_LINE.match(data)
    if line is None:
        return HTTPStatus.BAD_REQUEST
    if line[1] not in _METHODS:
        return HTTPStatus.METHOD_NOT_ALLOWED
    return Request(line[2].partition(b"?")[0].decode("latin-1"), with_body=line[1] == b"GET")


def encode(page: Page, *, with_body: bool = True) -> bytes:
    """An answer, after which the connection ends."""
    status = page.status
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {page.type}",
        f"Content-Length: {len(page.body)}",
        "Cache-Control: no-store",
        "Connection: close",
        *(["Allow: GET, HEAD"] if status is HTTPStatus.METHOD_NOT_ALLOWED else []),
    ]
    head = "".join(f"{line}\r\n" for line in lines) + "\r\n"
    return head.encode("ascii") + (page.body if with_body else b"")


def refusal(status: HTTPStatus) -> Page:
    """The page of an error."""
    return Page(f"{status.phrase}\n".encode("ascii"), status=status)


class HttpServer:
    """Serves pages at addresses of its own.

    Args:
        listeners: Where.
        pages: Which.
        users: Ids of the users that may connect to unix sockets, beside our own and root.
    """

    def __init__(self, listeners: Sequence[Listener], pages: Pages, users: Collection[int] = ()) -> None:
        self.pages = pages
        self.users = frozenset({0, os.geteuid(), *users})
        self.connections: dict[_Connection, None] = {}
        self._listeners = listeners
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            is_unix = listener.socket.family == socket.AF_UNIX
            create = loop.create_unix_server if is_unix else loop.create_server
            self._servers.append(await create(partial(_Connection, self, loop), sock=listener.socket))

    def close(self) -> None:
        """End, whoever may be waiting."""
        for listener in self._listeners:
            listener.unlink()
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.abort()

    def add(self, connection: _Connection) -> None:
        """A connection has begun; the oldest one ends if there are too many."""
        self.connections[connection] = None
        if len(self.connections) > MAX_CONNECTIONS:
            oldest = next(iter(self.connections))
            del self.connections[oldest]
            oldest.abort()

    async def answer(self, request: Request) -> Page:
        """What to answer."""
        make = self.pages.get(request.path)
        if make is None:
            known = " and ".join(self.pages)
            return Page(f"Not Found: there are {known}\n".encode("ascii"), status=HTTPStatus.NOT_FOUND)
        try:
            return await make()
        except Exception:
            logger.exception("a fault of usbredir-mtp's, please report it: GET %s", request.path)
            return refusal(HTTPStatus.INTERNAL_SERVER_ERROR)


class _Connection(asyncio.Protocol):
    """One request, and its answer."""

    def __init__(self, server: HttpServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._data = bytearray()
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = peer_of(transport.get_extra_info("socket"))
        if peer is not None and peer.uid not in self._server.users:
            logger.warning("metrics: refused a process of user %s; --allow-user %s would let it in", *[peer.user] * 2)
            self._transport.abort()
            return
        self._timer = self._loop.call_later(TIMEOUT, self.abort)
        self._server.add(self)

    def data_received(self, data: bytes) -> None:
        if self._answering is None:
            self._data += data
            request = parse(self._data)
            if request is not None:
                self._answering = self._loop.create_task(self._answer(request))

    def connection_lost(self, _exc: Exception | None) -> None:
        self._server.connections.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
        if self._answering is not None:
            self._answering.cancel()

    def abort(self) -> None:
        """Close without waiting for anything."""
        self._transport.abort()

    async def _answer(self, request: Request | HTTPStatus) -> None:
        self._data.clear()
        if isinstance(request, HTTPStatus):
            self._transport.write(encode(refusal(request)))
        else:
            page = await self._server.answer(request)
            self._transport.write(encode(page, with_body=request.with_body))
        self._transport.close()


class Kept:
    """A page that another thread makes, and that is good for a while.

    Args:
        make: Makes it, on that thread; one call at a time.
        seconds: How long it is good for.
    """

    def __init__(self, make: Callable[[], Page], seconds: float = KEEP) -> None:
        self._make = make
        self._seconds = seconds
        self._made: asyncio.Future[Page] | None = None
        self._at = 0.0

    async def __call__(self) -> Page:
        """The page; whoever asks while it is being made gets the same.

        Raises:
            Exception: what `make` raises.
        """
        loop = asyncio.get_running_loop()
        if self._made is None or (self._made.done() and loop.time() - self._at >= self._seconds):
            self._at = loop.time()
            self._made = loop.run_in_executor(None, self._make)
        return await asyncio.shield(self._made)
