from __future__ import annotations

import pytest

from tests.device import parser
from tests.device.host import MAX_PACKET, STALL, Bench
from usbredir_mtp.device.identity import Identity
from usbredir_mtp.device.usb import Speed, TransferType

SPEEDS = list(Speed)


@pytest.mark.parametrize("speed", SPEEDS)
def test_device(speed: Speed) -> None:
    bench = Bench(speed, Identity(vendor=0x18D1, product=0x4EE1, release=0x0203))
    device = parser.parse_device(bench.descriptor(parser.DEVICE))
    super_speed = speed is Speed.SUPER
    assert device == parser.Device(
        bcd_usb=0x0300 if super_speed else 0x0200,
        class_=0,
        subclass=0,
        protocol=0,
        max_packet_0=9 if super_speed else 64,
        vendor=0x18D1,
        product=0x4EE1,
        release=0x0203,
        manufacturer=1,
        product_name=2,
        serial=3,
        configurations=1,
    )


@pytest.mark.parametrize("speed", SPEEDS)
def test_configuration(speed: Speed) -> None:
    configuration = parser.parse_configuration(Bench(speed).descriptor(parser.CONFIGURATION))
    assert configuration.value == 1
    assert configuration.attributes == 0x80
    assert configuration.max_power * (8 if speed is Speed.SUPER else 2) == (896 if speed is Speed.SUPER else 500)
    assert configuration.interface == bytes([0, 0, 3, 6, 1, 1, 4])
    assert [row[:4] for row in configuration.endpoints] == [
        (0x81, 2, MAX_PACKET[speed], 0),
        (0x02, 2, MAX_PACKET[speed], 0),
        (0x83, 3, 28, 6),
    ]
    companions = [row.companion for row in configuration.endpoints]
    # USB 3.2, 9.6.7: wBytesPerInterval is of periodic endpoints only, and these move one packet at a time.
    assert companions == ([(15, 0, 0), (15, 0, 0), (0, 0, 28)] if speed is Speed.SUPER else [None] * 3)


def test_configuration_at_high_speed_byte_for_byte() -> None:
    assert Bench(Speed.HIGH).descriptor(parser.CONFIGURATION) == bytes.fromhex(
        "09 02 2700 01 01 00 80 fa09 04 00 00 03 06 01 01 0407 05 81 02 0002 0007 05 02 02 0002 0007 05 83 03 1c00 06"
    )


@pytest.mark.parametrize(("speed", "other"), [(Speed.FULL, Speed.HIGH), (Speed.HIGH, Speed.FULL)])
def test_the_other_speed_is_what_a_device_of_that_speed_says(speed: Speed, other: Speed) -> None:
    raw = Bench(speed).descriptor(parser.OTHER_SPEED)
    expected = parser.parse_configuration(Bench(other).descriptor(parser.CONFIGURATION))
    assert parser.parse_configuration(raw, parser.OTHER_SPEED) == expected
    assert expected.endpoints[0].max_packet == MAX_PACKET[other]


@pytest.mark.parametrize("speed", [Speed.FULL, Speed.HIGH])
def test_qualifier(speed: Speed) -> None:
    assert Bench(speed).descriptor(parser.QUALIFIER) == bytes.fromhex("0a 06 0002 00 00 00 40 01 00")


def test_bos() -> None:
    first, *capabilities = parser.chain(raw := Bench(Speed.SUPER).descriptor(parser.BOS))
    assert first == bytes([5, parser.BOS, len(raw), 0, len(capabilities)])
    assert capabilities == [
        bytes.fromhex("07 10 02 02000000"),  # USB 2.0 extension: link power management
        bytes.fromhex("0a 10 03 00 0e00 01 00 0000"),  # SuperSpeed: full, high and super; all works at full
    ]


@pytest.mark.parametrize(
    ("speed", "kind"),
    [
        (Speed.FULL, parser.BOS),
        (Speed.HIGH, parser.BOS),
        (Speed.SUPER, parser.QUALIFIER),
        (Speed.SUPER, parser.OTHER_SPEED),
    ],
)
def test_descriptors_that_the_speed_does_not_have(speed: Speed, kind: int) -> None:
    assert Bench(speed).control(0x80, 6, kind << 8).status is STALL


@pytest.mark.parametrize("speed", SPEEDS)
def test_strings(speed: Speed) -> None:
    identity = Identity(manufacturer="Käfer & Söhne", product_name="共有 📁", serial="0123ABCD")
    bench = Bench(speed, identity)
    assert bench.descriptor(parser.STRING) == bytes.fromhex("04 03 0904")
    device = parser.parse_device(bench.descriptor(parser.DEVICE))
    indices = (device.manufacturer, device.product_name, device.serial)
    for language in (0, 0x0409):
        texts = [parser.parse_string(bench.descriptor(parser.STRING, index, language)) for index in indices]
        assert texts == [identity.manufacturer, identity.product_name, identity.serial]
    assert parser.parse_string(bench.descriptor(parser.STRING, 4, 0x0409)) == "MTP"


def test_the_longest_string() -> None:
    text = "📁" * 63
    assert parser.parse_string(Bench(identity=Identity(product_name=text)).descriptor(parser.STRING, 2)) == text


def test_strings_that_are_not_there() -> None:
    bench = Bench()
    assert bench.control(0x80, 6, parser.STRING << 8 | 5, 0x0409).status is STALL
    assert bench.control(0x80, 6, parser.STRING << 8 | 1, 0x0407).status is STALL


@pytest.mark.parametrize("speed", SPEEDS)
def test_microsoft_os_string(speed: Speed) -> None:
    """Microsoft OS 1.0 Descriptors, table 1: bLength, bDescriptorType, qwSignature, bMS_VendorCode, bPad."""
    assert Bench(speed).descriptor(parser.STRING, 0xEE) == (
        b"\x12\x03" + b"M\0S\0F\0T\0001\x000\x000\x00" + b"\x01" + b"\0"
    )


@pytest.mark.parametrize("request_type", [0xC0, 0xC1])
@pytest.mark.parametrize("speed", SPEEDS)
def test_microsoft_compatible_id(speed: Speed, request_type: int) -> None:
    """Extended Compat ID OS Feature Descriptor: a header section of 16 bytes, then a function section of 24."""
    bench = Bench(speed)
    vendor_code = bench.descriptor(parser.STRING, 0xEE)[16]
    reply = bench.control(request_type, vendor_code, index=4)
    assert reply.data == bytes.fromhex(
        "28000000"  # dwLength
        "0001"  # bcdVersion 1.00
        "0400"  # wIndex
        "01"  # bCount
        "00000000000000"  # reserved
        "00"  # bFirstInterfaceNumber
        "01"  # reserved, 1
        "4d54500000000000"  # compatibleID "MTP"
        "0000000000000000"  # subCompatibleID
        "000000000000"  # reserved
    )
    # Windows first asks for the header alone.
    assert bench.control(request_type, vendor_code, index=4, length=16).data == reply.data[:16]


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_lists_for_the_bus_say_what_the_descriptors_say(speed: Speed) -> None:
    device = (bench := Bench(speed)).device
    configuration = parser.parse_configuration(bench.descriptor(parser.CONFIGURATION))
    control = 512 if speed is Speed.SUPER else 64
    rows = device.endpoint_info()
    assert [row[:2] for row in rows[:2]] == [(0x00, TransferType.CONTROL), (0x80, TransferType.CONTROL)]
    assert {row.max_packet for row in rows[:2]} == {control}
    assert [(row.address, int(row.transfer_type), row.max_packet, row.interval) for row in rows[2:]] == [
        row[:4] for row in configuration.endpoints
    ]
    assert {(row.interface, row.max_streams) for row in rows} == {(0, 0)}
    assert [tuple(row) for row in device.interface_info()] == [(0, 6, 1, 1)]
    assert device.device_class == (0, 0, 0)
