"""What systemd is told: the program is ready, what it does, that it lives (sd_notify(3), systemd.service(5)).

A datagram for each message, to a socket that the environment names. Where it names none, nobody has asked, and nothing
is sent.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

logger = logging.getLogger(__name__)

PATIENCE: Final = 0.5
"""Seconds that a message may wait for room in systemd's queue; the guests wait too. The next one says the same."""

MAX_STATUS: Final = 400
"""Characters of a status: `systemctl status` shows it in one line."""

EXTENSION: Final = 30.0
"""Seconds that systemd has to wait for more news while devices are unplugged, whatever the unit's TimeoutStopSec=."""

_MICROSECONDS: Final = 1_000_000


@dataclass(slots=True)
class Notifier:
    """Where to send messages. Any thread may.

    Attributes:
        socket: Connected, so that the sandbox does not matter; None to send nothing.
        watchdog: Seconds after which systemd takes the program for dead if it says nothing; None if it never does.
    """

    socket: socket.socket | None = None
    watchdog: float | None = None

    def ready(self, status: str) -> None:
        """Guests can attach now, or the configuration has been read once more."""
        self._send("READY=1", _status(status))

    def alive(self, status: str | None = None) -> None:
        """The loop turns; with the status, if that has changed since it was told."""
        self._send(*self._alive(), *([] if status is None else [_status(status)]))

    def reloading(self) -> None:
        """The configuration is being read once more; `ready` says when that is done."""
        # Type=notify-reload tells by the time which of several reloads it is that has begun.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1", _status("unplugging"))
        self.still_stopping()

    def still_stopping(self) -> None:
        """It takes as long as running transfers may (--grace)."""
        self._send(*self._alive(), f"EXTEND_TIMEOUT_USEC={EXTENSION * _MICROSECONDS:.0f}")

    def close(self) -> None:
        """Send nothing any more."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def _alive(self) -> list[str]:
        return [] if self.watchdog is None else ["WATCHDOG=1"]

    def _send(self, *lines: str) -> None:
        if self.socket is None or not lines:
            return
        try:
            self.socket.send("\n".join(lines).encode())
        except OSError as error:
            logger.debug("systemd was not told %s: %s", lines[0], error.strerror or error)


def notifier(environment: MutableMapping[str, str]) -> Notifier:
    """What the environment asks for. The variables are taken out of it: they are not meant for our child processes."""
    where = environment.pop("NOTIFY_SOCKET", "")
    usec, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
    if not where:
        return Notifier()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sock.settimeout(PATIENCE)
        sock.connect(_address(where))
    except (OSError, ValueError) as error:
        sock.close()
        logger.warning("systemd cannot be told how this program is, at NOTIFY_SOCKET=%s: %s", where, error)
        return Notifier()
    is_watched = usec.isascii() and usec.isdigit() and int(usec) > 0 and pid in {"", str(os.getpid())}
    return Notifier(sock, int(usec) / _MICROSECONDS if is_watched else None)


def _address(where: str) -> str | bytes:
    """Raises ValueError."""
    if where.startswith("@"):
        return b"\0" + os.fsencode(where[1:])
    if where.startswith("/"):
        return where
    raise ValueError("neither a path nor an abstract name")


def _status(text: str) -> str:
    line = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    return f"STATUS={line if len(line) <= MAX_STATUS else line[: MAX_STATUS - 1] + '…'}"


def status_of(devices: Iterable[tuple[str, Iterable[str], int]]) -> str:
    """What the program does, in one line.

    Args:
        devices: For each its name ("" for the only one), the names of its exports, and how many guests it has.
    """
    rows = list(devices)
    guests = sum(count for _, _, count in rows)
    texts = [
        f"{name} ({count}): {', '.join(exports)}" if name else f"sharing {', '.join(exports)}"
        for name, exports, count in rows
    ]
    return "; ".join([_counted(guests), *texts])


def _counted(guests: int) -> str:
    return {0: "no guest", 1: "1 guest"}.get(guests, f"{guests} guests")
