"""One dataclass a packet type of usbredir 0.7.

Fields bear the names and the order of `usbredirproto.h`; all are plain integers as on the wire (members
of `Status`, `Speed` and `TransferType` are integers too). `id` is the guest's for requests and replies,
a count for data sent unasked, and 0 for everything else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from usbredir_mtp.protocol.constants import ENDPOINT_COUNT, Capability, PacketType

Buffer = bytes | bytearray | memoryview


@dataclass(slots=True)
class Packet:
    """What all packets have."""

    type: ClassVar[PacketType]
    id: int = field(default=0, kw_only=True)


@dataclass(slots=True)
class Hello(Packet):
    """Each side's first packet: a free text, and what it can do. Capabilities unknown to us are left out."""

    type = PacketType.HELLO
    version: str
    capabilities: frozenset[Capability]


@dataclass(slots=True)
class DeviceConnect(Packet):
    """A device was plugged in. The version is sent only if negotiated, and reads as 0 if not."""

    type = PacketType.DEVICE_CONNECT
    speed: int
    device_class: int
    device_subclass: int
    device_protocol: int
    vendor_id: int
    product_id: int
    device_version_bcd: int = 0


@dataclass(slots=True)
class DeviceDisconnect(Packet):
    """The device was unplugged."""

    type = PacketType.DEVICE_DISCONNECT


@dataclass(slots=True)
class Reset(Packet):
    """The guest resets the device; there is no reply."""

    type = PacketType.RESET


@dataclass(slots=True)
class InterfaceInfo(Packet):
    """The device's interfaces, at most 32: equally long rows of numbers, classes, subclasses, protocols."""

    type = PacketType.INTERFACE_INFO
    interface: tuple[int, ...]
    interface_class: tuple[int, ...]
    interface_subclass: tuple[int, ...]
    interface_protocol: tuple[int, ...]

    @property
    def interface_count(self) -> int:
        """How many there are."""
        return len(self.interface)


NO_ENDPOINT_VALUES = (0,) * ENDPOINT_COUNT


@dataclass(slots=True)
class EpInfo(Packet):
    """The device's endpoints: 32 values a row, addresses 0x00-0x0f and then 0x80-0x8f.

    `max_packet_size` and `max_streams` are sent only if negotiated, and read as zeros if not.
    """

    type = PacketType.EP_INFO
    endpoint_type: tuple[int, ...]
    interval: tuple[int, ...]
    interface: tuple[int, ...]
    max_packet_size: tuple[int, ...] = NO_ENDPOINT_VALUES
    max_streams: tuple[int, ...] = NO_ENDPOINT_VALUES


@dataclass(slots=True)
class SetConfiguration(Packet):
    """Request: choose a configuration."""

    type = PacketType.SET_CONFIGURATION
    configuration: int


@dataclass(slots=True)
class GetConfiguration(Packet):
    """Request: which configuration is active?"""

    type = PacketType.GET_CONFIGURATION


@dataclass(slots=True)
class ConfigurationStatus(Packet):
    """Reply to SetConfiguration and GetConfiguration."""

    type = PacketType.CONFIGURATION_STATUS
    status: int
    configuration: int


@dataclass(slots=True)
class SetAltSetting(Packet):
    """Request: choose an interface's alternate setting."""

    type = PacketType.SET_ALT_SETTING
    interface: int
    alt: int


@dataclass(slots=True)
class GetAltSetting(Packet):
    """Request: which alternate setting is active?"""

    type = PacketType.GET_ALT_SETTING
    interface: int


@dataclass(slots=True)
class AltSettingStatus(Packet):
    """Reply to SetAltSetting and GetAltSetting."""

    type = PacketType.ALT_SETTING_STATUS
    status: int
    interface: int
    alt: int


@dataclass(slots=True)
class StartIsoStream(Packet):
    """Request: start an isochronous stream."""

    type = PacketType.START_ISO_STREAM
    endpoint: int
    pkts_per_urb: int
    no_urbs: int


@dataclass(slots=True)
class StopIsoStream(Packet):
    """Request: stop an isochronous stream."""

    type = PacketType.STOP_ISO_STREAM
    endpoint: int


@dataclass(slots=True)
class IsoStreamStatus(Packet):
    """Reply to StartIsoStream and StopIsoStream; unasked, with STALL and id 0, when a stream broke."""

    type = PacketType.ISO_STREAM_STATUS
    status: int
    endpoint: int


@dataclass(slots=True)
class StartInterruptReceiving(Packet):
    """Request: poll an interrupt IN endpoint from now on, and send what comes."""

    type = PacketType.START_INTERRUPT_RECEIVING
    endpoint: int


@dataclass(slots=True)
class StopInterruptReceiving(Packet):
    """Request: poll it no longer."""

    type = PacketType.STOP_INTERRUPT_RECEIVING
    endpoint: int


@dataclass(slots=True)
class InterruptReceivingStatus(Packet):
    """Reply to Start- and StopInterruptReceiving; unasked, with STALL and id 0, when receiving broke."""

    type = PacketType.INTERRUPT_RECEIVING_STATUS
    status: int
    endpoint: int


@dataclass(slots=True)
class AllocBulkStreams(Packet):
    """Request: allocate USB 3 streams on the endpoints of a bit mask (bits as EpInfo's rows)."""

    type = PacketType.ALLOC_BULK_STREAMS
    endpoints: int
    no_streams: int


@dataclass(slots=True)
class FreeBulkStreams(Packet):
    """Request: free the streams of the endpoints of a bit mask."""

    type = PacketType.FREE_BULK_STREAMS
    endpoints: int


@dataclass(slots=True)
class BulkStreamsStatus(Packet):
    """Reply to AllocBulkStreams and FreeBulkStreams."""

    type = PacketType.BULK_STREAMS_STATUS
    endpoints: int
    no_streams: int
    status: int


@dataclass(slots=True)
class CancelDataPacket(Packet):
    """Cancel the transfer with this id, which still gets its one reply."""

    type = PacketType.CANCEL_DATA_PACKET


@dataclass(slots=True)
class FilterReject(Packet):
    """The guest refuses the device."""

    type = PacketType.FILTER_REJECT


@dataclass(slots=True)
class FilterFilter(Packet):
    """The sender's device filter, as text: see `usbredir_mtp.protocol.filters`."""

    type = PacketType.FILTER_FILTER
    filter: str


@dataclass(slots=True)
class DeviceDisconnectAck(Packet):
    """The guest has seen DeviceDisconnect, and sends nothing more for the old device."""

    type = PacketType.DEVICE_DISCONNECT_ACK


@dataclass(slots=True)
class StartBulkReceiving(Packet):
    """Request: keep transfers submitted to a bulk IN endpoint, and send what comes."""

    type = PacketType.START_BULK_RECEIVING
    stream_id: int
    bytes_per_transfer: int
    endpoint: int
    no_transfers: int


@dataclass(slots=True)
class StopBulkReceiving(Packet):
    """Request: end bulk receiving."""

    type = PacketType.STOP_BULK_RECEIVING
    stream_id: int
    endpoint: int


@dataclass(slots=True)
class BulkReceivingStatus(Packet):
    """Reply to Start- and StopBulkReceiving; unasked, with STALL and id 0, when receiving broke."""

    type = PacketType.BULK_RECEIVING_STATUS
    stream_id: int
    endpoint: int
    status: int


@dataclass(slots=True)
class ControlPacket(Packet):
    """A control transfer or its completion; data goes in the direction of the endpoint's IN bit."""

    type = PacketType.CONTROL_PACKET
    endpoint: int
    request: int
    requesttype: int
    status: int
    value: int
    index: int
    length: int
    data: Buffer = b""


@dataclass(slots=True)
class BulkPacket(Packet):
    """A bulk transfer or its completion: `length` is what is asked for or sent, then what was moved.

    Data goes in the direction of the endpoint's IN bit. `length` has 32 bits if negotiated, else 16.
    """

    type = PacketType.BULK_PACKET
    endpoint: int
    status: int
    length: int
    stream_id: int
    data: Buffer = b""


@dataclass(slots=True)
class IsoPacket(Packet):
    """A frame of an isochronous stream, in the direction of the endpoint's IN bit."""

    type = PacketType.ISO_PACKET
    endpoint: int
    status: int
    length: int
    data: Buffer = b""


@dataclass(slots=True)
class InterruptPacket(Packet):
    """Unasked from an IN endpoint; or a transfer to an OUT endpoint, and its completion."""

    type = PacketType.INTERRUPT_PACKET
    endpoint: int
    status: int
    length: int
    data: Buffer = b""


@dataclass(slots=True)
class BufferedBulkPacket(Packet):
    """Unasked data from a bulk IN endpoint that bulk receiving was started on."""

    type = PacketType.BUFFERED_BULK_PACKET
    stream_id: int
    length: int
    endpoint: int
    status: int
    data: Buffer = b""


TransferPacket = ControlPacket | BulkPacket | IsoPacket | InterruptPacket | BufferedBulkPacket
"""The packets that have data."""

CLASSES: dict[PacketType, type[Packet]] = {
    value.type: value
    for value in list(globals().values())
    if isinstance(value, type) and issubclass(value, Packet) and value is not Packet
}
"""The class of each packet type."""
