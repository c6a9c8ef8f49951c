"""One direction of the byte stream, cut into packets.

It knows the format and nothing of requests and replies, so tools that look at recorded traffic can use
it for either direction.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from usbredir_mtp.protocol import wire
from usbredir_mtp.protocol.codec import HELLO_CODEC, CodecTable, codec_table
from usbredir_mtp.protocol.constants import ENDPOINT_IN, MAX_BULK_TRANSFER, SENDERS, Capability, PacketType, Side
from usbredir_mtp.protocol.errors import RemoteProtocolError
from usbredir_mtp.protocol.faults import find_fault
from usbredir_mtp.protocol.packets import Buffer, BulkPacket, Hello, Packet

if TYPE_CHECKING:
    from collections.abc import Collection

_NARROW = struct.Struct("<" + wire.NARROW_HEADER)
_WIDE = struct.Struct("<" + wire.WIDE_HEADER)
_ASK = (int(PacketType.BULK_PACKET), wire.WIDE_BULK_BODY)
"""Type and length in the header of a bulk packet without data."""


def negotiate(ours: Collection[Capability], theirs: Collection[Capability]) -> frozenset[Capability]:
    """What both sides can do.

    Bulk streams count only with ep_info_max_packet_size ("usb_redir_ep_info"): else ep_info's layout
    would be undefined.
    """
    both = frozenset(ours) & frozenset(theirs)
    if Capability.EP_INFO_MAX_PACKET_SIZE not in both:
        both -= {Capability.BULK_STREAMS}
    return both


def _read_asks(source: Buffer, used: int, found: list[Packet]) -> int:
    """The fast path: what a guest that reads sends and nothing else, its bulk packets without data.

    Adds them to `found`, from where `used` stands in `source`, and returns where they end; from there on the packets
    are others, or incomplete, or wrong.
    """
    unpack, step = wire.WIDE_BULK.unpack_from, wire.WIDE_BULK.size
    last = len(source) - step
    while used <= last:
        kind, length, packet_id, endpoint, status, low, stream_id, high = unpack(source, used)
        size = high << 16 | low
        if (kind, length) != _ASK or not endpoint & ENDPOINT_IN or size > MAX_BULK_TRANSFER:
            break
        found.append(BulkPacket(endpoint, status, size, stream_id, id=packet_id))
        used += step
    return used


class PacketReader:
    """Takes bytes in any chunks, and gives the packets in them.

    It buffers at most one packet, whose length is checked as soon as its header is there, plus one chunk.

    Attributes:
        peer: The sender's hello, once received.
        capabilities: What both sides can do; empty before hello.
    """

    def __init__(self, sender: Side, capabilities: Collection[Capability]) -> None:
        """Read what `sender` sends to a side that announces these capabilities."""
        self.peer: Hello | None = None
        self.capabilities: frozenset[Capability] = frozenset()
        self._sender = sender
        self._ours = frozenset(capabilities)
        self._header = _NARROW
        self._table: CodecTable = {int(PacketType.HELLO): HELLO_CODEC}
        self._reads_asks = False
        self._pending = bytearray()
        self._needed = 0
        self._error: str | None = None

    def feed(self, data: Buffer) -> list[Packet]:
        """The packets that are complete with these bytes; payloads are copies of them.

        Raises:
            RemoteProtocolError: This is not usbredir, or was not before: nothing is read any more.
        """
        if self._error is not None:
            raise RemoteProtocolError(self._error)
        source = data
        if self._pending:
            self._pending += data
            if len(self._pending) < self._needed:
                return []
            source = self._pending
        try:
            found, used = self._read(source)
        except RemoteProtocolError as error:
            self.fail(error)
            raise
        if source is self._pending:
            del self._pending[:used]
        elif used < len(data):
            self._pending += memoryview(data)[used:]
        return found

    def fail(self, error: RemoteProtocolError) -> None:
        """Read nothing any more; from now on `feed` raises this error's text."""
        self._error = str(error)
        self._pending = bytearray()

    def _read(self, source: Buffer) -> tuple[list[Packet], int]:
        """All complete packets of `source`, and how many bytes they took."""
        found: list[Packet] = []
        used, end = 0, len(source)
        while True:
            if self._reads_asks:
                used = _read_asks(source, used, found)
            body = used + self._header.size
            if body > end:
                self._needed = body - used
                return found, used
            kind, length, packet_id = self._header.unpack_from(source, used)
            codec = self._table.get(kind)
            if codec is None:
                raise RemoteProtocolError(self._why_not(kind))
            if not codec.min_size <= length <= codec.max_size:
                raise RemoteProtocolError(f"{PacketType(kind).name} has an impossible length {length}")
            stop = body + length
            if stop > end:
                self._needed = stop - used
                return found, used
            packet = codec.decode(packet_id, source, body, stop)
            fault = find_fault(packet, self._sender)
            if fault:
                raise RemoteProtocolError(f"{packet.type.name} {fault}")
            if isinstance(packet, Hello):
                self._accept(packet)
            found.append(packet)
            used = stop

    def _accept(self, hello: Hello) -> None:
        """From now on the formats are the negotiated ones, and hello is no longer among them."""
        self.peer = hello
        self.capabilities = negotiate(self._ours, hello.capabilities)
        self._header = _WIDE if Capability.IDS_64BITS in self.capabilities else _NARROW
        self._reads_asks = self._sender is Side.GUEST and self.capabilities >= wire.WIDE
        self._table = {
            kind: codec
            for kind, codec in codec_table(self.capabilities).items()
            if self._sender in SENDERS[PacketType(kind)] and kind != PacketType.HELLO
        }

    def _why_not(self, kind: int) -> str:
        """Why there is no row for a type."""
        if kind not in SENDERS:
            return f"unknown packet type {kind}"
        if self.peer is None:
            return f"{PacketType(kind).name} before hello"
        if kind == PacketType.HELLO:
            return "a second hello"
        return f"{PacketType(kind).name} from the {self._sender.value}"
