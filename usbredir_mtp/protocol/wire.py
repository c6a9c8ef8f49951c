"""How packets lie in the byte stream: little-endian, packed, and some of it as negotiated.

`struct` lays out the packets that matter for speed, and all others of plain integers; `construct` the
cold ones with rows. Source: usbredir protocol 0.7, the sections of the packets.
"""

from __future__ import annotations

import struct

from construct import Array, Bytes, GreedyRange, Int8ul, Int16ul, Int32ul, Struct

from usbredir_mtp.protocol.constants import (
    ENDPOINT_COUNT,
    INTERFACE_COUNT,
    VERSION_SIZE,
    Capability,
    PacketType,
)

NARROW_HEADER = "III"
"""type, length, 32-bit id. Hello always has this header, whatever is negotiated ("usb_redir_hello")."""

WIDE_HEADER = "IIQ"
"""The same with a 64-bit id."""

PLAIN: dict[PacketType, str] = {
    PacketType.DEVICE_DISCONNECT: "",
    PacketType.RESET: "",
    PacketType.SET_CONFIGURATION: "B",
    PacketType.GET_CONFIGURATION: "",
    PacketType.CONFIGURATION_STATUS: "BB",
    PacketType.SET_ALT_SETTING: "BB",
    PacketType.GET_ALT_SETTING: "B",
    PacketType.ALT_SETTING_STATUS: "BBB",
    PacketType.START_ISO_STREAM: "BBB",
    PacketType.STOP_ISO_STREAM: "B",
    PacketType.ISO_STREAM_STATUS: "BB",
    PacketType.START_INTERRUPT_RECEIVING: "B",
    PacketType.STOP_INTERRUPT_RECEIVING: "B",
    PacketType.INTERRUPT_RECEIVING_STATUS: "BB",
    PacketType.ALLOC_BULK_STREAMS: "II",
    PacketType.FREE_BULK_STREAMS: "I",
    PacketType.BULK_STREAMS_STATUS: "IIB",
    PacketType.CANCEL_DATA_PACKET: "",
    PacketType.FILTER_REJECT: "",
    PacketType.DEVICE_DISCONNECT_ACK: "",
    PacketType.START_BULK_RECEIVING: "IIBB",
    PacketType.STOP_BULK_RECEIVING: "IB",
    PacketType.BULK_RECEIVING_STATUS: "IBB",
}
"""Packets of integers only, the same whatever is negotiated."""

WITH_DATA: dict[PacketType, str] = {
    PacketType.CONTROL_PACKET: "BBBBHHH",
    PacketType.ISO_PACKET: "BBH",
    PacketType.INTERRUPT_PACKET: "BBH",
    PacketType.BUFFERED_BULK_PACKET: "IIBB",
}
"""Data packets whose header is the same whatever is negotiated."""

CONNECT = "BBBBHH"
CONNECT_WITH_VERSION = "BBBBHHH"

BULK_NARROW = "BBHI"
BULK_WIDE = "BBHIH"

WIDE = frozenset({Capability.IDS_64BITS, Capability.BULK_LENGTH_32BITS})
"""With these, bulk packets are as below: QEMU and SPICE have negotiated them since 2012."""

WIDE_BULK = struct.Struct("<" + WIDE_HEADER + BULK_WIDE)
"""A bulk packet's header and type-specific header: type, length, id, endpoint, status, low half of the length, stream,
high half."""

WIDE_BULK_BODY = struct.calcsize("<" + BULK_WIDE)
"""Bytes of the latter."""
"""The last field holds the upper 16 bits of the length ("usb_redir_bulk_packet")."""

HELLO = Struct("version" / Bytes(VERSION_SIZE), "words" / GreedyRange(Int32ul))

CAPABILITY_WORD = 4
"""Bytes of one of hello's capability words; all that are known are in the first."""

INTERFACE_INFO = Struct(
    "interface_count" / Int32ul,
    "interface" / Array(INTERFACE_COUNT, Int8ul),
    "interface_class" / Array(INTERFACE_COUNT, Int8ul),
    "interface_subclass" / Array(INTERFACE_COUNT, Int8ul),
    "interface_protocol" / Array(INTERFACE_COUNT, Int8ul),
)

_EP_ROWS = (
    "endpoint_type" / Array(ENDPOINT_COUNT, Int8ul),
    "interval" / Array(ENDPOINT_COUNT, Int8ul),
    "interface" / Array(ENDPOINT_COUNT, Int8ul),
)
_EP_SIZES = "max_packet_size" / Array(ENDPOINT_COUNT, Int16ul)
_EP_STREAMS = "max_streams" / Array(ENDPOINT_COUNT, Int32ul)

EP_INFO = Struct(*_EP_ROWS)
EP_INFO_WITH_SIZES = Struct(*_EP_ROWS, _EP_SIZES)
EP_INFO_WITH_STREAMS = Struct(*_EP_ROWS, _EP_SIZES, _EP_STREAMS)
