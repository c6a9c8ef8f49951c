"""The guest's requests that await their one reply each.

A reply that never comes makes QEMU take the answer to a later request with the same id for it, and one
too many is an answer to nothing: so each is matched here, before it leaves.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from usbredir_mtp.protocol.constants import MAX_OUTSTANDING, REPLY, STREAMS, PacketType
from usbredir_mtp.protocol.errors import LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from usbredir_mtp.protocol.packets import BulkPacket, Packet

_STREAM_REPLIES = {stream.status for stream in STREAMS} | {PacketType.BULK_STREAMS_STATUS}
"""Replies to requests that start and stop. QEMU sends these with id 0, several at a time: they are
matched in order, for their endpoint. All other ids are unique while they live."""

_TARGET: dict[PacketType, str] = {
    PacketType.SET_ALT_SETTING: "interface",
    PacketType.GET_ALT_SETTING: "interface",
    PacketType.ALT_SETTING_STATUS: "interface",
    PacketType.START_ISO_STREAM: "endpoint",
    PacketType.STOP_ISO_STREAM: "endpoint",
    PacketType.ISO_STREAM_STATUS: "endpoint",
    PacketType.START_INTERRUPT_RECEIVING: "endpoint",
    PacketType.STOP_INTERRUPT_RECEIVING: "endpoint",
    PacketType.INTERRUPT_RECEIVING_STATUS: "endpoint",
    PacketType.ALLOC_BULK_STREAMS: "endpoints",
    PacketType.FREE_BULK_STREAMS: "endpoints",
    PacketType.BULK_STREAMS_STATUS: "endpoints",
    PacketType.START_BULK_RECEIVING: "endpoint",
    PacketType.STOP_BULK_RECEIVING: "endpoint",
    PacketType.BULK_RECEIVING_STATUS: "endpoint",
}
"""The field that a reply has in common with its request, besides the id; for transfers, the endpoint."""

_TRANSFERS = frozenset({PacketType.CONTROL_PACKET, PacketType.BULK_PACKET, PacketType.INTERRUPT_PACKET})


_Request = tuple[PacketType, int, int]
"""What decides about a reply: the type, the target and the length (0 but for transfers)."""

_Key = TypeVar("_Key")
_StreamKey = tuple[PacketType, int, int]
"""Type and id of the reply, and its endpoint (or mask of endpoints)."""


class Requests:
    """All requests received and not yet answered."""

    def __init__(self) -> None:
        self._live: dict[int, _Request] = {}
        self._cancelled: dict[int, deque[_Request]] = {}
        self._streams: dict[_StreamKey, deque[_Request]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, packet: Packet) -> None:
        """A request came.

        Raises:
            RemoteProtocolError: Its id is that of a live one, or too many are waiting.
        """
        if self._count >= MAX_OUTSTANDING:
            raise RemoteProtocolError(f"more than {MAX_OUTSTANDING} requests at a time")
        request = _summary(packet)
        kind, target, _length = request
        reply = REPLY[kind]
        if reply in _STREAM_REPLIES:
            key = (reply, packet.id, target)
            self._streams.setdefault(key, deque()).append(request)
        elif packet.id in self._live:
            raise RemoteProtocolError(f"{kind.name} has the id {packet.id} of a live request")
        else:
            self._live[packet.id] = request
        self._count += 1

    def add_bulk(self, packet: BulkPacket) -> None:
        """`add` for the most frequent one."""
        if packet.id in self._live or self._count >= MAX_OUTSTANDING:
            self.add(packet)
            return
        self._live[packet.id] = (PacketType.BULK_PACKET, packet.endpoint, packet.length)
        self._count += 1

    def settle_bulk(self, packet_id: int, endpoint: int, length: int) -> bool:
        """`settle` for a bulk packet, where nothing is out of the ordinary; else it returns False, and does nothing."""
        request = self._live.get(packet_id)
        if request is None or packet_id in self._cancelled:
            return False
        kind, target, asked = request
        if kind is not PacketType.BULK_PACKET or target != endpoint or length > asked:
            return False
        del self._live[packet_id]
        self._count -= 1
        return True

    def cancel(self, packet_id: int) -> None:
        """The guest cancelled a transfer: its reply is due, but the guest may use the id anew already."""
        request = self._live.pop(packet_id, None)
        if request is not None:
            self._cancelled.setdefault(packet_id, deque()).append(request)

    def settle(self, reply: Packet) -> PacketType:
        """Take out the request that a reply answers.

        Returns:
            The request's type.

        Raises:
            LocalProtocolError: It answers no request, or says more than was asked.
        """
        kind, target, length = _summary(reply)
        if kind in _STREAM_REPLIES:
            return self._settle_stream((kind, reply.id, target))
        cancelled = self._cancelled.get(reply.id)
        request = cancelled[0] if cancelled else self._live.get(reply.id)
        if request is None:
            raise LocalProtocolError(f"no request {reply.id} is there for {kind.name}")
        asked_kind, asked_target, asked_length = request
        if REPLY[asked_kind] is not kind or asked_target != target:
            asked = f"{asked_kind.name} of {asked_target:#04x}"
            raise LocalProtocolError(
                f"{kind.name} of {target:#04x} is no reply to {asked}, which is request {reply.id}"
            )
        if length > asked_length:
            raise LocalProtocolError(f"{length} bytes where {asked_length} were asked for")
        if cancelled:
            _pop(self._cancelled, reply.id)
        else:
            del self._live[reply.id]
        self._count -= 1
        return asked_kind

    def _settle_stream(self, key: _StreamKey) -> PacketType:
        if key not in self._streams:
            raise LocalProtocolError(f"no request {key[1]} is there for {key[0].name}")
        self._count -= 1
        return _pop(self._streams, key)[0]

    def expects(self, reply: Packet) -> bool:
        """Whether a stream's status packet would be a reply."""
        kind, target, _length = _summary(reply)
        return (kind, reply.id, target) in self._streams

    def clear(self) -> None:
        """The device is gone, and its requests with it."""
        self._live.clear()
        self._cancelled.clear()
        self._streams.clear()
        self._count = 0


def _summary(packet: Any) -> _Request:
    kind: PacketType = packet.type
    if kind in _TRANSFERS:
        return kind, packet.endpoint, packet.length
    return kind, getattr(packet, _TARGET[kind]) if kind in _TARGET else 0, 0


def _pop(queues: dict[_Key, deque[_Request]], key: _Key) -> _Request:
    queue = queues[key]
    first = queue.popleft()
    if not queue:
        del queues[key]
    return first
