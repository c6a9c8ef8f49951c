"""Every packet through libusbredirparser: what we send, and what it sends."""

from __future__ import annotations

import ctypes
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.interop import libusbredirparser as lib
from tests.protocol import strategies
from usbredir_mtp.protocol import packets as p
from usbredir_mtp.protocol.codec import codec_table, encode_packet
from usbredir_mtp.protocol.connection import HostConnection
from usbredir_mtp.protocol.constants import (
    HOST_CAPABILITIES,
    SENDERS,
    Capability,
    PacketType,
    Side,
    Status,
)
from usbredir_mtp.protocol.reader import PacketReader, negotiate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.libusbredirparser import Event, GuestParser

    Judge = Callable[[int], GuestParser]

pytestmark = pytest.mark.interop

ALL = frozenset(Capability)
ACK = 1 << Capability.DEVICE_DISCONNECT_ACK
SUBSETS = [0, 0x0E, 0x10, 0x11, 0x20, 0x40, 0x60, 0x7E, 0xF0, 0xFF]
OUR_NAMES = {"endpoint_type": "type"}
NOT_NEGOTIATED = {
    "device_version_bcd": Capability.CONNECT_DEVICE_VERSION,
    "max_packet_size": Capability.EP_INFO_MAX_PACKET_SIZE,
    "max_streams": Capability.BULK_STREAMS,
}


def capabilities(caps: int) -> frozenset[Capability]:
    return frozenset(bit for bit in Capability if caps >> bit & 1)


def as_event(packet: p.Packet, negotiated: frozenset[Capability]) -> Event:
    """What the library should report of a packet."""
    values = {
        OUR_NAMES.get(field.name, field.name): getattr(packet, field.name)
        for field in fields(packet)
        if field.name not in {"id", "data"}
    }
    name = packet.type.name.lower()
    if isinstance(packet, p.FilterFilter):
        return lib.Event(name, 0, {"rules": lib.filter_rules(packet.filter)}, b"")
    if isinstance(packet, p.InterfaceInfo):
        pad = (0,) * (32 - packet.interface_count)
        values = {key: row + pad for key, row in values.items()}
        values["interface_count"] = packet.interface_count
    if isinstance(packet, p.BulkPacket):
        wide = Capability.BULK_LENGTH_32BITS in negotiated
        values["length_high"] = packet.length >> 16 if wide else 0
        values["length"] &= 0xFFFF
    packet_id = packet.id if lib.CALLS[name].has_id else 0
    return lib.Event(name, packet_id, values, bytes(getattr(packet, "data", b"")))


def comparable(event: Event, negotiated: frozenset[Capability]) -> Event:
    """Without the fields that were not on the wire: the library leaves chance values in them."""
    absent = {name for name, needed in NOT_NEGOTIATED.items() if needed not in negotiated}
    kept = {key: value for key, value in event.fields.items() if key not in absent}
    return event._replace(fields=kept)


def sendable(kind: PacketType, caps: int) -> bool:
    """Whether the library as guest takes (or sends) it with these capabilities."""
    if kind in {PacketType.FILTER_REJECT, PacketType.FILTER_FILTER}:
        return bool(caps >> Capability.FILTER & 1)
    if "BULK_RECEIVING" in kind.name or kind is PacketType.BUFFERED_BULK_PACKET:
        return bool(caps >> Capability.BULK_RECEIVING & 1)
    return True


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("hello", 64),
        ("device_connect", 10),
        ("interface_info", 132),
        ("ep_info", 288),
        ("set_configuration", 1),
        ("configuration_status", 2),
        ("set_alt_setting", 2),
        ("alt_setting_status", 3),
        ("start_iso_stream", 3),
        ("iso_stream_status", 2),
        ("alloc_bulk_streams", 8),
        ("bulk_streams_status", 9),
        ("start_bulk_receiving", 10),
        ("stop_bulk_receiving", 5),
        ("bulk_receiving_status", 6),
        ("control_packet", 10),
        ("bulk_packet", 10),
        ("interrupt_packet", 4),
        ("buffered_bulk_packet", 10),
    ],
)
def test_the_binding_has_the_headers_sizes(name: str, size: int) -> None:
    header = lib.CALLS[name].header
    assert header
    assert ctypes.sizeof(header) == size


@pytest.mark.parametrize("caps", SUBSETS)
def test_hellos(judge: Judge, caps: int) -> None:
    parser, connection = judge(caps), HostConnection("phone")
    assert parser.feed(connection.hello()) == [lib.Event("hello", 0, {"version": b"phone"}, b"")]
    [hello] = connection.receive_data(parser.pending_output())
    assert isinstance(hello, p.Hello)
    assert hello.version == "judge"
    assert hello.capabilities == capabilities(caps | ACK)


HOST_KINDS = [kind for kind in PacketType if Side.HOST in SENDERS[kind] and kind]
GUEST_KINDS = [
    kind for kind in PacketType if Side.GUEST in SENDERS[kind] and kind not in {0, PacketType.DEVICE_DISCONNECT_ACK}
]
per_example = settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def greeted(parser: GuestParser, ours: frozenset[Capability]) -> PacketReader:
    connection = HostConnection("phone", ours)
    parser.feed(connection.hello())
    reader = PacketReader(Side.GUEST, ours)
    reader.feed(parser.pending_output())
    return reader


def draw_packet(data: st.DataObject, kind: PacketType, side: Side, negotiated: frozenset[Capability]) -> p.Packet:
    if kind is PacketType.FILTER_FILTER:
        return p.FilterFilter("0x06,-1,-1,-1,1|-1,0x1d6b,0x0104,0x0100,0")
    packet = data.draw(strategies.packets_of(kind, side, negotiated))
    if isinstance(packet, p.StartBulkReceiving):
        packet.bytes_per_transfer %= 1 << 27  # the library's own limit, 128 MiB
    return packet


@pytest.mark.parametrize("kind", HOST_KINDS)
@pytest.mark.parametrize("caps", SUBSETS)
@per_example
@given(data=st.data())
def test_it_takes_what_a_host_may_send(judge: Judge, kind: PacketType, caps: int, data: st.DataObject) -> None:
    if not sendable(kind, caps):
        return
    parser = judge(caps)
    negotiated = greeted(parser, ALL).capabilities
    assert negotiated == negotiate(ALL, capabilities(caps | ACK))
    packet = draw_packet(data, kind, Side.HOST, negotiated)
    stream = b"".join(encode_packet(codec_table(negotiated), packet))
    step = data.draw(st.sampled_from([1, len(stream)]))
    events = [event for start in range(0, len(stream), step) for event in parser.feed(stream[start : start + step])]
    expected = as_event(packet, negotiated)
    assert [comparable(event, negotiated) for event in events] == [comparable(expected, negotiated)]


@pytest.mark.parametrize("kind", GUEST_KINDS)
@pytest.mark.parametrize("caps", SUBSETS)
@per_example
@given(data=st.data())
def test_we_take_what_its_guest_sends(judge: Judge, kind: PacketType, caps: int, data: st.DataObject) -> None:
    parser = judge(caps)
    reader = greeted(parser, ALL)
    packet = draw_packet(data, kind, Side.GUEST, reader.capabilities)
    stream = send(parser, packet, reader.capabilities)
    got = [each for start in range(len(stream)) for each in reader.feed(stream[start : start + 1])]
    if isinstance(packet, p.FilterFilter):
        packet.filter += "|"  # the library ends each rule with its separator
    expected = as_event(packet, reader.capabilities)
    assert [as_event(each, reader.capabilities) for each in got] == [expected]
    assert [each.id for each in got] == [expected.id]


def send(parser: GuestParser, packet: p.Packet, negotiated: frozenset[Capability]) -> bytes:
    if isinstance(packet, p.FilterFilter):
        rules = lib.filter_rules(packet.filter)
        assert rules
        return parser.send_filter(rules)
    event = as_event(packet, negotiated)
    return parser.send(event.name, event.id, event.data, **event.fields)


ANSWERS: list[tuple[tuple[str, dict[str, Any], bytes], Callable[[int], p.Packet]]] = [
    (
        ("set_configuration", {"configuration": 1}, b""),
        lambda packet_id: p.ConfigurationStatus(Status.SUCCESS, 1, id=packet_id),
    ),
    (
        ("get_configuration", {}, b""),
        lambda packet_id: p.ConfigurationStatus(Status.SUCCESS, 1, id=packet_id),
    ),
    (
        ("set_alt_setting", {"interface": 0, "alt": 0}, b""),
        lambda packet_id: p.AltSettingStatus(Status.SUCCESS, 0, 0, id=packet_id),
    ),
    (
        ("get_alt_setting", {"interface": 0}, b""),
        lambda packet_id: p.AltSettingStatus(Status.SUCCESS, 0, 0, id=packet_id),
    ),
    (
        ("start_interrupt_receiving", {"endpoint": 0x83}, b""),
        lambda packet_id: p.InterruptReceivingStatus(Status.SUCCESS, 0x83, id=packet_id),
    ),
    (
        ("start_iso_stream", {"endpoint": 0x84, "pkts_per_urb": 1, "no_urbs": 1}, b""),
        lambda packet_id: p.IsoStreamStatus(Status.INVAL, 0x84, id=packet_id),
    ),
    (
        ("bulk_packet", {"endpoint": 0x81, "length": 512}, b""),
        lambda packet_id: p.BulkPacket(0x81, 0, 5, 0, b"hello", id=packet_id),
    ),
    (
        ("bulk_packet", {"endpoint": 0x02, "length": 5}, b"hello"),
        lambda packet_id: p.BulkPacket(0x02, 0, 5, 0, id=packet_id),
    ),
    (
        ("control_packet", {"endpoint": 0x80, "requesttype": 0x80, "length": 18}, b""),
        lambda packet_id: p.ControlPacket(0x80, 6, 0x80, 0, 0, 0, 2, b"\x12\x01", id=packet_id),
    ),
]


@pytest.mark.parametrize("caps", [*range(0, 256, 2), 0x11, 0xFF])
def test_a_session_with_any_capabilities(judge: Judge, caps: int) -> None:
    parser, connection = judge(caps), HostConnection()
    parser.feed(connection.hello())
    connection.receive_data(parser.pending_output())
    info = p.EpInfo((255,) * 32, (0,) * 32, (0,) * 32, (512,) * 32)
    connect = p.DeviceConnect(2, 0, 0, 0, 0x1D6B, 0x0104, 0x0100)
    for packet in (info, p.InterfaceInfo((0,), (6,), (1,), (1,)), connect):
        parser.feed(b"".join(connection.send(packet)))
    for packet_id, ((name, values, data), answer) in enumerate(ANSWERS, 100):
        [request] = connection.receive_data(parser.send(name, packet_id, data, **values))
        assert request.id == packet_id
        [event] = parser.feed(b"".join(connection.send(answer(packet_id))))
        assert event.id == packet_id
    event_packet = p.InterruptPacket(0x83, 0, 2, b"ab", id=connection.next_interrupt_id(0x83))
    assert parser.feed(b"".join(connection.send(event_packet)))[0].data == b"ab"
    parser.feed(b"".join(connection.send(p.DeviceDisconnect())))
    assert connection.receive_data(parser.pending_output()) == [p.DeviceDisconnectAck()]
    assert [event.name for event in parser.events[:4]] == [
        "hello",
        "ep_info",
        "interface_info",
        "device_connect",
    ]


def test_a_megabyte(judge: Judge) -> None:
    parser, connection = judge(0xFF), HostConnection()
    parser.feed(connection.hello())
    connection.receive_data(parser.pending_output())
    size = 1 << 20
    connection.receive_data(parser.send("bulk_packet", 1, endpoint=0x81, length_high=size >> 16))
    data = bytes(range(256)) * (size // 256)
    [event] = parser.feed(b"".join(connection.send(p.BulkPacket(0x81, 0, size, 0, data, id=1))))
    assert event.data == data
    [request] = connection.receive_data(parser.send("bulk_packet", 2, data, endpoint=2, length_high=size >> 16))
    assert isinstance(request, p.BulkPacket)
    assert request.data == data


@pytest.mark.parametrize(
    "packet",
    [
        p.BulkPacket(0x81, 0, 5, 0, b"four", id=1),
        p.BulkPacket(0x02, 0, 4, 0, b"four", id=1),
        p.ControlPacket(0x80, 6, 0x80, 0, 0, 0, 2, id=1),
        p.IsoPacket(0x04, 0, 0, id=1),
        p.InterruptReceivingStatus(Status.SUCCESS, 0x03, id=1),
    ],
)
def test_the_judge_can_say_no(packet: p.Packet) -> None:
    with lib.GuestParser() as parser:
        negotiated = greeted(parser, HOST_CAPABILITIES).capabilities
        parser.feed(b"".join(encode_packet(codec_table(negotiated), packet)))
        assert [event.name for event in parser.events] == ["hello"]
        assert len(parser.errors) == 1
        with pytest.raises(AssertionError):
            parser.assert_clean()


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lib, "LIBRARY", "libnosuchthing.so.1")
    monkeypatch.delenv("USBREDIR_MTP_REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="is not installed"):
        lib.load()
    monkeypatch.setenv("USBREDIR_MTP_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="is required here"):
        lib.load()
