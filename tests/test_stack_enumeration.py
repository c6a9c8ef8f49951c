"""What a guest's USB stack sees of the phone: descriptors, strings, class and vendor requests."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.server import Export, Server, running_server
from tests.support.usbredir import Guest, StallError
from tests.support.wire import Speed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPEEDS = {"full": (Speed.FULL, 64), "high": (Speed.HIGH, 512), "super": (Speed.SUPER, 1024)}
DEVICE, CONFIGURATION, STRING, INTERFACE, ENDPOINT, QUALIFIER, BOS, COMPANION = 1, 2, 3, 4, 5, 6, 15, 48


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server([tmp_path]) as running:
        yield running


@pytest.fixture
def guest(server: Server) -> Guest:
    return server.attach()


def descriptor(guest: Guest, kind: int, index: int = 0, length: int = 255, language: int = 0) -> bytes:
    return guest.control_in(0x80, 6, kind << 8 | index, language, length)


def text(guest: Guest, index: int) -> str:
    raw = descriptor(guest, STRING, index, language=0x0409)
    assert (raw[0], raw[1]) == (len(raw), STRING)
    return raw[2:].decode("utf-16-le")


def chain(raw: bytes) -> list[bytes]:
    """The descriptors in a configuration."""
    found = []
    while raw:
        assert 2 <= raw[0] <= len(raw), raw.hex()
        found.append(raw[: raw[0]])
        raw = raw[raw[0] :]
    return found


@pytest.mark.parametrize("name", SPEEDS)
def test_descriptors_fit_the_speed(tmp_path: Path, name: str) -> None:
    speed, packet = SPEEDS[name]
    with running_server([tmp_path], "--speed", name) as server:
        guest = server.attach()
        assert guest.device is not None
        assert guest.device["speed"] == speed
        device = descriptor(guest, DEVICE)
        assert (len(device), device[0], device[1], device[17]) == (18, 18, DEVICE, 1)
        assert struct.unpack_from("<HHH", device, 8) == (
            guest.device["vendor_id"],
            guest.device["product_id"],
            guest.device["device_version_bcd"],
        )
        assert device[7] == (9 if speed is Speed.SUPER else 64)
        bulk = [row for row in guest.endpoints.values() if row.type == 2]
        assert sorted(row.address & 0x80 for row in bulk) == [0, 0x80]
        assert {row.max_packet for row in bulk} == {packet}


@pytest.mark.parametrize("name", SPEEDS)
def test_the_configuration_says_what_usbredir_says(tmp_path: Path, name: str) -> None:
    speed, packet = SPEEDS[name]
    with running_server([tmp_path], "--speed", name) as server:
        guest = server.attach()
        raw = descriptor(guest, CONFIGURATION)
        assert struct.unpack_from("<BBHBB", raw) == (9, CONFIGURATION, len(raw), 1, 1)
        assert descriptor(guest, CONFIGURATION, length=9) == raw[:9]
        parts = chain(raw)
        (interface,) = (part for part in parts if part[1] == INTERFACE)
        assert tuple(interface[5:8]) == (6, 1, 1) == guest.interfaces[0].triple
        endpoints = {part[2]: part for part in parts if part[1] == ENDPOINT}
        assert interface[4] == len(endpoints) == 3
        assert set(endpoints) == {row.address for row in guest.endpoints.values() if row.type != 0}
        for address, part in endpoints.items():
            row = guest.endpoints[address]
            assert (part[3] & 3, struct.unpack_from("<H", part, 4)[0]) == (row.type, row.max_packet)
            assert part[6] == row.interval or row.type == 2
        assert sum(part[1] == COMPANION for part in parts) == (3 if speed is Speed.SUPER else 0)
        assert packet in {struct.unpack_from("<H", part, 4)[0] for part in endpoints.values()}


def test_strings(tmp_path: Path) -> None:
    with running_server([Export(tmp_path, "share")]) as server:
        guest = server.attach()
        assert descriptor(guest, STRING) == bytes.fromhex("04030904")
        device = descriptor(guest, DEVICE)
        manufacturer, product, serial = (text(guest, index) for index in device[14:17])
        assert manufacturer
        assert product
        assert serial
        (interface,) = (part for part in chain(descriptor(guest, CONFIGURATION)) if part[1] == INTERFACE)
        assert "MTP" in text(guest, interface[8])
        with pytest.raises(StallError):
            descriptor(guest, STRING, 200, language=0x0409)


def test_the_serial_is_stable_and_the_exports_own(tmp_path: Path) -> None:
    serials = []
    for name in ("one", "one", "two"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        with running_server([folder]) as server:
            guest = server.attach()
            serials.append(text(guest, descriptor(guest, DEVICE)[16]))
    assert serials[0] == serials[1] != serials[2]


def test_microsoft_os_descriptors(guest: Guest) -> None:
    """The OS string descriptor and the extended compat ID, as Microsoft's OS 1.0 descriptors lay them out."""
    raw = descriptor(guest, STRING, 0xEE, 18)
    assert raw[:16] == b"\x12\x03" + "MSFT100".encode("utf-16-le")
    vendor_code = raw[16]
    compat = guest.control_in(0xC0, vendor_code, 0, 4, 255)
    assert len(compat) == 40
    assert struct.unpack_from("<IHHB", compat) == (40, 0x0100, 4, 1)
    assert compat[9:16] == bytes(7)
    assert compat[16] == 0
    assert compat[18:26] == b"MTP".ljust(8, b"\0")
    assert compat[26:] == bytes(14)
    assert guest.control_in(0xC0, vendor_code, 0, 4, 16) == compat[:16]


def test_qualifier_and_bos(tmp_path: Path) -> None:
    has_qualifier: set[str] = set()
    has_bos: set[str] = set()
    for name in SPEEDS:
        with running_server([tmp_path], "--speed", name) as server:
            guest = server.attach()
            for kind, names in ((QUALIFIER, has_qualifier), (BOS, has_bos)):
                try:
                    raw = descriptor(guest, kind)
                except StallError:
                    continue
                assert raw[1] == kind
                names.add(name)
    assert has_qualifier == {"full", "high"}
    assert "super" in has_bos


def test_configuration_and_interface(guest: Guest) -> None:
    assert guest.get_configuration() == 1
    guest.set_interface(0, 0)
    assert guest.get_interface(0) == 0
    assert guest.control_in(0x80, 8, 0, 0, 1) == b"\1"
    guest.set_configuration(0)
    assert guest.get_configuration() == 0
    guest.set_configuration(1)


def test_halt_is_reported_and_cleared(guest: Guest) -> None:
    endpoint = guest.endpoint(2, 0x80)
    assert guest.control_in(0x82, 0, 0, endpoint, 2) == b"\0\0"
    guest.control_out(0x02, 3, 0, endpoint)
    assert guest.control_in(0x82, 0, 0, endpoint, 2) == b"\1\0"
    with pytest.raises(StallError):
        guest.bulk_in(512)
    guest.control_out(0x02, 1, 0, endpoint)
    assert guest.control_in(0x82, 0, 0, endpoint, 2) == b"\0\0"


def test_class_status_is_ok_when_idle(guest: Guest) -> None:
    """It is busy for a moment after the configuration was set, which began everything anew."""
    busy, idle = bytes.fromhex("04001920"), bytes.fromhex("04000120")
    while (status := guest.control_in(0xA1, 0x67, 0, 0, 36)) == busy:
        pass
    assert status == idle


@pytest.mark.parametrize(
    ("request_type", "request_code", "value"),
    [
        (0x80, 6, 0x2200),
        (0x80, 0x55, 0),
        (0xA1, 0x01, 0),
        (0xC0, 0x01, 0x1234),
        (0x81, 0x33, 0),
    ],
)
def test_unknown_requests_stall(guest: Guest, request_type: int, request_code: int, value: int) -> None:
    with pytest.raises(StallError):
        guest.control_in(request_type, request_code, value, 0x77, 64)
    assert guest.get_configuration() == 1


def test_options_name_the_device(tmp_path: Path) -> None:
    options = ["--vendor-id", "1234", "--product-id", "abcd", "--manufacturer", "Acmé", "--product-name", "Täblet"]
    with running_server([tmp_path], *options, "--serial", "S3R1AL") as server:
        guest = server.attach()
        device = descriptor(guest, DEVICE)
        assert struct.unpack_from("<HH", device, 8) == (0x1234, 0xABCD)
        assert [text(guest, index) for index in device[14:17]] == ["Acmé", "Täblet", "S3R1AL"]
