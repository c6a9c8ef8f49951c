"""What Microsoft asks of an MTP phone, item by item; without it Windows shows less, or nothing."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.codes import ALL, Ev, Format, Op, Prop
from tests.support.mtp import ObjectInfo
from tests.support.server import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.initiator import Initiator

REQUIRED_OPERATIONS = [*range(0x1001, 0x100A), 0x100B, 0x100C, 0x100D, 0x1014, 0x1015, 0x1016, 0x101B]
REQUIRED_OPERATIONS += [0x9801, 0x9802, 0x9803, 0x9804, 0x9810, 0x9811]
RECOMMENDED_OPERATIONS = [0x100F, 0x9805, 0x9806, 0x9807, 0x9808]

TEXT, U8, U16, U32, U64, U128 = 0xFFFF, 2, 4, 6, 8, 10

PROPERTIES = {
    Prop.STORAGE_ID: (U32, False),
    Prop.FORMAT: (U16, False),
    Prop.PROTECTION: (U16, False),
    Prop.SIZE: (U64, False),
    Prop.FILE_NAME: (TEXT, True),
    Prop.CREATED: (TEXT, False),
    Prop.MODIFIED: (TEXT, True),
    Prop.PARENT: (U32, False),
    Prop.UNIQUE_ID: (U128, False),
    Prop.NAME: (TEXT, False),
    Prop.NON_CONSUMABLE: (U8, False),
}
"""Object property -> its type, and whether it can be set; the dates are the two that are only strongly advised."""


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    share = tmp_path_factory.mktemp("share")
    (share / "box").mkdir()
    (share / "picture.jpg").write_bytes(b"x")
    with (share / "large").open("wb") as file:
        file.truncate(5 << 30)
    return share


@pytest.fixture(scope="module")
def mtp(share: Path) -> Iterator[Initiator]:
    with running_server([share]) as server:
        yield server.initiator()


@pytest.mark.parametrize("code", REQUIRED_OPERATIONS + RECOMMENDED_OPERATIONS, ids=lambda code: f"{code:04X}")
def test_operation_is_listed(mtp: Initiator, code: int) -> None:
    assert code in mtp.device_info().operations


def test_device_info(mtp: Initiator) -> None:
    info = mtp.device_info()
    assert (info.standard_version, info.extension_id, info.extension_version) == (100, 6, 100)
    assert "microsoft.com: 1.0" in info.extensions
    assert info.mode == 0
    for text in (info.manufacturer, info.model, info.version, info.serial):
        assert 0 < len(text) < 255
    assert Format.FOLDER in info.formats
    assert Format.UNDEFINED in info.formats


@pytest.mark.parametrize("code", [Ev.OBJECT_ADDED, Ev.OBJECT_REMOVED], ids=["4002", "4003"])
def test_event_is_listed(mtp: Initiator, code: int) -> None:
    assert code in mtp.device_info().events


def test_every_object_property_of_every_format(mtp: Initiator) -> None:
    """Listed by 9801, and described by 9802 with the type and the access that the standard gives it."""
    for format_ in mtp.device_info().formats:
        assert set(PROPERTIES) <= set(mtp.object_props_supported(format_))
        for code, (kind, settable) in PROPERTIES.items():
            described = mtp.prop_desc(code, format_)
            assert (described.code, described.datatype, described.writable) == (code, kind, settable)
        assert mtp.prop_desc(Prop.FORMAT, format_).default == format_


def test_every_object_property_of_every_object(mtp: Initiator) -> None:
    for name, handle in mtp.names().items():
        values = {row.prop: row.value for row in mtp.prop_list(handle)}
        assert set(PROPERTIES) <= set(values)
        for code, (kind, _) in PROPERTIES.items():
            assert mtp.prop_value(handle, code, kind) == values[code]
        assert values[Prop.FILE_NAME] == values[Prop.NAME] == name
        assert values[Prop.STORAGE_ID] == mtp.storage


def test_sizes_have_64_bits(mtp: Initiator) -> None:
    handle = mtp.names()["large"]
    assert mtp.object_info(handle).size == 0xFFFFFFFF
    assert mtp.prop_value(handle, Prop.SIZE, U64) == 5 << 30


def test_forms(mtp: Initiator) -> None:
    assert mtp.prop_desc(Prop.MODIFIED, Format.UNDEFINED).form == 3
    assert set(mtp.prop_desc(Prop.PROTECTION, Format.UNDEFINED).choices) == {0, 1}
    assert set(mtp.prop_desc(Prop.NON_CONSUMABLE, Format.UNDEFINED).choices) == {0, 1}


def test_unique_ids_are_unique(mtp: Initiator) -> None:
    rows = mtp.prop_list(ALL, prop=Prop.UNIQUE_ID, depth=ALL)
    ids = [row.value for row in rows]
    assert len(ids) == len(set(map(str, ids))) == len(mtp.names())
    assert 0 not in ids


def test_rename_by_the_file_name_property(mtp: Initiator, share: Path) -> None:
    handle = mtp.names()["picture.jpg"]
    mtp.set_prop_value(handle, Prop.FILE_NAME, TEXT, "Bild ü.jpg")
    assert (share / "Bild ü.jpg").exists()
    assert mtp.object_info(handle).name == "Bild ü.jpg"
    mtp.set_prop_value(handle, Prop.FILE_NAME, TEXT, "picture.jpg")


def test_the_friendly_name_can_be_set(mtp: Initiator) -> None:
    assert Prop.FRIENDLY_NAME in mtp.device_info().device_props
    described = mtp.device_prop_desc(Prop.FRIENDLY_NAME)
    assert (described.datatype, described.writable) == (TEXT, True)
    mtp.set_device_prop_value(Prop.FRIENDLY_NAME, "Mine")
    assert mtp.device_prop_value(Prop.FRIENDLY_NAME) == "Mine"


@pytest.mark.parametrize(("code", "kind"), [(0xD401, TEXT), (0xD405, 0x4002), (0xD407, U32), (0x5001, U8)])
def test_device_property_that_may_be_there(mtp: Initiator, code: int, kind: int) -> None:
    assert code in mtp.device_info().device_props
    described = mtp.device_prop_desc(code)
    assert described.datatype == kind
    assert mtp.device_prop_value(code, kind) == described.current


def test_partial_object(mtp: Initiator) -> None:
    assert mtp.get_partial(mtp.names()["large"], 4096, 100) == bytes(100)


def test_references(mtp: Initiator) -> None:
    handle, other = mtp.names()["box"], mtp.names()["picture.jpg"]
    mtp.command(Op.SET_OBJECT_REFERENCES, handle, data=struct.pack("<II", 1, other))
    assert mtp.command(Op.GET_OBJECT_REFERENCES, handle).data == struct.pack("<II", 1, other)


def test_an_upload_as_windows_makes_it(mtp: Initiator, share: Path) -> None:
    """SendObjectPropList with the name alone, or SendObjectInfo without dates; then the data."""
    handle = mtp.send_object_info(mtp.storage, ALL, ObjectInfo(format=0x3000, size=3, name="up.bin"))
    mtp.send_object(b"abc")
    assert mtp.get_object(handle) == b"abc"
    mtp.delete(handle)
    assert not (share / "up.bin").exists()


@pytest.mark.parametrize("length", [4, 36])
def test_class_request_get_device_status(mtp: Initiator, length: int) -> None:
    assert mtp.guest.control_in(0xA1, 0x67, 0, 0, length) == bytes.fromhex("04000120")


def test_class_requests_cancel_and_reset(share: Path) -> None:
    with running_server([share]) as server:
        mtp = server.initiator(transfer=512)
        number = mtp.send_command(Op.GET_OBJECT, mtp.names()["large"])
        mtp.read_transfer()
        mtp.cancel(number)
        mtp.wait_ready()
        mtp.forget_transfers()
        assert "box" in mtp.names()
        mtp.device_reset()
        mtp.wait_ready()
        mtp.open_session()
        assert "box" in mtp.names()


@pytest.mark.parametrize("speed", ["full", "high", "super"])
def test_the_os_descriptors_at_every_speed(share: Path, speed: str) -> None:
    with running_server([share], "--speed", speed) as server:
        guest = server.attach()
        answer = guest.control_in(0x80, 6, 0x03EE, 0, 18)
        assert answer[2:16] == "MSFT100".encode("utf-16-le")
        assert guest.control_in(0xC0, answer[16], 0, 4, 40)[18:21] == b"MTP"


def test_changes_show_without_replugging(share: Path) -> None:
    with running_server([share]) as server:
        one, other = server.initiator(), server.initiator()
        one.names()
        other.names()
        handle = other.send_file("new.txt", os.urandom(10))
        added = one.wait_event()
        assert (added.code, added.params) == (Ev.OBJECT_ADDED, (handle,))
        other.delete(handle)
        removed = one.wait_event()
        assert (removed.code, removed.params) == (Ev.OBJECT_REMOVED, (handle,))
