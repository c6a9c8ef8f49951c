"""Every connection is counted when it begins, and when it ends by why."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import pytest

from tests.network.test_server import Bench, seem_to_be, with_server
from tests.protocol.guest import hello
from tests.support.wire import ALL_CAPS
from usbredir_mtp.network import link as link_module
from usbredir_mtp.network import server as server_module
from usbredir_mtp.network.addresses import Unix
from usbredir_mtp.session import Session
from usbredir_mtp.tally import End

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.network.test_server import Guest

    Ending = Callable[[Bench, Guest], Awaitable[None]]


async def closes(_bench: Bench, guest: Guest) -> None:
    await guest.receive()
    guest.writer.close()


async def resets(_bench: Bench, guest: Guest) -> None:
    await guest.attach()
    sock = guest.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    guest.writer.close()


async def sends_nonsense(_bench: Bench, guest: Guest) -> None:
    guest.send(b"\xff" * 100)
    await guest.ends()


async def says_nothing(_bench: Bench, guest: Guest) -> None:
    await guest.ends()


async def is_unplugged(bench: Bench, guest: Guest) -> None:
    await guest.attach()
    [session] = bench.server.sessions
    session.unplug()
    guest.writer.close()


async def does_not_acknowledge(bench: Bench, guest: Guest) -> None:
    await guest.attach()
    await bench.server.shut_down()


async def meets_a_fault(_bench: Bench, guest: Guest) -> None:
    guest.send(hello(ALL_CAPS))
    await guest.ends()


ENDINGS: dict[End, Ending] = {
    End.GUEST: closes,
    End.ERROR: resets,
    End.UNPLUGGED: is_unplugged,
    End.PROTOCOL: sends_nonsense,
    End.NO_HELLO: says_nothing,
    End.NO_ANSWER: does_not_acknowledge,
    End.FAULT: meets_a_fault,
}


def fail(_session: Session, _data: object) -> None:
    raise ValueError("a fault")


@pytest.mark.parametrize("loop", ["asyncio", "auto"])
@pytest.mark.parametrize("end", End)
def test_why(monkeypatch: pytest.MonkeyPatch, end: End, loop: str) -> None:
    async def test(bench: Bench) -> None:
        guest = await bench.connect()
        await bench.until(lambda: len(bench.server.sessions) == 1)
        connections = bench.server.phone.tallies.connections
        assert connections.begun == 1
        assert not connections.ended
        await ENDINGS[end](bench, guest)
        await bench.until(lambda: bool(connections.ended))
        assert connections.ended == {end: 1}
        assert connections.begun == 1
        assert bench.server.sessions == []

    if end is End.NO_HELLO:
        monkeypatch.setattr(link_module, "HELLO_TIMEOUT", 0.05)
    if end is End.NO_ANSWER:
        monkeypatch.setattr(server_module, "ACK_TIMEOUT", 0.05)
    if end is End.FAULT:
        monkeypatch.setattr(Session, "receive", fail)
    with_server(test, loop)


def test_who_is_not_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(bench: Bench) -> None:
        assert await (await bench.connect()).ends() == b""
        connections = bench.server.phone.tallies.connections
        assert (connections.refused, connections.begun, connections.ended) == (1, 0, {})

    seem_to_be(monkeypatch, 4_000_000_000)
    with_server(test, addresses=[Unix(tmp_path / "socket")])


def test_what_troubles_a_server() -> None:
    async def test(bench: Bench) -> None:
        assert bench.server.trouble == []
        bench.server._servers[0][1].close()
        assert bench.server.trouble == [f"{bench.listeners[0].address}: closed"]
        await bench.server.shut_down()
        assert bench.server.trouble == ["unplugging"]

    with_server(test)
