"""VMs that listen: the program connects to them, waits for them, and comes back to them."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.network.program import end, program, refusal
from tests.support.initiator import Initiator
from tests.support.usbredir import Guest
from usbredir_mtp.network import dialing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def vm(place: Path, kind: str = "unix") -> Iterator[tuple[socket.socket, str]]:
    """A socket that listens, and its address."""
    with socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) as sock:
        sock.bind(str(place / "vm") if kind == "unix" else ("127.0.0.1", 0))
        sock.listen(1)
        sock.settimeout(20)
        yield sock, f"unix:{place}/vm" if kind == "unix" else f"tcp:127.0.0.1:{sock.getsockname()[1]}"


@contextmanager
def plugged(listener: socket.socket) -> Iterator[Initiator]:
    """What a guest does once the program has connected."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(20)
        guest = Guest(connection)
        guest.attach()
        guest.set_configuration(1)
        mtp = Initiator(guest)
        mtp.open_session()
        yield mtp


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_a_vm_that_listens(place: Path, kind: str) -> None:
    with vm(place, kind) as (listener, address), program(place, "--connect", address) as (process, shown):
        assert shown == [address]
        with plugged(listener) as mtp:
            mtp.send_file("sent", b"a" * 100_000)
            assert (place / "share" / "sent").read_bytes() == b"a" * 100_000
            assert mtp.get_object(mtp.names()["file"]) == b"shared"
        with plugged(listener) as mtp:  # the VM was started anew, or has come from elsewhere
            assert "sent" in mtp.names()
        assert end(process) == ""


def test_a_vm_that_comes_later(place: Path) -> None:
    address = f"unix:{place}/vm"
    with program(place, "--connect", address) as (process, _):
        assert process.stderr is not None
        waiting = process.stderr.readline()
        with vm(place) as (listener, _), plugged(listener) as mtp:
            assert "file" in mtp.names()
        assert waiting == f"WARNING: {address}: No such file or directory; trying again until it works\n"
        end(process)


def test_a_name_that_is_none(place: Path) -> None:
    with program(place, "--connect", "tcp:a..b:4000") as (process, _):
        assert process.stderr is not None
        assert "not the name of a host; trying again" in process.stderr.readline()
        assert end(process) == ""


def test_a_vm_that_breaks_the_protocol(place: Path) -> None:
    """It is told once, and not connected to again and again without a pause."""
    with vm(place) as (listener, address), program(place, "--connect", address) as (process, _):
        assert process.stderr is not None
        for _ in range(3):
            connection, _ = listener.accept()
            with connection:
                guest = Guest(connection)
                guest.greet()
                connection.sendall(b"\xff" * 100)
                while connection.recv(1 << 16):
                    pass
        said = [process.stderr.readline() for _ in range(2)]
        assert "breaks the protocol and is disconnected" in said[0]
        assert said[1] == f"WARNING: {address}: breaks the protocol; trying again until it works\n"
        end(process)


def test_listening_as_well(place: Path) -> None:
    with (
        vm(place) as (listener, address),
        program(place, "--connect", address, "--listen", f"unix:{place}/ours") as (process, shown),
    ):
        assert shown == [f"unix:{place}/ours"]
        with plugged(listener), socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(place / "ours"))
            sock.settimeout(20)
            Guest(sock).attach()
        end(process)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_vm_that_is_busy(place: Path, loop: str) -> None:
    """QEMU takes one connection; others wait in its backlog."""
    quick = "from usbredir_mtp.network import link; link.HELLO_TIMEOUT = 0.3; "
    with vm(place) as (listener, address):
        started = program(
            place, "--connect", address, "--loop", loop, before=quick + "from usbredir_mtp.cli import main; main()"
        )
        with started as (process, _):
            assert process.stderr is not None
            said = dialing.BUSY.replace("10 s", "0.3 s")
            assert process.stderr.readline() == f"WARNING: {address}: {said}; trying again until it works\n"
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(20)
                    guest = Guest(connection)
                    try:
                        guest.attach()
                    except (ConnectionError, EOFError):
                        continue
                    break
            end(process)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp:127.0.0.1:0", "there is nothing to connect to at port 0"),
        ("fd:3", "use tcp:HOST:PORT, unix:PATH, spice://"),
        ("spice:host:5900", "use spice://HOST:PORT"),
        ("nonsense", "use tcp:HOST:PORT"),
    ],
)
def test_addresses_that_are_none(place: Path, address: str, said: str) -> None:
    status, text = refusal(place, "--connect", address)
    assert status == 2
    assert said in text
    assert "Traceback" not in text
