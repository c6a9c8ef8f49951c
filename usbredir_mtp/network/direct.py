"""The fast path beside a transport: its socket, without the event loop's rounds.

A loop writes at the end of its round and sleeps until there is something to read. A guest that moves one block after
the other is answered sooner with the same calls made at once: write, and look for the next request for as long as it
took the last time, as KVM does for a halted CPU ("halt polling").
"""

from __future__ import annotations

import os
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Buffer = bytes | bytearray | memoryview

IOV_MAX = 1024
"""Buffers that a call takes (limits.h on Linux and macOS)."""

PATIENCE = 50e-6
"""Seconds to look for a request before the loop may sleep: what falling asleep and waking up costs."""

ROUNDS = 32
"""Requests after which the loop gets its turn: others may have begun to wait for it."""


class Turns:
    """Whose turn it was, shared by the connections of a loop: where others speak too, nobody is waited for."""

    def __init__(self) -> None:
        self.last: DirectSocket | None = None


class DirectSocket:
    """The socket of a connection. A transport of an event loop has it too, and all that is out of the ordinary.

    Args:
        fd: The non-blocking socket; the caller keeps it.
        turns: The loop's.
    """

    def __init__(self, fd: int, turns: Turns) -> None:
        self._turns = turns
        self._fd = os.dup(fd)  # its number stays ours when the transport closes its own
        self._written_at = 0.0
        self._wrote = False
        self._is_quick = False

    def close(self) -> None:
        """Nothing is written any more."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def write(self, buffers: Sequence[Buffer]) -> Sequence[Buffer]:
        """Write what goes at once; returns the rest, which is for the transport, as any error is."""
        if len(buffers) > IOV_MAX or self._fd < 0:
            return buffers
        try:
            written = os.writev(self._fd, buffers)
        except OSError:
            return buffers
        self._wrote = True
        return _after(buffers, written)

    def converse(self, first: memoryview, room: memoryview, receive: Callable[[memoryview], bool]) -> None:
        """Hand over what was read, and for as long as it is answered at once what the guest says then.

        Args:
            first: What was read.
            room: Where to read to.
            receive: Takes what was read; returns whether to read more now.
        """
        if self._wrote:
            self._is_quick = perf_counter() - self._written_at < PATIENCE
        rounds = ROUNDS if self._turns.last is self else 1
        self._turns.last = self
        data = first
        while data:
            self._wrote = False
            if not receive(data) or not self._wrote:
                return
            self._written_at = perf_counter()
            rounds -= 1
            data = room[: self._look(room)] if rounds and self._is_quick else room[:0]

    def _look(self, room: memoryview) -> int:
        """Read, as soon as something comes; 0 if it does not, or the transport has to look."""
        fd, into, end = self._fd, (room,), self._written_at + PATIENCE
        while fd >= 0:
            try:
                return os.readv(fd, into)
            except BlockingIOError:
                if perf_counter() > end:
                    self._is_quick = False
                    return 0
            except OSError:
                return 0
        return 0


def _after(buffers: Sequence[Buffer], written: int) -> Sequence[Buffer]:
    """What is left of buffers."""
    for number, buffer in enumerate(buffers):
        if written < len(buffer):
            return [memoryview(buffer)[written:], *buffers[number + 1 :]]
        written -= len(buffer)
    return ()
