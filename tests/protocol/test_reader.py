from __future__ import annotations

import struct
import tracemalloc

import pytest

from tests.protocol import guest
from usbredir_mtp.protocol import packets as p
from usbredir_mtp.protocol.constants import (
    HOST_CAPABILITIES,
    MAX_BULK_TRANSFER,
    Capability,
    PacketType,
    Side,
)
from usbredir_mtp.protocol.errors import RemoteProtocolError
from usbredir_mtp.protocol.reader import PacketReader, negotiate

ALL = frozenset(Capability)
SESSION = b"".join(
    [
        guest.hello(),
        guest.raw(23, b"0x06,-1,-1,-1,1|-1,-1,-1,-1,0\0"),
        guest.raw(3),
        guest.raw(6, b"\x01", 77),
        guest.control(1 << 40, 18),
        guest.control(2, 3, b"abc", inward=False),
        guest.bulk(3, 70000, b"x" * 70000),
        guest.bulk(4, 0x12345),
        guest.bulk(5, 0, endpoint=guest.BULK_OUT),
        guest.raw(21, packet_id=4),
        guest.interrupt_out(6, b"out"),
    ]
)


def reader() -> PacketReader:
    return PacketReader(Side.GUEST, HOST_CAPABILITIES)


def greeted(caps: int = guest.QEMU_CAPS) -> PacketReader:
    made = reader()
    made.feed(guest.hello(caps))
    return made


def feed_in_steps(made: PacketReader, data: p.Buffer, step: int) -> list[p.Packet]:
    return [packet for start in range(0, len(data), step) for packet in made.feed(data[start : start + step])]


def test_a_whole_session_at_once() -> None:
    got = reader().feed(SESSION)
    assert got == [
        p.Hello("guest", frozenset(Capability)),
        p.FilterFilter("0x06,-1,-1,-1,1|-1,-1,-1,-1,0"),
        p.Reset(),
        p.SetConfiguration(1, id=77),
        p.ControlPacket(0x80, 6, 0x80, 0, 0x100, 0, 18, id=1 << 40),
        p.ControlPacket(0, 6, 0, 0, 0x100, 0, 3, b"abc", id=2),
        p.BulkPacket(2, 0, 70000, 0, b"x" * 70000, id=3),
        p.BulkPacket(0x81, 0, 0x12345, 0, id=4),
        p.BulkPacket(2, 0, 0, 0, id=5),
        p.CancelDataPacket(id=4),
        p.InterruptPacket(4, 0, 3, b"out", id=6),
    ]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_byte_by_byte(kind: type[bytes]) -> None:
    made = reader()
    got = [packet for start in range(len(SESSION)) for packet in made.feed(kind(SESSION[start : start + 1]))]
    assert got == reader().feed(SESSION)


def test_split_in_two_at_every_byte() -> None:
    session = SESSION.replace(guest.bulk(3, 70000, b"x" * 70000), guest.bulk(3, 70, b"x" * 70))
    whole = reader().feed(session)
    for cut in range(len(session)):
        made = reader()
        assert made.feed(session[:cut]) + made.feed(session[cut:]) == whole


def test_payloads_outlive_the_callers_buffer() -> None:
    buffer = bytearray(guest.bulk(3, 4, b"data"))
    made = greeted()
    [packet] = made.feed(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert packet == p.BulkPacket(2, 0, 4, 0, b"data", id=3)
    assert isinstance(packet, p.BulkPacket)
    assert type(packet.data) is bytes


def test_nothing_gives_nothing() -> None:
    made = reader()
    assert made.feed(b"") == []
    assert made.peer is None
    assert made.capabilities == frozenset()


def test_the_formats_change_right_after_hello() -> None:
    """Also within one chunk; without 64-bit ids and 32-bit lengths everything is shorter."""
    bulk = guest.raw(101, struct.pack("<BBHI", 0x81, 0, 512, 0), 9, wide=False)
    [_hello, packet] = reader().feed(guest.hello(0) + bulk)
    assert packet == p.BulkPacket(0x81, 0, 512, 0, id=9)


@pytest.mark.parametrize("words", [0, 1, 2, 1000])
def test_hello_of_any_size(words: int) -> None:
    body = b"guest".ljust(64, b"\0") + struct.pack("<I", 0xFFFFFF04) * words
    made = reader()
    made.feed(guest.raw(0, body, wide=False))
    assert made.peer is not None
    assert made.peer.capabilities == (frozenset({Capability.FILTER}) if words else frozenset())


def test_a_text_is_made_harmless() -> None:
    made = reader()
    made.feed(guest.hello(0, b"caf\xe9\0rest"))
    assert made.peer is not None
    assert made.peer.version == "caf\\xe9"


def test_bulk_streams_without_packet_sizes_are_not_negotiated() -> None:
    both = {Capability.BULK_STREAMS, Capability.EP_INFO_MAX_PACKET_SIZE}
    assert negotiate(both, both) == both
    assert negotiate(both, {Capability.BULK_STREAMS}) == frozenset()


def body(layout: str, *values: int) -> bytes:
    return struct.pack("<" + layout, *values)


BEFORE_HELLO = {
    "data": (guest.bulk(1, 512), "BULK_PACKET before hello"),
    "unknown type": (struct.pack("<III", 99, 0, 0), "unknown packet type 99"),
    "noise": (b"GET / HTTP/1.1\r\n", "unknown packet type"),
    "short hello": (struct.pack("<III", 0, 63, 0), "HELLO has an impossible length 63"),
    "endless hello": (struct.pack("<III", 0, 0xFFFFFFFF, 0), "impossible length"),
    "half a word": (guest.raw(0, bytes(66), wide=False), "within a word"),
    "version not closed": (guest.hello(0, b"x" * 64), "without its closing NUL"),
}


@pytest.mark.parametrize("name", BEFORE_HELLO)
def test_before_hello(name: str) -> None:
    data, message = BEFORE_HELLO[name]
    with pytest.raises(RemoteProtocolError, match=message):
        reader().feed(data)


AFTER_HELLO = {
    "second hello": (guest.raw(0, bytes(68)), "a second hello"),
    "unknown type": (guest.raw(28), "unknown packet type 28"),
    "host's packet": (guest.raw(1, bytes(10)), "DEVICE_CONNECT from the usb-guest"),
    "host's stream data": (guest.raw(104, bytes(10)), "BUFFERED_BULK_PACKET from the usb-guest"),
    "too short": (guest.raw(6), "SET_CONFIGURATION has an impossible length 0"),
    "too long": (guest.raw(3, b"x"), "RESET has an impossible length 1"),
    "header alone": (struct.pack("<IIQ", 101, 0xFFFFFFFF, 1), "BULK_PACKET has an impossible"),
    "control of 64 KiB": (struct.pack("<IIQ", 100, 10 + 0x10000, 1), "CONTROL_PACKET has an imp"),
    "filter not closed": (guest.raw(23, b"1,1,1,1,1"), "without its closing NUL"),
    "empty filter": (guest.raw(23), "FILTER_FILTER has an impossible length 0"),
    "IN with data": (guest.bulk(1, 4, b"data", endpoint=0x81), "against the direction"),
    "OUT too little": (guest.bulk(1, 5, b"data"), "4 bytes of data and gives its length as 5"),
    "OUT too much": (guest.bulk(1, 3, b"data"), "4 bytes of data and gives its length as 3"),
    "IN too long": (guest.bulk(1, MAX_BULK_TRANSFER + 1), "at most 33554432"),
    "control IN with data": (guest.control(1, 1, b"x"), "against the direction"),
    "control OUT lies": (guest.control(1, 2, b"x", inward=False), "gives its length as 2"),
    "control in two directions": (
        guest.raw(100, body("BBBBHHH", 0, 6, 0x80, 0, 0, 0, 0)),
        "disagrees with itself",
    ),
    "interrupt IN": (guest.raw(103, body("BBH", 0x83, 0, 8)), "is for the other side"),
    "interrupt OUT lies": (guest.raw(103, body("BBH", 4, 0, 8)), "gives its length as 8"),
    "iso IN": (guest.raw(102, body("BBH", 0x85, 0, 0)), "is for the other side"),
    "receive from OUT": (guest.raw(15, b"\x02"), "no IN endpoint"),
    "stop receiving from OUT": (guest.raw(16, b"\x02"), "no IN endpoint"),
    "bulk receiving from OUT": (guest.raw(25, body("IIBB", 0, 512, 2, 1)), "no IN endpoint"),
    "stop bulk receiving from OUT": (guest.raw(26, body("IB", 0, 2)), "no IN endpoint"),
}


@pytest.mark.parametrize("name", AFTER_HELLO)
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_after_hello(name: str, step: int) -> None:
    data, message = AFTER_HELLO[name]
    made = greeted()
    with pytest.raises(RemoteProtocolError, match=message):
        feed_in_steps(made, data, step)
    with pytest.raises(RemoteProtocolError, match=message):
        made.feed(guest.raw(3))


def test_a_host_may_lie_too() -> None:
    """The reader for the other direction, as tools use it."""
    made = PacketReader(Side.HOST, ALL)
    made.feed(guest.hello())
    with pytest.raises(RemoteProtocolError, match="33 interfaces"):
        made.feed(guest.raw(4, struct.pack("<I", 33) + bytes(128)))
    made = PacketReader(Side.HOST, ALL)
    made.feed(guest.hello())
    with pytest.raises(RemoteProtocolError, match="RESET from the usb-host"):
        made.feed(guest.raw(3))


def test_a_lying_header_allocates_nothing() -> None:
    made = greeted()
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            made.feed(struct.pack("<IIQ", PacketType.BULK_PACKET, 0xFFFFFFFF, 1))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_the_largest_transfer_is_taken() -> None:
    made = greeted()
    data = guest.bulk(1, MAX_BULK_TRANSFER, bytes(MAX_BULK_TRANSFER))
    assert [packet.id for packet in feed_in_steps(made, memoryview(data), 1 << 20)] == [1]
