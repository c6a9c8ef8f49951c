"""Control requests: one table of what the device answers; whatever is not in it stalls (USB 2.0, 9.2.7)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from usbredir_mtp.device.descriptors import LANGUAGE, MS_COMPATIBLE_ID, MS_VENDOR_CODE, DescriptorType
from usbredir_mtp.device.usb import DIR_IN, Buffer, Speed, TransferStatus

if TYPE_CHECKING:
    from usbredir_mtp.device.device import Endpoint, VirtualDevice


@dataclass(slots=True, frozen=True)
class SetupPacket:
    """A setup stage (USB 2.0, table 9-2)."""

    request_type: int
    request: int
    value: int
    index: int
    length: int


@dataclass(slots=True, frozen=True)
class ControlReply:
    """How a control transfer ended, with the data of an IN one."""

    status: TransferStatus = TransferStatus.SUCCESS
    data: bytes = b""


class StallError(Exception):
    """The request is not one that the device answers."""


class StandardRequest(IntEnum):
    """bRequest of standard requests (USB 3.2, table 9-5)."""

    GET_STATUS = 0
    CLEAR_FEATURE = 1
    SET_FEATURE = 3
    GET_DESCRIPTOR = 6
    GET_CONFIGURATION = 8
    SET_CONFIGURATION = 9
    GET_INTERFACE = 10
    SET_INTERFACE = 11
    SET_SEL = 48
    SET_ISOCH_DELAY = 49


class ClassRequest(IntEnum):
    """bRequest of the class's requests (Still Image Capture Device Definition 1.0, 5.2)."""

    CANCEL = 0x64
    RESET = 0x66
    GET_DEVICE_STATUS = 0x67


class Feature(IntEnum):
    """Feature selectors (USB 3.2, table 9-7)."""

    ENDPOINT_HALT = 0
    U1_ENABLE = 48
    U2_ENABLE = 49


TO_DEVICE, TO_INTERFACE, TO_ENDPOINT = 0x00, 0x01, 0x02
FROM_DEVICE, FROM_INTERFACE, FROM_ENDPOINT = 0x80, 0x81, 0x82
CLASS_TO_INTERFACE, CLASS_FROM_INTERFACE = 0x21, 0xA1
VENDOR_FROM_DEVICE, VENDOR_FROM_INTERFACE = 0xC0, 0xC1
"""bmRequestType: direction, type, recipient (USB 2.0, table 9-2)."""

CONTROL_PIPE = (0, DIR_IN)
"""The default control pipe's addresses. It is never halted: a stall of it ends with the next request."""

_CANCEL_DATA = struct.Struct("<HI")
_CANCELLATION_CODE = 0x4001
_MS_COMPATIBLE_ID_INDEX = 4

Handler = Callable[["VirtualDevice", SetupPacket, Buffer], bytes]


def _require(condition: object) -> None:
    if not condition:
        raise StallError


def _endpoint(device: VirtualDevice, setup: SetupPacket) -> Endpoint:
    endpoint = device.endpoint(setup.index)
    if endpoint is None:
        raise StallError
    return endpoint


def _device_status(_device: VirtualDevice, _setup: SetupPacket, _data: Buffer) -> bytes:
    return b"\0\0"  # powered by the bus, no remote wake-up


def _interface_status(device: VirtualDevice, setup: SetupPacket, _data: Buffer) -> bytes:
    _require(device.has_interface(setup.index))
    return b"\0\0"


def _endpoint_status(device: VirtualDevice, setup: SetupPacket, _data: Buffer) -> bytes:
    return bytes([setup.index not in CONTROL_PIPE and _endpoint(device, setup).halted, 0])


def _clear_endpoint_feature(device: VirtualDevice, setup: SetupPacket, _data: Buffer) -> bytes:
    _require(setup.value == Feature.ENDPOINT_HALT)
    if setup.index not in CONTROL_PIPE:
        _endpoint(device, setup).clear_halt()
    return b""


def _set_endpoint_feature(device: VirtualDevice, setup: SetupPacket, _data: Buffer) -> bytes:
    """The default control pipe has no halt to set (USB 2.0, 9.4.9)."""
    _require(setup.value == Feature.ENDPOINT_HALT)
    _endpoint(device, setup).halt()
    return b""


def _device_feature(device: VirtualDevice, setup: SetupPacket, _data: Buffer) -> bytes:
    """Link power states are the bus's affair; no remote wake-up, no test modes."""
    _require(device.speed is Speed.SUPER and setup.value in {Feature.U1_ENABLE, Feature.U2_ENABLE})
    return b""


def _get_descriptor(device: VirtualDevice, setup: SetupPacket, _data: Buffer) -> bytes:
    kind, index = setup.value >> 8, setup.value & 0xFF
    if kind == DescriptorType.STRING and index:
        _require(setup.index in {0, LANGUAGE})
    data = device.descriptors.get((kind, index))
    if data is None:
        raise StallError
    return data


def _get_configuration(device: VirtualDevice, _setup: SetupPacket, _data: Buffer) -> bytes:
    return bytes([device.configuration])


def _set_configuration(device: VirtualDevice, setup: SetupPacket, _data: Buffer) -> bytes:
    _require(device.set_configuration(setup.value) is TransferStatus.SUCCESS)
    return b""


def _get_interface(device: VirtualDevice, setup: SetupPacket, _data: Buffer) -> bytes:
    status, alternate = device.get_alternate(setup.index)
    _require(status is TransferStatus.SUCCESS)
    return bytes([alternate])


def _set_interface(device: VirtualDevice, setup: SetupPacket, _data: Buffer) -> bytes:
    _require(device.set_alternate(setup.index, setup.value) is TransferStatus.SUCCESS)
    return b""


def _super_speed_only(device: VirtualDevice, _setup: SetupPacket, _data: Buffer) -> bytes:
    """Latencies of the way to the device: nothing to tune here."""
    _require(device.speed is Speed.SUPER)
    return b""


def _class_cancel(device: VirtualDevice, setup: SetupPacket, data: Buffer) -> bytes:
    _require(device.has_interface(setup.index) and len(data) == _CANCEL_DATA.size)
    code, transaction = _CANCEL_DATA.unpack(data)
    _require(code == _CANCELLATION_CODE)
    device.function.cancel(transaction)
    return b""


def _class_reset(device: VirtualDevice, setup: SetupPacket, _data: Buffer) -> bytes:
    _require(device.has_interface(setup.index))
    for endpoint in device.endpoints:
        endpoint.clear_halt()
    device.function.reset()
    return b""


def _class_status(device: VirtualDevice, setup: SetupPacket, _data: Buffer) -> bytes:
    """Length, code, and as its parameters the halted endpoints (Still Image Capture Device Definition 1.0, 5.2.4)."""
    _require(device.has_interface(setup.index))
    halted = [endpoint.address for endpoint in device.endpoints if endpoint.halted]
    body = struct.pack(f"<H{len(halted)}I", device.function.status(), *halted)
    return struct.pack("<H", 2 + len(body)) + body


def _vendor(_device: VirtualDevice, setup: SetupPacket, _data: Buffer) -> bytes:
    _require(setup.index == _MS_COMPATIBLE_ID_INDEX)
    return MS_COMPATIBLE_ID


_S = StandardRequest
_C = ClassRequest

REQUESTS: dict[tuple[int, int], Handler] = {
    (FROM_DEVICE, _S.GET_STATUS): _device_status,
    (FROM_INTERFACE, _S.GET_STATUS): _interface_status,
    (FROM_ENDPOINT, _S.GET_STATUS): _endpoint_status,
    (TO_DEVICE, _S.CLEAR_FEATURE): _device_feature,
    (TO_DEVICE, _S.SET_FEATURE): _device_feature,
    (TO_ENDPOINT, _S.CLEAR_FEATURE): _clear_endpoint_feature,
    (TO_ENDPOINT, _S.SET_FEATURE): _set_endpoint_feature,
    (FROM_DEVICE, _S.GET_DESCRIPTOR): _get_descriptor,
    (FROM_DEVICE, _S.GET_CONFIGURATION): _get_configuration,
    (TO_DEVICE, _S.SET_CONFIGURATION): _set_configuration,
    (FROM_INTERFACE, _S.GET_INTERFACE): _get_interface,
    (TO_INTERFACE, _S.SET_INTERFACE): _set_interface,
    (TO_DEVICE, _S.SET_SEL): _super_speed_only,
    (TO_DEVICE, _S.SET_ISOCH_DELAY): _super_speed_only,
    (CLASS_TO_INTERFACE, _C.CANCEL): _class_cancel,
    (CLASS_TO_INTERFACE, _C.RESET): _class_reset,
    (CLASS_FROM_INTERFACE, _C.GET_DEVICE_STATUS): _class_status,
    (VENDOR_FROM_DEVICE, MS_VENDOR_CODE): _vendor,
    (VENDOR_FROM_INTERFACE, MS_VENDOR_CODE): _vendor,
}
"""Handlers by bmRequestType and bRequest."""


def answer(device: VirtualDevice, setup: SetupPacket, data: Buffer) -> ControlReply:
    """Run a control request; the reply's data is cut to wLength."""
    handler = REQUESTS.get((setup.request_type, setup.request))
    if handler is None:
        return ControlReply(TransferStatus.STALL)
    try:
        reply = handler(device, setup, data)
    except StallError:
        return ControlReply(TransferStatus.STALL)
    return ControlReply(data=reply[: setup.length])
