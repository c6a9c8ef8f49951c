"""Descriptors taken apart with `struct`, straight from the tables of USB 2.0 and USB 3.2, chapter 9."""

from __future__ import annotations

import struct
from typing import NamedTuple

DEVICE, CONFIGURATION, STRING, INTERFACE, ENDPOINT, QUALIFIER, OTHER_SPEED = 1, 2, 3, 4, 5, 6, 7
BOS, CAPABILITY, COMPANION = 15, 16, 48


class Device(NamedTuple):
    bcd_usb: int
    class_: int
    subclass: int
    protocol: int
    max_packet_0: int
    vendor: int
    product: int
    release: int
    manufacturer: int
    product_name: int
    serial: int
    configurations: int


class Endpoint(NamedTuple):
    address: int
    attributes: int
    max_packet: int
    interval: int
    companion: tuple[int, int, int] | None
    """bMaxBurst, bmAttributes, wBytesPerInterval."""


class Configuration(NamedTuple):
    value: int
    attributes: int
    max_power: int
    interface: bytes
    """The interface descriptor after bLength and bDescriptorType."""
    endpoints: list[Endpoint]


def chain(raw: bytes) -> list[bytes]:
    """Descriptors one after the other, by bLength; there must be no rest."""
    found = []
    while raw:
        assert 2 <= raw[0] <= len(raw), raw.hex()
        found.append(raw[: raw[0]])
        raw = raw[raw[0] :]
    return found


def parse_device(raw: bytes) -> Device:
    assert (len(raw), raw[0], raw[1]) == (18, 18, DEVICE)
    return Device(*struct.unpack("<2xH4B3H4B", raw))


def parse_string(raw: bytes) -> str:
    assert (raw[0], raw[1]) == (len(raw), STRING)
    return raw[2:].decode("utf-16-le")


def parse_configuration(raw: bytes, kind: int = CONFIGURATION) -> Configuration:
    """A configuration of one interface."""
    parts = chain(raw)
    length, type_, total, interfaces, value, _name, attributes, power = struct.unpack("<BBHBBBBB", parts[0])
    assert (length, type_, total, interfaces) == (9, kind, len(raw), 1)
    assert parts[1][:2] == bytes([9, INTERFACE])
    endpoints: list[Endpoint] = []
    for part in parts[2:]:
        if part[1] == ENDPOINT:
            address, type_bits, max_packet, interval = struct.unpack("<2xBBHB", part)
            endpoints.append(Endpoint(address, type_bits, max_packet, interval, None))
        else:
            assert part[:2] == bytes([6, COMPANION])
            assert endpoints[-1].companion is None
            endpoints[-1] = endpoints[-1]._replace(companion=struct.unpack("<2xBBH", part))
    assert parts[1][4] == len(endpoints)
    return Configuration(value, attributes, power, parts[1][2:], endpoints)
