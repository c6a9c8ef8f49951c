"""Listening sockets: opened before the sandbox and the first thread, so that the program needs no right to do so later.

And who is at the other end, where the kernel says so.
"""

from __future__ import annotations

import errno
import os
import pwd
import re
import socket
import stat
import struct
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from usbredir_mtp.network.activation import passed_as
from usbredir_mtp.network.addresses import Activated, Address, AddressError, Inherited, Tcp, Unix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

BACKLOG: Final = 100
"""Connections that wait for the program to start, or to get round to them."""

SOCKET_MODE: Final = 0o600

_SOCKETS_HAVE_MODES: Final = sys.platform == "linux"

_UCRED: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid (unix(7))
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
_MISSING_HERE: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
"""What a machine without IPv6 says to an IPv6 address, which `localhost` may have there nevertheless."""


class ListenError(Exception):
    """An address that cannot be had; the text names it and says why."""


class Peer(NamedTuple):
    """A process at the other end of a unix socket, as it was when it connected."""

    pid: int
    uid: int

    @property
    def user(self) -> str:
        """Its user's name, or number."""
        return user_name(self.uid)


def user_name(uid: int) -> str:
    """A user's name; the number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)


@cache  # in the sandbox a file /etc/passwd that has been replaced cannot be read: who was known stays so
def user_id(text: str) -> int:
    """A user's number, from the name or the number itself.

    Raises:
        ValueError: there is no such user.
    """
    if re.fullmatch("[0-9]{1,10}", text, re.ASCII):
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError) as error:
        raise ValueError(f"there is no user {text!r}") from error


def peer_of(sock: socket.socket) -> Peer | None:
    """Who has connected; None where the system does not say, or if it is no unix socket."""
    if sys.platform != "linux" or sock.family != socket.AF_UNIX:
        return None
    pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(pid, uid)


@dataclass(slots=True)
class Listener:
    """A socket that listens.

    Attributes:
        address: Where, with the port that was free.
        socket: The event loop closes it, or `listening` does.
        identity: Device and inode of the socket's file; None if there is none of ours.
    """

    address: Address
    socket: socket.socket
    identity: tuple[int, int] | None = None

    @property
    def file(self) -> Path | None:
        """The socket's file, if it is ours to remove."""
        return self.address.path if isinstance(self.address, Unix) and self.identity else None

    def unlink(self) -> None:
        """Remove the socket's file, unless somebody has put something else in its place. The socket must be open still.

        As long as it is, no other file can get its inode number.
        """
        path, identity = self.file, self.identity
        self.identity = None
        if path is not None:
            with suppress(OSError):
                if _identity(path) == identity:
                    path.unlink()


@contextmanager
def listening(
    addresses: Sequence[Address], *, insecure: bool = False, mode: int = SOCKET_MODE
) -> Iterator[list[Listener]]:
    """Listen on all addresses, to the end of the block.

    Where it is not Linux, there should be no other thread: for unix sockets the umask is changed for a moment.

    Args:
        addresses: A host's name with several addresses counts for all of them.
        insecure: Whether TCP may be reached from other machines.
        mode: Permissions of unix sockets.

    Raises:
        AddressError: other machines could connect, and may not.
        ListenError: an address cannot be had.
    """
    with ExitStack() as stack:
        listeners: list[Listener] = []
        for address in dict.fromkeys(addresses):
            for listener in _open(address, insecure=insecure, mode=mode):
                stack.callback(listener.socket.close)
                stack.callback(listener.unlink)
                listeners.append(listener)
        yield listeners


def check(addresses: Iterable[Address], *, insecure: bool) -> None:
    """Look whether `listening` would let us, without a socket; whether an address is free shows only then.

    Raises:
        AddressError: other machines could connect, and may not.
    """
    for address in addresses:
        if isinstance(address, Tcp) and not insecure:
            with suppress(OSError, UnicodeError):
                for _, _, _, _, where in _resolved(address):
                    _require_loopback(address, str(where[0]))


def _open(address: Address, *, insecure: bool, mode: int) -> list[Listener]:
    try:
        if isinstance(address, Tcp):
            return _open_tcp(address, insecure=insecure)
        if isinstance(address, Unix):
            return [_open_unix(address, mode)]
        return _take_all(passed_as(address.name) if isinstance(address, Activated) else [address], insecure=insecure)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from error
    except UnicodeError as error:
        raise ListenError(f"cannot listen on {address}: not the name of a host") from error


# -- TCP ----------------------------------------------------------------------------------------------------------


def _open_tcp(address: Tcp, *, insecure: bool) -> list[Listener]:
    places = list(dict.fromkeys((family, where) for family, _, _, _, where in _resolved(address)))
    if not insecure:
        for _, where in places:
            _require_loopback(address, str(where[0]))
    listeners: list[Listener] = []
    missing: OSError | None = None
    with ExitStack() as undo:
        for family, where in places:
            try:
                listeners.append(_bind_tcp(family, where))
            except OSError as error:
                if error.errno not in _MISSING_HERE:
                    raise
                missing = error
            else:
                undo.callback(listeners[-1].socket.close)
        if missing is not None and not listeners:
            raise missing
        undo.pop_all()
    return listeners


def _resolved(address: Tcp) -> list[tuple[Any, ...]]:
    return list(socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))


def _bind_tcp(family: int, where: tuple[object, ...]) -> Listener:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return Listener(Tcp(*sock.getsockname()[:2]), sock)


def _require_loopback(address: Address, host: str) -> None:
    number = ip_address(host)
    mapped = number.ipv4_mapped if isinstance(number, IPv6Address) else None
    if not (mapped or number).is_loopback:
        named = "" if isinstance(address, Tcp) and address.host == host else f" ({host})"
        raise AddressError(
            f"{address}{named} is open to other machines: use 127.0.0.1, or --listen unix:PATH, or TLS with "
            "certificates for both ends (--tls-cert, --tls-key and --tls-ca), or --insecure if you trust all who can "
            "reach it"
        )


# -- unix ---------------------------------------------------------------------------------------------------------


def _open_unix(address: Unix, mode: int) -> Listener:
    path = address.path
    if not path.parent.is_dir():
        raise OSError(errno.ENOENT, f"there is no folder {path.parent}")
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _narrowed(sock, mode):
            sock.bind(bytes(path))
        listener = Listener(address, sock, _identity(path))
        path.chmod(mode)  # what the umask has taken
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return listener


@contextmanager
def _narrowed(sock: socket.socket, mode: int) -> Iterator[None]:
    """Nobody ever has more rights to the file that a socket is bound to, as until a chmod.

    Linux takes them from the socket; elsewhere the umask is changed for a moment.
    """
    if _SOCKETS_HAVE_MODES:
        os.fchmod(sock.fileno(), mode)
        yield
        return
    before = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(before)


def _remove_stale(path: Path) -> None:
    """Remove the socket of a server that was killed, and nothing else."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise OSError(errno.EEXIST, "there is something else of that name, which is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)  # one that is in use may have no room for another connection
        try:
            probe.connect(bytes(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "another program listens on it")


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


# -- inherited ----------------------------------------------------------------------------------------------------


def _take_all(addresses: Sequence[Inherited], *, insecure: bool) -> list[Listener]:
    listeners = []
    with ExitStack() as undo:
        for address in addresses:
            listeners.append(_take(address, insecure=insecure))
            undo.callback(listeners[-1].socket.close)
        undo.pop_all()
    return listeners


def _take(address: Inherited, *, insecure: bool) -> Listener:
    try:
        kind = os.fstat(address.fd).st_mode
    except OSError as error:
        raise OSError(error.errno, "whoever started this program has not opened it") from error
    if not stat.S_ISSOCK(kind):
        raise OSError(errno.ENOTSOCK, "it is no socket")
    with ExitStack() as undo:
        os.set_inheritable(address.fd, False)  # noqa: FBT003  (its signature)
        sock = socket.socket(fileno=os.dup(address.fd))  # what was inherited stays, to be taken once more after SIGHUP
        undo.callback(sock.close)
        if sock.family not in _FAMILIES or sock.type != socket.SOCK_STREAM:
            raise OSError(errno.EPROTONOSUPPORT, "it is neither a TCP nor a unix stream socket")
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(errno.EINVAL, "it is a socket that does not listen")
        if sock.family != socket.AF_UNIX and not insecure:
            _require_loopback(address, sock.getsockname()[0])
        undo.pop_all()
    name = _name(sock)
    return Listener(address if name is None else name, sock)


def _name(sock: socket.socket) -> Address | None:
    """Where a socket listens; None for a unix socket without a path."""
    name = sock.getsockname()
    if sock.family != socket.AF_UNIX:
        return Tcp(name[0], name[1])
    return Unix(Path(name)) if isinstance(name, str) and name.startswith("/") else None
