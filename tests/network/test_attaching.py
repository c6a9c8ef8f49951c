"""The ways to listen, as a user starts the program: in a process of its own, in its sandbox, guests attached."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.network.program import connection, copies_both_ways, end, initiator, program, refusal
from tests.support.usbredir import Guest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STRANGER = 4_000_000_000
"""Nobody's user id."""


def test_a_unix_socket(place: Path) -> None:
    path = place / "socket"
    with program(place, "--listen", f"unix:{path}") as (process, addresses):
        assert addresses == [f"unix:{path}"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert copies_both_ways(place, addresses[0])
        assert end(process) == ""
    assert not path.exists()


def test_two_addresses_at_once(place: Path) -> None:
    ways = ["--listen", f"unix:{place}/socket", "--listen", "tcp:127.0.0.1:0"]
    with (
        program(place, *ways, "--socket-mode", "0660") as (_, [unix, tcp]),
        initiator(unix) as one,
        initiator(tcp) as other,
    ):
        assert stat.S_IMODE((place / "socket").stat().st_mode) == 0o660
        handle = one.send_file("new", b"by the one")
        assert other.get_object(other.names()["new"]) == b"by the one"
        one.delete(handle)


def test_a_second_signal_removes_the_socket_too(place: Path) -> None:
    path = place / "socket"
    with program(place, "--listen", f"unix:{path}") as (process, [address]), initiator(address) as mtp:
        mtp.begin_upload("file", 300_000, bytes(1000))
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert not path.exists(), "nobody is let in any more"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 1


def test_a_killed_server_s_socket_is_replaced(place: Path) -> None:
    path = place / "socket"
    with program(place, "--listen", f"unix:{path}") as (process, _):
        process.kill()
        process.wait(10)
    assert path.is_socket()
    with program(place, "--listen", f"unix:{path}") as (process, [address]):
        assert copies_both_ways(place, address)
        assert end(process) == ""


def test_a_running_server_s_socket_is_not(place: Path) -> None:
    listen = ["--listen", f"unix:{place}/socket"]
    with program(place, *listen) as (_, [address]):
        said = f"Error: cannot listen on unix:{place}/socket: another program listens on it\n"
        assert refusal(place, *listen) == (3, said)
        assert copies_both_ways(place, address)


def test_what_has_taken_its_place_is_left_alone(place: Path) -> None:
    path = place / "socket"
    with program(place, "--listen", f"unix:{path}") as (process, _):
        path.unlink()
        path.write_text("mine")
        end(process)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("path", "said"), [("share/file", "there is something else of that name"), ("missing/socket", "there is no folder")]
)
def test_a_path_that_cannot_be(place: Path, path: str, said: str) -> None:
    status, text = refusal(place, "--listen", f"unix:{place / path}")
    assert status == 3
    assert text.startswith(f"Error: cannot listen on unix:{place / path}: {said}")
    assert text.count("\n") == 1
    assert (place / "share" / "file").read_text() == "shared"


def test_a_failed_start_leaves_no_socket(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ways = ["--listen", f"unix:{place}/socket", "--listen", f"tcp:127.0.0.1:{port}"]
        assert refusal(place, *ways) == (3, f"Error: cannot listen on tcp:127.0.0.1:{port}: Address already in use\n")
    assert [path.name for path in place.iterdir()] == ["share"]


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_an_inherited_socket(place: Path, kind: str) -> None:
    if kind == "tcp":
        sock = socket.create_server(("127.0.0.1", 0))
        address = f"tcp:127.0.0.1:{sock.getsockname()[1]}"
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(place / "socket"))
        sock.listen()
        address = f"unix:{place}/socket"
    with sock, connection(address) as early:
        with program(place, "--listen", f"fd:{sock.fileno()}", fds=[sock.fileno()]) as (process, addresses):
            assert addresses == [address]
            Guest(early).attach()  # it has waited for the program
            early.close()
            assert copies_both_ways(place, address)
            assert end(process) == ""
        assert (place / "socket").exists() is (kind == "unix"), "it is whoever made it's"
        with program(place, "--listen", f"fd:{sock.fileno()}", fds=[sock.fileno()]):
            assert copies_both_ways(place, address), "the next one goes on with it"


def test_what_is_not_inherited(place: Path) -> None:
    status, said = refusal(place, "--listen", "fd:77")
    assert (status, said.count("\n")) == (3, 1)
    assert said.startswith("Error: cannot listen on fd:77: whoever started this program has not opened it")
    assert refusal(place, "--listen", "fd:0")[1].startswith("Error: cannot listen on fd:0: it is no socket")


@pytest.mark.parametrize("listen", [["--host", "0.0.0.0"], ["--listen", "tcp:[::]:0"]])
def test_other_machines_are_let_in_on_demand_only(place: Path, listen: list[str]) -> None:
    status, said = refusal(place, *listen)
    assert status == 2
    for named in ("127.0.0.1", "unix:PATH", "--insecure"):
        assert named in said.splitlines()[-1]
    if listen[0] == "--host":
        with program(place, *listen, "--port", "0", "--insecure") as (_, [address]):
            assert copies_both_ways(place, address.replace("0.0.0.0", "127.0.0.1"))


@contextmanager
def somebody_else() -> Iterator[None]:
    """What this process is to the kernel meanwhile."""
    os.seteuid(STRANGER)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="it takes root to be somebody else")
def test_other_users(place: Path) -> None:
    place.chmod(0o755)
    wide = ["--listen", f"unix:{place}/socket", "--socket-mode", "0666"]
    alone = program(place, "--listen", f"unix:{place}/socket")
    with alone as (_, [address]), pytest.raises(PermissionError), somebody_else():
        connection(address)
    with program(place, *wide) as (process, [address]), initiator(address) as mtp:
        with somebody_else(), connection(address) as sock:
            assert sock.recv(1) == b""
        assert "file" in mtp.names()
        mtp.guest.close()
        assert end(process) == (
            f"WARNING: {address}: refused a process of user {STRANGER}; --allow-user {STRANGER} would let it in\n"
        )
    with program(place, *wide, "--allow-user", str(STRANGER)) as (_, [address]):
        with somebody_else():
            sock = connection(address)
        with sock:
            Guest(sock).attach()
