"""Descriptors: dataclasses to bytes (USB 2.0, 9.6; USB 3.2, 9.6; Microsoft OS 1.0 Descriptors Specification)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import construct as c

from usbredir_mtp.device.usb import Speed, TransferType


class DescriptorType(IntEnum):
    """bDescriptorType (USB 3.2, table 9-6)."""

    DEVICE = 1
    CONFIGURATION = 2
    STRING = 3
    INTERFACE = 4
    ENDPOINT = 5
    DEVICE_QUALIFIER = 6
    OTHER_SPEED_CONFIGURATION = 7
    BOS = 15
    DEVICE_CAPABILITY = 16
    SUPERSPEED_ENDPOINT_COMPANION = 48


LANGUAGE = 0x0409
"""The one language of our strings: English (United States)."""

MS_OS_STRING_INDEX = 0xEE
MS_VENDOR_CODE = 0x01
"""The vendor request by which Windows fetches the compatible id; any number of ours."""

_DEVICE = c.Struct(
    "length" / c.Const(18, c.Int8ul),
    "type" / c.Const(int(DescriptorType.DEVICE), c.Int8ul),
    "usb_version" / c.Int16ul,
    "class_" / c.Const(0, c.Int8ul),
    "subclass" / c.Const(0, c.Int8ul),
    "protocol" / c.Const(0, c.Int8ul),
    "max_packet_0" / c.Int8ul,
    "vendor" / c.Int16ul,
    "product" / c.Int16ul,
    "release" / c.Int16ul,
    "manufacturer_index" / c.Int8ul,
    "product_index" / c.Int8ul,
    "serial_index" / c.Int8ul,
    "configurations" / c.Const(1, c.Int8ul),
)

_QUALIFIER = c.Struct(
    "length" / c.Const(10, c.Int8ul),
    "type" / c.Const(int(DescriptorType.DEVICE_QUALIFIER), c.Int8ul),
    "usb_version" / c.Const(0x0200, c.Int16ul),
    "class_" / c.Const(0, c.Int8ul),
    "subclass" / c.Const(0, c.Int8ul),
    "protocol" / c.Const(0, c.Int8ul),
    "max_packet_0" / c.Const(64, c.Int8ul),
    "configurations" / c.Const(1, c.Int8ul),
    "reserved" / c.Const(0, c.Int8ul),
)

_CONFIGURATION = c.Struct(
    "length" / c.Const(9, c.Int8ul),
    "type" / c.Int8ul,
    "total_length" / c.Rebuild(c.Int16ul, lambda this: 9 + len(this.rest)),
    "interfaces" / c.Const(1, c.Int8ul),
    "value" / c.Int8ul,
    "name_index" / c.Const(0, c.Int8ul),
    "attributes" / c.Const(0x80, c.Int8ul),  # powered by the bus, no remote wake-up
    "max_power" / c.Int8ul,
    "rest" / c.GreedyBytes,
)

_INTERFACE = c.Struct(
    "length" / c.Const(9, c.Int8ul),
    "type" / c.Const(int(DescriptorType.INTERFACE), c.Int8ul),
    "number" / c.Int8ul,
    "alternate" / c.Const(0, c.Int8ul),
    "endpoints" / c.Int8ul,
    "class_" / c.Int8ul,
    "subclass" / c.Int8ul,
    "protocol" / c.Int8ul,
    "name_index" / c.Int8ul,
)

_ENDPOINT = c.Struct(
    "length" / c.Const(7, c.Int8ul),
    "type" / c.Const(int(DescriptorType.ENDPOINT), c.Int8ul),
    "address" / c.Int8ul,
    "attributes" / c.Int8ul,
    "max_packet" / c.Int16ul,
    "interval" / c.Int8ul,
)

_COMPANION = c.Struct(
    "length" / c.Const(6, c.Int8ul),
    "type" / c.Const(int(DescriptorType.SUPERSPEED_ENDPOINT_COMPANION), c.Int8ul),
    "max_burst" / c.Int8ul,
    "attributes" / c.Const(0, c.Int8ul),
    "bytes_per_interval" / c.Int16ul,
)

_STRING = c.Struct(
    "length" / c.Rebuild(c.Int8ul, lambda this: 2 + len(this.units)),
    "type" / c.Const(int(DescriptorType.STRING), c.Int8ul),
    "units" / c.GreedyBytes,
)

# USB 3.2, 9.6.2: BOS, USB 2.0 extension (link power management), SuperSpeed capability (full speed and up; exit
# latencies of a device that never sleeps).
_BOS = c.Struct(
    "bos" / c.Const(bytes([5, DescriptorType.BOS, 22, 0, 2])),
    "usb2_extension" / c.Const(bytes([7, DescriptorType.DEVICE_CAPABILITY, 2, 0x02, 0, 0, 0])),
    "superspeed" / c.Const(bytes([10, DescriptorType.DEVICE_CAPABILITY, 3, 0, 0x0E, 0, 1, 0, 0, 0])),
)

_MS_OS_STRING = c.Struct(
    "length" / c.Const(18, c.Int8ul),
    "type" / c.Const(int(DescriptorType.STRING), c.Int8ul),
    "signature" / c.Const("MSFT100".encode("utf-16-le")),
    "vendor_code" / c.Const(MS_VENDOR_CODE, c.Int8ul),
    "pad" / c.Const(0, c.Int8ul),
)

_MS_COMPATIBLE_ID = c.Struct(
    "length" / c.Const(40, c.Int32ul),
    "version" / c.Const(0x0100, c.Int16ul),
    "index" / c.Const(4, c.Int16ul),
    "sections" / c.Const(1, c.Int8ul),
    "reserved" / c.Const(bytes(7)),
    "first_interface" / c.Const(0, c.Int8ul),
    "reserved_1" / c.Const(1, c.Int8ul),
    "compatible_id" / c.Const(b"MTP".ljust(8, b"\0")),
    "sub_compatible_id" / c.Const(bytes(8)),
    "reserved_6" / c.Const(bytes(6)),
)


@dataclass(slots=True, frozen=True)
class EndpointDescriptor:
    """One endpoint; `interval` as bInterval has it, `max_burst` only at super speed."""

    address: int
    transfer_type: TransferType
    max_packet: int
    interval: int = 0
    max_burst: int = 0

    def encode(self, speed: Speed) -> bytes:
        """The descriptor, at super speed with its companion."""
        data = _ENDPOINT.build(
            {
                "address": self.address,
                "attributes": self.transfer_type,
                "max_packet": self.max_packet,
                "interval": self.interval,
            }
        )
        if speed < Speed.SUPER:
            return data
        periodic = self.max_packet if self.transfer_type is TransferType.INTERRUPT else 0
        return data + _COMPANION.build({"max_burst": self.max_burst, "bytes_per_interval": periodic})


@dataclass(slots=True, frozen=True)
class InterfaceDescriptor:
    """One interface with its endpoints."""

    number: int
    class_: int
    subclass: int
    protocol: int
    name_index: int
    endpoints: tuple[EndpointDescriptor, ...]

    def encode(self, speed: Speed) -> bytes:
        """The descriptor, followed by its endpoints'."""
        head = _INTERFACE.build(
            {
                "number": self.number,
                "endpoints": len(self.endpoints),
                "class_": self.class_,
                "subclass": self.subclass,
                "protocol": self.protocol,
                "name_index": self.name_index,
            }
        )
        return head + b"".join(endpoint.encode(speed) for endpoint in self.endpoints)


def encode_device(speed: Speed, vendor: int, product: int, release: int, string_indices: tuple[int, int, int]) -> bytes:
    """The device descriptor; indices of manufacturer, product and serial number."""
    manufacturer, product_name, serial = string_indices
    return _DEVICE.build(
        {
            "usb_version": 0x0300 if speed is Speed.SUPER else 0x0200,
            "max_packet_0": 9 if speed is Speed.SUPER else 64,  # an exponent at super speed (USB 3.2, 9.6.1)
            "vendor": vendor,
            "product": product,
            "release": release,
            "manufacturer_index": manufacturer,
            "product_index": product_name,
            "serial_index": serial,
        }
    )


def encode_configuration(
    speed: Speed, value: int, interface: InterfaceDescriptor, type_: DescriptorType = DescriptorType.CONFIGURATION
) -> bytes:
    """The configuration with all that belongs to it, of the given type (the other speed's has one of its own)."""
    power = 896 // 8 if speed is Speed.SUPER else 500 // 2  # mA, in the units of bMaxPower
    rest = interface.encode(speed)
    return _CONFIGURATION.build({"type": type_, "value": value, "max_power": power, "rest": rest})


def encode_string(text: str) -> bytes:
    """A string descriptor of at most 126 UTF-16 units."""
    return _STRING.build({"units": text.encode("utf-16-le")})


def encode_languages() -> bytes:
    """String descriptor zero: the languages (USB 2.0, table 9-15)."""
    return _STRING.build({"units": LANGUAGE.to_bytes(2, "little")})


DEVICE_QUALIFIER = _QUALIFIER.build({})
"""What the device would be at its other speed: the same (USB 2.0, 9.6.2)."""

BOS = _BOS.build({})
MS_OS_STRING = _MS_OS_STRING.build({})
MS_COMPATIBLE_ID = _MS_COMPATIBLE_ID.build({})
