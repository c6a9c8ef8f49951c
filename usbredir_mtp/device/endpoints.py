"""Endpoints with pending transfers, and the one place that knows how messages become packets.

Each transfer that is submitted completes exactly once, through `complete`, and those of an endpoint complete in the
order of their submission: QEMU aborts the virtual machine when they do not. Only what the host cancels leaves the row.
A transfer with nothing to move stays pending: that is USB's NAK, and no timer is involved. How many are pending is for
the caller to bound.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from usbredir_mtp.device.usb import Buffer, Complete, TransferStatus

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_EVENTS = 1024
"""Events kept for a guest that does not poll; whoever has more to say waits until the endpoint is ready."""


class _Message:
    """One USB message on its way in: its end, once known, is a short packet, if need be of zero length."""

    __slots__ = ("ended", "pieces", "size", "total")

    def __init__(self) -> None:
        self.pieces: deque[memoryview] = deque()
        self.size = 0  # bytes left
        self.total = 0
        self.ended = False


class BulkIn:
    """A bulk IN endpoint: queued messages and pending transfers, each message ending in a short packet.

    Attributes:
        address: With the direction bit.
        max_packet: wMaxPacketSize.
        halted: Whether it stalls.
        queued: Bytes of messages that have not left yet.
        on_drain: Called after a piece has left, in one transfer or in many.
    """

    def __init__(self, address: int, max_packet: int, complete: Complete) -> None:
        self.address = address
        self.max_packet = max_packet
        self.halted = False
        self.queued = 0
        self.on_drain: Callable[[], None] | None = None
        self._complete = complete
        self._messages: deque[_Message] = deque()
        self._pending: deque[tuple[int, int]] = deque()
        self._paused = False

    @property
    def pending(self) -> int:
        """Transfers that wait for data."""
        return len(self._pending)

    def submit(self, id_: int, length: int) -> None:
        """A transfer that takes up to `length` bytes; one of none takes only a zero-length packet, if one is due."""
        if self.halted:
            self._complete(self.address, id_, TransferStatus.STALL, 0, b"")
            return
        if not self._pending and self._messages and not self._paused and length:
            pieces = self._messages[0].pieces
            if pieces and len(pieces[0]) > length:
                self._complete(self.address, id_, TransferStatus.SUCCESS, length, self._cut_off(pieces, length))
                return
        self._pending.append((id_, length))
        if len(self._pending) == 1:
            self._run()

    def _cut_off(self, pieces: deque[memoryview], size: int) -> Buffer:
        """The fast path of `_take`: the first piece is longer than what is wanted, so that no end is near."""
        piece = pieces[0]
        pieces[0] = piece[size:]
        self._messages[0].size -= size
        self.queued -= size
        return piece[:size]

    def push(self, piece: Buffer) -> None:
        """Queue bytes of the current message; they are kept by reference."""
        if not piece:
            return
        message = self._current()
        message.pieces.append(memoryview(piece))
        message.size += len(piece)
        message.total += len(piece)
        self.queued += len(piece)
        if self._pending:
            self._run()

    def end_message(self) -> None:
        """What was pushed since the last call is one message."""
        message = self._current()
        message.ended = True
        if not message.size and message.total % self.max_packet:
            self._messages.pop()  # its last packet has left already, and was a short one
        elif self._pending:
            self._run()

    def flush(self) -> None:
        """Drop what is queued, the current message with it; transfers stay pending."""
        self._messages.clear()
        self.queued = 0

    def pause(self) -> None:
        """Let nothing leave until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Undo `pause`."""
        self._paused = False
        self._run()

    def halt(self) -> None:
        """Stall all transfers until the halt is cleared (USB 2.0, 9.4.5); what is queued is kept."""
        self.halted = True
        self._end_pending(TransferStatus.STALL)

    def clear_halt(self) -> None:
        """Undo `halt`."""
        self.halted = False

    def cancel(self, id_: int) -> bool:
        """Complete a pending transfer as cancelled; False if it is not pending."""
        for entry in self._pending:
            if entry[0] == id_:
                self._pending.remove(entry)
                self._complete(self.address, id_, TransferStatus.CANCELLED, 0, b"")
                self._run()  # it may have stood before one that need not wait
                return True
        return False

    def cancel_all(self) -> None:
        """Complete every pending transfer as cancelled."""
        self._end_pending(TransferStatus.CANCELLED)

    def _end_pending(self, status: TransferStatus) -> None:
        while self._pending:
            id_, _ = self._pending.popleft()
            self._complete(self.address, id_, status, 0, b"")

    def _current(self) -> _Message:
        if not self._messages or self._messages[-1].ended:
            self._messages.append(_Message())
        return self._messages[-1]

    def _run(self) -> None:
        """Complete what can be completed. A transfer that fills is complete; so is one that meets the message's end."""
        drained = False
        pending = self._pending
        while pending and not self._paused:
            id_, length = pending[0]
            message = self._messages[0] if self._messages else None
            if length == 0:
                # Hosts read a zero-length packet so. There may be none; such a transfer, once it is the first, never
                # waits, nor takes data.
                if message is not None and message.ended and not message.size:
                    self._messages.popleft()
                data: Buffer = b""
            elif message is None or (message.size < length and not message.ended):
                break
            else:
                data = self._take(message, length)
                drained = drained or len(data) > 0
            pending.popleft()
            self._complete(self.address, id_, TransferStatus.SUCCESS, len(data), data)
        if drained and self.on_drain is not None:
            self.on_drain()

    def _take(self, message: _Message, length: int) -> Buffer:
        """The next bytes of a message, dropping it from the queue once its end has been told."""
        size = min(length, message.size)
        data = _cut(message.pieces, size)
        message.size -= size
        self.queued -= size
        # A transfer that was not filled has met the end. One that was has met it only if the last packet was short;
        # otherwise a zero-length packet is owed, as a message of no bytes (USB 2.0, 5.8.3).
        if message.ended and not message.size and (size < length or message.total % self.max_packet):
            self._messages.popleft()
        return data


def _cut(pieces: deque[memoryview], size: int) -> Buffer:
    """Take `size` bytes off the front; a copy is made only where they span pieces."""
    if size == 0:
        return b""
    first = pieces[0]
    if len(first) > size:
        pieces[0] = first[size:]
        return first[:size]
    if len(first) == size:
        return pieces.popleft()
    parts = []
    while size:
        first = pieces[0]
        if len(first) > size:
            parts.append(first[:size])
            pieces[0] = first[size:]
            break
        parts.append(pieces.popleft())
        size -= len(first)
    return b"".join(parts)


class BulkOut:
    """A bulk OUT endpoint: transfers are delivered in order, and wait undelivered while the endpoint is held.

    Args:
        address: Without the direction bit.
        max_packet: wMaxPacketSize.
        complete: Takes completions.
        deliver: Takes each transfer's data, and whether it ends a message: its last packet is not a full one.

    Attributes:
        halted: Whether it stalls.
        pending_bytes: Bytes of transfers that wait.
    """

    def __init__(
        self, address: int, max_packet: int, complete: Complete, deliver: Callable[[Buffer, bool], None]
    ) -> None:
        self.address = address
        self.max_packet = max_packet
        self.halted = False
        self.pending_bytes = 0
        self._complete = complete
        self._deliver = deliver
        self._pending: deque[tuple[int, Buffer]] = deque()
        self._held = False
        self._running = False

    @property
    def pending(self) -> int:
        """Transfers that wait."""
        return len(self._pending)

    def submit(self, id_: int, data: Buffer) -> None:
        """A transfer from the host."""
        if self.halted:
            self._complete(self.address, id_, TransferStatus.STALL, 0, b"")
            return
        self._pending.append((id_, data))
        self.pending_bytes += len(data)
        self._run()

    def hold(self) -> None:
        """Deliver nothing more until `release`; transfers stay pending, which is USB's flow control."""
        self._held = True

    def release(self) -> None:
        """Undo `hold`."""
        self._held = False
        self._run()

    def halt(self) -> None:
        """Stall all transfers until the halt is cleared (USB 2.0, 9.4.5), also the one that is being delivered."""
        self.halted = True
        if not self._running:  # else its completion comes first
            self._end_pending(TransferStatus.STALL)

    def clear_halt(self) -> None:
        """Undo `halt`."""
        self.halted = False

    def cancel(self, id_: int) -> bool:
        """Complete a waiting transfer as cancelled; False if it does not wait."""
        for entry in self._pending:
            if entry[0] == id_:
                self._pending.remove(entry)
                self.pending_bytes -= len(entry[1])
                self._complete(self.address, id_, TransferStatus.CANCELLED, 0, b"")
                return True
        return False

    def cancel_all(self) -> None:
        """Complete every waiting transfer as cancelled."""
        self._end_pending(TransferStatus.CANCELLED)

    def _end_pending(self, status: TransferStatus) -> None:
        self.pending_bytes = 0
        while self._pending:
            id_, _ = self._pending.popleft()
            self._complete(self.address, id_, status, 0, b"")

    def _run(self) -> None:
        if self._running:  # a delivery released the endpoint: the loop below goes on by itself
            return
        self._running = True
        try:
            while self._pending and not self._held:
                id_, data = self._pending.popleft()
                self.pending_bytes -= len(data)
                self._deliver(data, not data or len(data) % self.max_packet != 0)
                status = TransferStatus.STALL if self.halted else TransferStatus.SUCCESS
                self._complete(self.address, id_, status, 0 if self.halted else len(data), b"")
                if self.halted:
                    self._end_pending(TransferStatus.STALL)
        finally:
            self._running = False


class InterruptIn:
    """An interrupt IN endpoint: events go out while the host polls, and are kept for it while it does not.

    Attributes:
        halted: Whether it stalls: events are kept then too.
        overflowed: Events were lost, since the host did not poll for long.
        on_ready: Called when the host polls again, or is able to take events again.
    """

    def __init__(self, address: int, max_packet: int, emit: Callable[[int, Buffer], None]) -> None:
        self.address = address
        self.max_packet = max_packet
        self.halted = False
        self.overflowed = False
        self.on_ready: Callable[[], None] = lambda: None
        self._emit = emit
        self._events: deque[Buffer] = deque()
        self._polled = False
        self._paused = False

    @property
    def ready(self) -> bool:
        """Whether an event would go out at once."""
        return self._polled and not self._paused and not self.halted

    def start(self) -> None:
        """The host polls from now on."""
        self._polled = True
        self._run()

    def stop(self) -> None:
        """It does so no longer."""
        self._polled = False

    def pause(self) -> None:
        """Emit nothing until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Undo `pause`."""
        self._paused = False
        self._run()

    def halt(self) -> None:
        """Emit nothing until the halt is cleared (USB 2.0, 9.4.5)."""
        self.halted = True

    def clear_halt(self) -> None:
        """Undo `halt`."""
        self.halted = False
        self._run()

    def clear(self) -> None:
        """Forget what is kept."""
        self._events.clear()
        self.overflowed = False

    def push(self, event: Buffer) -> bool:
        """Send an event, shorter than the max packet size, so that it is a message of its own.

        Returns:
            False if the oldest one kept was dropped for it.
        """
        full = len(self._events) == MAX_EVENTS
        if full:
            self._events.popleft()
            self.overflowed = True
        self._events.append(event)
        self._emit_kept()
        return not full

    def _run(self) -> None:
        self._emit_kept()
        if self.ready:
            self.on_ready()

    def _emit_kept(self) -> None:
        while self._events and self.ready:
            self._emit(self.address, self._events.popleft())
