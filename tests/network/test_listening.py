from __future__ import annotations

import os
import socket
import stat
import struct
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from usbredir_mtp.network import listening as module
from usbredir_mtp.network.addresses import Address, AddressError, Inherited, Tcp, Unix
from usbredir_mtp.network.listening import ListenError, listening, peer_of, user_id, user_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

has_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


def accepts(listener: module.Listener) -> bool:
    """Whether one can connect."""
    sock = listener.socket
    with socket.socket(sock.family) as guest:
        guest.connect(sock.getsockname())
        sock.accept()[0].close()
    return True


def refusal(address: Address, **options: Any) -> str:
    with pytest.raises(ListenError) as caught, listening([address], **options):
        pytest.fail("it listens")
    text = str(caught.value)
    assert text.startswith(f"cannot listen on {address}: ")
    return text.removeprefix(f"cannot listen on {address}: ")


# -- TCP --------------------------------------------------------------------------------------------------------------


def test_a_free_port() -> None:
    with listening([Tcp("127.0.0.1", 0)]) as [listener]:
        assert isinstance(listener.address, Tcp)
        assert listener.address.host == "127.0.0.1"
        assert listener.address.port == listener.socket.getsockname()[1] > 0
        assert listener.file is None
        assert accepts(listener)
    assert listener.socket.fileno() == -1


@has_ipv6
def test_ipv6() -> None:
    with listening([Tcp("::1", 0)]) as [listener]:
        assert str(listener.address).startswith("tcp:[::1]:")
        assert accepts(listener)
        assert listener.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_the_same_twice_is_once() -> None:
    with listening([Tcp("127.0.0.1", 0)] * 2) as listeners:
        assert len(listeners) == 1


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken_port = taken.getsockname()[1]
        assert refusal(Tcp("127.0.0.1", taken_port)) == "Address already in use"
        with (
            pytest.raises(ListenError, match="in use"),
            listening([Unix(tmp_path / "socket"), Tcp("127.0.0.1", taken_port)]),
        ):
            pytest.fail("it listens")
    assert list(tmp_path.iterdir()) == [], "what was opened before is closed"


def resolve(monkeypatch: pytest.MonkeyPatch, *found: str) -> None:
    """Let every host's name mean these addresses."""

    def getaddrinfo(_host: str, port: int, **_hints: object) -> list[tuple[int, int, int, str, tuple[Any, ...]]]:
        families = [
            (socket.AF_INET6, (host, port, 0, 0)) if ":" in host else (socket.AF_INET, (host, port)) for host in found
        ]
        return [(family, socket.SOCK_STREAM, 6, "", where) for family, where in families]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_all_addresses_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, "127.0.0.1", "127.0.0.2", "127.0.0.1")
    with listening([Tcp("name.example", 0)]) as listeners:
        assert [listener.socket.getsockname()[0] for listener in listeners] == ["127.0.0.1", "127.0.0.2"]


def test_an_address_of_a_name_that_this_machine_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, "192.0.2.1", "127.0.0.1")
    with listening([Tcp("name.example", 0)], insecure=True) as [listener]:
        assert listener.socket.getsockname()[0] == "127.0.0.1"
    resolve(monkeypatch, "192.0.2.1")
    assert "assign" in refusal(Tcp("name.example", 0), insecure=True)


def test_one_address_of_a_name_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, "127.0.0.2", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "in use" in refusal(Tcp("name.example", port))
    with socket.create_server(("127.0.0.2", port)):
        pass  # the other has been given back


@pytest.mark.parametrize("host", ["x" * 64, "two..dots.é"])
def test_a_host_that_is_no_name(host: str) -> None:
    assert "name" in refusal(Tcp(host, 0))


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "fe80::1%lo", "10.0.0.1", "128.0.0.1"]
)
def test_other_machines_may_not_connect(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    resolve(monkeypatch, "127.0.0.1", host)
    with pytest.raises(AddressError, match=r"name\.example") as caught, listening([Tcp("name.example", 4000)]):
        pytest.fail("it listens")
    for named in (f"({host})", "127.0.0.1", "unix:", "--insecure", "--tls-ca"):
        assert named in str(caught.value)
    resolve(monkeypatch, host)
    with pytest.raises(AddressError) as caught, listening([Tcp(host, 4000)]):
        pytest.fail("it listens")
    assert f"({host})" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_this_machine_may(host: str) -> None:
    module._require_loopback(Tcp(host, 0), host)


def test_other_machines_may_if_that_is_wanted() -> None:
    with listening([Tcp("0.0.0.0", 0)], insecure=True) as [listener]:
        assert listener.socket.getsockname()[0] == "0.0.0.0"


# -- unix -------------------------------------------------------------------------------------------------------------


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        assert os.umask(before) == value, "it has been put back"


@pytest.mark.parametrize("own", [0, 0o022, 0o777])
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o777, 0])
def test_the_mode_of_a_socket(tmp_path: Path, own: int, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing wider before, either: a chmod only gives what the umask has taken."""
    chmod = os.chmod

    def widen(path: Path, wanted: int, **rest: bool) -> None:
        assert not stat.S_IMODE(path.stat().st_mode) & ~wanted
        chmod(path, wanted, **rest)

    monkeypatch.setattr(os, "chmod", widen)
    with umask(own), listening([Unix(tmp_path / "socket")], mode=mode) as [listener]:
        assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == mode
        assert listener.address == Unix(tmp_path / "socket")
        assert listener.file == tmp_path / "socket"


def test_a_socket_goes_with_its_server(tmp_path: Path) -> None:
    with listening([Unix(tmp_path / "socket")]) as [listener]:
        assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == 0o600
        assert accepts(listener)
    assert list(tmp_path.iterdir()) == []


def stale(path: Path) -> None:
    """What a server that was killed leaves."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    stale(tmp_path / "socket")
    with listening([Unix(tmp_path / "socket")]) as [listener]:
        assert accepts(listener)


def test_a_socket_in_use(tmp_path: Path) -> None:
    address = Unix(tmp_path / "socket")
    with listening([address]) as [listener]:
        assert refusal(address) == "another program listens on it"
        listener.socket.accept()[0].close()
        assert accepts(listener)


def test_a_socket_in_use_that_is_busy(tmp_path: Path) -> None:
    address = Unix(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as waiting:
        sock.bind(str(address.path))
        sock.listen(0)
        waiting.connect(str(address.path))
        assert refusal(address) == "another program listens on it"
    assert address.path.is_socket()


def test_another_kind_of_socket_is_left_alone(tmp_path: Path) -> None:
    address = Unix(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(address.path))
        refusal(address)
    assert address.path.is_socket()


def linked(path: Path) -> None:
    stale(path.with_name("stale"))
    path.symlink_to("stale")


MAKE: dict[str, Callable[[Path], object]] = {
    "file": lambda path: path.touch(),
    "folder": lambda path: path.mkdir(),
    "fifo": os.mkfifo,
    "link": linked,
    "dangling link": lambda path: path.symlink_to("nothing"),
}


@pytest.mark.parametrize("kind", MAKE)
def test_what_is_no_socket_is_never_removed(tmp_path: Path, kind: str) -> None:
    MAKE[kind](tmp_path / "path")
    before = sorted(tmp_path.iterdir()), (tmp_path / "path").lstat()
    assert refusal(Unix(tmp_path / "path")) == "there is something else of that name, which is no socket"
    assert (sorted(tmp_path.iterdir()), (tmp_path / "path").lstat()) == before


def test_a_missing_folder(tmp_path: Path) -> None:
    assert refusal(Unix(tmp_path / "folder" / "socket")) == f"there is no folder {tmp_path}/folder"


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(socket.socket):
        def bind(self, _address: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "socket", Refusing)
    with umask(0o022):
        assert refusal(Unix(tmp_path / "socket")) == "Permission denied"


def test_what_has_taken_its_place_is_left_alone(tmp_path: Path) -> None:
    with listening([Unix(tmp_path / "socket")]):
        (tmp_path / "socket").unlink()
        stale(tmp_path / "socket")
    assert (tmp_path / "socket").is_socket()


def test_a_socket_is_removed_once(tmp_path: Path) -> None:
    with listening([Unix(tmp_path / "socket")]) as [listener]:
        listener.unlink()
        assert not (tmp_path / "socket").exists()
        assert listener.file is None
        (tmp_path / "socket").touch()
    assert (tmp_path / "socket").exists()


def test_a_folder_that_is_gone_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with listening([Unix(tmp_path / "folder" / "socket")]):
        (tmp_path / "folder").rename(tmp_path / "other")


# -- inherited --------------------------------------------------------------------------------------------------------


@contextmanager
def inherited(sock: socket.socket) -> Iterator[int]:
    """A descriptor as a parent would have left it."""
    fd = os.dup(sock.fileno())
    os.set_inheritable(fd, True)
    sock.close()
    try:
        yield fd
    finally:
        os.close(fd)


def test_a_tcp_socket_that_is_inherited() -> None:
    with inherited(socket.create_server(("127.0.0.1", 0))) as fd, listening([Inherited(fd)]) as [listener]:
        assert listener.address == Tcp(*listener.socket.getsockname())
        assert not os.get_inheritable(fd), "no process of ours needs it"
        assert accepts(listener)
        with listening([Inherited(fd)]) as [again]:
            assert accepts(again), "after SIGHUP"


def test_a_unix_socket_that_is_inherited_is_whoever_made_it_s(tmp_path: Path) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "socket"))
    sock.listen()
    with inherited(sock) as fd, listening([Inherited(fd)]) as [listener]:
        assert listener.address == Unix(tmp_path / "socket")
        assert listener.file is None
        assert accepts(listener)
    assert (tmp_path / "socket").is_socket()


@pytest.mark.skipif(sys.platform != "linux", reason="names without a file are Linux' own")
def test_a_socket_without_a_path() -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind("\0usbredir-mtp-test-" + str(os.getpid()))
    sock.listen()
    with inherited(sock) as fd, listening([Inherited(fd)]) as [listener]:
        assert listener.address == Inherited(fd)


def test_an_inherited_socket_is_open_to_other_machines() -> None:
    with inherited(socket.create_server(("0.0.0.0", 0))) as fd:
        with pytest.raises(AddressError, match=rf"fd:{fd} \(0\.0\.0\.0\)"), listening([Inherited(fd)]):
            pytest.fail("it listens")
        os.fstat(fd)
        with listening([Inherited(fd)], insecure=True) as [listener]:
            assert accepts(listener)


WRONG: list[tuple[Callable[[], socket.socket], str]] = [
    (lambda: socket.socket(socket.AF_INET), "it is a socket that does not listen"),
    (lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), "it is neither a TCP nor a unix stream socket"),
    (lambda: socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET), "it is neither a TCP nor a unix stream socket"),
]


@pytest.mark.parametrize(("make", "said"), WRONG)
def test_a_socket_that_will_not_do(make: Callable[[], socket.socket], said: str) -> None:
    with inherited(make()) as fd:
        assert refusal(Inherited(fd)) == said
        os.fstat(fd)


def test_what_is_no_socket(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        assert refusal(Inherited(file.fileno())) == "it is no socket"


def test_what_is_not_open() -> None:
    with socket.socket() as sock:
        fd = sock.fileno()
    assert refusal(Inherited(fd + 1000)) == "whoever started this program has not opened it"


# -- users ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="others do not tell")
def test_who_has_connected() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        peer = peer_of(one)
        assert peer is not None
        assert (peer.pid, peer.uid) == (os.getpid(), os.geteuid())
        assert peer.user == user_name(os.geteuid())


def test_a_user_id_of_32_bits() -> None:
    class Far(socket.socket):
        def getsockopt(self, *_arguments: int) -> Any:
            return struct.pack("iII", 1, 0xFFFFFFFE, 0)

    with Far(socket.AF_UNIX) as sock:
        peer = peer_of(sock)
        assert peer is None or peer.uid == 0xFFFFFFFE


def test_tcp_does_not_tell() -> None:
    with socket.socket(socket.AF_INET) as sock:
        assert peer_of(sock) is None


def test_other_systems_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with socket.socket(socket.AF_UNIX) as sock:
        assert peer_of(sock) is None


def test_users_by_name_and_number() -> None:
    assert user_id("root") == user_id("0") == 0
    assert user_id("4000000000") == 4_000_000_000
    assert user_name(0) == "root"
    assert user_name(4_000_000_000) == "4000000000"
    assert user_name(-1) == "-1"


@pytest.mark.parametrize("text", ["", "no-such-user", "a\0b", "-1", "1" * 11, "\u0661"])
def test_no_such_user(text: str) -> None:
    with pytest.raises(ValueError, match="there is no user"):
        user_id(text)
