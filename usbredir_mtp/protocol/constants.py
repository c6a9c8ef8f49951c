"""The numbers and the tables of the usbredir protocol, version 0.7.

Source: "USB Network Redirection protocol description version 0.7", and `usbredirproto.h`.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple


class PacketType(IntEnum):
    """The header's type field ("Packet type list"); data packets start at 100."""

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
    CONTROL_PACKET = 100
    BULK_PACKET = 101
    ISO_PACKET = 102
    INTERRUPT_PACKET = 103
    BUFFERED_BULK_PACKET = 104


class Capability(IntEnum):
    """Bit numbers in the hello packet's capability words ("usb_redir_hello")."""

    BULK_STREAMS = 0
    CONNECT_DEVICE_VERSION = 1
    FILTER = 2
    DEVICE_DISCONNECT_ACK = 3
    EP_INFO_MAX_PACKET_SIZE = 4
    IDS_64BITS = 5
    BULK_LENGTH_32BITS = 6
    BULK_RECEIVING = 7


class Status(IntEnum):
    """How a request ended ("Status code list"); a value that is not listed is an error too."""

    SUCCESS = 0
    CANCELLED = 1
    INVAL = 2
    IOERROR = 3
    STALL = 4
    TIMEOUT = 5
    BABBLE = 6


class Speed(IntEnum):
    """The speed in device_connect."""

    LOW = 0
    FULL = 1
    HIGH = 2
    SUPER = 3
    UNKNOWN = 255


class TransferType(IntEnum):
    """An endpoint's type in ep_info; INVALID marks an endpoint that does not exist."""

    CONTROL = 0
    ISO = 1
    BULK = 2
    INTERRUPT = 3
    INVALID = 255


class Side(Enum):
    """The two ends: the usb-host has the device, the usb-guest uses it."""

    HOST = "usb-host"
    GUEST = "usb-guest"


class Stream(NamedTuple):
    """The packet types of one kind of stream, in which the host sends data unasked between start and stop."""

    start: PacketType
    stop: PacketType
    status: PacketType
    data: PacketType


HOST_CAPABILITIES = frozenset(Capability) - {Capability.BULK_STREAMS, Capability.BULK_RECEIVING}
"""What we announce: bulk streams need USB 3 streams in the device, and bulk receiving is not for
endpoints that answer commands."""

ENDPOINT_IN = 0x80
"""The direction bit of endpoint addresses and of bmRequestType: from the device to the guest."""

ENDPOINT_COUNT = 32
"""Rows of ep_info: addresses 0x00-0x0f, then 0x80-0x8f."""

INTERFACE_COUNT = 32
"""Rows of interface_info."""

VERSION_SIZE = 64
"""Bytes of hello's version text, its closing NUL included."""

MAX_BULK_TRANSFER = 32 << 20
"""Bytes of one bulk transfer: twice what Linux's usbfs lets a process have in flight."""

MAX_DATA = 0xFFFF
"""Bytes of data in any other packet: their length fields have 16 bits. It bounds hello and filters too."""

MAX_OUTSTANDING = 4096
"""Requests that may await their replies: QEMU's controllers keep up to 64 in flight on an endpoint,
and there are 32 endpoints."""

HOST_ONLY = frozenset({Side.HOST})
GUEST_ONLY = frozenset({Side.GUEST})
BOTH = HOST_ONLY | GUEST_ONLY

SENDERS: dict[PacketType, frozenset[Side]] = {
    PacketType.HELLO: BOTH,
    PacketType.DEVICE_CONNECT: HOST_ONLY,
    PacketType.DEVICE_DISCONNECT: HOST_ONLY,
    PacketType.RESET: GUEST_ONLY,
    PacketType.INTERFACE_INFO: HOST_ONLY,
    PacketType.EP_INFO: HOST_ONLY,
    PacketType.SET_CONFIGURATION: GUEST_ONLY,
    PacketType.GET_CONFIGURATION: GUEST_ONLY,
    PacketType.CONFIGURATION_STATUS: HOST_ONLY,
    PacketType.SET_ALT_SETTING: GUEST_ONLY,
    PacketType.GET_ALT_SETTING: GUEST_ONLY,
    PacketType.ALT_SETTING_STATUS: HOST_ONLY,
    PacketType.START_ISO_STREAM: GUEST_ONLY,
    PacketType.STOP_ISO_STREAM: GUEST_ONLY,
    PacketType.ISO_STREAM_STATUS: HOST_ONLY,
    PacketType.START_INTERRUPT_RECEIVING: GUEST_ONLY,
    PacketType.STOP_INTERRUPT_RECEIVING: GUEST_ONLY,
    PacketType.INTERRUPT_RECEIVING_STATUS: HOST_ONLY,
    PacketType.ALLOC_BULK_STREAMS: GUEST_ONLY,
    PacketType.FREE_BULK_STREAMS: GUEST_ONLY,
    PacketType.BULK_STREAMS_STATUS: HOST_ONLY,
    PacketType.CANCEL_DATA_PACKET: GUEST_ONLY,
    PacketType.FILTER_REJECT: GUEST_ONLY,
    PacketType.FILTER_FILTER: BOTH,
    PacketType.DEVICE_DISCONNECT_ACK: GUEST_ONLY,
    PacketType.START_BULK_RECEIVING: GUEST_ONLY,
    PacketType.STOP_BULK_RECEIVING: GUEST_ONLY,
    PacketType.BULK_RECEIVING_STATUS: HOST_ONLY,
    PacketType.CONTROL_PACKET: BOTH,
    PacketType.BULK_PACKET: BOTH,
    PacketType.ISO_PACKET: BOTH,
    PacketType.INTERRUPT_PACKET: BOTH,
    PacketType.BUFFERED_BULK_PACKET: HOST_ONLY,
}
"""Which side may send which packet."""

NEEDED_CAPABILITY: dict[PacketType, Capability] = {
    PacketType.ALLOC_BULK_STREAMS: Capability.BULK_STREAMS,
    PacketType.FREE_BULK_STREAMS: Capability.BULK_STREAMS,
    PacketType.BULK_STREAMS_STATUS: Capability.BULK_STREAMS,
    PacketType.FILTER_REJECT: Capability.FILTER,
    PacketType.FILTER_FILTER: Capability.FILTER,
    PacketType.START_BULK_RECEIVING: Capability.BULK_RECEIVING,
    PacketType.STOP_BULK_RECEIVING: Capability.BULK_RECEIVING,
    PacketType.BULK_RECEIVING_STATUS: Capability.BULK_RECEIVING,
    PacketType.BUFFERED_BULK_PACKET: Capability.BULK_RECEIVING,
}
"""Packets that only a side with this capability understands."""

REPLY: dict[PacketType, PacketType] = {
    PacketType.SET_CONFIGURATION: PacketType.CONFIGURATION_STATUS,
    PacketType.GET_CONFIGURATION: PacketType.CONFIGURATION_STATUS,
    PacketType.SET_ALT_SETTING: PacketType.ALT_SETTING_STATUS,
    PacketType.GET_ALT_SETTING: PacketType.ALT_SETTING_STATUS,
    PacketType.START_ISO_STREAM: PacketType.ISO_STREAM_STATUS,
    PacketType.STOP_ISO_STREAM: PacketType.ISO_STREAM_STATUS,
    PacketType.START_INTERRUPT_RECEIVING: PacketType.INTERRUPT_RECEIVING_STATUS,
    PacketType.STOP_INTERRUPT_RECEIVING: PacketType.INTERRUPT_RECEIVING_STATUS,
    PacketType.ALLOC_BULK_STREAMS: PacketType.BULK_STREAMS_STATUS,
    PacketType.FREE_BULK_STREAMS: PacketType.BULK_STREAMS_STATUS,
    PacketType.START_BULK_RECEIVING: PacketType.BULK_RECEIVING_STATUS,
    PacketType.STOP_BULK_RECEIVING: PacketType.BULK_RECEIVING_STATUS,
    PacketType.CONTROL_PACKET: PacketType.CONTROL_PACKET,
    PacketType.BULK_PACKET: PacketType.BULK_PACKET,
    PacketType.INTERRUPT_PACKET: PacketType.INTERRUPT_PACKET,
}
"""The guest's requests, and the one packet that answers each. An iso OUT packet gets no answer."""

STREAMS: tuple[Stream, ...] = (
    Stream(
        PacketType.START_ISO_STREAM,
        PacketType.STOP_ISO_STREAM,
        PacketType.ISO_STREAM_STATUS,
        PacketType.ISO_PACKET,
    ),
    Stream(
        PacketType.START_INTERRUPT_RECEIVING,
        PacketType.STOP_INTERRUPT_RECEIVING,
        PacketType.INTERRUPT_RECEIVING_STATUS,
        PacketType.INTERRUPT_PACKET,
    ),
    Stream(
        PacketType.START_BULK_RECEIVING,
        PacketType.STOP_BULK_RECEIVING,
        PacketType.BULK_RECEIVING_STATUS,
        PacketType.BUFFERED_BULK_PACKET,
    ),
)
