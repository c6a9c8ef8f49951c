"""Packets to bytes and back: a table from the packet type to its decoder and encoder.

What was negotiated decides the layouts, so there is one table for each set of capabilities. Decoders
get a body whose length is within their row's bounds; they raise RemoteProtocolError for what is no such
packet. Encoders give the bytes in one or two pieces, the payload not copied; `encode_packet` turns what
they raise on values that do not fit into LocalProtocolError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from typing import Any, NamedTuple

from construct import ConstructError, Container

from usbredir_mtp.protocol import packets, wire
from usbredir_mtp.protocol.constants import (
    INTERFACE_COUNT,
    MAX_BULK_TRANSFER,
    MAX_DATA,
    VERSION_SIZE,
    Capability,
    PacketType,
)
from usbredir_mtp.protocol.errors import LocalProtocolError, RemoteProtocolError
from usbredir_mtp.protocol.packets import Buffer, Packet

Decoder = Callable[[int, Buffer, int, int], Packet]
"""(id, source, start, stop) -> packet: the body is source[start:stop]. Payloads come out as `bytes`."""

Encoder = Callable[[Any], list[Buffer]]
"""packet -> its bytes, header included."""


class Codec(NamedTuple):
    """A row of the table; the sizes bound the body (the header's length field), in bytes."""

    min_size: int
    max_size: int
    decode: Decoder
    encode: Encoder


CodecTable = dict[int, Codec]


@lru_cache(maxsize=1 << len(Capability))
def codec_table(negotiated: frozenset[Capability]) -> CodecTable:
    """The codecs of all packet types, for what both sides can do."""
    header = wire.WIDE_HEADER if Capability.IDS_64BITS in negotiated else wire.NARROW_HEADER
    table = {kind: _plain(kind, header, layout) for kind, layout in wire.PLAIN.items()}
    table |= {kind: _with_data(kind, header, layout) for kind, layout in wire.WITH_DATA.items()}
    table[PacketType.HELLO] = HELLO_CODEC
    connect = wire.CONNECT
    if Capability.CONNECT_DEVICE_VERSION in negotiated:
        connect = wire.CONNECT_WITH_VERSION
    table[PacketType.DEVICE_CONNECT] = _plain(PacketType.DEVICE_CONNECT, header, connect)
    wide_bulk = Capability.BULK_LENGTH_32BITS in negotiated
    table[PacketType.BULK_PACKET] = _wide_bulk(header) if wide_bulk else _narrow_bulk(header)
    table[PacketType.FILTER_FILTER] = _filter(header)
    table[PacketType.INTERFACE_INFO] = _interface_info(header)
    table[PacketType.EP_INFO] = _ep_info(header, negotiated)
    return {int(kind): codec for kind, codec in table.items()}


def encode_packet(table: CodecTable, packet: Packet) -> list[Buffer]:
    """The bytes of a packet: header and type-specific header, then the payload, not copied, if any.

    Raises:
        LocalProtocolError: A value does not fit in its field, or has the wrong type.
    """
    try:
        return table[packet.type].encode(packet)
    except (struct.error, ConstructError, UnicodeError, TypeError, AttributeError) as error:
        raise LocalProtocolError(f"{packet.type.name} cannot be encoded: {error}") from error


def payload(source: Buffer, start: int, stop: int) -> bytes:
    """A copy of source[start:stop], made once whatever the source is."""
    return bytes(memoryview(source)[start:stop])


def _plain(kind: PacketType, header: str, layout: str) -> Codec:
    """A packet of integers; fields that the layout does not reach keep their default."""
    cls = packets.CLASSES[kind]
    body = struct.Struct("<" + layout)
    whole = struct.Struct("<" + header + layout)
    names = _wire_names(cls)[: len(layout)]

    def decode(packet_id: int, source: Buffer, start: int, _stop: int) -> Packet:
        return cls(*body.unpack_from(source, start), id=packet_id)

    def encode(packet: Packet) -> list[Buffer]:
        values = [getattr(packet, name) for name in names]
        return [whole.pack(kind, body.size, packet.id, *values)]

    return Codec(body.size, body.size, decode, encode)


def _with_data(kind: PacketType, header: str, layout: str) -> Codec:
    """A packet of integers and a payload."""
    cls = packets.CLASSES[kind]
    make: Callable[..., Packet] = cls
    body = struct.Struct("<" + layout)
    whole = struct.Struct("<" + header + layout)
    names = _wire_names(cls)[: len(layout)]
    limit = MAX_BULK_TRANSFER if kind is PacketType.BUFFERED_BULK_PACKET else MAX_DATA

    def decode(packet_id: int, source: Buffer, start: int, stop: int) -> Packet:
        data = payload(source, start + body.size, stop)
        return make(*body.unpack_from(source, start), data, id=packet_id)

    def encode(packet: packets.TransferPacket) -> list[Buffer]:
        values = [getattr(packet, name) for name in names]
        data = packet.data
        head = whole.pack(kind, body.size + len(data), packet.id, *values)
        return [head, data] if data else [head]

    return Codec(body.size, body.size + limit, decode, encode)


def _wide_bulk(header: str) -> Codec:
    """The hot path: written out, one `struct` call each way."""
    body = struct.Struct("<" + wire.BULK_WIDE)
    pack = struct.Struct("<" + header + wire.BULK_WIDE).pack
    unpack, size, kind = body.unpack_from, body.size, int(PacketType.BULK_PACKET)
    cls = packets.BulkPacket

    def decode(packet_id: int, source: Buffer, start: int, stop: int) -> Packet:
        endpoint, status, low, stream_id, high = unpack(source, start)
        start += size
        data = payload(source, start, stop) if start < stop else b""
        return cls(endpoint, status, high << 16 | low, stream_id, data, id=packet_id)

    def encode(packet: packets.BulkPacket) -> list[Buffer]:
        data, length = packet.data, packet.length
        low, high = length & 0xFFFF, length >> 16
        endpoint, status, stream_id = packet.endpoint, packet.status, packet.stream_id
        head = pack(kind, size + len(data), packet.id, endpoint, status, low, stream_id, high)
        return [head, data] if data else [head]

    return Codec(size, size + MAX_BULK_TRANSFER, decode, encode)


def _narrow_bulk(header: str) -> Codec:
    """With 16-bit lengths; the fields lie as they do in the class."""
    body = struct.Struct("<" + wire.BULK_NARROW)
    whole = struct.Struct("<" + header + wire.BULK_NARROW)

    def decode(packet_id: int, source: Buffer, start: int, stop: int) -> Packet:
        endpoint, status, length, stream_id = body.unpack_from(source, start)
        data = payload(source, start + body.size, stop)
        return packets.BulkPacket(endpoint, status, length, stream_id, data, id=packet_id)

    def encode(packet: packets.BulkPacket) -> list[Buffer]:
        data = packet.data
        head = whole.pack(
            PacketType.BULK_PACKET,
            body.size + len(data),
            packet.id,
            packet.endpoint,
            packet.status,
            packet.length,
            packet.stream_id,
        )
        return [head, data] if data else [head]

    return Codec(body.size, body.size + MAX_DATA, decode, encode)


def _filter(header: str) -> Codec:
    """A closing NUL must be there; the text ends at the first, as it does for a C library."""
    head = struct.Struct("<" + header)

    def decode(packet_id: int, source: Buffer, start: int, stop: int) -> Packet:
        return packets.FilterFilter(_text(payload(source, start, stop)), id=packet_id)

    def encode(packet: packets.FilterFilter) -> list[Buffer]:
        body = _c_string(packet.filter, MAX_DATA)
        return [head.pack(PacketType.FILTER_FILTER, len(body), packet.id) + body]

    return Codec(1, MAX_DATA, decode, encode)


def _interface_info(header: str) -> Codec:
    layout, names = wire.INTERFACE_INFO, _wire_names(packets.InterfaceInfo)
    size, head = layout.sizeof(), struct.Struct("<" + header)

    def decode(packet_id: int, source: Buffer, start: int, stop: int) -> Packet:
        values = layout.parse(payload(source, start, stop))
        count = values.interface_count
        if count > INTERFACE_COUNT:
            raise RemoteProtocolError(f"{count} interfaces, at most {INTERFACE_COUNT} can be")
        return packets.InterfaceInfo(*(tuple(values[name][:count]) for name in names), id=packet_id)

    def encode(packet: packets.InterfaceInfo) -> list[Buffer]:
        rows = {name: tuple(getattr(packet, name)) for name in names}
        count = packet.interface_count
        if any(len(row) != count for row in rows.values()):
            raise LocalProtocolError("the rows of INTERFACE_INFO differ in length")
        padding = (0,) * (INTERFACE_COUNT - count)
        padded = {name: row + padding for name, row in rows.items()}
        body = layout.build(dict(padded, interface_count=count))
        return [head.pack(PacketType.INTERFACE_INFO, size, packet.id) + body]

    return Codec(size, size, decode, encode)


def _ep_info(header: str, negotiated: frozenset[Capability]) -> Codec:
    layout = wire.EP_INFO
    if Capability.BULK_STREAMS in negotiated:
        layout = wire.EP_INFO_WITH_STREAMS
    elif Capability.EP_INFO_MAX_PACKET_SIZE in negotiated:
        layout = wire.EP_INFO_WITH_SIZES
    names = _wire_names(packets.EpInfo)[: len(layout.subcons)]
    size, head = layout.sizeof(), struct.Struct("<" + header)

    def decode(packet_id: int, source: Buffer, start: int, stop: int) -> Packet:
        values = layout.parse(payload(source, start, stop))
        return packets.EpInfo(*(tuple(values[name]) for name in names), id=packet_id)

    def encode(packet: packets.EpInfo) -> list[Buffer]:
        body = layout.build({name: getattr(packet, name) for name in names})
        return [head.pack(PacketType.EP_INFO, size, packet.id) + body]

    return Codec(size, size, decode, encode)


def _decode_hello(packet_id: int, source: Buffer, start: int, stop: int) -> Packet:
    """Words beyond the first are of later versions; so are unknown bits."""
    if (stop - start - VERSION_SIZE) % wire.CAPABILITY_WORD:
        raise RemoteProtocolError("hello ends within a word of capabilities")
    known = min(stop, start + VERSION_SIZE + wire.CAPABILITY_WORD)
    values: Container[Any] = wire.HELLO.parse(payload(source, start, known))
    word = values.words[0] if values.words else 0
    capabilities = frozenset(bit for bit in Capability if word >> bit & 1)
    return packets.Hello(_text(values.version), capabilities, id=packet_id)


def _encode_hello(packet: packets.Hello) -> list[Buffer]:
    version = _c_string(packet.version, VERSION_SIZE).ljust(VERSION_SIZE, b"\0")
    word = sum(1 << bit for bit in packet.capabilities)
    body = wire.HELLO.build({"version": version, "words": [word]})
    return [struct.pack("<" + wire.NARROW_HEADER, PacketType.HELLO, len(body), packet.id) + body]


HELLO_CODEC = Codec(VERSION_SIZE, VERSION_SIZE + MAX_DATA, _decode_hello, _encode_hello)


def _wire_names(cls: type[Packet]) -> list[str]:
    """The fields between header and payload, in wire order."""
    return [field.name for field in fields(cls) if field.name not in {"id", "data"}]


def _text(raw: bytes) -> str:
    """A NUL-terminated text; bytes that are not ASCII are shown as escapes."""
    text, nul, _rest = raw.partition(b"\0")
    if not nul:
        raise RemoteProtocolError("a text without its closing NUL")
    return text.decode("ascii", "backslashreplace")


def _c_string(text: str, size: int) -> bytes:
    raw = text.encode("ascii")
    if len(raw) >= size or b"\0" in raw:
        raise LocalProtocolError(f"a text of {len(raw)} bytes does not fit, or has a NUL within")
    return raw + b"\0"
