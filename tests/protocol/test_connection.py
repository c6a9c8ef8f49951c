from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from tests.protocol import guest
from tests.protocol.guest import BULK_IN, BULK_OUT, INTERRUPT_IN, INTERRUPT_OUT, ISO_IN, raw
from usbredir_mtp.protocol import packets as p
from usbredir_mtp.protocol.announcements import TRANSITIONS, Device
from usbredir_mtp.protocol.connection import HostConnection
from usbredir_mtp.protocol.constants import (
    HOST_CAPABILITIES,
    MAX_OUTSTANDING,
    REPLY,
    SENDERS,
    STREAMS,
    Capability,
    PacketType,
    Side,
    Status,
)
from usbredir_mtp.protocol.errors import LocalProtocolError, RemoteProtocolError

ALL = frozenset(Capability)


class TestHello:
    def test_ours(self) -> None:
        connection = HostConnection("phone")
        assert connection.hello() == struct.pack("<III64sI", 0, 68, 0, b"phone", 0x7E)

    def test_once(self) -> None:
        connection = HostConnection()
        connection.hello()
        with pytest.raises(LocalProtocolError, match="sent once"):
            connection.hello()

    def test_too_long_a_version(self) -> None:
        with pytest.raises(LocalProtocolError, match="does not fit"):
            HostConnection("x" * 64).hello()

    def test_capabilities_that_must_not_be_announced(self) -> None:
        with pytest.raises(LocalProtocolError, match="EP_INFO_MAX_PACKET_SIZE"):
            HostConnection(capabilities={Capability.BULK_STREAMS})

    def test_the_peers(self) -> None:
        connection = HostConnection()
        assert (connection.peer, connection.capabilities) == (None, frozenset())
        [hello] = connection.receive_data(guest.hello(0b10100000, b"qemu"))
        assert connection.peer is hello
        assert hello == p.Hello("qemu", frozenset({Capability.IDS_64BITS, Capability.BULK_RECEIVING}))
        assert connection.capabilities == {Capability.IDS_64BITS}

    def test_nothing_leaves_before_both(self) -> None:
        silent = HostConnection()
        silent.receive_data(guest.hello())
        early = HostConnection()
        early.hello()
        for connection in (silent, early):
            with pytest.raises(LocalProtocolError, match="EP_INFO before hello"):
                connection.send(guest.EP_INFO)

    @pytest.mark.parametrize("caps", range(256))
    def test_any_capabilities(self, caps: int) -> None:
        connection = guest.greeted(caps)
        both = {bit for bit in HOST_CAPABILITIES if caps >> bit & 1}
        assert connection.capabilities == both
        header = 16 if Capability.IDS_64BITS in both else 12
        ep_info = guest.joined(connection.send(guest.EP_INFO))
        assert len(ep_info) - header == (160 if Capability.EP_INFO_MAX_PACKET_SIZE in both else 96)
        connection.send(guest.INTERFACE_INFO)
        connect = guest.joined(connection.send(guest.DEVICE_CONNECT))
        assert len(connect) - header == (10 if Capability.CONNECT_DEVICE_VERSION in both else 8)


class TestErrors:
    def test_bytes_that_are_not_usbredir(self) -> None:
        connection = HostConnection()
        for _again in range(2):
            with pytest.raises(RemoteProtocolError, match="unknown packet type"):
                connection.receive_data(b"SSH-2.0-OpenSSH_9.6\r\n")

    def test_a_breach_of_order_ends_it_too(self) -> None:
        connection = guest.connected()
        for data in (raw(24), raw(3)):
            with pytest.raises(RemoteProtocolError, match="nothing to acknowledge"):
                connection.receive_data(data)

    @pytest.mark.parametrize("kind", [kind for kind in PacketType if kind == 0 or Side.HOST not in SENDERS[kind]])
    def test_what_send_does_not_take(self, kind: PacketType) -> None:
        packet = p.Packet.__new__(p.CLASSES[kind])
        with pytest.raises(LocalProtocolError, match=f"{kind.name} is not for send"):
            guest.connected().send(packet)

    def test_a_value_that_does_not_fit(self) -> None:
        connection = guest.connected()
        connection.receive_data(raw(7, packet_id=1))
        with pytest.raises(LocalProtocolError, match="cannot be encoded"):
            connection.send(p.ConfigurationStatus(0, 256, id=1))
        assert connection.outstanding == 1

    def test_no_id_over_32_bits_without_the_capability(self) -> None:
        connection = guest.connected(0)
        with pytest.raises(LocalProtocolError, match="cannot be encoded"):
            connection.send(p.EpInfo((255,) * 32, (0,) * 32, (0,) * 32, id=1 << 32))


class TestAnnouncements:
    def test_the_order(self) -> None:
        connection = guest.greeted()
        assert connection.send(guest.EP_INFO) == [struct.pack("<IIQ", 5, 160, 0) + b"\xff" * 32 + bytes(128)]
        padded = (b"\0", b"\6", b"\1", b"\1")
        assert connection.send(guest.INTERFACE_INFO) == [
            struct.pack("<IIQI", 4, 132, 0, 1) + b"".join(row.ljust(32, b"\0") for row in padded)
        ]
        assert connection.send(guest.DEVICE_CONNECT) == [
            struct.pack("<IIQBBBBHHH", 1, 10, 0, 2, 0, 0, 0, 0x1D6B, 0x104, 0x100)
        ]
        assert connection.send(p.DeviceDisconnect()) == [raw(2)]

    @pytest.mark.parametrize("state", Device)
    @pytest.mark.parametrize(
        "packet",
        [guest.EP_INFO, guest.INTERFACE_INFO, guest.DEVICE_CONNECT, p.DeviceDisconnect()],
        ids=lambda packet: packet.type.name,
    )
    def test_every_state(self, state: Device, packet: p.Packet) -> None:
        connection = guest.greeted()
        way = [guest.EP_INFO, guest.INTERFACE_INFO, guest.DEVICE_CONNECT]
        for step in way[: list(Device).index(state)]:
            connection.send(step)
        if (state, packet.type) in TRANSITIONS:
            assert connection.send(packet)
        else:
            with pytest.raises(LocalProtocolError, match=f"in the state: {state.value}"):
                connection.send(packet)

    def test_connect_twice_needs_a_disconnect_and_a_new_description(self) -> None:
        connection = guest.connected()
        with pytest.raises(LocalProtocolError, match="in the state: device connected"):
            connection.send(guest.DEVICE_CONNECT)
        connection.send(p.DeviceDisconnect())
        with pytest.raises(LocalProtocolError, match="in the state: no device"):
            connection.send(guest.DEVICE_CONNECT)
        for packet in (guest.EP_INFO, guest.INTERFACE_INFO, guest.DEVICE_CONNECT):
            connection.send(packet)

    def test_new_endpoints_want_new_interfaces(self) -> None:
        connection = guest.greeted()
        for packet in (guest.EP_INFO, guest.INTERFACE_INFO, guest.EP_INFO):
            connection.send(packet)
        with pytest.raises(LocalProtocolError, match="in the state: endpoints announced"):
            connection.send(guest.DEVICE_CONNECT)

    @pytest.mark.parametrize(
        ("request_", "reply"),
        [
            (raw(6, b"\1", 1), p.ConfigurationStatus(Status.SUCCESS, 1, id=1)),
            (raw(9, b"\0\0", 1), p.AltSettingStatus(Status.SUCCESS, 0, 0, id=1)),
        ],
    )
    def test_no_success_before_endpoints(
        self, request_: bytes, reply: p.ConfigurationStatus | p.AltSettingStatus
    ) -> None:
        connection = guest.greeted()
        connection.receive_data(request_)
        with pytest.raises(LocalProtocolError, match="before any EP_INFO"):
            connection.send(reply)
        reply.status = Status.INVAL
        assert connection.send(reply)


class TestDisconnect:
    def test_what_was_meant_for_the_old_device_is_left_out(self) -> None:
        connection = guest.connected()
        connection.receive_data(guest.bulk(1, 512))
        connection.send(p.DeviceDisconnect())
        assert connection.outstanding == 0
        late = guest.bulk(2, 512) + raw(3) + raw(15, b"\x83") + raw(23, b"1,1,1,1,1\0")
        assert connection.receive_data(late) == [p.FilterFilter("1,1,1,1,1")]
        assert connection.receive_data(raw(24) + raw(3)) == [p.DeviceDisconnectAck(), p.Reset()]
        assert connection.outstanding == 0
        with pytest.raises(LocalProtocolError, match="no request 2"):
            connection.send(p.BulkPacket(BULK_IN, Status.IOERROR, 0, 0, id=2))

    def test_one_ack_a_disconnect(self) -> None:
        connection = guest.connected()
        connection.send(p.DeviceDisconnect())
        connection.receive_data(raw(24))
        with pytest.raises(RemoteProtocolError, match="nothing to acknowledge"):
            connection.receive_data(raw(24))

    def test_no_ack_without_the_capability(self) -> None:
        connection = guest.connected(0xF7)
        connection.send(p.DeviceDisconnect())
        [request] = connection.receive_data(guest.bulk(2, 512))
        assert connection.send(p.BulkPacket(BULK_IN, Status.IOERROR, 0, 0, id=request.id))
        with pytest.raises(RemoteProtocolError, match="nothing to acknowledge"):
            connection.receive_data(raw(24))

    def test_streams_end(self) -> None:
        connection = guest.connected()
        connection.receive_data(raw(15, b"\x83"))
        connection.send(p.InterruptReceivingStatus(Status.SUCCESS, INTERRUPT_IN))
        connection.send(p.DeviceDisconnect())
        with pytest.raises(LocalProtocolError, match="has not started"):
            connection.send(p.InterruptPacket(INTERRUPT_IN, 0, 1, b"x"))


class TestTransfers:
    def test_bulk_in(self) -> None:
        connection = guest.connected()
        connection.receive_data(guest.bulk(7, 512))
        assert connection.outstanding == 1
        data = memoryview(b"hello")
        header, payload = connection.send(p.BulkPacket(BULK_IN, 0, 5, 0, data, id=7))
        assert header == struct.pack("<IIQBBHIH", 101, 15, 7, BULK_IN, 0, 5, 0, 0)
        assert payload is data
        assert connection.outstanding == 0

    def test_bulk_out(self) -> None:
        connection = guest.connected()
        connection.receive_data(guest.bulk(7, 5, b"hello"))
        reply = p.BulkPacket(BULK_OUT, 0, 5, 0, id=7)
        body = struct.pack("<BBHIH", BULK_OUT, 0, 5, 0, 0)
        assert connection.send(reply) == [raw(101, body, 7)]

    def test_control_and_interrupt_out(self) -> None:
        connection = guest.connected()
        connection.receive_data(guest.control(1, 18) + guest.interrupt_out(2, b"abc"))
        assert connection.outstanding == 2
        reply = p.ControlPacket(0x80, 6, 0x80, Status.STALL, 0x100, 0, 0, id=1)
        body = struct.pack("<BBBBHHH", 0x80, 6, 0x80, 4, 0x100, 0, 0)
        assert connection.send(reply) == [raw(100, body, 1)]
        assert connection.send(p.InterruptPacket(INTERRUPT_OUT, 0, 3, id=2))
        assert connection.outstanding == 0

    @pytest.mark.parametrize(
        ("reply", "message"),
        [
            (p.BulkPacket(BULK_IN, 0, 1, 0, b"x", id=8), "no request 8"),
            (p.BulkPacket(0x84, 0, 1, 0, b"x", id=7), "is no reply to BULK_PACKET of 0x81"),
            (p.ControlPacket(0x80, 0, 0x80, 0, 0, 0, 0, id=7), "is no reply to BULK_PACKET"),
            (p.ConfigurationStatus(0, 1, id=7), "is no reply to BULK_PACKET"),
            (p.BulkPacket(BULK_IN, 0, 513, 0, bytes(513), id=7), "513 bytes where 512"),
            (p.BulkPacket(BULK_IN, 0, 2, 0, b"x", id=7), "1 bytes of data and gives"),
            (p.BulkPacket(BULK_IN, 0, 2, 0, id=7), "0 bytes of data and gives"),
            (p.BulkPacket(BULK_OUT, 0, 1, 0, b"x", id=7), "against the direction"),
            (p.BulkPacket(BULK_OUT, 0, 6, 0, id=9), "6 bytes where 5"),
            (p.BulkPacket(BULK_OUT, 0, 1 << 26, 0, id=9), "at most 33554432"),
            (p.IsoPacket(0x05, 0, 1, b"x"), "is for the other side"),
            (
                p.BulkPacket(BULK_IN, 0, 1, 0, memoryview(b"1234").cast("I"), id=7),
                "not a buffer of bytes",
            ),
            (p.AltSettingStatus(0, 1, 0, id=10), "is no reply to GET_ALT_SETTING of 0x00"),
        ],
    )
    def test_no_reply(self, reply: p.Packet, message: str) -> None:
        connection = guest.connected()
        connection.receive_data(guest.bulk(7, 512) + guest.bulk(9, 5, b"hello"))
        connection.receive_data(raw(10, b"\0", 10))
        with pytest.raises(LocalProtocolError, match=message):
            connection.send(reply)
        assert connection.outstanding == 3
        connection.send(p.BulkPacket(BULK_IN, 0, 0, 0, id=7))
        connection.send(p.BulkPacket(BULK_OUT, 0, 5, 0, id=9))
        connection.send(p.AltSettingStatus(0, 0, 0, id=10))

    def test_one_reply(self) -> None:
        connection = guest.connected()
        connection.receive_data(guest.bulk(7, 512))
        connection.send(p.BulkPacket(BULK_IN, 0, 0, 0, id=7))
        with pytest.raises(LocalProtocolError, match="no request 7"):
            connection.send(p.BulkPacket(BULK_IN, 0, 0, 0, id=7))

    @pytest.mark.parametrize("second", [guest.bulk(7, 512), raw(7, packet_id=7)])
    def test_a_live_id_again(self, second: bytes) -> None:
        connection = guest.connected()
        connection.receive_data(guest.bulk(7, 512))
        with pytest.raises(RemoteProtocolError, match="has the id 7 of a live request"):
            connection.receive_data(second)

    def test_an_answered_id_again(self) -> None:
        connection = guest.connected()
        for _again in range(2):
            connection.receive_data(guest.bulk(7, 512))
            connection.send(p.BulkPacket(BULK_IN, 0, 0, 0, id=7))

    def test_a_flood(self) -> None:
        connection = guest.connected()
        flood = b"".join(guest.bulk(packet_id, 512) for packet_id in range(MAX_OUTSTANDING))
        assert len(connection.receive_data(flood)) == connection.outstanding == MAX_OUTSTANDING
        with pytest.raises(RemoteProtocolError, match="more than 4096 requests"):
            connection.receive_data(raw(15, b"\x83"))

    def test_errors_tell_no_data(self) -> None:
        connection = guest.connected()
        with pytest.raises(LocalProtocolError) as caught:
            connection.send(p.BulkPacket(BULK_IN, 0, 6, 0, b"secret", id=1))
        assert "secret" not in str(caught.value)


class TestCancel:
    def test_the_reply_is_still_due(self) -> None:
        connection = guest.connected()
        connection.receive_data(guest.bulk(7, 512))
        assert connection.receive_data(raw(21, packet_id=7)) == [p.CancelDataPacket(id=7)]
        assert connection.outstanding == 1
        connection.send(p.BulkPacket(BULK_IN, Status.CANCELLED, 0, 0, id=7))
        assert connection.outstanding == 0

    def test_unknown_ids_are_handed_up(self) -> None:
        connection = guest.connected()
        assert connection.receive_data(raw(21, packet_id=9)) == [p.CancelDataPacket(id=9)]
        assert connection.outstanding == 0

    def test_a_cancelled_id_may_be_used_anew_before_its_reply(self) -> None:
        """Ids are guest addresses, and QEMU tells the two replies apart by their order."""
        connection = guest.connected()
        data = guest.bulk(7, 512) + raw(21, packet_id=7)
        connection.receive_data(data + data + guest.bulk(7, 1024))
        assert connection.outstanding == 3
        for _cancelled in range(2):
            with pytest.raises(LocalProtocolError, match="513 bytes where 512"):
                connection.send(p.BulkPacket(BULK_IN, 0, 513, 0, bytes(513), id=7))
            connection.send(p.BulkPacket(BULK_IN, Status.CANCELLED, 0, 0, id=7))
        connection.send(p.BulkPacket(BULK_IN, 0, 513, 0, bytes(513), id=7))
        assert connection.outstanding == 0


class TestInterrupts:
    def start(self) -> HostConnection:
        connection = guest.connected()
        connection.receive_data(raw(15, b"\x83"))
        connection.send(p.InterruptReceivingStatus(Status.SUCCESS, INTERRUPT_IN))
        return connection

    def event(self, connection: HostConnection) -> p.InterruptPacket:
        packet_id = connection.next_interrupt_id(INTERRUPT_IN)
        return p.InterruptPacket(INTERRUPT_IN, 0, 5, b"event", id=packet_id)

    def test_ids_count_up(self) -> None:
        connection = self.start()
        for expected in range(3):
            header, data = connection.send(self.event(connection))
            assert header == struct.pack("<IIQBBH", 103, 9, expected, INTERRUPT_IN, 0, 5)
            assert data == b"event"

    def test_and_start_anew(self) -> None:
        connection = self.start()
        connection.send(self.event(connection))
        connection.receive_data(raw(16, b"\x83") + raw(15, b"\x83"))
        connection.send(p.InterruptReceivingStatus(Status.SUCCESS, INTERRUPT_IN))
        connection.send(p.InterruptReceivingStatus(Status.SUCCESS, INTERRUPT_IN))
        assert connection.next_interrupt_id(INTERRUPT_IN) == 0

    def test_out_of_turn(self) -> None:
        connection = self.start()
        packet = self.event(connection)
        packet.id = 1
        with pytest.raises(LocalProtocolError, match="has id 1, 0 is next"):
            connection.send(packet)

    def test_not_started_or_refused(self) -> None:
        connection = guest.connected()
        with pytest.raises(LocalProtocolError, match="has not started"):
            connection.next_interrupt_id(INTERRUPT_IN)
        connection.receive_data(raw(15, b"\x83"))
        connection.send(p.InterruptReceivingStatus(Status.INVAL, INTERRUPT_IN))
        with pytest.raises(LocalProtocolError, match="has not started"):
            connection.send(p.InterruptPacket(INTERRUPT_IN, 0, 1, b"x"))

    def test_stopped(self) -> None:
        connection = self.start()
        connection.receive_data(raw(16, b"\x83"))
        connection.send(self.event(connection))
        connection.send(p.InterruptReceivingStatus(Status.SUCCESS, INTERRUPT_IN))
        with pytest.raises(LocalProtocolError, match="has not started"):
            self.event(connection)

    def test_broken(self) -> None:
        connection = self.start()
        broken = p.InterruptReceivingStatus(Status.STALL, INTERRUPT_IN)
        assert connection.send(broken) == [raw(17, bytes([4, INTERRUPT_IN]))]
        with pytest.raises(LocalProtocolError, match="no stream broke"):
            connection.send(broken)

    @pytest.mark.parametrize(
        "status",
        [
            p.InterruptReceivingStatus(Status.IOERROR, INTERRUPT_IN),
            p.InterruptReceivingStatus(Status.STALL, INTERRUPT_IN, id=1),
            p.InterruptReceivingStatus(Status.STALL, 0x84),
        ],
    )
    def test_no_reply_and_no_break(self, status: p.InterruptReceivingStatus) -> None:
        with pytest.raises(LocalProtocolError, match="answers nothing"):
            self.start().send(status)

    def test_about_an_out_endpoint(self) -> None:
        with pytest.raises(LocalProtocolError, match="no IN endpoint"):
            guest.connected().send(p.InterruptReceivingStatus(Status.STALL, INTERRUPT_OUT))


BODY = {
    PacketType.START_ISO_STREAM: bytes([ISO_IN, 1, 1]),
    PacketType.STOP_ISO_STREAM: bytes([ISO_IN]),
    PacketType.START_INTERRUPT_RECEIVING: bytes([ISO_IN]),
    PacketType.STOP_INTERRUPT_RECEIVING: bytes([ISO_IN]),
    PacketType.START_BULK_RECEIVING: struct.pack("<IIBB", 0, 512, ISO_IN, 1),
    PacketType.STOP_BULK_RECEIVING: struct.pack("<IB", 0, ISO_IN),
    PacketType.ALLOC_BULK_STREAMS: struct.pack("<II", 4, 16),
    PacketType.FREE_BULK_STREAMS: struct.pack("<I", 4),
}
REFUSED: dict[PacketType, p.Packet] = {
    PacketType.ISO_STREAM_STATUS: p.IsoStreamStatus(Status.INVAL, ISO_IN),
    PacketType.INTERRUPT_RECEIVING_STATUS: p.InterruptReceivingStatus(Status.INVAL, ISO_IN),
    PacketType.BULK_RECEIVING_STATUS: p.BulkReceivingStatus(0, ISO_IN, Status.INVAL),
    PacketType.BULK_STREAMS_STATUS: p.BulkStreamsStatus(4, 0, Status.INVAL),
}


class TestStreams:
    @pytest.mark.parametrize("kind", BODY)
    def test_every_start_and_stop_can_be_refused(self, kind: PacketType) -> None:
        connection = guest.connected()
        assert len(connection.receive_data(raw(kind, BODY[kind]))) == 1
        assert connection.send(REFUSED[REPLY[kind]])
        assert connection.outstanding == 0
        with pytest.raises(LocalProtocolError):
            connection.send(REFUSED[REPLY[kind]])

    @pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.data.name)
    def test_every_stream_can_run(self, stream: tuple[PacketType, ...]) -> None:
        start, stop, status, data = stream
        connection = guest.connected(0xFF, ALL)
        connection.receive_data(raw(start, BODY[start]) + raw(stop, BODY[stop]))
        connection.send(STARTED[status])
        for packet_id in range(2):
            connection.send(replace(STREAMED[data], id=packet_id))
        connection.send(STARTED[status])
        with pytest.raises(LocalProtocolError, match="has not started"):
            connection.send(replace(STREAMED[data], id=2))

    def test_the_same_id_for_all(self) -> None:
        """QEMU starts and stops with id 0, without waiting for the status in between."""
        connection = guest.connected()
        connection.receive_data(raw(15, b"\x83") + raw(16, b"\x83") + raw(15, b"\x84"))
        assert connection.outstanding == 3
        connection.send(p.InterruptReceivingStatus(0, 0x84))
        connection.send(p.InterruptReceivingStatus(0, 0x83))
        assert connection.next_interrupt_id(0x83) == 0
        connection.send(p.InterruptReceivingStatus(0, 0x83))
        assert connection.outstanding == 0

    @pytest.mark.parametrize("kind", [PacketType.START_BULK_RECEIVING, PacketType.ALLOC_BULK_STREAMS])
    def test_a_guest_that_would_not_know_the_reply(self, kind: PacketType) -> None:
        connection = guest.connected(0x7E)
        with pytest.raises(RemoteProtocolError, match=f"{kind.name}, which was not announced"):
            connection.receive_data(raw(kind, BODY[kind]))

    def test_iso_out_wants_no_reply(self) -> None:
        connection = guest.connected()
        body = struct.pack("<BBH", 5, 0, 2) + b"ab"
        assert connection.receive_data(raw(102, body, 3)) == [p.IsoPacket(5, 0, 2, b"ab", id=3)]
        assert connection.outstanding == 0


STARTED: dict[PacketType, p.Packet] = {
    PacketType.ISO_STREAM_STATUS: p.IsoStreamStatus(Status.SUCCESS, ISO_IN),
    PacketType.INTERRUPT_RECEIVING_STATUS: p.InterruptReceivingStatus(Status.SUCCESS, ISO_IN),
    PacketType.BULK_RECEIVING_STATUS: p.BulkReceivingStatus(0, ISO_IN, Status.SUCCESS),
}
STREAMED: dict[PacketType, p.Packet] = {
    PacketType.ISO_PACKET: p.IsoPacket(ISO_IN, 0, 2, b"ab"),
    PacketType.INTERRUPT_PACKET: p.InterruptPacket(ISO_IN, 0, 2, b"ab"),
    PacketType.BUFFERED_BULK_PACKET: p.BufferedBulkPacket(0, 2, ISO_IN, 0, b"ab"),
}


class TestFilters:
    def test_both_ways(self) -> None:
        connection = guest.greeted()
        assert connection.receive_data(raw(22)) == [p.FilterReject()]
        assert connection.send(p.FilterFilter("-1,-1,-1,-1,1")) == [raw(23, b"-1,-1,-1,-1,1\0")]

    def test_only_to_those_who_know_them(self) -> None:
        connection = guest.greeted(0xFB)
        assert connection.receive_data(raw(23, b"1\0")) == [p.FilterFilter("1")]
        with pytest.raises(LocalProtocolError, match="the guest does not know it"):
            connection.send(p.FilterFilter("-1,-1,-1,-1,1"))
        mute = guest.greeted(ours=HOST_CAPABILITIES - {Capability.FILTER})
        with pytest.raises(RemoteProtocolError, match="FILTER_REJECT, which was not announced"):
            mute.receive_data(raw(22))
