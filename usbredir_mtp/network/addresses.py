"""Where guests attach, as values: what `--listen` and `--connect` are given, and what the program then says."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_Kind = TypeVar("_Kind")

SYNTAX = "tcp:HOST:PORT, unix:PATH, fd:N or systemd:[NAME]"
CONNECT_SYNTAX = "tcp:HOST:PORT, unix:PATH, spice://HOST:PORT, spice+tls://HOST:PORT or spice+unix:PATH"

MAX_PATH = 107 if sys.platform == "linux" else 103
"""Bytes in the path of a unix socket: sun_path less its end (unix(7); sys/un.h on macOS)."""

_MAX_PORT = 0xFFFF
_TCP = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[^\[\]:]+)):(?P<port>[0-9]{1,5})", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class AddressError(ValueError):
    """An address that cannot be used; the text says why, and what could."""


@dataclass(slots=True, frozen=True)
class Tcp:
    """A TCP address.

    Attributes:
        host: A name or an address; an IPv6 address without brackets.
        port: 0 stands for whichever is free.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp:[{self.host}]:{self.port}" if ":" in self.host else f"tcp:{self.host}:{self.port}"


@dataclass(slots=True, frozen=True)
class Unix:
    """A unix socket with a path, which is absolute."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(slots=True, frozen=True)
class Inherited:
    """A listening socket that whoever started the program has opened, as inetd does."""

    fd: int

    def __str__(self) -> str:
        return f"fd:{self.fd}"


@dataclass(slots=True, frozen=True)
class Activated:
    """The listening sockets that systemd passes.

    Attributes:
        name: Only those that have it (FileDescriptorName=); "" for all.
    """

    name: str = ""

    def __str__(self) -> str:
        return f"systemd:{self.name}"


@dataclass(slots=True, frozen=True)
class Spice:
    """A VM's SPICE server.

    Attributes:
        where: Its socket.
        tls: Whether that is its TLS port.
    """

    where: Tcp | Unix
    tls: bool = False

    def __str__(self) -> str:
        if isinstance(self.where, Unix):
            return f"spice+{self.where}"
        return f"spice{'+tls' if self.tls else ''}://{str(self.where).removeprefix('tcp:')}"


Address = Tcp | Unix | Inherited | Activated
Target = Tcp | Unix | Spice
"""What can be listened on, and what connected to."""


def parse_address(text: str) -> Address:
    """An address from `tcp:HOST:PORT` (IPv6 in brackets), `unix:PATH` (`~` allowed), `fd:N` or `systemd:[NAME]`.

    Raises:
        AddressError: it is none of these.
    """
    return _parse(text, _KINDS, SYNTAX)


def parse_target(text: str) -> Target:
    """An address to connect to, from `tcp:HOST:PORT`, `unix:PATH`, `spice://HOST:PORT` and the like.

    Raises:
        AddressError: it is none of these.
    """
    target = _parse(text, _TARGETS, CONNECT_SYNTAX)
    where = target.where if isinstance(target, Spice) else target
    if isinstance(where, Tcp) and not where.port:
        raise AddressError(f"{text!r}: there is nothing to connect to at port 0")
    return target


def _parse(text: str, kinds: Mapping[str, Callable[[str], _Kind]], syntax: str) -> _Kind:
    kind, colon, rest = text.partition(":")
    parse = kinds.get(kind)
    if parse is None or not colon:
        raise AddressError(f"{text!r} is no address: use {syntax}")
    return parse(rest)


def _parse_tcp(rest: str) -> Tcp:
    match = _TCP.fullmatch(rest)
    if match is None:
        hint = ", with an IPv6 address in brackets: tcp:[::1]:4000" if rest.count(":") > 1 else ""
        raise AddressError(f"'tcp:{rest}' is no address: use tcp:HOST:PORT{hint}")
    port = int(match["port"])
    if port > _MAX_PORT:
        raise AddressError(f"'tcp:{rest}': a port is a number from 0 to {_MAX_PORT}")
    return Tcp(match["ipv6"] or match["host"], port)


def _parse_unix(rest: str) -> Unix:
    if not rest or _CONTROL.search(rest):
        raise AddressError(f"{'unix:' + rest!r}: the path of a socket is needed, unix:PATH")
    try:
        path = Path(rest).expanduser().absolute()
    except RuntimeError as error:
        raise AddressError(f"unix:{rest}: {error}") from error
    size = len(bytes(path))
    if size > MAX_PATH:
        raise AddressError(f"unix:{path}: {size} bytes are too long for the path of a socket, {MAX_PATH} is the most")
    return Unix(path)


def _parse_fd(rest: str) -> Inherited:
    if not re.fullmatch(r"[0-9]{1,9}", rest, re.ASCII):
        raise AddressError(f"'fd:{rest}': the number of a file descriptor is needed, fd:N")
    return Inherited(int(rest))


def _parse_systemd(rest: str) -> Activated:
    if not re.fullmatch(r"[!-9;-~ ]{0,255}", rest):  # fdname_is_valid() has the same: ASCII without controls and colon
        raise AddressError(f"{'systemd:' + rest!r}: the name of a socket is needed (FileDescriptorName=), or nothing")
    return Activated(rest)


def _parse_spice(rest: str, kind: str = "spice") -> Spice:
    if not rest.startswith("//"):
        raise AddressError(f"'{kind}:{rest}' is no address: use {kind}://HOST:PORT")
    return Spice(_parse_tcp(rest[2:].removesuffix("/")), tls=kind != "spice")


_KINDS: dict[str, Callable[[str], Address]] = {
    "tcp": _parse_tcp,
    "unix": _parse_unix,
    "fd": _parse_fd,
    "systemd": _parse_systemd,
}
_TARGETS: dict[str, Callable[[str], Target]] = {
    "tcp": _parse_tcp,
    "unix": _parse_unix,
    "spice": _parse_spice,
    "spice+tls": partial(_parse_spice, kind="spice+tls"),
    "spice+unix": lambda rest: Spice(_parse_unix(rest)),
}
