from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.mtp.memory_storage import MemoryStorage
from tests.protocol.guest import BULK_OUT, bulk, hello, raw
from tests.support.wire import ALL_CAPS, Cap, Type
from usbredir_mtp.mtp.containers import Command, encode_command
from usbredir_mtp.mtp.device import MtpDevice
from usbredir_mtp.mtp.objects import ObjectTable
from usbredir_mtp.network import link as link_module
from usbredir_mtp.network import server as module
from usbredir_mtp.network.addresses import Tcp, Unix
from usbredir_mtp.network.link import Link
from usbredir_mtp.network.listening import Peer, listening
from usbredir_mtp.network.loop import Servers, Ways, run, serve
from usbredir_mtp.network.server import Server
from usbredir_mtp.session import Phone, Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from usbredir_mtp.network.addresses import Address
    from usbredir_mtp.network.listening import Listener

PATIENCE = 20.0
NEVER = 1e6
GET_DEVICE_INFO = encode_command(Command(0x1001, 1, ()))


@dataclass
class Guest:
    """One end of a connection, with 64-bit ids once hellos are exchanged."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    greeted: bool = False

    async def receive(self) -> tuple[Type, int, bytes]:
        """The next packet: type, id, and what follows."""
        header = "<IIQ" if self.greeted else "<III"
        async with asyncio.timeout(PATIENCE):
            kind, size, id_ = struct.unpack(header, await self.reader.readexactly(struct.calcsize(header)))
            self.greeted = True
            return Type(kind), id_, await self.reader.readexactly(size)

    async def kinds(self, count: int) -> list[Type]:
        return [(await self.receive())[0] for _ in range(count)]

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def attach(self, caps: Cap = ALL_CAPS) -> None:
        """All up to a configured device."""
        assert await self.kinds(1) == [Type.HELLO]
        self.send(hello(caps))
        assert await self.kinds(3) == [Type.EP_INFO, Type.INTERFACE_INFO, Type.DEVICE_CONNECT]
        self.send(raw(Type.SET_CONFIGURATION, b"\x01", 1))
        assert await self.kinds(1) == [Type.CONFIGURATION_STATUS]

    async def works(self) -> bool:
        self.send(raw(Type.GET_CONFIGURATION, b"", 2))
        return await self.receive() == (Type.CONFIGURATION_STATUS, 2, b"\x00\x01")

    async def ends(self) -> bytes:
        """What still comes before the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@dataclass
class Bench:
    """A server, and guests that are hung up at the end."""

    server: Server
    listeners: list[Listener] = field(default_factory=list)
    guests: list[Guest] = field(default_factory=list)

    async def connect(self, number: int = 0) -> Guest:
        """A connection to one of the addresses."""
        address = self.listeners[number].address
        if isinstance(address, Unix):
            guest = Guest(*await asyncio.open_unix_connection(address.path))
        else:
            assert isinstance(address, Tcp)
            guest = Guest(*await asyncio.open_connection(address.host, address.port))
        self.guests.append(guest)
        return guest

    async def attach(self, caps: Cap = ALL_CAPS, number: int = 0) -> Guest:
        guest = await self.connect(number)
        await guest.attach(caps)
        return guest

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110  (nothing tells)
                await asyncio.sleep(0.005)


def new_server() -> Server:
    device = MtpDevice(ObjectTable())
    device.objects.add_storage(MemoryStorage("a"))
    return Server(Phone(device))


def with_server(
    test: Callable[[Bench], Awaitable[None]], loop: str = "asyncio", addresses: Sequence[Address] | None = None
) -> None:
    """Run a test next to a server on one loop; the server must be able to end."""

    async def main(listeners: list[Listener]) -> None:
        bench = Bench(new_server(), listeners)
        await bench.server.listen(listeners)
        try:
            await test(bench)
        finally:
            for guest in bench.guests:
                guest.writer.close()
            await bench.until(lambda: not bench.server._links)
            await bench.server.shut_down()

    with listening([Tcp("127.0.0.1", 0)] if addresses is None else addresses) as listeners:
        run(main(listeners), loop)


# -- connections ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["asyncio", "auto"])
def test_two_guests(loop: str) -> None:
    async def test(bench: Bench) -> None:
        one, other = await bench.attach(), await bench.attach()
        assert len(bench.server._links) == 2
        assert await one.works()
        assert await other.works()
        one.writer.close()
        await bench.until(lambda: len(bench.server._links) == 1)
        assert await other.works()

    with_server(test, loop)


def test_packets_leave_at_once() -> None:
    async def test(bench: Bench) -> None:
        await bench.connect()
        await bench.until(lambda: len(bench.server._links) == 1)
        [link] = bench.server._links
        sock = link._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    with_server(test)


@pytest.mark.parametrize("loop", ["asyncio", "auto"])
def test_all_addresses_at_once(tmp_path: Path, loop: str) -> None:
    async def test(bench: Bench) -> None:
        one, other, third = [await bench.attach(number=number) for number in range(3)]
        assert await one.works()
        assert await other.works()
        assert await third.works()
        await bench.server.shut_down()
        for number in range(3):
            with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
                await bench.connect(number)

    with_server(test, loop, [Unix(tmp_path / "one"), Tcp("127.0.0.1", 0), Unix(tmp_path / "other")])
    assert list(tmp_path.iterdir()) == []


# -- users ----------------------------------------------------------------------------------------------------------

STRANGER = 4_000_000_000
"""Nobody's user id."""


def seem_to_be(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    """Let those who connect to unix sockets be this user's processes."""
    monkeypatch.setattr(module, "peer_of", lambda _sock: Peer(77, uid))


@pytest.mark.parametrize("loop", ["asyncio", "auto"])
def test_a_stranger_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, loop: str
) -> None:
    async def test(bench: Bench) -> None:
        friend = await bench.attach()
        seem_to_be(monkeypatch, STRANGER)
        guest = await bench.connect()
        assert await guest.ends() == b""
        assert len(bench.server._links) == 1
        assert await friend.works()

    with_server(test, loop, [Unix(tmp_path / "socket")])
    [record] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert record.message == (
        f"unix:{tmp_path}/socket: refused a process of user {STRANGER}; --allow-user {STRANGER} would let it in"
    )


@pytest.mark.parametrize("uid", [0, os.geteuid(), STRANGER, None])
def test_who_is_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int | None) -> None:
    """Us, root, who is allowed to; and everybody where the system does not say who it is."""

    async def test(bench: Bench) -> None:
        bench.server.users |= {STRANGER}
        assert await (await bench.attach()).works()

    if uid is None:
        monkeypatch.setattr(module, "peer_of", lambda _sock: None)
    else:
        seem_to_be(monkeypatch, uid)
    with_server(test, addresses=[Unix(tmp_path / "socket")])


def test_users_are_none_of_tcp_s_business(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(bench: Bench) -> None:
        seem_to_be(monkeypatch, STRANGER)
        assert await (await bench.attach()).works()

    with_server(test)


def test_users_of_a_server() -> None:
    assert Server(new_server().phone, users=[STRANGER]).users == {0, os.geteuid(), STRANGER}
    assert new_server().users == {0, os.geteuid()}


# -- the log --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="others do not tell")
def test_the_log_names_the_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def test(bench: Bench) -> None:
        await bench.attach()

    with_server(test, addresses=[Unix(tmp_path / "socket")])
    assert f"process {os.getpid()}: connected" in caplog.messages


def test_the_log_names_the_peer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    names: list[str] = []

    async def test(bench: Bench) -> None:
        guest = await bench.attach()
        host, port = guest.writer.get_extra_info("sockname")
        names.append(f"{host}:{port}")

    with_server(test)
    assert f"{names[0]}: connected" in caplog.messages
    assert f"{names[0]}: disconnected" in caplog.messages


class Pipe(asyncio.Transport):
    """A transport that is no socket; does nothing but to take notes."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        super().__init__({"socket": sock, "peername": ""})
        self.calls: list[str] = []

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.calls.append(f"limits {high}")

    def writelines(self, list_of_data: Any) -> None:
        self.calls.append("write")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def take(self) -> list[str]:
        taken, self.calls = self.calls, [call for call in self.calls if call in {"close", "abort"}]
        return taken


async def linked(pipe: Pipe) -> Link:
    link = Link(new_server(), asyncio.get_running_loop())
    link.connection_made(pipe)
    return link


@pytest.mark.parametrize("is_socket", [False, True])
def test_a_stream_that_is_not_tcp(monkeypatch: pytest.MonkeyPatch, is_socket: bool) -> None:
    monkeypatch.setattr(link_module, "peer_of", lambda _sock: None)

    async def main(sock: socket.socket | None) -> None:
        pipe = Pipe(sock)
        link = await linked(pipe)
        assert link.session.name == "guest"
        assert pipe.take() == [f"limits {link_module.WRITE_HIGH}", "write"]
        link.connection_lost(None)

    if is_socket:
        with socket.socket(socket.AF_UNIX) as sock:
            asyncio.run(main(sock))
    else:
        asyncio.run(main(None))


def test_reading_is_paused_once() -> None:
    async def main() -> None:
        pipe = Pipe()
        link = await linked(pipe)
        pipe.take()
        link.resume_reading()
        assert pipe.take() == []
        link.pause_writing()
        link.pause_reading()
        assert pipe.take() == ["pause"]
        link.resume_writing()
        link.resume_reading()
        assert pipe.take() == ["resume"]
        link.pause_reading()
        link.close()
        pipe.take()
        link.resume_reading()
        assert pipe.take() == ["close"]
        link.connection_lost(None)

    asyncio.run(main())


def test_a_stream_that_ends_is_not_paused_any_more() -> None:
    async def main() -> None:
        pipe = Pipe()
        link = await linked(pipe)
        link.close()
        pipe.take()
        link.pause_writing()
        assert pipe.take() == ["close"]
        link.connection_lost(None)

    asyncio.run(main())


def test_what_is_posted_when_the_loop_is_gone() -> None:
    ran: list[str] = []
    link = asyncio.run(linked(Pipe()))
    link._post(lambda: ran.append("too late"))
    assert ran == []
    link.session.closed()


def test_a_guest_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written does not pile up: its requests are left in the socket instead."""
    monkeypatch.setattr(link_module, "WRITE_HIGH", 1 << 10)

    async def test(bench: Bench) -> None:
        guest = await bench.attach()
        [link] = bench.server._links
        incoming: asyncio.Transport = guest.writer.transport  # type: ignore[assignment]
        incoming.pause_reading()
        link._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        incoming.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sent = 0

        def full() -> bool:
            nonlocal sent
            guest.send(b"".join(raw(Type.GET_CONFIGURATION, b"", sent + number) for number in range(100)))
            sent += 100
            return not link._reading

        await bench.until(full)
        incoming.resume_reading()
        async with asyncio.timeout(PATIENCE):
            replies = await guest.reader.readexactly(18 * sent)
        assert [id_ for _, _, id_, _ in struct.iter_unpack("<IIQH", replies)] == list(range(sent))
        assert link._reading

    with_server(test)


# -- hello -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"", hello()[:-1]])
def test_a_peer_that_does_not_say_hello(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, said: bytes
) -> None:
    monkeypatch.setattr(link_module, "HELLO_TIMEOUT", 0.05)

    async def test(bench: Bench) -> None:
        guest = await bench.connect()
        guest.send(said)
        await guest.kinds(1)
        assert await guest.ends() == b""
        await bench.until(lambda: not bench.server._links)

    with_server(test)
    assert "no hello within 0.05 s, disconnected" in caplog.text


def test_a_peer_that_has_said_hello_may_be_silent() -> None:
    async def test(bench: Bench) -> None:
        guest = await bench.attach()
        [link] = bench.server._links
        link._check_hello()
        assert await guest.works()

    with_server(test)


def test_the_timer_goes_with_the_connection() -> None:
    async def main() -> None:
        link = await linked(Pipe())
        timer = link._hello_timer
        assert timer is not None
        link.connection_lost(None)
        assert timer.cancelled()

    asyncio.run(main())


# -- guests that go wrong -----------------------------------------------------------------------------------------


def test_a_guest_that_breaks_the_protocol_is_the_only_one_to_suffer(caplog: pytest.LogCaptureFixture) -> None:
    async def test(bench: Bench) -> None:
        good, bad = await bench.attach(), await bench.attach()
        bad.send(raw(99, b"x"))
        assert await bad.ends() == b""
        assert await good.works()
        assert len(bench.server._links) == 1

    with_server(test)
    [record] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "breaks the protocol and is disconnected" in record.message
    assert record.exc_info is None


def test_a_fault_of_ours_costs_one_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    receive = Session.receive

    def fail(session: Session, data: bytes) -> None:
        if b"provoke" in bytes(data):
            raise RuntimeError("a fault")
        receive(session, data)

    monkeypatch.setattr(Session, "receive", fail)

    async def test(bench: Bench) -> None:
        good, bad = await bench.attach(), await bench.attach()
        bad.send(b"provoke")
        assert await bad.ends() == b""
        assert await good.works()

    with_server(test)
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "please report it" in record.message
    assert record.exc_info is not None


def test_what_is_done_later_is_guarded_too(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("a fault")

    async def main() -> None:
        pipe = Pipe()
        link = await linked(pipe)
        link.later(0, fail)
        await Bench(new_server()).until(pipe.is_closing)
        link.connection_lost(RuntimeError("broken pipe"))

    caplog.set_level("INFO")
    asyncio.run(main())
    assert "please report it" in caplog.text
    assert "guest: disconnected: broken pipe" in caplog.text


# -- the end ----------------------------------------------------------------------------------------------------------


def test_shutting_down_what_never_listened() -> None:
    asyncio.run(new_server().shut_down())


def test_shutting_down_unplugs_and_waits_for_the_acknowledgement() -> None:
    async def test(bench: Bench) -> None:
        guest = await bench.attach()
        ending = asyncio.ensure_future(bench.server.shut_down())
        assert await guest.kinds(1) == [Type.DEVICE_DISCONNECT]
        assert not ending.done()
        with pytest.raises(ConnectionRefusedError):
            await bench.connect()
        guest.send(raw(Type.DEVICE_DISCONNECT_ACK))
        assert await guest.ends() == b""
        await ending

    with_server(test)


def test_shutting_down_waits_for_a_transaction() -> None:
    async def test(bench: Bench) -> None:
        bench.server.grace = NEVER
        guest = await bench.attach()
        guest.send(bulk(7, len(GET_DEVICE_INFO), GET_DEVICE_INFO, BULK_OUT))
        assert (await guest.receive())[:2] == (Type.BULK, 7)
        ending = asyncio.ensure_future(bench.server.shut_down())
        await asyncio.sleep(0.05)
        assert await guest.works(), "nothing has been unplugged"
        for number in (8, 9):
            guest.send(bulk(number, 512))
            assert (await guest.receive())[:2] == (Type.BULK, number)
        assert await guest.kinds(1) == [Type.DEVICE_DISCONNECT]
        guest.send(raw(Type.DEVICE_DISCONNECT_ACK))
        assert await guest.ends() == b""
        await ending

    with_server(test)


def test_a_transaction_that_does_not_end_is_not_waited_for_for_ever() -> None:
    async def test(bench: Bench) -> None:
        bench.server.grace = 0.05
        guest = await bench.attach()
        guest.send(bulk(7, len(GET_DEVICE_INFO), GET_DEVICE_INFO, BULK_OUT))
        assert await guest.kinds(1) == [Type.BULK]
        ending = asyncio.ensure_future(bench.server.shut_down())
        assert await guest.kinds(1) == [Type.DEVICE_DISCONNECT]
        guest.send(raw(Type.DEVICE_DISCONNECT_ACK))
        await ending

    with_server(test)


def test_a_guest_that_does_not_acknowledge(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "ACK_TIMEOUT", 0.05)

    async def test(bench: Bench) -> None:
        guest = await bench.attach()
        await bench.server.shut_down()
        assert not bench.server._links
        assert len(await guest.ends()) in {0, 16}

    with_server(test)
    assert "did not acknowledge the unplugging" in caplog.text


@pytest.mark.parametrize("greets", [True, False])
def test_guests_that_cannot_acknowledge(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, greets: bool
) -> None:
    monkeypatch.setattr(module, "ACK_TIMEOUT", NEVER)

    async def test(bench: Bench) -> None:
        guest = await bench.connect()
        if greets:
            await guest.attach(ALL_CAPS & ~Cap.DISCONNECT_ACK)
        await bench.until(lambda: len(bench.server._links) == 1)
        async with asyncio.timeout(PATIENCE):
            await bench.server.shut_down()
        assert (await guest.ends())[:4] == (b"\x02\0\0\0" if greets else b"\0\0\0\0")

    with_server(test)
    assert "did not acknowledge" not in caplog.text


# -- signals ----------------------------------------------------------------------------------------------------------


def signalled(*numbers: signal.Signals, reload: Callable[[], None] = lambda: None) -> int:
    """Serve, and get these signals once that has begun; returns how often that was."""
    begun: list[bool] = []

    def ready() -> None:
        begun.append(True)
        for number in numbers:
            os.kill(os.getpid(), number)

    with listening([Tcp("127.0.0.1", 0)]) as listeners:
        run(serve(Servers([(new_server(), Ways(listeners))]), ready, reload), "asyncio")
    return len(begun)


needs_main_thread = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals reach the main thread only"
)


@needs_main_thread
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(number: signal.Signals) -> None:
    assert signalled(number) == 1


@needs_main_thread
def test_sighup_reloads_elsewhere() -> None:
    threads: list[threading.Thread] = []

    def reload() -> None:
        threads.append(threading.current_thread())
        os.kill(os.getpid(), signal.SIGTERM)

    signalled(signal.SIGHUP, reload=reload)
    [thread] = threads
    assert thread is not threading.main_thread()


@needs_main_thread
def test_a_second_signal_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[str] = []

    async def never_ending(server: Server) -> None:
        [(_, listening_on)] = server._servers
        listening_on.close()
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    monkeypatch.setattr(Server, "shut_down", never_ending)
    with pytest.raises(KeyboardInterrupt):
        signalled(signal.SIGTERM)
    assert ends == ["cancelled"]


# -- loops ------------------------------------------------------------------------------------------------------------


def loop_of(choice: str) -> str:
    found: list[str] = []

    async def main() -> None:
        found.append(type(asyncio.get_running_loop()).__module__.partition(".")[0])

    run(main(), choice)
    return found[0]


def test_loops() -> None:
    pytest.importorskip("uvloop")
    assert loop_of("asyncio") == "asyncio"
    assert loop_of("uvloop") == "uvloop"
    assert loop_of("auto") == "uvloop"


def test_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_of("auto") == "asyncio"


def test_uvloop_is_not_looked_for_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    monkeypatch.setattr(sys, "platform", "win32")
    assert loop_of("uvloop") == "asyncio"
