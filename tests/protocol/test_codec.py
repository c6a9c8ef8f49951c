from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol import guest, strategies
from usbredir_mtp.protocol import packets as p
from usbredir_mtp.protocol.codec import codec_table, encode_packet
from usbredir_mtp.protocol.constants import (
    MAX_BULK_TRANSFER,
    REPLY,
    SENDERS,
    Capability,
    PacketType,
    Side,
)
from usbredir_mtp.protocol.errors import LocalProtocolError
from usbredir_mtp.protocol.reader import PacketReader, negotiate

NONE: frozenset[Capability] = frozenset()
ALL = frozenset(Capability)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


def hello_of(capabilities: frozenset[Capability]) -> bytes:
    return guest.hello(sum(1 << bit for bit in capabilities))


@pytest.mark.parametrize("sender", Side)
@given(data=st.data())
def test_every_packet_survives_the_wire_in_any_chunks(sender: Side, data: st.DataObject) -> None:
    ours, theirs = data.draw(strategies.capability_sets), data.draw(strategies.capability_sets)
    negotiated = negotiate(ours, theirs)
    sent = data.draw(st.lists(strategies.packets(sender, negotiated), max_size=5))
    table = codec_table(negotiated)
    stream = hello_of(theirs) + b"".join(guest.joined(encode_packet(table, each)) for each in sent)
    reader = PacketReader(sender, ours)
    cuts = data.draw(st.lists(st.integers(0, 2000), max_size=8))
    got = [packet for piece in split(stream, cuts) for packet in reader.feed(piece)]
    assert isinstance(got[0], p.Hello)
    assert got[1:] == sent
    assert reader.capabilities == negotiated


@pytest.mark.parametrize("kind", [kind for kind in PacketType if kind != PacketType.HELLO])
@pytest.mark.parametrize("sender", Side)
@pytest.mark.parametrize("caps", [NONE, ALL])
@settings(max_examples=20)
@given(data=st.data())
def test_each_type(kind: PacketType, sender: Side, caps: frozenset[Capability], data: st.DataObject) -> None:
    packet = data.draw(strategies.packets_of(kind, sender, caps))
    stream = guest.joined(encode_packet(codec_table(caps), packet))
    codec, header = codec_table(caps)[kind], 16 if caps else 12
    assert struct.unpack_from("<II", stream) == (kind, len(stream) - header)
    assert codec.min_size <= len(stream) - header <= codec.max_size
    assert codec.decode(packet.id, memoryview(stream), header, len(stream)) == packet
    assert type(packet) is p.CLASSES[kind]


def test_the_tables_know_every_type() -> None:
    assert set(p.CLASSES) == set(SENDERS) == set(codec_table(NONE)) == set(PacketType)
    assert all(Side.GUEST in SENDERS[request] for request in REPLY)
    assert all(Side.HOST in SENDERS[reply] for reply in REPLY.values())


@pytest.mark.parametrize(
    ("capabilities", "kind", "size"),
    [
        (NONE, PacketType.EP_INFO, 96),
        ({Capability.EP_INFO_MAX_PACKET_SIZE}, PacketType.EP_INFO, 160),
        ({Capability.EP_INFO_MAX_PACKET_SIZE, Capability.BULK_STREAMS}, PacketType.EP_INFO, 288),
        (NONE, PacketType.DEVICE_CONNECT, 8),
        ({Capability.CONNECT_DEVICE_VERSION}, PacketType.DEVICE_CONNECT, 10),
        (NONE, PacketType.BULK_PACKET, 8),
        ({Capability.BULK_LENGTH_32BITS}, PacketType.BULK_PACKET, 10),
        (NONE, PacketType.INTERFACE_INFO, 132),
        (NONE, PacketType.CONTROL_PACKET, 10),
        (NONE, PacketType.BUFFERED_BULK_PACKET, 10),
    ],
)
def test_sizes(capabilities: set[Capability], kind: PacketType, size: int) -> None:
    assert codec_table(frozenset(capabilities))[kind].min_size == size


def test_a_payload_is_not_copied() -> None:
    data = bytearray(b"payload")
    for capabilities in (NONE, ALL):
        reply = p.BulkPacket(0x81, 0, 7, 0, memoryview(data), id=1)
        assert encode_packet(codec_table(capabilities), reply)[1] is reply.data
    event = p.InterruptPacket(0x83, 0, 7, data, id=1)
    assert encode_packet(codec_table(ALL), event)[1] is data


def test_lengths_above_16_bits_need_the_capability() -> None:
    packet = p.BulkPacket(0x81, 0, 0x12345, 0, id=1)
    wide = guest.joined(encode_packet(codec_table(ALL), packet))
    assert wide[16:] == struct.pack("<BBHIH", 0x81, 0, 0x2345, 0, 1)
    with pytest.raises(LocalProtocolError, match="BULK_PACKET cannot be encoded"):
        encode_packet(codec_table(NONE), packet)


ROW = (0,) * 32


@pytest.mark.parametrize(
    "packet",
    [
        p.GetConfiguration(id=1 << 64),
        p.GetConfiguration(id=-1),
        p.SetConfiguration(256),
        p.SetConfiguration("1"),  # type: ignore[arg-type]  # what untyped callers do
        p.BulkPacket(0x81, 0, -1, 0),
        p.BulkPacket(0x81, 0, 1 << 32, 0),
        p.BulkPacket(0x81, 0, 1, 0, None),  # type: ignore[arg-type]  # likewise
        p.ControlPacket(0x80, 0, 0x80, 0, 0, 0, 0x10000),
        p.EpInfo(ROW, ROW, (256,) * 32),
        p.EpInfo(ROW, ROW, ROW[1:]),
        p.InterfaceInfo((0,), (256,), (0,), (0,)),
        p.InterfaceInfo((0, 1), (6,), (1,), (1,)),
        p.InterfaceInfo(*((0,) * 33,) * 4),
        p.FilterFilter("\N{SNOWMAN}"),
        p.FilterFilter("a\0b"),
        p.FilterFilter("x" * 0xFFFF),
        p.Hello("x" * 64, NONE),
    ],
    ids=lambda packet: packet.type.name,
)
def test_what_does_not_fit_is_not_encoded(packet: p.Packet) -> None:
    with pytest.raises(LocalProtocolError):
        encode_packet(codec_table(ALL), packet)


def test_ids_above_32_bits_need_the_capability() -> None:
    packet = p.GetConfiguration(id=1 << 32)
    assert guest.joined(encode_packet(codec_table(ALL), packet))[8:] == struct.pack("<Q", 1 << 32)
    with pytest.raises(LocalProtocolError, match="GET_CONFIGURATION"):
        encode_packet(codec_table(NONE), packet)


def test_bounds() -> None:
    assert codec_table(ALL)[PacketType.BULK_PACKET].max_size == 10 + MAX_BULK_TRANSFER
    assert codec_table(NONE)[PacketType.BULK_PACKET].max_size == 8 + 0xFFFF
    assert codec_table(ALL)[PacketType.CONTROL_PACKET].max_size == 10 + 0xFFFF
