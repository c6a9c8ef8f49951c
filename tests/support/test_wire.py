"""The guest's codec against bytes written out by hand."""

from __future__ import annotations

import pytest

from tests.support.wire import ALL_CAPS, Cap, Codec, Endpoint, Type, hello, hello_caps, interfaces

WIDE = Codec(ALL_CAPS & ~Cap.BULK_STREAMS)


def test_hello_has_a_32_bit_id() -> None:
    packet = hello(Cap.FILTER | Cap.IDS_64BITS, b"me")
    head = bytes.fromhex("00000000 44000000 00000000")
    assert packet == head + b"me" + bytes(62) + bytes.fromhex("24000000")
    assert hello_caps(packet[12:]) == Cap.FILTER | Cap.IDS_64BITS


@pytest.mark.parametrize(("size", "caps"), [(64, Cap.NONE), (72, Cap(0xFF))])
def test_hello_of_other_sizes(size: int, caps: Cap) -> None:
    assert hello_caps(bytes(64) + b"\xff" * (size - 64)) == caps


@pytest.mark.parametrize(
    ("caps", "expected"),
    [
        (Cap.NONE, "65000000 09000000 05000000 8100 0200 00000000 ff"),
        (Cap.IDS_64BITS, "65000000 09000000 0500000000000000 8100 0200 00000000 ff"),
        (Cap.BULK_LENGTH_32BITS, "65000000 0b000000 05000000 8100 0200 00000000 0100 ff"),
    ],
)
def test_bulk_header_follows_the_capabilities(caps: Cap, expected: str) -> None:
    high = (1,) if Cap.BULK_LENGTH_32BITS in caps else ()
    assert Codec(caps).encode(Type.BULK, 5, 0x81, 0, 2, 0, *high, data=b"\xff") == bytes.fromhex(expected)


def test_bulk_length_has_both_halves() -> None:
    packet = WIDE.decode(Type.BULK, 1, bytes.fromhex("81 00 3412 00000000 0100"))
    assert packet["length"] == 0x11234


def test_a_lie_about_the_length() -> None:
    assert WIDE.encode(Type.RESET, 0, length=0xFFFFFFFF)[4:8] == b"\xff" * 4


def test_an_unknown_type_is_data_only() -> None:
    assert Codec().encode(99, 1, data=b"ab") == bytes.fromhex("63000000 02000000 01000000 6162")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Type.RESET, ""),
        (99, ""),
        (Type.CONFIGURATION_STATUS, "00"),
        (Type.CONFIGURATION_STATUS, "000102"),
        (Type.CONFIGURATION_STATUS, "0701"),
        (Type.DEVICE_DISCONNECT, "00"),
        (Type.BULK, "8100020000000000"),
        (Type.DEVICE_CONNECT, "0200000034127856"),
    ],
)
def test_what_a_guest_would_not_accept(kind: int, body: str) -> None:
    with pytest.raises(AssertionError):
        WIDE.decode(kind, 1, bytes.fromhex(body))


def ep_info(size: int, *, interval: int = 6, packet: int = 64) -> bytes:
    body = bytearray(b"\xff" * 32 + bytes(size - 32))
    body[0] = body[16] = 0
    body[19], body[32 + 19] = 3, interval
    if size > 96:
        for index in (0, 16, 19):
            body[96 + 2 * index] = packet
    return bytes(body)


@pytest.mark.parametrize(
    ("caps", "size", "packet"),
    [
        (Cap.NONE, 96, 0),
        (Cap.EP_INFO_MAX_PACKET_SIZE, 160, 64),
        (Cap.EP_INFO_MAX_PACKET_SIZE | Cap.BULK_STREAMS, 288, 64),
    ],
)
def test_ep_info(caps: Cap, size: int, packet: int) -> None:
    found = Codec(caps).endpoints(ep_info(size))
    assert set(found) == {0, 0x80, 0x83}
    assert found[0x83] == Endpoint(0x83, 3, 6, 0, packet)


@pytest.mark.parametrize("body", [ep_info(96), ep_info(160, interval=0), ep_info(160, packet=0), ep_info(288)])
def test_ep_info_that_a_guest_rejects(body: bytes) -> None:
    with pytest.raises(AssertionError):
        WIDE.endpoints(body)


def test_interface_info() -> None:
    columns = [b"\0", b"\6", b"\1", b"\1"]
    body = b"\1\0\0\0" + b"".join(column + bytes(31) for column in columns)
    (row,) = interfaces(body)
    assert (row.number, row.triple) == (0, (6, 1, 1))
    with pytest.raises(AssertionError):
        interfaces(body[:-1])
