"""Sockets that systemd passes; the environment is all that says so."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.network.program import connection, copies_both_ways, program
from usbredir_mtp.network.activation import Passed, passed, passed_as
from usbredir_mtp.network.addresses import Activated, AddressError, Inherited, parse_address
from usbredir_mtp.network.listening import ListenError, listening

if TYPE_CHECKING:
    from pathlib import Path

OURS = {"LISTEN_PID": str(os.getpid())}


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, {}),
        ({"LISTEN_FDS": "1"}, {}),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {}),
        ({**OURS, "LISTEN_FDS": "1"}, {3: ""}),
        ({**OURS, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}, {3: "a", 4: "b"}),
        ({**OURS, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a"}, {3: "a", 4: ""}),
        ({**OURS, "LISTEN_FDS": "0"}, {}),
        ({**OURS, "LISTEN_FDS": "-1"}, {}),
        ({**OURS, "LISTEN_FDS": "two"}, {}),
        ({**OURS, "LISTEN_FDS": "²"}, {}),
    ],
)
def test_what_the_environment_says(environment: dict[str, str], found: dict[int, str]) -> None:
    assert list(passed(environment)) == [Passed(Inherited(fd), name) for fd, name in found.items()]


def test_no_end_of_sockets() -> None:
    assert len(passed({**OURS, "LISTEN_FDS": "9" * 30})) == 1024


def test_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**OURS, "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:a"}.items():
        monkeypatch.setenv(name, value)
    assert passed_as("a") == [Inherited(3), Inherited(5)]
    assert passed_as("b") == [Inherited(4)]
    assert passed_as("") == [Inherited(3), Inherited(4), Inherited(5)]
    said = r"cannot listen on systemd:c: systemd passes no socket of that name \(FileDescriptorName=c\), but a, b"
    with pytest.raises(ListenError, match=said), listening([Activated("c")]):
        pass


def test_nothing_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_PID", raising=False)
    with pytest.raises(ListenError, match="cannot listen on systemd:: no sockets are passed"), listening([Activated()]):
        pass


@pytest.mark.parametrize("name", ["", "usb", "usbredir-mtp@vm.socket", "with space"])
def test_addresses(name: str) -> None:
    assert parse_address(f"systemd:{name}") == Activated(name)
    assert str(Activated(name)) == f"systemd:{name}"


@pytest.mark.parametrize("name", ["a:b", "ä", "a\nb", "x" * 256])
def test_names_that_systemd_has_not(name: str) -> None:
    with pytest.raises(AddressError, match="the name of a socket is needed"):
        parse_address(f"systemd:{name}")


def as_systemd(*fds: int, names: str) -> str:
    """What stands in for the program: it becomes what systemd would have started."""
    moves = "".join(f"os.dup2({fd}, {number}); " for number, fd in enumerate(fds, 3))
    variables = {"LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": names}
    return (
        f"import os; from usbredir_mtp.cli import main; {moves}"
        f"os.environ.update({variables!r}, LISTEN_PID=str(os.getpid())); main()"
    )


def server(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


@pytest.mark.parametrize(
    "arguments", [[], ["--listen", "systemd:"], ["--listen", "systemd:one", "--listen", "systemd:two"]]
)
def test_all_that_is_passed(place: Path, arguments: list[str]) -> None:
    with server(place / "one") as unix, socket.create_server(("127.0.0.1", 0)) as tcp:
        fds = [unix.fileno(), tcp.fileno()]
        before = as_systemd(*fds, names="one:two")
        with program(place, *arguments, fds=fds, before=before) as (_, addresses):
            assert addresses == [f"unix:{place}/one", f"tcp:127.0.0.1:{tcp.getsockname()[1]}"]
            for address in addresses:
                assert copies_both_ways(place, address)


def test_one_of_them(place: Path) -> None:
    with server(place / "one") as one, server(place / "two") as two:
        fds = [one.fileno(), two.fileno()]
        listen = ["--listen", "systemd:two"]
        with program(place, *listen, fds=fds, before=as_systemd(*fds, names="one:two")) as (_, addresses):
            assert addresses == [f"unix:{place}/two"]
            assert copies_both_ways(place, addresses[0])


@pytest.mark.parametrize("arguments", [["--port", "0"], ["--connect", "tcp:127.0.0.1:9"]])
def test_who_says_otherwise_gets_that(place: Path, arguments: list[str]) -> None:
    with server(place / "one") as one:
        fds = [one.fileno()]
        with program(place, *arguments, fds=fds, before=as_systemd(*fds, names="one")) as (_, [address]):
            assert address.startswith("tcp:127.0.0.1:")


def test_a_device_that_becomes_another_one(place: Path) -> None:
    """It is plugged in anew at the same socket, which only systemd can open."""
    config = place / "config"
    config.write_text("serial = '1'")
    with server(place / "one") as one:
        fds = [one.fileno()]
        before = as_systemd(*fds, names="one")
        with program(place, "--config", str(config), "-v", fds=fds, before=before) as (process, [address]):
            assert copies_both_ways(place, address)
            config.write_text("serial = '2'")
            process.send_signal(1)
            assert process.stderr is not None
            for line in process.stderr:
                assert "nothing has changed" not in line
                if "plugged in: " in line:
                    break
            connection(address).close()
            assert copies_both_ways(place, address)
