"""Sessions, transactions, and getting up again after cancel and reset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.codes import ALL, Op, Rc
from tests.support.initiator import Initiator, refused
from tests.support.server import Server, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
TAKES_DATA = {
    Op.SEND_OBJECT_INFO,
    Op.SEND_OBJECT,
    Op.SET_DEVICE_PROP_VALUE,
    Op.SET_OBJECT_PROP_VALUE,
    Op.SEND_PARTIAL_OBJECT,
}
"""Operations with a data phase from the initiator."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "big").write_bytes(bytes(range(256)) * (4 * MIB // 256))
    (tmp_path / "small").write_bytes(b"small")
    with running_server([tmp_path]) as running:
        yield running


@pytest.fixture
def closed(server: Server) -> Initiator:
    """An initiator that has no session yet."""
    return Initiator(server.attach())


@pytest.fixture
def mtp(server: Server) -> Initiator:
    return server.initiator()


def works(mtp: Initiator) -> bool:
    return mtp.get_object(mtp.names()["small"]) == b"small"


def test_device_info_needs_no_session(closed: Initiator) -> None:
    info = closed.device_info()
    assert info.standard_version == 100
    assert set(Op) <= set(info.operations)
    assert {0x4002, 0x4003} <= set(info.events)
    assert 0xD402 in info.device_props
    assert info.manufacturer
    assert info.model
    assert info.version
    assert info.serial


def test_formats_are_few_and_include_folders(closed: Initiator) -> None:
    formats = closed.device_info().formats
    assert {0x3000, 0x3001} <= set(formats)
    assert len(formats) < 30


@pytest.mark.parametrize("code", sorted(set(Op) - {Op.GET_DEVICE_INFO, Op.OPEN_SESSION}))
def test_before_open_session(closed: Initiator, code: int) -> None:
    with refused(Rc.SESSION_NOT_OPEN):
        closed.command(code, data=bytes(10) if code in TAKES_DATA else None)


def test_data_sent_before_open_session_is_swallowed(closed: Initiator) -> None:
    with refused(Rc.SESSION_NOT_OPEN):
        closed.command(Op.SEND_OBJECT_INFO, 0x10001, ALL, data=bytes(100))
    closed.open_session()
    assert works(closed)


def test_open_session_twice(mtp: Initiator) -> None:
    with refused(Rc.SESSION_ALREADY_OPEN):
        mtp.open_session(2)
    assert works(mtp)


def test_session_zero_is_no_session(closed: Initiator) -> None:
    with refused(Rc.INVALID_PARAMETER):
        closed.open_session(0)


def test_close_and_open_again(mtp: Initiator) -> None:
    mtp.close_session()
    with refused(Rc.SESSION_NOT_OPEN):
        mtp.storage_ids()
    mtp.open_session(7)
    assert works(mtp)


def test_unknown_operation(mtp: Initiator) -> None:
    with refused(Rc.OPERATION_NOT_SUPPORTED):
        mtp.command(0x9F00)
    with refused(Rc.OPERATION_NOT_SUPPORTED):
        mtp.command(0x9F00, data=bytes(3 * 16384))
    assert works(mtp)


@pytest.mark.parametrize("size", [0, 1, 499, 500, 501, 1012, 16372])
def test_unknown_operations_data_is_swallowed(mtp: Initiator, size: int) -> None:
    with refused(Rc.OPERATION_NOT_SUPPORTED):
        mtp.command(0x9F00, data=bytes(size))
    assert works(mtp)


@pytest.mark.parametrize(
    "code", [Op.GET_OBJECT_INFO, Op.GET_OBJECT, Op.DELETE_OBJECT, Op.BEGIN_EDIT_OBJECT, Op.GET_PARTIAL_OBJECT]
)
def test_unknown_handle(mtp: Initiator, code: int) -> None:
    with refused(Rc.INVALID_OBJECT_HANDLE):
        mtp.command(code, 0x00ABCDEF, 0, 100)


def test_unknown_storage(mtp: Initiator) -> None:
    for code in (Op.GET_STORAGE_INFO, Op.GET_OBJECT_HANDLES, Op.GET_NUM_OBJECTS):
        with refused(Rc.INVALID_STORAGE_ID):
            mtp.command(code, 0x00990001, 0, ALL)


def test_a_zero_length_packet_out_of_place_is_nothing(mtp: Initiator) -> None:
    mtp.guest.bulk_out(b"")
    assert works(mtp)


def test_reset_request_ends_the_session(mtp: Initiator) -> None:
    mtp.device_reset()
    with refused(Rc.SESSION_NOT_OPEN):
        mtp.storage_ids()
    mtp.open_session()
    assert works(mtp)


def test_reset_request_in_mid_get(mtp: Initiator) -> None:
    mtp.send_command(Op.GET_OBJECT, mtp.names()["big"])
    mtp.read_transfer()
    mtp.device_reset()
    mtp.open_session()
    assert works(mtp)


@pytest.mark.parametrize("in_flight", [0, 8])
def test_bus_reset_in_mid_get(mtp: Initiator, in_flight: int) -> None:
    mtp.send_command(Op.GET_OBJECT, mtp.names()["big"])
    mtp.read_transfer()
    for _ in range(in_flight):
        mtp.guest.submit_bulk_in(16384)
    mtp.bus_reset()
    mtp.open_session()
    assert works(mtp)


def test_bus_reset_in_mid_put(mtp: Initiator, tmp_path: Path) -> None:
    mtp.begin_upload("torn", MIB, bytes(500))
    mtp.bus_reset()
    mtp.open_session()
    assert works(mtp)
    assert {path.name for path in tmp_path.iterdir()} == {"big", "small"}


def test_cancel_in_mid_get(mtp: Initiator) -> None:
    handle = mtp.names()["big"]
    number = mtp.send_command(Op.GET_OBJECT, handle)
    mtp.read_transfer()
    mtp.cancel(number)
    assert works(mtp)
    assert len(mtp.get_object(handle)) == 4 * MIB


def test_cancel_when_nothing_runs(mtp: Initiator) -> None:
    mtp.cancel(mtp.transaction)
    assert works(mtp)


def test_cancel_before_any_data_is_read(mtp: Initiator) -> None:
    number = mtp.send_command(Op.GET_OBJECT, mtp.names()["big"])
    mtp.cancel(number)
    assert works(mtp)


def test_sessions_of_two_guests_are_their_own(server: Server) -> None:
    first, second = server.initiator(), Initiator(server.attach())
    with refused(Rc.SESSION_NOT_OPEN):
        second.storage_ids()
    second.open_session()
    first.close_session()
    assert works(second)


def test_a_guest_that_leaves_and_comes_back(server: Server) -> None:
    for _ in range(3):
        mtp = server.initiator()
        assert works(mtp)
        mtp.guest.close()
