"""What our device consists of: one interface with three endpoints, at each speed."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from usbredir_mtp.device.descriptors import (
    BOS,
    DEVICE_QUALIFIER,
    MS_OS_STRING,
    MS_OS_STRING_INDEX,
    DescriptorType,
    EndpointDescriptor,
    InterfaceDescriptor,
    encode_configuration,
    encode_device,
    encode_languages,
    encode_string,
)
from usbredir_mtp.device.usb import Speed, TransferType

if TYPE_CHECKING:
    from usbredir_mtp.device.identity import Identity

BULK_IN = 0x81
BULK_OUT = 0x02
INTERRUPT_IN = 0x83

CONFIGURATION = 1
INTERFACE = 0

STILL_IMAGE = (0x06, 0x01, 0x01)
"""Class, subclass, protocol: Still Image Capture, PIMA 15740 over bulk-only (which is what MTP devices report)."""

INTERFACE_NAME = "MTP"
"""libudev's mtp-probe takes a device with this text for an MTP device without asking it."""

BULK_MAX_PACKET = {Speed.FULL: 64, Speed.HIGH: 512, Speed.SUPER: 1024}
INTERRUPT_MAX_PACKET = 28
"""An event has at most 24 bytes: always a short packet."""

INTERRUPT_INTERVAL = 6
"""bInterval, as Android has it: 6 ms at full speed, else 2^(6-1) microframes, 4 ms."""

_MAX_BURST = 15
"""Sixteen packets at a time, the most there is (USB 3.2, 9.6.7): we are never short of room."""

_OTHER_SPEED = {Speed.FULL: Speed.HIGH, Speed.HIGH: Speed.FULL}


class StringIndex(IntEnum):
    """Numbers of our string descriptors."""

    LANGUAGES = 0
    MANUFACTURER = 1
    PRODUCT = 2
    SERIAL = 3
    INTERFACE = 4


def interface(speed: Speed) -> InterfaceDescriptor:
    """The interface at a speed."""
    bulk = BULK_MAX_PACKET[speed]
    burst = _MAX_BURST if speed is Speed.SUPER else 0
    return InterfaceDescriptor(
        INTERFACE,
        *STILL_IMAGE,
        name_index=StringIndex.INTERFACE,
        endpoints=(
            EndpointDescriptor(BULK_IN, TransferType.BULK, bulk, max_burst=burst),
            EndpointDescriptor(BULK_OUT, TransferType.BULK, bulk, max_burst=burst),
            EndpointDescriptor(INTERRUPT_IN, TransferType.INTERRUPT, INTERRUPT_MAX_PACKET, INTERRUPT_INTERVAL),
        ),
    )


def descriptor_table(identity: Identity, speed: Speed) -> dict[tuple[int, int], bytes]:
    """Every descriptor that GET_DESCRIPTOR answers, by type and index."""
    strings = {
        StringIndex.LANGUAGES: encode_languages(),
        StringIndex.MANUFACTURER: encode_string(identity.manufacturer),
        StringIndex.PRODUCT: encode_string(identity.product_name),
        StringIndex.SERIAL: encode_string(identity.serial),
        StringIndex.INTERFACE: encode_string(INTERFACE_NAME),
        MS_OS_STRING_INDEX: MS_OS_STRING,
    }
    indices = (StringIndex.MANUFACTURER, StringIndex.PRODUCT, StringIndex.SERIAL)
    table: dict[tuple[int, int], bytes] = {
        (DescriptorType.DEVICE, 0): encode_device(speed, identity.vendor, identity.product, identity.release, indices),
        (DescriptorType.CONFIGURATION, 0): encode_configuration(speed, CONFIGURATION, interface(speed)),
        **{(DescriptorType.STRING, index): data for index, data in strings.items()},
    }
    if speed is Speed.SUPER:
        table[DescriptorType.BOS, 0] = BOS
    else:
        other = _OTHER_SPEED[speed]
        table[DescriptorType.DEVICE_QUALIFIER, 0] = DEVICE_QUALIFIER
        table[DescriptorType.OTHER_SPEED_CONFIGURATION, 0] = encode_configuration(
            other, CONFIGURATION, interface(other), DescriptorType.OTHER_SPEED_CONFIGURATION
        )
    return table
