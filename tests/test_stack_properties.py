"""Object properties in all their forms, and device properties."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from tests.support.codes import ALL, REQUIRED_PROPS, Format, Op, Prop, Rc
from tests.support.initiator import Initiator, refused
from tests.support.mtp import Row, parse_date
from tests.support.server import phone, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATATYPES = {
    Prop.STORAGE_ID: 6,
    Prop.FORMAT: 4,
    Prop.PROTECTION: 4,
    Prop.SIZE: 8,
    Prop.FILE_NAME: 0xFFFF,
    Prop.CREATED: 0xFFFF,
    Prop.MODIFIED: 0xFFFF,
    Prop.PARENT: 6,
    Prop.UNIQUE_ID: 10,
    Prop.NAME: 0xFFFF,
    Prop.NON_CONSUMABLE: 2,
}
"""MTP 1.1, appendix B."""
WHEN = 1_600_000_000


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    share = tmp_path_factory.mktemp("share")
    (share / "file").write_bytes(b"12345")
    (share / "other.txt").write_bytes(b"")
    (share / "folder" / "deep").mkdir(parents=True)
    (share / "folder" / "inner").write_bytes(b"x")
    (share / "folder" / "deep" / "leaf").write_bytes(b"xy")
    os.utime(share / "file", (WHEN, WHEN))
    return share


@pytest.fixture(scope="module")
def mtp(share: Path) -> Iterator[Initiator]:
    with phone(share) as initiator:
        yield initiator


def names(rows: list[Row]) -> set[str]:
    return {str(row.value) for row in rows}


def test_supported_properties(mtp: Initiator) -> None:
    for format_ in mtp.device_info().formats:
        props = mtp.object_props_supported(format_)
        assert set(REQUIRED_PROPS) <= set(props)
        assert Prop.MODIFIED in props
        assert len(set(props)) == len(props)


def test_descriptions(mtp: Initiator) -> None:
    for format_ in (Format.UNDEFINED, Format.FOLDER):
        for prop in mtp.object_props_supported(format_):
            desc = mtp.prop_desc(prop, format_)
            assert desc.code == prop
            if prop in DATATYPES:
                assert desc.datatype == DATATYPES[Prop(prop)]
    assert mtp.prop_desc(Prop.FILE_NAME, Format.UNDEFINED).writable
    assert not mtp.prop_desc(Prop.SIZE, Format.UNDEFINED).writable


def test_unknown_property(mtp: Initiator) -> None:
    handle = mtp.names()["file"]
    with refused(Rc.INVALID_OBJECT_PROP_CODE, Rc.OBJECT_PROP_NOT_SUPPORTED):
        mtp.prop_desc(0xDCFE, Format.UNDEFINED)
    with refused(Rc.INVALID_OBJECT_PROP_CODE, Rc.OBJECT_PROP_NOT_SUPPORTED):
        mtp.prop_value(handle, 0xDCFE, 4)
    with refused(Rc.INVALID_OBJECT_PROP_CODE, Rc.OBJECT_PROP_NOT_SUPPORTED):
        mtp.set_prop_value(handle, 0xDCFE, 4, 0)


def test_unknown_handle(mtp: Initiator) -> None:
    with refused(Rc.INVALID_OBJECT_HANDLE):
        mtp.prop_value(0x00ABCDEF, Prop.SIZE, 8)
    with refused(Rc.INVALID_OBJECT_HANDLE):
        mtp.set_prop_value(0x00ABCDEF, Prop.FILE_NAME, 0xFFFF, "x")
    with refused(Rc.INVALID_OBJECT_HANDLE):
        mtp.prop_list(0x00ABCDEF)


def test_values_agree_with_object_info(mtp: Initiator) -> None:
    handle = mtp.names()["file"]
    info = mtp.object_info(handle)
    expected = {
        Prop.STORAGE_ID: info.storage,
        Prop.FORMAT: info.format,
        Prop.PROTECTION: info.protection,
        Prop.SIZE: 5,
        Prop.FILE_NAME: "file",
        Prop.PARENT: info.parent,
        Prop.NAME: "file",
    }
    assert {prop: mtp.prop_value(handle, prop, DATATYPES[prop]) for prop in expected} == expected
    modified = mtp.prop_value(handle, Prop.MODIFIED, 0xFFFF)
    assert parse_date(str(modified)).timestamp() == WHEN


def test_the_property_list_says_the_same_as_single_values(mtp: Initiator) -> None:
    for handle in mtp.object_handles(ALL, 0, 0):
        rows = mtp.prop_list(handle)
        assert {row.handle for row in rows} == {handle}
        assert {row.prop for row in rows} == set(mtp.object_props_supported(mtp.object_info(handle).format))
        assert len({row.prop for row in rows}) == len(rows)
        for row in rows:
            assert mtp.prop_value(handle, row.prop, row.datatype) == row.value


def test_unique_ids(mtp: Initiator, share: Path) -> None:
    """Unique, the same in another session, and in another run of the program."""
    rows = mtp.prop_list(ALL, prop=Prop.UNIQUE_ID)
    values = {row.value for row in rows}
    assert len(values) == len(rows) == 6
    with phone(share) as later:
        assert {row.value for row in later.prop_list(ALL, prop=Prop.UNIQUE_ID)} == values


@pytest.mark.parametrize("depth", [0, ALL])
def test_everything(mtp: Initiator, depth: int) -> None:
    """Handle 0xFFFFFFFF: all objects, as libmtp asks."""
    rows = mtp.prop_list(ALL, prop=Prop.FILE_NAME, depth=depth)
    assert names(rows) == {"file", "other.txt", "folder", "inner", "deep", "leaf"}
    assert {row.handle for row in rows} == set(mtp.object_handles(ALL, 0, 0))


def test_one_level_of_the_root(mtp: Initiator) -> None:
    """Handle 0 at depth 1: the root's children, as Android File Transfer for Linux asks."""
    assert names(mtp.prop_list(0, prop=Prop.FILE_NAME, depth=1)) == {"file", "other.txt", "folder"}


def test_depths_of_the_root(mtp: Initiator) -> None:
    assert names(mtp.prop_list(0, prop=Prop.FILE_NAME, depth=ALL)) == {
        "file",
        "other.txt",
        "folder",
        "inner",
        "deep",
        "leaf",
    }


def test_depths_of_a_folder(mtp: Initiator) -> None:
    folder = mtp.names()["folder"]
    assert names(mtp.prop_list(folder, prop=Prop.FILE_NAME, depth=0)) == {"folder"}
    assert names(mtp.prop_list(folder, prop=Prop.FILE_NAME, depth=1)) - {"folder"} == {"inner", "deep"}
    deep = names(mtp.prop_list(folder, prop=Prop.FILE_NAME, depth=ALL))
    assert deep - {"folder"} == {"inner", "deep", "leaf"}
    response = mtp.transact(Op.GET_OBJECT_PROP_LIST, folder, 0, Prop.FILE_NAME, 0, 2)
    assert response.code in {Rc.OK, Rc.SPECIFICATION_BY_DEPTH_UNSUPPORTED}


def test_depth_of_a_file(mtp: Initiator) -> None:
    file = mtp.names()["file"]
    for depth in (0, 1, ALL):
        assert names(mtp.prop_list(file, prop=Prop.FILE_NAME, depth=depth)) <= {"file"}
    assert names(mtp.prop_list(file, prop=Prop.FILE_NAME)) == {"file"}


def test_by_format(mtp: Initiator) -> None:
    rows = mtp.prop_list(ALL, format_=Format.FOLDER, prop=Prop.FILE_NAME, depth=ALL)
    assert names(rows) == {"folder", "deep"}


def test_by_group(mtp: Initiator) -> None:
    handle = mtp.names()["file"]
    format_ = mtp.object_info(handle).format
    groups: dict[int, set[int]] = defaultdict(set)
    for prop in mtp.object_props_supported(format_):
        groups[mtp.prop_desc(prop, format_).group].add(prop)
    assert set(groups) - {0}, "no property is in a group"
    for group in set(groups) - {0}:
        assert {row.prop for row in mtp.prop_list(handle, prop=0, group=group)} == groups[group]


def test_neither_property_nor_group(mtp: Initiator) -> None:
    with refused(Rc.PARAMETER_NOT_SUPPORTED, Rc.SPECIFICATION_BY_GROUP_UNSUPPORTED, Rc.INVALID_PARAMETER):
        mtp.prop_list(ALL, prop=0, group=0)


def test_read_only_properties(mtp: Initiator) -> None:
    handle = mtp.names()["file"]
    for prop, datatype, value in ((Prop.SIZE, 8, 1), (Prop.STORAGE_ID, 6, 1), (Prop.PARENT, 6, 0)):
        with refused(Rc.ACCESS_DENIED):
            mtp.set_prop_value(handle, prop, datatype, value)


def test_garbage_for_a_value(mtp: Initiator) -> None:
    handle = mtp.names()["file"]
    for data in (b"", b"\x09a", bytes(100_000)):
        with refused():
            mtp.command(Op.SET_OBJECT_PROP_VALUE, handle, Prop.FILE_NAME, data=data)
    assert mtp.object_info(handle).name == "file"


def test_setting_the_modification_time(mtp: Initiator, share: Path) -> None:
    handle = mtp.names()["other.txt"]
    if mtp.prop_desc(Prop.MODIFIED, mtp.object_info(handle).format).writable:
        mtp.set_prop_value(handle, Prop.MODIFIED, 0xFFFF, "20200102T030405Z")
        assert (share / "other.txt").stat().st_mtime == parse_date("20200102T030405Z").timestamp()
    else:
        with refused(Rc.ACCESS_DENIED):
            mtp.set_prop_value(handle, Prop.MODIFIED, 0xFFFF, "20200102T030405Z")


def test_an_empty_share(tmp_path: Path) -> None:
    with phone(tmp_path) as mtp:
        assert mtp.prop_list(ALL, depth=ALL) == []
        assert mtp.prop_list(0, depth=1) == []


def test_friendly_name(mtp: Initiator) -> None:
    desc = mtp.device_prop_desc(Prop.FRIENDLY_NAME)
    assert (desc.code, desc.datatype) == (Prop.FRIENDLY_NAME, 0xFFFF)
    assert desc.current == mtp.device_prop_value(Prop.FRIENDLY_NAME) != ""


def test_every_device_property_can_be_read(mtp: Initiator) -> None:
    for prop in mtp.device_info().device_props:
        desc = mtp.device_prop_desc(prop)
        assert desc.code == prop
        assert mtp.device_prop_value(prop, desc.datatype) == desc.current


def test_unknown_device_property(mtp: Initiator) -> None:
    for code in (Op.GET_DEVICE_PROP_DESC, Op.GET_DEVICE_PROP_VALUE):
        with refused(Rc.DEVICE_PROP_NOT_SUPPORTED):
            mtp.command(code, 0xD4FF)
    with refused(Rc.DEVICE_PROP_NOT_SUPPORTED):
        mtp.command(Op.SET_DEVICE_PROP_VALUE, 0xD4FF, data=b"\0")


def test_setting_the_friendly_name(tmp_path: Path) -> None:
    with running_server([tmp_path]) as server:
        mtp = server.initiator()
        if mtp.device_prop_desc(Prop.FRIENDLY_NAME).writable:
            mtp.set_device_prop_value(Prop.FRIENDLY_NAME, "Büro")
            assert mtp.device_prop_value(Prop.FRIENDLY_NAME) == "Büro"
            for data in (b"", b"\x05a\0", bytes(100_000)):
                with refused():
                    mtp.command(Op.SET_DEVICE_PROP_VALUE, Prop.FRIENDLY_NAME, data=data)
            assert mtp.device_prop_value(Prop.FRIENDLY_NAME) == "Büro"
        else:
            with refused(Rc.ACCESS_DENIED):
                mtp.set_device_prop_value(Prop.FRIENDLY_NAME, "Büro")


def test_the_unique_id_outlives_a_restart_and_renames(tmp_path: Path) -> None:
    share, before = tmp_path / "share", tmp_path / "before"
    for folder in (share / "box", before):
        folder.mkdir(parents=True)
    (share / "file").touch()
    (share / "other").touch()
    with running_server([share]) as server:
        mtp = server.initiator()
        file, other = (mtp.prop_value(mtp.find(name), Prop.UNIQUE_ID, 10) for name in ("file", "other"))
        assert 0 != file != other
        mtp.rename(mtp.find("file"), "renamed")
        mtp.move(mtp.find("renamed"), mtp.find("box"))
    with running_server([before, share]) as server:  # another storage id than before
        mtp = server.initiator()
        storage = mtp.storage_ids()[1]
        box = mtp.names(storage=storage)["box"]
        assert mtp.prop_value(mtp.names(box)["renamed"], Prop.UNIQUE_ID, 10) == file
