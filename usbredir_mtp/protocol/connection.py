"""The usb-host's end of a usbredir connection, without I/O.

Feed it what the guest sends, hand it what the guest shall get, write what it returns. It sees to it that
nothing leaves that the protocol forbids: QEMU aborts the whole VM on some of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usbredir_mtp.protocol import wire
from usbredir_mtp.protocol.announcements import TRANSITIONS, Device
from usbredir_mtp.protocol.codec import codec_table, encode_packet
from usbredir_mtp.protocol.constants import (
    ENDPOINT_IN,
    HOST_CAPABILITIES,
    NEEDED_CAPABILITY,
    REPLY,
    STREAMS,
    Capability,
    PacketType,
    Side,
    Status,
)
from usbredir_mtp.protocol.errors import LocalProtocolError, RemoteProtocolError
from usbredir_mtp.protocol.faults import find_fault
from usbredir_mtp.protocol.packets import Buffer, BulkPacket, Hello, Packet
from usbredir_mtp.protocol.reader import PacketReader, negotiate
from usbredir_mtp.protocol.requests import Requests
from usbredir_mtp.protocol.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from usbredir_mtp.protocol.packets import (
        AltSettingStatus,
        ConfigurationStatus,
        FilterFilter,
        InterruptPacket,
    )
    from usbredir_mtp.protocol.streams import StreamStatus

_BULK = int(PacketType.BULK_PACKET)
_BULK_SIZE = wire.WIDE_BULK_BODY
_MAX_BYTE = 0xFF

_PASSES_UNPLUGGED = frozenset({PacketType.DEVICE_DISCONNECT_ACK, PacketType.FILTER_FILTER})
"""What is not for the old device, of what comes between device_disconnect and its ack."""


class HostConnection:
    """One connection with one guest.

    Attributes:
        version: The text that our hello carries.
    """

    def __init__(
        self,
        version: str = "usbredir-mtp",
        capabilities: Collection[Capability] = HOST_CAPABILITIES,
    ) -> None:
        """Be ready for a connection on which we announce these capabilities.

        Raises:
            LocalProtocolError: Bulk streams without ep_info_max_packet_size must not be announced.
        """
        self.version = version
        self._ours = frozenset(capabilities)
        if negotiate(self._ours, self._ours) != self._ours:
            raise LocalProtocolError("BULK_STREAMS needs EP_INFO_MAX_PACKET_SIZE")
        self._greeted = False
        self._reader = PacketReader(Side.GUEST, self._ours)
        self._table = codec_table(frozenset())
        self._pack_bulk: Callable[..., bytes] | None = None  # once it is known that ids and lengths are wide
        self._device = Device.ABSENT
        self._acks_due = 0
        self._requests = Requests()
        self._streams = Streams()
        self._refused: frozenset[PacketType] = frozenset()
        self._unsendable: frozenset[PacketType] = frozenset()
        self._on_send = self._senders()

    @property
    def peer(self) -> Hello | None:
        """The guest's hello, once received. Its version is a stranger's text."""
        return self._reader.peer

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What was negotiated: what both sides can do. Empty before the guest's hello."""
        return self._reader.capabilities

    @property
    def outstanding(self) -> int:
        """How many requests await their reply."""
        return len(self._requests)

    def next_interrupt_id(self, endpoint: int) -> int:
        """The id that the next interrupt packet from this endpoint must have; sending it moves on.

        Raises:
            LocalProtocolError: The guest is not receiving from this endpoint.
        """
        return self._streams.next_id(PacketType.INTERRUPT_PACKET, endpoint)

    def hello(self) -> bytes:
        """Our first packet; send it at once, without waiting for the guest's.

        Raises:
            LocalProtocolError: It was sent before, or the version is no ASCII text of up to 63 bytes.
        """
        if self._greeted:
            raise LocalProtocolError("hello is sent once")
        [data] = encode_packet(self._table, Hello(self.version, self._ours))
        self._greeted = True
        return bytes(data)

    def receive_data(self, data: Buffer) -> list[Packet]:
        """The packets that are complete with these bytes, in order; the first is the guest's Hello.

        What the guest had sent for a device before it acknowledged its disconnection is left out.

        Raises:
            RemoteProtocolError: The guest broke the protocol. All later calls raise it too.
        """
        packets = self._reader.feed(data)
        try:
            return [packet for packet in packets if self._received(packet)]
        except RemoteProtocolError as error:
            self._reader.fail(error)
            raise

    def send(self, packet: Packet) -> list[Buffer]:
        """The bytes of a packet, in one piece or with the payload, not copied, as the second.

        Raises:
            LocalProtocolError: This packet must not be sent, or not now. Nothing has changed.
        """
        if not self._greeted or self._reader.peer is None:
            raise LocalProtocolError(f"{packet.type.name} before hello was sent and received")
        check = self._on_send.get(packet.type)
        if check is None:
            raise LocalProtocolError(f"{packet.type.name} is not for send()")
        if packet.type in self._unsendable:
            raise LocalProtocolError(f"{packet.type.name}: the guest does not know it")
        fault = find_fault(packet, Side.HOST)
        if fault:
            raise LocalProtocolError(f"{packet.type.name} {fault}")
        data = encode_packet(self._table, packet)
        check(packet)
        return data

    def complete_bulk(self, endpoint: int, packet_id: int, status: int, length: int, data: Buffer) -> list[Buffer]:
        """The fast path of `send` for the completion of a bulk transfer; the same but for speed.

        Raises:
            LocalProtocolError: As `send` does.
        """
        pack, moved = self._pack_bulk, len(data)
        if (
            pack is not None
            and moved == (length if endpoint & ENDPOINT_IN else 0)
            and 0 <= status <= _MAX_BYTE
            and not (type(data) is memoryview and data.nbytes != moved)
            and self._requests.settle_bulk(packet_id, endpoint, length)
        ):
            head = pack(_BULK, _BULK_SIZE + moved, packet_id, endpoint, status, length & 0xFFFF, 0, length >> 16)
            return [head, data] if moved else [head]
        return self.send(BulkPacket(endpoint, status, length, 0, data, id=packet_id))

    def _received(self, packet: Packet) -> bool:
        """Take note of a packet; whether to hand it up."""
        if type(packet) is BulkPacket and not self._acks_due:
            self._requests.add_bulk(packet)
            return True
        kind = packet.type
        if self._acks_due and kind not in _PASSES_UNPLUGGED:
            return False
        if kind in self._refused:
            raise RemoteProtocolError(f"{kind.name}, which was not announced")
        if kind in REPLY:
            self._requests.add(packet)
        elif kind is PacketType.CANCEL_DATA_PACKET:
            self._requests.cancel(packet.id)
        elif kind is PacketType.DEVICE_DISCONNECT_ACK:
            self._acknowledged()
        elif isinstance(packet, Hello):
            self._negotiated(packet)
        return True

    def _negotiated(self, hello: Hello) -> None:
        """A packet's receiver allows it; for a request it must be the guest, whom the reply is for."""
        self._table = codec_table(self.capabilities)
        if self.capabilities >= wire.WIDE:
            self._pack_bulk = wire.WIDE_BULK.pack
        self._refused = frozenset(
            kind
            for kind, needed in NEEDED_CAPABILITY.items()
            if needed not in (hello.capabilities if kind in REPLY else self._ours)
        )
        self._unsendable = frozenset(
            kind for kind, needed in NEEDED_CAPABILITY.items() if needed not in hello.capabilities
        )

    def _acknowledged(self) -> None:
        if not self._acks_due:
            raise RemoteProtocolError("DEVICE_DISCONNECT_ACK, but nothing to acknowledge")
        self._acks_due -= 1

    def _announce(self, packet: Packet) -> None:
        """ep_info, interface_info, device_connect; device_disconnect ends all that was going on."""
        step = (self._device, packet.type)
        if step not in TRANSITIONS:
            raise LocalProtocolError(f"{packet.type.name} in the state: {self._device.value}")
        self._device = TRANSITIONS[step]
        if packet.type is PacketType.DEVICE_DISCONNECT:
            self._requests.clear()
            self._streams.clear()
            self._acks_due += Capability.DEVICE_DISCONNECT_ACK in self.capabilities

    def _reply(self, packet: Packet) -> None:
        self._requests.settle(packet)

    def _setting_status(self, packet: ConfigurationStatus | AltSettingStatus) -> None:
        if packet.status == Status.SUCCESS and self._device is Device.ABSENT:
            raise LocalProtocolError(f"{packet.type.name} reports success before any EP_INFO")
        self._requests.settle(packet)

    def _interrupt(self, packet: InterruptPacket) -> None:
        """Unasked from IN endpoints, a completion for the others."""
        if packet.endpoint & ENDPOINT_IN:
            self._streams.sent(packet)
        else:
            self._requests.settle(packet)

    def _stream_status(self, packet: StreamStatus) -> None:
        """A reply; or, unasked, that a stream broke: with STALL, whatever the reason was."""
        if self._requests.expects(packet):
            self._streams.answered(self._requests.settle(packet), packet)
        elif packet.id == 0 and packet.status == Status.STALL and self._streams.is_running(packet):
            self._streams.broke(packet)
        else:
            raise LocalProtocolError(f"{packet.type.name} answers nothing, and no stream broke")

    def _free(self, _packet: FilterFilter) -> None:
        """A filter may go at any time."""

    def _senders(self) -> dict[PacketType, Callable[[Any], None]]:
        """For each type that a host may send: what to check and to note when it leaves."""
        table: dict[PacketType, Callable[[Any], None]] = dict.fromkeys(REPLY.values(), self._reply)
        table |= {kind: self._announce for _state, kind in TRANSITIONS}
        table |= {stream.status: self._stream_status for stream in STREAMS}
        table |= {stream.data: self._streams.sent for stream in STREAMS}
        return table | {
            PacketType.CONFIGURATION_STATUS: self._setting_status,
            PacketType.ALT_SETTING_STATUS: self._setting_status,
            PacketType.INTERRUPT_PACKET: self._interrupt,
            PacketType.FILTER_FILTER: self._free,
        }
