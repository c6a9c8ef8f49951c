from __future__ import annotations

import asyncio
import gc
import logging
import struct
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from tests.mtp.memory_storage import MemoryStorage
from tests.protocol.guest import hello, raw
from tests.spice import certificates, wire
from tests.spice.server import DATA, FakeSpice, serving
from usbredir_mtp.hotplug.errors import AttachError
from usbredir_mtp.mtp.device import MtpDevice
from usbredir_mtp.mtp.objects import ObjectTable
from usbredir_mtp.network import spice as network_spice
from usbredir_mtp.network import spice_channels
from usbredir_mtp.network.addresses import Spice, Tcp, Unix
from usbredir_mtp.network.dialing import Dialer, DialError
from usbredir_mtp.network.server import Server
from usbredir_mtp.network.spice import SpiceOpener, spice_opener
from usbredir_mtp.network.spice_channels import SpiceServer
from usbredir_mtp.protocol.constants import PacketType
from usbredir_mtp.session import Phone
from usbredir_mtp.spice.constants import ChannelType
from usbredir_mtp.spice.errors import MissingLibraryError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from usbredir_mtp.hotplug.qmp import SpiceChannel
    from usbredir_mtp.spice.framing import SpiceFraming


CHANNEL = ChannelType.USBREDIR


@pytest.fixture(autouse=True, params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spice_channels, "IDLE_TIMEOUT", 0.05)


@dataclass(eq=False)
class FakeLink(asyncio.BufferedProtocol):
    """What stands for the link of a phone: keeps what comes through the framing."""

    framing: SpiceFraming
    received: bytearray = field(default_factory=bytearray)
    room: bytearray = field(default_factory=lambda: bytearray(7))
    news: asyncio.Event = field(default_factory=asyncio.Event)
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    paused: bool = False
    resumed: asyncio.Event = field(default_factory=asyncio.Event)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        for part in self.framing.receive(memoryview(self.room)[:nbytes]):
            self.received += part
        self.transport.writelines(self.framing.replies())
        self.news.set()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.resumed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self.ended.set_result(None)

    def send(self, data: bytes) -> None:
        self.transport.writelines(self.framing.frame([data]))

    async def until(self, data: bytes) -> None:
        while bytes(self.received) != data:
            self.news.clear()
            await self.news.wait()


def at(
    where: int | Path,
    password: bytes = b"",
    tls: ssl.SSLContext | None = None,
) -> SpiceServer:
    place = Tcp("127.0.0.1", where) if isinstance(where, int) else Unix(where)
    return SpiceServer(Spice(place, tls is not None), password, tls)


def opener(server: SpiceServer, query: Callable[[], Awaitable[Sequence[SpiceChannel]]] | None = None) -> Opener:
    return SpiceOpener(server, FakeLink, query)


Opener = SpiceOpener[FakeLink]


async def complaint(call: Opener) -> DialError:
    with pytest.raises(DialError) as caught:
        await call()
    assert "\n" not in str(caught.value)
    return caught.value


async def close(link: FakeLink) -> None:
    link.transport.close()
    await link.lost.wait()


async def talk(spice: FakeSpice, link: FakeLink, number: int = 0) -> None:
    """Both sides understand each other."""
    guest = await spice.channel(wire.USBREDIR, number)
    await link.until(b"hello")
    guest.send(DATA, b"!" * 1000)
    await link.until(b"hello" + b"!" * 1000)
    link.send(b"what the phone says")
    await guest.until(DATA)
    assert guest.data() == b"what the phone says"


@pytest.mark.parametrize("capabilities", [15 - wire.AUTH_SASL, 3, wire.MINI_HEADER, 0])
async def test_alone_it_opens_a_session(capabilities: int) -> None:
    spice = FakeSpice(capabilities=capabilities)
    async with serving(spice) as port:
        link = await opener(at(port))()
        await talk(spice, link)
        assert {(each.kind, each.number) for each in spice.open} == {(1, 0), (9, 0)}
        main = await spice.channel(wire.MAIN)
        main.send(4, struct.pack("<IQ", 7, 8) + bytes(250 << 10))
        main.send(3, struct.pack("<II", 1, 1))
        assert await main.until(3) == [struct.pack("<IQ", 7, 8)]
        assert await main.until(1) == [struct.pack("<I", 1)]
        guest = await spice.channel(wire.USBREDIR)
        guest.send(4, struct.pack("<IQ", 9, 10))
        assert await guest.until(3) == [struct.pack("<IQ", 9, 10)]
        await close(link)
        await spice.until(lambda: not spice.open)


async def test_on_a_unix_socket(tmp_path: Path) -> None:
    spice = FakeSpice()
    await spice.listen_unix(tmp_path / "s")
    link = await opener(at(tmp_path / "s"))()
    await talk(spice, link)
    await close(link)
    await spice.stop()


async def test_over_tls(tmp_path: Path) -> None:
    certificates.make(tmp_path)
    spice = FakeSpice(password="geheim")
    async with serving(spice, certificates.for_server(tmp_path)) as port:
        link = await opener(at(port, b"geheim", certificates.for_client(tmp_path)))()
        await talk(spice, link)
        await close(link)


async def test_a_network_test_comes_first() -> None:
    spice = FakeSpice(main_greeting=b"".join(wire.message(4, bytes(12 + size)) for size in (0, 0, 250 << 10)))
    async with serving(spice) as port:
        link = await opener(at(port))()
        assert len(await (await spice.channel(wire.MAIN)).until(3, 3)) == 3
        await close(link)


async def test_a_paused_vm_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_spice, "TAKEN_TIMEOUT", 0.05)
    spice = FakeSpice(greeting=b"")
    async with serving(spice) as port:
        link = await opener(at(port))()
        guest = await spice.channel(wire.USBREDIR)
        guest.send(DATA, b"later")
        await link.until(b"later")
        await close(link)


async def test_the_link_is_told_when_to_pause() -> None:
    spice = FakeSpice()
    async with serving(spice) as port:
        link = await opener(at(port))()
        guest = await spice.channel(wire.USBREDIR)
        link.transport.set_write_buffer_limits(high=0)
        link.send(bytes(20 << 20))
        assert link.paused
        await guest.until(DATA, (20 << 20) // 65536)
        await link.resumed.wait()
        await close(link)


async def test_a_phone_comes_through_it() -> None:
    spice = FakeSpice(greeting=hello())
    async with serving(spice) as port:
        device = MtpDevice(ObjectTable())
        device.objects.add_storage(MemoryStorage("a"))
        server = Server(Phone(device))
        address = Spice(Tcp("127.0.0.1", port))
        refusals: list[DialError] = []
        server.dial([Dialer(address, spice_opener(server, address), refusals.append)])
        guest = await spice.channel(wire.USBREDIR)
        await guest.said(struct.pack("<IIQ", PacketType.DEVICE_CONNECT, 10, 0))
        ending = asyncio.create_task(server.shut_down())
        await guest.said(struct.pack("<IIQ", PacketType.DEVICE_DISCONNECT, 0, 0))
        guest.send(DATA, raw(PacketType.DEVICE_DISCONNECT_ACK))
        await ending
        await spice.until(lambda: guest not in spice.open)
        assert refusals == []


# -- passwords and other refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", [b"geheim", b"\xc3\xa4" * 30])
async def test_the_right_password(password: bytes) -> None:
    spice = FakeSpice(password=password.decode())
    async with serving(spice) as port:
        await close(await opener(at(port, password))())


@pytest.mark.parametrize(
    ("password", "text"), [(b"falsch", "refuses the password"), (b"", "asks for a password: --spice-password-file")]
)
async def test_a_wrong_password(password: bytes, text: str) -> None:
    async with serving(FakeSpice(password="geheim")) as port:
        error = await complaint(opener(at(port, password)))
        assert text in str(error)
        assert error.final


@pytest.mark.parametrize(
    ("code", "text", "final"),
    [(5, "use spice+tls://", True), (6, "use spice://", True), (4, "version mismatch", False)],
)
@pytest.mark.parametrize("kind", [wire.MAIN, wire.USBREDIR])
async def test_refused(code: int, text: str, final: bool, kind: int) -> None:
    spice = FakeSpice(refuse={kind: code})
    async with serving(spice) as port:
        error = await complaint(opener(at(port)))
        assert text in str(error)
        assert error.final == final
        await spice.until(lambda: not spice.open)


async def test_no_server() -> None:
    spice = FakeSpice()
    port = await spice.listen()
    await spice.stop()
    with pytest.raises(ConnectionRefusedError):
        await opener(at(port))()


async def test_no_spice() -> None:
    async with serving(FakeSpice(garbage=b"SSH-2.0-OpenSSH_9.2\r\n")) as port:
        assert "no SPICE server" in str(await complaint(opener(at(port))))


async def test_it_hangs_up() -> None:
    async with serving(FakeSpice(close_on_connect=True)) as port:
        assert "is its port for TLS" in str(await complaint(opener(at(port))))


async def test_it_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spice_channels, "LINK_TIMEOUT", 0.05)
    async with serving(FakeSpice(deaf=True)) as port:
        with pytest.raises(TimeoutError):
            await opener(at(port))()


async def test_it_never_tells_its_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spice_channels, "LINK_TIMEOUT", 0.3)
    monkeypatch.setattr(FakeSpice, "_list_channels", lambda self, connection: asyncio.sleep(1000))
    spice = FakeSpice()
    async with serving(spice) as port:
        with pytest.raises(TimeoutError):
            await opener(at(port))()
        await spice.until(lambda: not spice.open)


@pytest.mark.parametrize("garbage", [wire.message(104, b"\xff\xff\xff\xff"), struct.pack("<HI", 4, 1 << 30)])
async def test_a_main_channel_of_garbage(garbage: bytes) -> None:
    spice = FakeSpice(main_greeting=garbage)
    async with serving(spice) as port:
        await complaint(opener(at(port)))
        await spice.until(lambda: not spice.open)


async def test_a_certificate_of_nobody(tmp_path: Path) -> None:
    certificates.make(tmp_path / "theirs")
    certificates.make(tmp_path / "ours")
    async with serving(FakeSpice(), certificates.for_server(tmp_path / "theirs")) as port:
        error = await complaint(opener(at(port, tls=certificates.for_client(tmp_path / "ours"))))
        assert "its certificate is refused" in str(error)
        assert error.final


async def test_tls_where_there_is_none(tmp_path: Path) -> None:
    certificates.make(tmp_path)
    async with serving(FakeSpice()) as port:
        error = await complaint(opener(at(port, tls=certificates.for_client(tmp_path))))
        assert "spice://" in str(error)


async def test_no_tls_where_it_is_wanted(tmp_path: Path) -> None:
    certificates.make(tmp_path)
    async with serving(FakeSpice(), certificates.for_server(tmp_path)) as port:
        assert "spice+tls://" in str(await complaint(opener(at(port))))


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.rsa", None)
    with pytest.raises(MissingLibraryError, match="pip install"):
        opener(at(1))


async def test_given_up_nothing_stays_open() -> None:
    spice = FakeSpice(deaf=True)
    async with serving(spice) as port:
        task = asyncio.create_task(opener(at(port))())
        await spice.until(lambda: spice.connected)
        task.cancel()
        await asyncio.wait({task})
        await spice.until(lambda: not spice._writers)
        gc.collect()


async def test_given_up_while_a_paused_vm_says_nothing() -> None:
    spice = FakeSpice(greeting=b"")
    async with serving(spice) as port:
        task = asyncio.create_task(opener(at(port))())
        await spice.channel(wire.USBREDIR)
        task.cancel()
        await asyncio.wait({task})
        await spice.until(lambda: not spice.open)


@pytest.mark.parametrize("code", [1, 3])
async def test_a_channel_that_is_refused_in_another_way(code: int) -> None:
    spice = FakeSpice(refuse={wire.USBREDIR: code})
    async with serving(spice) as port:
        error = await complaint(opener(at(port), spice.query))
        assert "the SPICE server refuses the channel" in str(error)
        assert not error.final


# -- viewers -----------------------------------------------------------------------------------------------------------


async def test_a_viewers_session_is_joined() -> None:
    spice = FakeSpice(channels=(0, 1))
    async with serving(spice) as port:
        viewer = await at(port).open_main()
        link = await opener(at(port), spice.query)()
        await talk(spice, link)
        assert not viewer.ended.is_set()
        assert spice.links == [(1, 0), (9, 0)]
        await close(link)
        await spice.until(lambda: len(spice.open) == 1)
        assert not viewer.ended.is_set()
        viewer.close()


async def test_with_a_monitor_and_no_viewer_it_opens_a_session() -> None:
    spice = FakeSpice()
    async with serving(spice) as port:
        link = await opener(at(port), spice.query)()
        await talk(spice, link)
        await close(link)


@pytest.mark.parametrize("missing_error", [True, False])
@pytest.mark.parametrize(
    ("channels", "taken", "ours"),
    [((0, 1), [0], 1), ((0, 1, 2), [0, 1], 2), ((0, 1, 2), [1], 0), ((0, 2, 3), [0, 2], 3)],
)
async def test_a_free_channel_is_found(
    channels: tuple[int, ...], taken: list[int], ours: int, missing_error: bool
) -> None:
    spice = FakeSpice(channels=channels, missing_error=missing_error)
    async with serving(spice) as port:
        viewer = await at(port).open_main()
        assert viewer.channel.session_id is not None
        wires = [(await at(port).open(CHANNEL, number, viewer.channel.session_id))[0] for number in taken]
        for number in taken:
            await spice.channel(9, number)
        link = await opener(at(port), spice.query)()
        await talk(spice, link, ours)
        await close(link)
        for each in wires:
            each.transport.abort()
        viewer.close()


async def test_a_channel_that_was_taken_since_is_left_alone() -> None:
    spice = FakeSpice(channels=(0, 1))
    async with serving(spice) as port:
        viewer = await at(port).open_main()

        async def late() -> tuple[SpiceChannel, ...]:
            told = await spice.query()
            assert viewer.channel.session_id is not None
            await at(port).open(CHANNEL, 0, viewer.channel.session_id)
            await spice.channel(9, 0)
            return told

        link = await opener(at(port), late)()
        await talk(spice, link, 1)
        await close(link)
        viewer.close()


@pytest.mark.parametrize("told", [True, False])
async def test_all_channels_are_taken(told: bool) -> None:
    spice = FakeSpice()
    async with serving(spice) as port:
        viewer = await at(port).open_main()
        assert viewer.channel.session_id is not None
        wire_of_viewer, _ = await at(port).open(CHANNEL, 0, viewer.channel.session_id)
        guest = await spice.channel(9)

        async def query() -> list[SpiceChannel]:
            return [each for each in await spice.query() if told or each.channel_type == 1]

        error = await complaint(opener(at(port), query))
        assert str(error).startswith("every usbredir channel is taken: start the viewer with --spice-disable-usbredir")
        assert "the VM with one more -chardev spicevmc" in str(error)
        assert not error.final
        assert not guest.closed
        wire_of_viewer.transport.abort()
        viewer.close()


@pytest.mark.parametrize("missing_error", [True, False])
@pytest.mark.parametrize("with_viewer", [True, False])
async def test_a_vm_without_channels(missing_error: bool, with_viewer: bool) -> None:
    spice = FakeSpice(channels=(), missing_error=missing_error)
    async with serving(spice) as port:
        viewer = await at(port).open_main() if with_viewer else None
        error = await complaint(opener(at(port), spice.query if with_viewer else None))
        assert "no usbredir channel: start it with -chardev spicevmc" in str(error)
        assert error.final
        if viewer is not None:
            assert not viewer.ended.is_set()
            viewer.close()


async def test_a_session_that_has_just_ended() -> None:
    spice = FakeSpice()
    async with serving(spice) as port:
        viewers = [await at(port).open_main()]

        async def query() -> tuple[SpiceChannel, ...]:
            told = await spice.query()
            if len(viewers) < 3:
                viewers.append(await at(port).open_main())
            return told

        link = await opener(at(port), query)()
        await talk(spice, link)
        assert [each.thrown_out for each in viewers] == [True, True, False]
        await close(link)
        viewers[-1].close()


async def test_sessions_that_always_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_spice, "ATTEMPT_INTERVAL", 0.001)
    spice = FakeSpice()
    async with serving(spice) as port:
        old = await at(port).open_main()
        told = await spice.query()
        viewer = await at(port).open_main()

        async def query() -> tuple[SpiceChannel, ...]:
            return told

        assert "had ended before it was joined" in str(await complaint(opener(at(port), query)))
        assert not viewer.ended.is_set()
        assert old.thrown_out
        viewer.close()


async def test_a_monitor_that_fails() -> None:
    async def query() -> tuple[SpiceChannel, ...]:
        raise AttachError("/run/qmp: no QEMU listens there")

    with pytest.raises(DialError, match=r"^/run/qmp: no QEMU listens there$"):
        await opener(at(1), query)()


# -- the end of a session ----------------------------------------------------------------------------------------------


async def test_thrown_out_it_joins_the_viewer() -> None:
    spice = FakeSpice(channels=(0,))
    async with serving(spice) as port:
        call = opener(at(port), spice.query)
        link = await call()
        viewer = await at(port).open_main()
        await link.lost.wait()
        link = await call()
        await talk(spice, link)
        assert not viewer.ended.is_set()
        viewer.close()
        await link.lost.wait()
        link = await call()
        await talk(spice, link)
        assert len(spice.open) == 2
        await close(link)


@pytest.mark.parametrize("secured", [False, True])
async def test_thrown_out_without_a_monitor_it_stays_out(
    secured: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificates.make(tmp_path)
    theirs = certificates.for_server(tmp_path) if secured else None
    ours = certificates.for_client(tmp_path) if secured else None
    spice = FakeSpice()
    port = await spice.listen(theirs)
    call = opener(at(port, tls=ours))
    link = await call()
    viewer = await at(port, tls=ours).open_main()
    await link.lost.wait()
    connected = spice.connected
    waiting = asyncio.create_task(call())
    await spice.until(lambda: spice.connected > connected)
    assert not waiting.done()
    assert not viewer.ended.is_set()
    assert spice.links.count((1, 0)) == 2
    await spice.stop()
    with pytest.raises(ConnectionRefusedError):
        await waiting
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert ": a viewer has taken the SPICE session over and keeps it: the phone waits until" in warning
    await spice.listen(theirs, port)
    link = await call()
    await talk(spice, link)
    await close(link)
    await spice.stop()


async def test_told_to_it_takes_the_session_back() -> None:
    spice = FakeSpice()
    async with serving(spice) as port:
        call = opener(at(port))
        link = await call()
        viewer = await at(port).open_main()
        await link.lost.wait()
        connected = spice.connected
        waiting = asyncio.create_task(call())
        await spice.until(lambda: spice.connected > connected)
        call.take_back()
        link = await waiting
        await talk(spice, link)
        await viewer.ended.wait()
        assert viewer.thrown_out
        await close(link)


async def test_a_server_that_keeps_nobody_is_looked_after_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_spice, "PROBE_INTERVAL", 0.01)
    spice = FakeSpice()
    async with serving(spice) as port:
        call = opener(at(port))
        link = await call()
        spice.close_on_connect = True
        spice.new_session()
        await link.lost.wait()
        connected = spice.connected
        waiting = asyncio.create_task(call())
        await spice.until(lambda: spice.connected > connected + 3)
        assert not waiting.done()
        spice.close_on_connect = False
        call.take_back()
        await close(await waiting)


async def test_waiting_can_be_given_up() -> None:
    spice = FakeSpice()
    async with serving(spice) as port:
        call = opener(at(port))
        link = await call()
        viewer = await at(port).open_main()
        await link.lost.wait()
        connected = spice.connected
        waiting = asyncio.create_task(call())
        await spice.until(lambda: spice.connected > connected)
        waiting.cancel()
        await asyncio.wait({waiting})
        await spice.until(lambda: len(spice._writers) == 1)
        assert not viewer.ended.is_set()
        viewer.close()


@pytest.mark.parametrize("monitor", [False, True])
async def test_a_channel_that_ends_alone_is_opened_again_in_the_same_session(
    monitor: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spice_channels, "IDLE_TIMEOUT", 1000)
    spice = FakeSpice()
    async with serving(spice) as port:
        call = opener(at(port), spice.query if monitor else None)
        link = await call()
        (await spice.channel(wire.USBREDIR)).close()
        await link.lost.wait()
        link = await call()
        await talk(spice, link)
        await close(link)
        await spice.until(lambda: len(spice.open) == 1)
        await close(await call())
        assert spice.links == [(1, 0), (9, 0), (9, 0), (9, 0)]


async def test_tries_in_vain_throw_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spice_channels, "IDLE_TIMEOUT", 1000)
    spice = FakeSpice(channels=())
    async with serving(spice) as port:
        call = opener(at(port))
        await complaint(call)
        await complaint(call)
        assert spice.links == [(1, 0)]
        viewer = await at(port).open_main()
        connected = spice.connected
        waiting = asyncio.create_task(call())
        await spice.until(lambda: spice.connected > connected)
        assert not waiting.done()
        assert not viewer.ended.is_set()
        call.take_back()
        spice.channels = (0,)
        link = await waiting
        await talk(spice, link)
        await close(link)


async def test_a_session_that_only_we_believe_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spice_channels, "IDLE_TIMEOUT", 1000)
    monkeypatch.setattr(network_spice, "END_TIMEOUT", 0.05)
    spice = FakeSpice()
    async with serving(spice) as port:
        call = opener(at(port))
        link = await call()
        (await spice.channel(wire.MAIN)).session = 1
        await close(link)
        await spice.until(lambda: len(spice.open) == 1)
        link = await call()
        await talk(spice, link)
        assert spice.links == [(1, 0), (9, 0), (9, 0), (1, 0), (9, 0)]
        await close(link)


@pytest.mark.parametrize("garbage", [struct.pack("<HI", 4, 1 << 30), wire.message(103, bytes(32))])
async def test_a_main_channel_that_breaks_later_ends_all(garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    spice = FakeSpice()
    async with serving(spice) as port:
        call = opener(at(port))
        link = await call()
        (await spice.channel(wire.MAIN)).writer.write(garbage)
        await link.lost.wait()
        assert ": breaks the protocol and is disconnected" in caplog.text
        await spice.until(lambda: not spice.open)
        await close(await call())


async def test_a_main_channel_that_does_not_read_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    spice = FakeSpice()
    async with serving(spice) as port:
        main = await at(port).open_main()
        main._transport.set_write_buffer_limits(high=0)
        server = await spice.channel(wire.MAIN)
        main.pause_writing()
        server.send(4, bytes(12))
        guard = await at(port).connect()
        assert 3 not in [kind for kind, _ in server.received]
        main.resume_writing()
        await server.until(3)
        guard.transport.abort()
        main.close()
