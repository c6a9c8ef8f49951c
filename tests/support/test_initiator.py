"""The initiator against a device that gives out scripted messages."""

from __future__ import annotations

import struct
from collections import deque
from datetime import UTC, datetime

import pytest

from tests.support.codes import Rc
from tests.support.initiator import Initiator, MtpFailure, OutStyle, refused
from tests.support.mtp import ObjectInfo, PropDesc, Reader, parse_date, prop_list, string
from tests.support.peer import Device
from tests.support.usbredir import Guest


def response(code: int, transaction: int, *params: int) -> bytes:
    size = 12 + 4 * len(params)
    return struct.pack(f"<IHHI{len(params)}I", size, 3, code, transaction, *params)


def data(code: int, transaction: int, payload: bytes) -> bytes:
    return struct.pack("<IHHI", 12 + len(payload), 2, code, transaction) + payload


def initiator(
    *replies: bytes, exact: bool = False, depth: int = 1, style: OutStyle = OutStyle.JOINED
) -> tuple[Device, Initiator]:
    device = Device(replies=deque(replies))
    guest = Guest(device)
    guest.attach()
    mtp = Initiator(guest, transfer=1024, exact=exact, depth=depth, style=style)
    mtp.transaction = 7
    return device, mtp


def test_the_command_goes_out_byte_for_byte() -> None:
    device, mtp = initiator(response(0x2001, 7, 3))
    assert mtp.num_objects(0x10001, 0, 5) == 3
    assert device.out == [bytes.fromhex("18000000 0100 0610 07000000 01000100 00000000 05000000")]
    assert mtp.transaction == 8


@pytest.mark.parametrize(("exact", "depth"), [(False, 1), (True, 1), (False, 4)])
@pytest.mark.parametrize("size", [0, 1, 500, 501, 1011, 1012, 1013, 2036, 5000])
def test_data_in(exact: bool, depth: int, size: int) -> None:
    payload = bytes(range(256)) * 20
    payload = payload[:size]
    _, mtp = initiator(data(0x1009, 7, payload), response(0x2001, 7), exact=exact, depth=depth)
    assert mtp.get_object(1) == payload


@pytest.mark.parametrize(
    ("style", "size", "expected"),
    [
        (OutStyle.JOINED, 0, [12]),
        (OutStyle.JOINED, 500, [512, 0]),
        (OutStyle.JOINED, 1012, [1024, 0]),
        (OutStyle.JOINED, 1500, [1024, 488]),
        (OutStyle.FIRST_PACKET, 499, [511]),
        (OutStyle.FIRST_PACKET, 500, [512, 0]),
        (OutStyle.FIRST_PACKET, 501, [512, 1]),
        (OutStyle.FIRST_PACKET, 1012, [512, 512, 0]),
        (OutStyle.SPLIT_HEADER, 0, [12]),
        (OutStyle.SPLIT_HEADER, 500, [12, 500]),
        (OutStyle.SPLIT_HEADER, 512, [12, 512, 0]),
    ],
)
def test_data_out(style: OutStyle, size: int, expected: list[int]) -> None:
    device, mtp = initiator(response(0x2001, 7), style=style)
    mtp.send_object(bytes(size))
    assert [len(piece) for piece in device.out[1:]] == expected
    assert b"".join(device.out[1:]) == data(0x100D, 7, bytes(size))


def test_a_refusal_is_named() -> None:
    _, mtp = initiator(response(0x200E, 7), response(0x2009, 8), response(0x2001, 9))
    with pytest.raises(MtpFailure, match="STORE_READ_ONLY"):
        mtp.delete(1)
    with pytest.raises(AssertionError), refused(Rc.STORE_READ_ONLY):
        mtp.delete(1)
    with pytest.raises(pytest.fail.Exception), refused():
        mtp.delete(1)


@pytest.mark.parametrize(
    "message",
    [
        response(0x2001, 8),
        response(0x2001, 7)[:-1],
        response(0x2001, 7) + b"\0",
        struct.pack("<IHHI", 12, 1, 0x2001, 7),
        data(0x1008, 7, b""),
    ],
    ids=["transaction", "short", "long", "type", "code"],
)
def test_containers_that_do_not_fit(message: bytes) -> None:
    _, mtp = initiator(message)
    with pytest.raises(AssertionError):
        mtp.get_object(1)


def test_cancel_clears_the_pipes_and_polls() -> None:
    device, mtp = initiator(depth=3)
    device.answers += [bytes.fromhex("0400 1920"), bytes.fromhex("0400 0120")]
    number = mtp.send_command(0x1009, 1)
    mtp._waiting.extend(mtp.guest.submit_bulk_in(64) for _ in range(3))
    mtp.cancel(number)
    assert device.control == [
        (0x64, bytes.fromhex("0140 07000000")),
        (0x67, b""),
        (0x67, b""),
    ]
    assert not mtp.guest.pending


def test_object_info_round_trip() -> None:
    info = ObjectInfo(0x10001, 0x3001, 1, 7, 9, 1, "náme", "20200102T030405", "")
    encoded = info.encode()
    assert ObjectInfo.decode(encoded) == info
    assert len(encoded) == 52 + len(string("náme")) + len(string("20200102T030405")) + 2
    assert encoded[38:44] == bytes.fromhex("09000000 0100")
    with pytest.raises(AssertionError):
        ObjectInfo.decode(encoded[:-1])
    with pytest.raises(AssertionError):
        ObjectInfo.decode(encoded + b"\0")


def test_strings() -> None:
    assert string("") == b"\0"
    assert string("a\u20ac") == bytes.fromhex("03 6100 ac20 0000")
    assert Reader(string("a\U0001f600")).string() == "a\U0001f600"
    for bad in ("01 6100", "02 6100", "03 6100 0000 0000"):
        with pytest.raises(AssertionError):
            Reader(bytes.fromhex(bad)).string()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20200102T030405Z", datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("20200102T030405.7Z", datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("20200102T030405+0130", datetime(2020, 1, 2, 1, 34, 5, tzinfo=UTC)),
        ("20200102T030405", datetime(2020, 1, 2, 3, 4, 5).astimezone()),
    ],
)
def test_dates(text: str, expected: datetime) -> None:
    assert parse_date(text) == expected


def test_property_descriptions_and_lists() -> None:
    desc = PropDesc.decode(bytes.fromhex("03dc 0400 01 0000 05000000 02 0200 0000 0100"), device=False)
    assert (desc.code, desc.datatype, desc.writable, desc.group) == (0xDC03, 4, True, 5)
    assert desc.choices == [0, 1]
    (row,) = prop_list(bytes.fromhex("01000000 08000000 04dc 0800 0000000001000000"))
    assert (row.handle, row.prop, row.value) == (8, 0xDC04, 1 << 32)
