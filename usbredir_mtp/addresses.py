"""Where guests attach, as values: what `--listen` is given, and what the program then says."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SYNTAX = "tcp:HOST:PORT, unix:PATH or fd:N"

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
    """A listening socket that whoever started the program has opened, as systemd and inetd do."""

    fd: int

    def __str__(self) -> str:
        return f"fd:{self.fd}"


Address = Tcp | Unix | Inherited


def parse_address(text: str) -> Address:
    """An address from `tcp:HOST:PORT` (IPv6 in brackets), `unix:PATH` (`~` allowed) or `fd:N`.

    Raises:
        AddressError: it is none of these.
    """
    kind, colon, rest = text.partition(":")
    parse = _KINDS.get(kind)
    if parse is None or not colon:
        raise AddressError(f"{text!r} is no address: use {SYNTAX}")
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


_KINDS: dict[str, Callable[[str], Address]] = {"tcp": _parse_tcp, "unix": _parse_unix, "fd": _parse_fd}
