"""Layouts of usbredir 0.7 (usbredirproto.h) for tests, written apart from the package's own."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

Buffer = bytes | bytearray | memoryview


class Cap(IntFlag):
    """Bits of the first word of capabilities."""

    NONE = 0
    BULK_STREAMS = 1 << 0
    CONNECT_DEVICE_VERSION = 1 << 1
    FILTER = 1 << 2
    DISCONNECT_ACK = 1 << 3
    EP_INFO_MAX_PACKET_SIZE = 1 << 4
    IDS_64BITS = 1 << 5
    BULK_LENGTH_32BITS = 1 << 6
    BULK_RECEIVING = 1 << 7


ALL_CAPS = Cap(0xFF)
"""What QEMU announces."""


class Type(IntEnum):
    """Packet types."""

    HELLO = 0
    DEVICE_CONNECT = 1
    DEVICE_DISCONNECT = 2
    RESET = 3
    INTERFACE_INFO = 4
    EP_INFO = 5
    SET_CONFIGURATION = 6
    GET_CONFIGURATION = 7
    CONFIGURATION_STATUS = 8
    SET_ALT_SETTING = 9
    GET_ALT_SETTING = 10
    ALT_SETTING_STATUS = 11
    START_ISO_STREAM = 12
    STOP_ISO_STREAM = 13
    ISO_STREAM_STATUS = 14
    START_INTERRUPT_RECEIVING = 15
    STOP_INTERRUPT_RECEIVING = 16
    INTERRUPT_RECEIVING_STATUS = 17
    ALLOC_BULK_STREAMS = 18
    FREE_BULK_STREAMS = 19
    BULK_STREAMS_STATUS = 20
    CANCEL_DATA_PACKET = 21
    FILTER_REJECT = 22
    FILTER_FILTER = 23
    DEVICE_DISCONNECT_ACK = 24
    START_BULK_RECEIVING = 25
    STOP_BULK_RECEIVING = 26
    BULK_RECEIVING_STATUS = 27
    CONTROL = 100
    BULK = 101
    ISO = 102
    INTERRUPT = 103
    BUFFERED_BULK = 104


class Status(IntEnum):
    """How a transfer or request ended."""

    SUCCESS = 0
    CANCELLED = 1
    INVAL = 2
    IOERROR = 3
    STALL = 4
    TIMEOUT = 5
    BABBLE = 6


class Speed(IntEnum):
    """Speed of a connected device."""

    LOW = 0
    FULL = 1
    HIGH = 2
    SUPER = 3


FROM_HOST = frozenset(
    {
        Type.HELLO,
        Type.DEVICE_CONNECT,
        Type.DEVICE_DISCONNECT,
        Type.INTERFACE_INFO,
        Type.EP_INFO,
        Type.CONFIGURATION_STATUS,
        Type.ALT_SETTING_STATUS,
        Type.ISO_STREAM_STATUS,
        Type.INTERRUPT_RECEIVING_STATUS,
        Type.BULK_STREAMS_STATUS,
        Type.FILTER_FILTER,
        Type.BULK_RECEIVING_STATUS,
        Type.CONTROL,
        Type.BULK,
        Type.ISO,
        Type.INTERRUPT,
        Type.BUFFERED_BULK,
    }
)
"""What a usb-guest may be sent."""

WITH_DATA = frozenset({Type.FILTER_FILTER, Type.CONTROL, Type.BULK, Type.ISO, Type.INTERRUPT, Type.BUFFERED_BULK})
"""Types whose header may be followed by bytes."""

_NARROW_BULK = ("<BBHI", "endpoint status length stream_id")
_NARROW_CONNECT = (
    "<BBBBHH",
    "speed device_class device_subclass device_protocol vendor_id product_id",
)

LAYOUTS: dict[Type, tuple[str, str]] = {
    Type.DEVICE_CONNECT: (_NARROW_CONNECT[0] + "H", _NARROW_CONNECT[1] + " device_version_bcd"),
    Type.DEVICE_DISCONNECT: ("<", ""),
    Type.RESET: ("<", ""),
    Type.SET_CONFIGURATION: ("<B", "configuration"),
    Type.GET_CONFIGURATION: ("<", ""),
    Type.CONFIGURATION_STATUS: ("<BB", "status configuration"),
    Type.SET_ALT_SETTING: ("<BB", "interface alt"),
    Type.GET_ALT_SETTING: ("<B", "interface"),
    Type.ALT_SETTING_STATUS: ("<BBB", "status interface alt"),
    Type.START_ISO_STREAM: ("<BBB", "endpoint pkts_per_urb no_urbs"),
    Type.STOP_ISO_STREAM: ("<B", "endpoint"),
    Type.ISO_STREAM_STATUS: ("<BB", "status endpoint"),
    Type.START_INTERRUPT_RECEIVING: ("<B", "endpoint"),
    Type.STOP_INTERRUPT_RECEIVING: ("<B", "endpoint"),
    Type.INTERRUPT_RECEIVING_STATUS: ("<BB", "status endpoint"),
    Type.ALLOC_BULK_STREAMS: ("<II", "endpoints no_streams"),
    Type.FREE_BULK_STREAMS: ("<I", "endpoints"),
    Type.BULK_STREAMS_STATUS: ("<IIB", "endpoints no_streams status"),
    Type.CANCEL_DATA_PACKET: ("<", ""),
    Type.FILTER_REJECT: ("<", ""),
    Type.FILTER_FILTER: ("<", ""),
    Type.DEVICE_DISCONNECT_ACK: ("<", ""),
    Type.START_BULK_RECEIVING: ("<IIBB", "stream_id bytes_per_transfer endpoint no_transfers"),
    Type.STOP_BULK_RECEIVING: ("<IB", "stream_id endpoint"),
    Type.BULK_RECEIVING_STATUS: ("<IBB", "stream_id endpoint status"),
    Type.CONTROL: ("<BBBBHHH", "endpoint request requesttype status value index length"),
    Type.BULK: (_NARROW_BULK[0] + "H", _NARROW_BULK[1] + " length_high"),
    Type.ISO: ("<BBH", "endpoint status length"),
    Type.INTERRUPT: ("<BBH", "endpoint status length"),
    Type.BUFFERED_BULK: ("<IIBB", "stream_id length endpoint status"),
}
"""Each type's header after the packet header: its struct format and the fields' names."""


@dataclass(slots=True, frozen=True)
class Endpoint:
    """One used row of ep_info; `max_packet` is 0 where the capability is missing."""

    address: int
    type: int
    interval: int
    interface: int
    max_packet: int = 0


@dataclass(slots=True, frozen=True)
class Interface:
    """One row of interface_info."""

    number: int
    triple: tuple[int, int, int]


@dataclass(slots=True)
class Packet:
    """A decoded packet: header fields by name, and the bytes that follow the header."""

    type: Type
    id: int
    fields: dict[str, int] = field(default_factory=dict)
    data: bytes = b""

    def __getitem__(self, name: str) -> int:
        return self.fields[name]

    @property
    def status(self) -> Status:
        """The status field."""
        return Status(self.fields["status"])


@dataclass(slots=True)
class Codec:
    """Encodes and decodes for one set of negotiated capabilities; hello always has 32-bit ids."""

    caps: Cap = Cap.NONE

    @property
    def header(self) -> str:
        """Struct format of the packet header."""
        return "<IIQ" if Cap.IDS_64BITS in self.caps else "<III"

    def layout(self, kind: Type) -> tuple[str, str]:
        """Struct format and names of a type's header as negotiated."""
        if kind is Type.BULK and Cap.BULK_LENGTH_32BITS not in self.caps:
            return _NARROW_BULK
        if kind is Type.DEVICE_CONNECT and Cap.CONNECT_DEVICE_VERSION not in self.caps:
            return _NARROW_CONNECT
        return LAYOUTS[kind]

    def encode(self, kind: int, id_: int, *values: int, data: Buffer = b"", length: int | None = None) -> bytes:
        """A whole packet; with `length` its header says that instead of the truth.

        A type that is in no table takes no values, only `data`.
        """
        body = struct.pack(self.layout(Type(kind))[0], *values) if kind in LAYOUTS else b""
        size = len(body) + len(data) if length is None else length
        return b"".join((struct.pack(self.header, kind, size, id_), body, data))

    def decode(self, kind: int, id_: int, body: bytes) -> Packet:
        """Check and take apart one packet from a usb-host.

        Raises:
            AssertionError: A usb-guest's parser would not accept it.
        """
        where = f"packet type {kind} id {id_:#x} body {body[:128].hex()}"
        assert kind in FROM_HOST, f"not for a usb-guest: {where}"
        type_ = Type(kind)
        if type_ in {Type.HELLO, Type.EP_INFO, Type.INTERFACE_INFO}:
            return Packet(type_, id_, data=body)
        layout, names = self.layout(type_)
        size = struct.calcsize(layout)
        assert len(body) >= size, f"header cut off: {where}"
        values = struct.unpack_from(layout, body)
        packet = Packet(type_, id_, dict(zip(names.split(), values, strict=True)), body[size:])
        assert type_ in WITH_DATA or not packet.data, f"bytes after the header: {where}"
        if "status" in packet.fields:
            assert packet["status"] in set(Status), f"no such status: {where}"
        if "length_high" in packet.fields:
            packet.fields["length"] |= packet.fields.pop("length_high") << 16
        return packet

    def endpoints(self, body: bytes) -> dict[int, Endpoint]:
        """The used rows of an ep_info body by endpoint address."""
        wide, streams = Cap.EP_INFO_MAX_PACKET_SIZE in self.caps, Cap.BULK_STREAMS in self.caps
        expected = 288 if streams else 160 if wide else 96
        assert len(body) == expected, f"ep_info of {len(body)} bytes, not {expected}"
        sizes = struct.unpack_from("<32H", body, 96) if wide else (0,) * 32
        used: dict[int, Endpoint] = {}
        for index in range(32):
            kind, interval, interface = body[index], body[32 + index], body[64 + index]
            assert kind in {0, 1, 2, 3, 255}, f"endpoint type {kind}"
            if kind == 255:
                continue
            address = (index & 0x10) << 3 | index & 0x0F
            assert kind == 0 or index & 0x0F, f"endpoint {address:#x} has type {kind}"
            assert kind not in {1, 3} or interval, f"endpoint {address:#x} has interval 0"
            assert not wide or sizes[index], f"endpoint {address:#x} has max packet size 0"
            used[address] = Endpoint(address, kind, interval, interface, sizes[index])
        return used


def interfaces(body: bytes) -> list[Interface]:
    """The rows of an interface_info body."""
    assert len(body) == 132, f"interface_info of {len(body)} bytes"
    (count,) = struct.unpack_from("<I", body)
    assert count <= 32, f"{count} interfaces"
    columns = [body[start : start + count] for start in range(4, 132, 32)]
    return [Interface(row[0], (row[1], row[2], row[3])) for row in zip(*columns, strict=True)]


def hello(caps: Cap, version: bytes = b"test guest") -> bytes:
    """A hello packet."""
    body = struct.pack("<64sI", version, caps)
    return struct.pack("<III", Type.HELLO, len(body), 0) + body


def hello_caps(body: bytes) -> Cap:
    """The known capabilities that a hello's body announces."""
    assert len(body) >= 64, f"hello of {len(body)} bytes"
    assert len(body) % 4 == 0, f"hello of {len(body)} bytes"
    assert b"\0" in body[:64], "the version is not terminated"
    words = struct.unpack(f"<{len(body) // 4 - 16}I", body[64:])
    return Cap(words[0] & 0xFF) if words else Cap.NONE
