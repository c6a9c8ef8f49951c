"""A guest's bytes, written by hand, and connections that have got past hello."""

from __future__ import annotations

import struct

from usbredir_mtp.protocol.connection import HostConnection
from usbredir_mtp.protocol.constants import HOST_CAPABILITIES, Capability, Speed
from usbredir_mtp.protocol.packets import Buffer, DeviceConnect, EpInfo, InterfaceInfo

QEMU_CAPS = 0xFF
BULK_IN, BULK_OUT, INTERRUPT_IN, INTERRUPT_OUT, ISO_IN = 0x81, 0x02, 0x83, 0x04, 0x85

EP_INFO = EpInfo((255,) * 32, (0,) * 32, (0,) * 32)
INTERFACE_INFO = InterfaceInfo((0,), (6,), (1,), (1,))
DEVICE_CONNECT = DeviceConnect(Speed.HIGH, 0, 0, 0, 0x1D6B, 0x0104, 0x0100)


def hello(caps: int = QEMU_CAPS, text: bytes = b"guest") -> bytes:
    return struct.pack("<III64sI", 0, 68, 0, text, caps)


def raw(kind: int, body: bytes = b"", packet_id: int = 0, *, wide: bool = True) -> bytes:
    return struct.pack("<IIQ" if wide else "<III", kind, len(body), packet_id) + body


def bulk(packet_id: int, length: int, data: bytes = b"", endpoint: int | None = None) -> bytes:
    """A bulk request: OUT if there is data."""
    if endpoint is None:
        endpoint = BULK_OUT if data else BULK_IN
    fields = (endpoint, 0, length & 0xFFFF, 0, length >> 16)
    return raw(101, struct.pack("<BBHIH", *fields) + data, packet_id)


def control(packet_id: int, length: int, data: bytes = b"", *, inward: bool = True) -> bytes:
    direction = 0x80 if inward else 0
    body = struct.pack("<BBBBHHH", direction, 6, direction, 0, 0x100, 0, length)
    return raw(100, body + data, packet_id)


def interrupt_out(packet_id: int, data: bytes) -> bytes:
    return raw(103, struct.pack("<BBH", INTERRUPT_OUT, 0, len(data)) + data, packet_id)


def greeted(caps: int = QEMU_CAPS, ours: frozenset[Capability] = HOST_CAPABILITIES) -> HostConnection:
    connection = HostConnection(capabilities=ours)
    connection.hello()
    connection.receive_data(hello(caps))
    return connection


def connected(caps: int = QEMU_CAPS, ours: frozenset[Capability] = HOST_CAPABILITIES) -> HostConnection:
    connection = greeted(caps, ours)
    for packet in (EP_INFO, INTERFACE_INFO, DEVICE_CONNECT):
        connection.send(packet)
    return connection


def joined(pieces: list[Buffer]) -> bytes:
    return b"".join(pieces)
