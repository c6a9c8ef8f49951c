"""The server for tests: configured by its own command line, spoken to over its socket."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from tests.interop.libusbredirparser import GuestParser, is_available
from tests.support.initiator import Initiator, OutStyle
from tests.support.usbredir import ALL_CAPS, Cap, Guest
from usbredir_mtp import cli
from usbredir_mtp.mtp.device import MtpDevice
from usbredir_mtp.mtp.objects import ObjectTable
from usbredir_mtp.network import loop as loop_module
from usbredir_mtp.network import server as program
from usbredir_mtp.network.addresses import Tcp
from usbredir_mtp.network.listening import listening
from usbredir_mtp.session import Phone
from usbredir_mtp.setup import update

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from usbredir_mtp.mtp.storage import Storage
    from usbredir_mtp.network.listening import Listener

START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0


class Export(NamedTuple):
    """One `--export`."""

    path: Path
    name: str | None = None
    read_only: bool = False

    def __str__(self) -> str:
        named = f"{self.name}={self.path}" if self.name else str(self.path)
        return named + ":ro" * self.read_only


@dataclass(slots=True)
class Server:
    """A running server.

    Attributes:
        port: Where it listens on 127.0.0.1.
        reload: What SIGHUP makes the program do.
        guests: Closes the guests when the server's block ends.
        made: The guests.
    """

    port: int
    reload: Callable[[], None]
    guests: ExitStack = field(default_factory=ExitStack)
    made: list[Guest] = field(default_factory=list)

    def socket(self) -> socket.socket:
        """A new connection, no byte sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), 10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.guests.callback(connection.close)
        return connection

    def connect(self, caps: Cap = ALL_CAPS, *, split: int | None = None) -> Guest:
        """A new usb-guest, no byte sent."""
        guest = Guest(self.socket(), caps, split=split)
        self.made.append(guest)
        return guest

    def attach(self, caps: Cap = ALL_CAPS, *, split: int | None = None) -> Guest:
        """A new usb-guest with its device plugged in and configured."""
        guest = self.connect(caps, split=split)
        guest.attach()
        guest.reset()
        guest.set_configuration(1)
        guest.start_interrupt()
        return guest

    def initiator(
        self,
        caps: Cap = ALL_CAPS,
        *,
        split: int | None = None,
        transfer: int = 16384,
        depth: int = 1,
        exact: bool = False,
        style: OutStyle = OutStyle.JOINED,
    ) -> Initiator:
        """A new guest's initiator with a session open."""
        guest = self.attach(caps, split=split)
        mtp = Initiator(guest, transfer=transfer, depth=depth, exact=exact, style=style)
        mtp.open_session()
        return mtp


class _Faults(logging.Handler):
    """Collects what the server reports as its own fault: a peer must never be able to cause that."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.texts.append(self.format(record))


async def _serve(
    server: program.Server, listeners: list[Listener], started: Future[int], stop: Future[asyncio.Event]
) -> None:
    event = asyncio.Event()
    stop.set_result(event)
    try:
        await server.listen(listeners)
        server.phone.mtp.start()
    except BaseException as error:
        started.set_exception(error)
        raise
    started.set_result(listeners[0].socket.getsockname()[1])
    await event.wait()
    await server.shut_down()


@contextmanager
def running_server(exports: Sequence[Path | Export], *options: str) -> Iterator[Server]:
    """The server as the command line sets it up, on a thread of this process; it must end well.

    That the program starts, prints and ends as it should is shown by tests/test_program.py, in a process of its own.
    """
    with TemporaryDirectory() as state:
        arguments = [*options, *(word for export in exports for word in ("--export", str(export)))]
        folders = [word for name in ("--state-dir", "--cache-dir") if name not in options for word in (name, state)]
        with _running([*folders, *arguments]) as server:
            yield server


@contextmanager
def serving(*storages: Storage) -> Iterator[Server]:
    """The server over storages of the test's own, which it closes; it must end well."""
    device = MtpDevice(ObjectTable())
    for storage in storages:
        device.add_storage(storage)
    with _serving(Phone(device), "auto", lambda: None) as server:
        yield server


@contextmanager
def _running(arguments: Sequence[str]) -> Iterator[Server]:
    context = cli.command.make_context("usbredir-mtp", list(arguments))
    [plan] = cli.parse(arguments)
    setup = plan.setup
    phone, shares = setup.make()
    shares.update(setup.exports)

    def reload() -> None:
        [plan] = cli.parse(arguments)
        update(phone.mtp, shares, plan.setup)

    with _serving(phone, context.params["loop"], reload) as server:
        yield server


@contextmanager
def _serving(phone: Phone, loop: str, reload: Callable[[], None]) -> Iterator[Server]:
    faults = _Faults()
    logging.getLogger("usbredir_mtp").addHandler(faults)
    started: Future[int] = Future()
    stop: Future[asyncio.Event] = Future()
    loops: Future[asyncio.AbstractEventLoop] = Future()

    async def main() -> None:
        loops.set_result(asyncio.get_running_loop())
        with listening([Tcp("127.0.0.1", 0)]) as listeners:
            await _serve(program.Server(phone), listeners, started, stop)

    thread = threading.Thread(target=loop_module.run, args=(main(), loop), name="server")
    thread.start()
    try:
        server = Server(started.result(START_TIMEOUT), reload)
        with server.guests:
            yield server
    finally:
        loops.result().call_soon_threadsafe(stop.result().set)
        thread.join(STOP_TIMEOUT)
        phone.mtp.close()
        logging.getLogger("usbredir_mtp").removeHandler(faults)
    assert not thread.is_alive(), "the server did not end"
    assert not faults.texts, faults.texts
    for guest in server.made:
        _judge(guest)


def _judge(guest: Guest) -> None:
    """Every byte that a guest was sent, in every scenario, is what libusbredirparser takes without a word."""
    if not is_available():
        return
    caps = guest.caps
    if Cap.EP_INFO_MAX_PACKET_SIZE not in caps:
        caps &= ~Cap.BULK_STREAMS  # the library has not the one without the other
    with GuestParser(int(caps)) as parser:
        for sent, data in guest.log:
            if not sent:
                parser.feed(data)
        parser.assert_clean()


@contextmanager
def phone(*exports: Path | Export, options: Sequence[str] = ()) -> Iterator[Initiator]:
    """A server of its own and one initiator with a session open."""
    with running_server(exports, *options) as server:
        yield server.initiator()
