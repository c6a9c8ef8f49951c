from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.mtp.memory_storage import MemoryStorage
from tests.protocol.guest import (
    BULK_IN,
    BULK_OUT,
    INTERRUPT_IN,
    INTERRUPT_OUT,
    ISO_IN,
    bulk,
    control,
    hello,
    interrupt_out,
    raw,
)
from tests.support.wire import ALL_CAPS, Cap, Codec, Packet, Status, Type
from usbredir_mtp import session as module
from usbredir_mtp.device.identity import Identity
from usbredir_mtp.device.usb import Speed
from usbredir_mtp.mtp.codes import EventCode, ResponseCode
from usbredir_mtp.mtp.containers import Command, encode_command, encode_event, encode_response
from usbredir_mtp.mtp.device import MtpDevice
from usbredir_mtp.mtp.events import Event
from usbredir_mtp.mtp.objects import ObjectTable
from usbredir_mtp.protocol.constants import HOST_CAPABILITIES
from usbredir_mtp.protocol.errors import RemoteProtocolError
from usbredir_mtp.session import Phone, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.conftest import Loop
    from usbredir_mtp.session import Buffer

PATIENCE = 20.0
OURS = Cap(sum(1 << capability for capability in HOST_CAPABILITIES))
OPEN_SESSION = encode_command(Command(0x1002, 0, (1,)))
GET_DEVICE_INFO = encode_command(Command(0x1001, 1, ()))


@dataclass
class Transport:
    """Keeps what is written; says what is asked of it."""

    written: bytearray = field(default_factory=bytearray)
    writes: int = 0
    reading: bool = True
    closed: int = 0

    def write(self, buffers: Sequence[Buffer]) -> None:
        self.writes += 1
        for buffer in buffers:
            self.written += buffer

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.closed += 1

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        raise NotImplementedError


class Bench:
    """A session and both sides of it: the guest's bytes, and a loop that the test runs."""

    def __init__(self, loop: Loop, speed: Speed = Speed.HIGH) -> None:
        self.loop = loop
        self.mtp = MtpDevice(ObjectTable())
        self.mtp.objects.add_storage(MemoryStorage("a"))
        self.transport = Transport()
        self.session = Session(Phone(self.mtp, Identity(), speed), self.transport, loop.post, "peer")
        self.codec = Codec()
        self.greeted = False

    def plug(self, caps: Cap = ALL_CAPS) -> None:
        """All up to a configured device; what was written is forgotten."""
        self.session.start()
        self.session.receive(hello(caps))
        self.take(caps)
        self.send(Type.SET_CONFIGURATION, 1, b"\x01")
        assert self.take()[0].status is Status.SUCCESS

    def take(self, caps: Cap = ALL_CAPS) -> list[Packet]:
        """The packets since the last call."""
        data, packets = bytes(self.transport.written), []
        self.transport.written.clear()
        while data:
            header = self.codec.header if self.greeted else "<III"
            kind, size, id_ = struct.unpack_from(header, data)
            end = struct.calcsize(header) + size
            packets.append(self.codec.decode(kind, id_, data[end - size : end]))
            assert len(data) >= end, "a packet was cut"
            data = data[end:]
            if not self.greeted:
                self.greeted, self.codec = True, Codec(caps & OURS)
        return packets

    def send(self, kind: int, id_: int = 0, body: bytes = b"") -> None:
        self.session.receive(raw(kind, body, id_, wide=Cap.IDS_64BITS in self.codec.caps))

    def out(self, data: bytes, id_: int = 100) -> None:
        self.session.receive(bulk(id_, len(data), data, BULK_OUT))

    def transact(self, data: bytes, id_: int = 200) -> bytes:
        """A command's response, or the beginning of its data."""
        self.out(data)
        self.session.receive(bulk(id_, 512))
        taken: list[Packet] = []

        def answered() -> bool:
            taken.extend(self.take())
            return any(packet.id == id_ for packet in taken)

        self.loop.run_until(answered)
        return taken[-1].data

    def reading(self) -> bool:
        return self.transport.reading

    def kinds(self) -> list[Type]:
        return [packet.type for packet in self.take()]


@pytest.fixture
def bench(loop: Loop) -> Iterator[Bench]:
    made = Bench(loop)
    yield made
    made.session.closed()
    assert made.session._function.join(PATIENCE)


@pytest.fixture
def plugged(bench: Bench) -> Bench:
    bench.plug()
    return bench


# -- hello -------------------------------------------------------------------------------------------------------------


def test_hello_leaves_at_once_and_alone(bench: Bench) -> None:
    bench.session.start()
    assert bench.kinds() == [Type.HELLO]
    assert not bench.session.greeted


@pytest.mark.parametrize("caps", [ALL_CAPS, Cap.NONE, OURS, Cap.IDS_64BITS, Cap.EP_INFO_MAX_PACKET_SIZE])
def test_the_device_is_announced_in_order(bench: Bench, caps: Cap, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    bench.session.start()
    bench.take(caps)
    bench.session.receive(hello(caps, b"somebody"))
    assert bench.session.greeted
    assert bench.transport.writes == 2
    info, interfaces, connect = bench.take()
    assert [info.type, interfaces.type, connect.type] == [Type.EP_INFO, Type.INTERFACE_INFO, Type.DEVICE_CONNECT]
    assert set(bench.codec.endpoints(info.data)) == {0x00, 0x80, BULK_OUT, BULK_IN, INTERRUPT_IN}
    assert (connect["vendor_id"], connect["product_id"], connect["speed"]) == (0x46F4, 4, Speed.HIGH)
    assert "peer: says hello as 'somebody'" in caplog.text


def test_a_peer_that_breaks_the_protocol(bench: Bench) -> None:
    bench.session.start()
    with pytest.raises(RemoteProtocolError):
        bench.session.receive(raw(Type.RESET, wide=False))


def test_after_the_end_nothing_is_heard_or_said(plugged: Bench) -> None:
    plugged.session.closed()
    plugged.session.closed()
    plugged.session.receive(b"garbage" * 100)
    plugged.session.pause_writing()
    plugged.session.resume_writing()
    plugged.session.unplug()
    assert plugged.transport.written == b""
    assert plugged.transport.closed == 0


# -- requests ---------------------------------------------------------------------------------------------------------

REQUESTS: list[tuple[Type, bytes, Type, dict[str, int]]] = [
    (Type.GET_CONFIGURATION, b"", Type.CONFIGURATION_STATUS, {"status": 0, "configuration": 1}),
    (Type.SET_CONFIGURATION, b"\x00", Type.CONFIGURATION_STATUS, {"status": 0, "configuration": 0}),
    (Type.SET_CONFIGURATION, b"\x02", Type.CONFIGURATION_STATUS, {"status": 4, "configuration": 1}),
    (Type.GET_ALT_SETTING, b"\x00", Type.ALT_SETTING_STATUS, {"status": 0, "interface": 0, "alt": 0}),
    (Type.GET_ALT_SETTING, b"\x07", Type.ALT_SETTING_STATUS, {"status": 4, "interface": 7, "alt": 0}),
    (Type.SET_ALT_SETTING, b"\x00\x00", Type.ALT_SETTING_STATUS, {"status": 0, "interface": 0, "alt": 0}),
    (Type.SET_ALT_SETTING, b"\x00\x01", Type.ALT_SETTING_STATUS, {"status": 4, "interface": 0, "alt": 1}),
    (Type.START_ISO_STREAM, bytes([ISO_IN, 1, 1]), Type.ISO_STREAM_STATUS, {"status": 2, "endpoint": ISO_IN}),
    (Type.STOP_ISO_STREAM, bytes([ISO_IN]), Type.ISO_STREAM_STATUS, {"status": 2, "endpoint": ISO_IN}),
    (
        Type.START_INTERRUPT_RECEIVING,
        bytes([INTERRUPT_IN]),
        Type.INTERRUPT_RECEIVING_STATUS,
        {"status": 0, "endpoint": INTERRUPT_IN},
    ),
    (
        Type.START_INTERRUPT_RECEIVING,
        bytes([BULK_IN]),
        Type.INTERRUPT_RECEIVING_STATUS,
        {"status": 2, "endpoint": BULK_IN},
    ),
    (
        Type.STOP_INTERRUPT_RECEIVING,
        bytes([INTERRUPT_IN]),
        Type.INTERRUPT_RECEIVING_STATUS,
        {"status": 0, "endpoint": INTERRUPT_IN},
    ),
    (
        Type.STOP_INTERRUPT_RECEIVING,
        bytes([BULK_IN]),
        Type.INTERRUPT_RECEIVING_STATUS,
        {"status": 2, "endpoint": BULK_IN},
    ),
    (
        Type.INTERRUPT,
        struct.pack("<BBH", INTERRUPT_OUT, 0, 2) + b"ab",
        Type.INTERRUPT,
        {"status": 2, "endpoint": INTERRUPT_OUT, "length": 0},
    ),
    (
        Type.BULK,
        struct.pack("<BBHIH", 0x85, 0, 512, 0, 0),
        Type.BULK,
        {"status": 2, "endpoint": 0x85, "length": 0, "stream_id": 0},
    ),
    (
        Type.BULK,
        struct.pack("<BBHIH", 0x04, 0, 1, 0, 0) + b"x",
        Type.BULK,
        {"status": 2, "endpoint": 0x04, "length": 0, "stream_id": 0},
    ),
]


@pytest.mark.parametrize(("kind", "body", "reply", "fields"), REQUESTS)
def test_requests(plugged: Bench, kind: Type, body: bytes, reply: Type, fields: dict[str, int]) -> None:
    plugged.send(kind, 0x1234_5678_9ABC, body)
    [packet] = plugged.take()
    assert (packet.type, packet.id, packet.fields) == (reply, 0x1234_5678_9ABC, fields)
    assert packet.data == b""


@pytest.mark.parametrize(
    ("kind", "body", "reply"),
    [
        (Type.ALLOC_BULK_STREAMS, struct.pack("<II", 1 << 17, 4), Type.BULK_STREAMS_STATUS),
        (Type.FREE_BULK_STREAMS, struct.pack("<I", 1 << 17), Type.BULK_STREAMS_STATUS),
        (Type.START_BULK_RECEIVING, struct.pack("<IIBB", 0, 512, BULK_IN, 4), Type.BULK_RECEIVING_STATUS),
        (Type.STOP_BULK_RECEIVING, struct.pack("<IB", 0, BULK_IN), Type.BULK_RECEIVING_STATUS),
    ],
)
def test_what_was_never_announced_is_refused(plugged: Bench, kind: Type, body: bytes, reply: Type) -> None:
    plugged.send(kind, 7, body)
    [packet] = plugged.take()
    assert (packet.type, packet.id, packet.status) == (reply, 7, Status.INVAL)


def test_isochronous_data_has_no_reply(plugged: Bench) -> None:
    plugged.send(Type.ISO, 7, struct.pack("<BBH", 0x05, 0, 2) + b"ab")
    assert plugged.take() == []


def test_control_transfers(plugged: Bench) -> None:
    plugged.session.receive(control(7, 18))
    [packet] = plugged.take()
    assert (packet.type, packet.id, packet.status, packet["length"]) == (Type.CONTROL, 7, Status.SUCCESS, 18)
    assert packet.data[:2] == b"\x12\x01"
    plugged.session.receive(control(8, 3, b"abc", inward=False))
    [packet] = plugged.take()
    assert (packet.status, packet["length"], packet.data) == (Status.STALL, 3, b"")


def test_a_cancelled_transfer_has_one_reply(plugged: Bench) -> None:
    plugged.session.receive(bulk(7, 512))
    plugged.send(Type.CANCEL_DATA_PACKET, 7)
    plugged.send(Type.CANCEL_DATA_PACKET, 7)
    plugged.send(Type.CANCEL_DATA_PACKET, 8)
    [packet] = plugged.take()
    assert (packet.id, packet.status, packet["length"]) == (7, Status.CANCELLED, 0)


def test_a_reset_has_no_reply_but_frees_what_waits(plugged: Bench) -> None:
    plugged.session.receive(bulk(7, 512))
    plugged.send(Type.RESET)
    [packet] = plugged.take()
    assert (packet.id, packet.status) == (7, Status.CANCELLED)
    plugged.send(Type.GET_CONFIGURATION, 8)
    assert plugged.take()[0]["configuration"] == 0


def test_a_transaction(plugged: Bench) -> None:
    assert plugged.transact(OPEN_SESSION) == encode_response(ResponseCode.OK, 0)
    assert not plugged.session.busy
    plugged.out(GET_DEVICE_INFO)
    assert plugged.session.busy


def test_packets_of_one_piece_of_input_leave_in_one_write(plugged: Bench) -> None:
    writes = plugged.transport.writes
    requests = b"".join(raw(Type.GET_CONFIGURATION, b"", number) for number in range(10))
    plugged.session.receive(requests)
    assert plugged.transport.writes == writes + 1
    assert [packet.id for packet in plugged.take()] == list(range(10))


# -- events -----------------------------------------------------------------------------------------------------------


def test_events_are_numbered(plugged: Bench) -> None:
    plugged.transact(OPEN_SESSION)
    plugged.send(Type.START_INTERRUPT_RECEIVING, 7, bytes([INTERRUPT_IN]))
    plugged.take()
    plugged.mtp.objects.publisher.publish([Event(EventCode.OBJECT_ADDED, handle) for handle in (7, 8)])
    plugged.loop.run_posted()
    first, second = plugged.take()
    assert [first.id, second.id] == [0, 1]
    assert first.data == encode_event(EventCode.OBJECT_ADDED, 0xFFFFFFFF, (7,))
    plugged.send(Type.STOP_INTERRUPT_RECEIVING, 8, bytes([INTERRUPT_IN]))
    plugged.take()
    plugged.mtp.objects.publisher.publish([Event(EventCode.OBJECT_ADDED, 9)])
    plugged.loop.run_posted()
    assert plugged.take() == []


# -- a guest that refuses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (None, ["no filter of its own explains it", "high speed", "--speed"]),
        (b"-1,-1,-1,-1,1\0", ["no filter of its own explains it"]),
        (
            b"0x06,-1,-1,-1,0|-1,-1,-1,-1,1\0",
            ["Rule 1 of the peer's filter", "denies interface class 0x06 of 46f4:0004"],
        ),
        (b"0x03,-1,-1,-1,1\0", ["No rule of the peer's filter allows interface class 0x06"]),
        (b"nonsense\0", ["its filter 'nonsense' cannot be read"]),
    ],
)
def test_a_rejection_is_explained(
    plugged: Bench, rules: bytes | None, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    if rules is not None:
        plugged.send(Type.FILTER_FILTER, 0, rules)
    plugged.send(Type.FILTER_REJECT)
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.message.startswith("peer: refuses the device: ")
    for words in said:
        assert words in record.message
    assert plugged.take() == []
    assert plugged.transport.closed == 0


def test_a_rejection_names_the_speed(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(loop, Speed.SUPER)
    bench.plug()
    bench.send(Type.FILTER_REJECT)
    bench.session.closed()
    assert "a device of super speed" in caplog.text
    assert bench.session._function.join(PATIENCE)


# -- flow control ------------------------------------------------------------------------------------------------------


def test_a_guest_that_does_not_read_is_not_read_from(plugged: Bench) -> None:
    plugged.session.pause_writing()
    assert not plugged.reading()
    plugged.out(GET_DEVICE_INFO)
    plugged.session.receive(bulk(200, 512))
    plugged.loop.run_until(lambda: plugged.session._device.bulk_in.queued > 0)
    plugged.loop.run_posted()
    assert [packet.id for packet in plugged.take()] == [100], "only what had been asked for before it stopped"
    assert not plugged.reading(), "whatever happens meanwhile"
    plugged.session.resume_writing()
    assert plugged.reading()
    [packet] = plugged.take()
    assert (packet.id, packet.data[4:8]) == (200, bytes.fromhex("0200 0110"))


def test_a_guest_with_much_pending_is_not_read_from(plugged: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING_OUT", 1024)
    plugged.session._device.bulk_out.hold()
    plugged.out(bytes(1024), 1)
    assert plugged.reading()
    plugged.out(b"x", 2)
    assert not plugged.reading()
    plugged.send(Type.CANCEL_DATA_PACKET, 1)
    assert plugged.reading()
    assert [(packet.id, packet.status) for packet in plugged.take()] == [(1, Status.CANCELLED)]


# -- unplugging -------------------------------------------------------------------------------------------------------


def test_unplugged_before_it_was_plugged_in(bench: Bench) -> None:
    bench.session.start()
    bench.session.unplug()
    bench.session.unplug()
    assert bench.transport.closed == 1
    assert bench.kinds() == [Type.HELLO]


def test_unplugged_and_acknowledged(plugged: Bench) -> None:
    plugged.session.unplug()
    assert plugged.kinds() == [Type.DEVICE_DISCONNECT]
    assert plugged.transport.closed == 0
    plugged.session.unplug()
    assert plugged.kinds() == []
    plugged.send(Type.DEVICE_DISCONNECT_ACK)
    assert plugged.transport.closed == 1
    assert plugged.session._function.join(PATIENCE)


def test_unplugged_with_nobody_to_acknowledge(bench: Bench) -> None:
    bench.plug(ALL_CAPS & ~Cap.DISCONNECT_ACK)
    bench.session.unplug()
    assert bench.kinds() == [Type.DEVICE_DISCONNECT]
    assert bench.transport.closed == 1


def test_nothing_is_completed_after_the_unplugging(plugged: Bench) -> None:
    plugged.session.receive(bulk(7, 512))
    plugged.session.unplug()
    plugged.take()
    plugged.send(Type.CANCEL_DATA_PACKET, 7)
    plugged.session.receive(bulk(8, 512))
    plugged.send(Type.SET_CONFIGURATION, 9, b"\x01")
    plugged.send(Type.RESET)
    plugged.loop.run_posted()
    assert plugged.take() == []


def test_an_answer_that_was_held_back_until_after_the_unplugging(plugged: Bench) -> None:
    plugged.session.receive(bulk(7, 512))
    plugged.session.pause_writing()
    plugged.out(GET_DEVICE_INFO)
    plugged.loop.run_until(lambda: plugged.session._device.bulk_in.queued > 0)
    queued = plugged.session._device.bulk_in.queued
    plugged.session.unplug()
    plugged.take()
    plugged.session.resume_writing()
    assert plugged.session._device.bulk_in.queued < queued
    assert plugged.take() == []


def test_an_acknowledgement_of_nothing(plugged: Bench) -> None:
    with pytest.raises(RemoteProtocolError):
        plugged.send(Type.DEVICE_DISCONNECT_ACK)


def test_the_guest_powers_the_device_down(plugged: Bench) -> None:
    plugged.transact(OPEN_SESSION)
    plugged.session.receive(bulk(200, 512))
    plugged.out(encode_command(Command(0x1013, 1, ())), 100)
    taken: list[Packet] = []

    def unplugged() -> bool:
        taken.extend(plugged.take())
        return taken[-1].type is Type.DEVICE_DISCONNECT

    plugged.loop.run_until(unplugged)
    assert [packet.id for packet in taken] == [100, 200, 0]
    assert taken[1].data == encode_response(ResponseCode.OK, 1)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(raw(Type.GET_CONFIGURATION, b"", 7), id="get configuration"),
        pytest.param(raw(Type.SET_CONFIGURATION, b"\x01", 7), id="set configuration"),
        pytest.param(raw(Type.GET_ALT_SETTING, b"\x00", 7), id="get alternate setting"),
        pytest.param(raw(Type.RESET), id="reset"),
        pytest.param(raw(Type.START_INTERRUPT_RECEIVING, bytes([INTERRUPT_IN]), 7), id="start interrupt"),
        pytest.param(raw(Type.STOP_INTERRUPT_RECEIVING, bytes([INTERRUPT_IN]), 7), id="stop interrupt"),
        pytest.param(raw(Type.FILTER_REJECT), id="reject"),
        pytest.param(control(7, 18), id="control"),
        pytest.param(bulk(7, 512), id="bulk in"),
        pytest.param(bulk(7, 4, b"abcd"), id="garbage out"),
        pytest.param(bulk(7, len(GET_DEVICE_INFO), GET_DEVICE_INFO), id="command out"),
        pytest.param(interrupt_out(7, b"ab"), id="interrupt out"),
    ],
)
def test_what_a_guest_asks_of_a_device_that_is_gone(plugged: Bench, request_: bytes) -> None:
    plugged.session.unplug()
    plugged.take()
    plugged.session.receive(raw(Type.DEVICE_DISCONNECT_ACK) + request_)
    assert plugged.transport.closed == 1
