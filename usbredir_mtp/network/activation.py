"""Sockets that systemd has opened for us (sd_listen_fds(3), systemd.socket(5))."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbredir_mtp.network.addresses import Inherited

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIRST: Final = 3
"""The first of their descriptors (SD_LISTEN_FDS_START)."""

_MOST: Final = 1024
"""More than a unit has; what the environment says is not taken at its word."""


@dataclass(slots=True, frozen=True)
class Passed:
    """A socket.

    Attributes:
        name: What the unit calls it (FileDescriptorName=; the unit's own name if it does not).
    """

    socket: Inherited
    name: str


def passed(environment: Mapping[str, str] | None = None) -> Sequence[Passed]:
    """The sockets that this process was given; empty if it was not started for a socket."""
    values = os.environ if environment is None else environment
    count = values.get("LISTEN_FDS", "")
    if values.get("LISTEN_PID") != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return ()
    names = values.get("LISTEN_FDNAMES", "").split(":")
    numbers = range(min(int(count), _MOST))
    return [Passed(Inherited(FIRST + each), names[each] if each < len(names) else "") for each in numbers]


def passed_as(name: str) -> list[Inherited]:
    """Those with a name; all for "".

    Raises:
        OSError: there is none; the text says what there is.
    """
    sockets = passed()
    found = [each.socket for each in sockets if name in {"", each.name}]
    if found:
        return found
    names = ", ".join(dict.fromkeys(each.name or "one without a name" for each in sockets))
    if names:
        raise OSError(f"systemd passes no socket of that name (FileDescriptorName={name}), but {names}")
    raise OSError("no sockets are passed: the program was not started by systemd for a .socket unit")
