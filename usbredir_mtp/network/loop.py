"""The event loop: what runs on it, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from usbredir_mtp.network.dialing import Dialer, DialError
from usbredir_mtp.network.reporter import Reporter
from usbredir_mtp.notify import Notifier

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from usbredir_mtp.network.addresses import Target
    from usbredir_mtp.network.dialing import Opener
    from usbredir_mtp.network.http import HttpServer
    from usbredir_mtp.network.listening import Listener
    from usbredir_mtp.network.server import Server

logger = logging.getLogger(__name__)


RELOAD_TIMEOUT = 10.0
"""Seconds for a change of the configuration to be finished before all ends: a dead network mount may hold it up."""


UNDO_TIMEOUT = 20.0
"""Seconds for what runs beside the servers to end by itself, once they have."""


@dataclass(slots=True)
class Ways:
    """How guests get to a server.

    Attributes:
        listeners: Where it listens.
        openers: Address -> how it connects to there.
        listen_tls: For TCP listeners.
    """

    listeners: Sequence[Listener] = ()
    openers: Sequence[tuple[Target, Opener]] = ()
    listen_tls: ssl.SSLContext | None = None


class Servers:
    """The servers of a loop. They come and go as another thread says, once `serve` has begun.

    Args:
        first: Those of the start.
        http: Tells how they are, from the start to the end.
    """

    def __init__(self, first: Sequence[tuple[Server, Ways]], http: HttpServer | None = None) -> None:
        self._first = first
        self._http = http
        self._running: list[Server] = []
        self._loop: asyncio.AbstractEventLoop
        self.failed: asyncio.Future[DialError]

    async def begin(self) -> None:
        """Start those of the start."""
        self._loop = asyncio.get_running_loop()
        self.failed = self._loop.create_future()
        for server, ways in self._first:
            # One device's mistake is no reason to end the others.
            await self._start(server, ways, self._fail if len(self._first) == 1 else None)
        if self._http is not None:
            await self._http.start()

    async def end(self) -> None:
        """Shut all down, at the same time."""
        await asyncio.gather(*(server.shut_down() for server in self._running))
        if self._http is not None:
            self._http.close()

    def start(self, server: Server, ways: Ways) -> None:
        """Start one more; for other threads."""
        asyncio.run_coroutine_threadsafe(self._start(server, ways), self._loop).result()

    def call(self, function: Callable[[], None]) -> None:
        """Call a function on the loop soon; for other threads."""
        self._loop.call_soon_threadsafe(function)

    def stop(self, server: Server) -> None:
        """Shut one down; for other threads."""
        asyncio.run_coroutine_threadsafe(self._stop(server), self._loop).result()

    async def _stop(self, server: Server) -> None:
        await server.shut_down()
        self._running.remove(server)  # not before: the end of all waits for it as well

    async def _start(self, server: Server, ways: Ways, fail: Callable[[Target, DialError], None] | None = None) -> None:
        self._running.append(server)
        await server.listen(ways.listeners, ways.listen_tls)
        server.dial(
            Dialer(address, opener, None if fail is None else partial(fail, address))
            for address, opener in ways.openers
        )

    def _fail(self, address: Target, error: DialError) -> None:
        if not self.failed.done():
            self.failed.set_result(DialError(f"{address}: {error}"))


class _Reloads:
    """Changes of the configuration: one after the other, on threads, for they may wait for a storage.

    Args:
        change: Makes one.
    """

    def __init__(self, change: Callable[[], None]) -> None:
        self._change = change
        self._loop = asyncio.get_running_loop()
        self._one_at_a_time = threading.Lock()
        self._running: set[asyncio.Future[None]] = set()
        self._is_over = False

    def begin(self) -> None:
        """Make a change, if it is not too late."""
        if not self._is_over:
            done = self._loop.create_future()
            self._running.add(done)
            done.add_done_callback(self._running.discard)
            # A daemon: Python waits for all others at the end, and this one may wait for a dead network mount.
            threading.Thread(target=self._run, args=(done,), name="reload", daemon=True).start()

    async def end(self) -> None:
        """Begin no more, and wait for the rest, within bounds."""
        self._is_over = True
        if self._running:
            await asyncio.wait(self._running, timeout=RELOAD_TIMEOUT)

    def _run(self, done: asyncio.Future[None]) -> None:
        with self._one_at_a_time:
            try:
                if not self._is_over:
                    self._change()
            except Exception:
                if not self._loop.is_closed():  # else all has ended meanwhile
                    logger.exception("a fault of usbredir-mtp's, please report it: SIGHUP")
        with suppress(RuntimeError):  # likewise
            self._loop.call_soon_threadsafe(done.set_result, None)


async def serve(
    servers: Servers,
    ready: Callable[[], None],
    reload: Callable[[], None] = lambda: None,
    reporter: Reporter | None = None,
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then shut down; a second signal ends that at once.

    Args:
        servers: What to serve, and how.
        ready: Called once connections are accepted.
        reload: Called on SIGHUP, on another thread; one call at a time.
        reporter: Told of all this.
        beside: Runs as well; its end is that of all. When all ends it may go on until it has undone what it did, for
            which it has `UNDO_TIMEOUT`; what it raises comes out here.

    Raises:
        KeyboardInterrupt: the second signal.
        DialError: a connection of the start cannot be made, for good.
    """
    loop = asyncio.get_running_loop()
    reporter = reporter or Reporter(Notifier(), str)
    stop, stop_now = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (stop_now if stop.is_set() else stop).set()

    reloads = _Reloads(partial(reporter.reload, reload))
    await servers.begin()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(signal.SIGHUP, reloads.begin)
    ready()
    reporter.begin()
    stopped = asyncio.ensure_future(stop.wait())
    ends: set[asyncio.Future[Any]] = {stopped, servers.failed}
    task = None if beside is None else asyncio.ensure_future(beside())
    if task is not None:
        ends.add(task)
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    logger.info("unplugging")
    reporter.end()
    shutting_down = asyncio.ensure_future(_end(servers, reloads, task))
    at_once = asyncio.ensure_future(stop_now.wait())
    await asyncio.wait({shutting_down, at_once}, return_when=asyncio.FIRST_COMPLETED)
    at_once.cancel()
    if not shutting_down.done():
        shutting_down.cancel()
        raise KeyboardInterrupt
    await shutting_down
    if servers.failed.done():
        raise servers.failed.result()
    if task is not None and not task.cancelled():
        task.result()


async def _end(servers: Servers, reloads: _Reloads, beside: asyncio.Task[None] | None) -> None:
    """Shut down, once nobody adds to what there is, or takes too long to."""
    await reloads.end()
    await servers.end()
    if beside is not None:
        await asyncio.wait({beside}, timeout=UNDO_TIMEOUT)
        beside.cancel()
        await asyncio.wait({beside})


def run(main: Coroutine[Any, Any, None], loop: str = "auto") -> None:
    """Run `main` on an event loop: "uvloop", "asyncio", or "auto" for uvloop where it is installed."""
    _take_all_descriptors()
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
        runner.get_loop().set_exception_handler(_complain)
        runner.run(main)


def _take_all_descriptors() -> None:
    """As many as we may have: each guest takes some, and so does whoever only connects, for as long as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS says that there is no limit, and has one
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _complain(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell of what no one has caught: what a connection dies of in one line, a fault of ours in full."""
    error = context.get("exception")
    if isinstance(error, OSError):  # TLS's errors are such
        logger.warning("a connection has failed: %s", error)
    else:
        logger.error("a fault of usbredir-mtp's, please report it: %s", context["message"], exc_info=error)
