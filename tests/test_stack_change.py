"""Folders, delete, move, copy, rename."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.codes import ALL, Format, Op, Prop, Rc
from tests.support.initiator import Initiator, refused
from tests.support.mtp import ObjectInfo
from tests.support.server import Export, phone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHEN = 1_600_000_000


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    (share / "folder" / "deep").mkdir(parents=True)
    (share / "folder" / "inner").write_bytes(b"inner")
    (share / "folder" / "deep" / "leaf").write_bytes(b"leaf")
    (share / "other").mkdir()
    (share / "file").write_bytes(b"file")
    os.utime(share / "file", (WHEN, WHEN))
    return share


@pytest.fixture
def mtp(share: Path) -> Iterator[Initiator]:
    with phone(share) as initiator:
        yield initiator


def test_new_folder(mtp: Initiator, share: Path) -> None:
    handle = mtp.make_folder("new")
    assert (share / "new").is_dir()
    assert mtp.object_info(handle).format == Format.FOLDER
    assert mtp.names(handle) == {}


def test_a_folder_twice(mtp: Initiator, share: Path) -> None:
    with refused():
        mtp.make_folder("file")
    assert (share / "file").read_bytes() == b"file"
    before = mtp.num_objects()
    mtp.transact(Op.SEND_OBJECT_INFO, mtp.storage, ALL, data=folder_info("folder"))
    assert mtp.num_objects() == before
    assert (share / "folder" / "inner").exists()


def folder_info(name: str) -> bytes:
    return ObjectInfo(format=Format.FOLDER, association=1, name=name).encode()


def test_delete_a_file(mtp: Initiator, share: Path) -> None:
    handle = mtp.names()["file"]
    mtp.delete(handle)
    assert not (share / "file").exists()
    with refused(Rc.INVALID_OBJECT_HANDLE):
        mtp.object_info(handle)


def test_delete_a_tree(mtp: Initiator, share: Path) -> None:
    leaf = mtp.find("folder/deep/leaf")
    mtp.delete(mtp.names()["folder"])
    assert not (share / "folder").exists()
    with refused(Rc.INVALID_OBJECT_HANDLE):
        mtp.object_info(leaf)
    assert set(mtp.names()) == {"file", "other"}


def test_delete_everything_is_refused_or_done(mtp: Initiator, share: Path) -> None:
    """Handle 0xFFFFFFFF means all objects (MTP 1.1, D.2.11); a responder may refuse that."""
    if mtp.transact(Op.DELETE_OBJECT, ALL, 0).code == Rc.OK:
        assert list(share.iterdir()) == []
    else:
        assert {path.name for path in share.iterdir()} == {"folder", "other", "file"}
    assert share.is_dir()


def test_deleted_by_the_host_first(mtp: Initiator, share: Path) -> None:
    handle = mtp.names()["file"]
    (share / "file").unlink()
    response = mtp.transact(Op.DELETE_OBJECT, handle, 0)
    assert response.code in {Rc.OK, Rc.INVALID_OBJECT_HANDLE}
    assert "file" not in mtp.names()


def test_handles_are_not_used_again(mtp: Initiator) -> None:
    seen = set(mtp.object_handles(ALL, 0, 0))
    for number in range(5):
        handle = mtp.send_file(f"{number}", b"")
        assert handle not in seen
        seen.add(handle)
        mtp.delete(handle)


def test_rename(mtp: Initiator, share: Path) -> None:
    handle = mtp.names()["file"]
    mtp.rename(handle, "renämed")
    assert (share / "renämed").read_bytes() == b"file"
    assert not (share / "file").exists()
    assert mtp.names()["renämed"] == handle
    assert mtp.get_object(handle) == b"file"


def test_rename_to_the_same_name(mtp: Initiator, share: Path) -> None:
    mtp.rename(mtp.names()["file"], "file")
    assert (share / "file").read_bytes() == b"file"


def test_rename_onto_another(mtp: Initiator, share: Path) -> None:
    (share / "target").write_bytes(b"target")
    with refused():
        mtp.rename(mtp.names()["file"], "target")
    assert (share / "target").read_bytes() == b"target"
    assert (share / "file").read_bytes() == b"file"


def test_rename_in_case_only(mtp: Initiator, share: Path) -> None:
    mtp.rename(mtp.names()["file"], "FILE")
    assert {path.name for path in share.iterdir()} == {"folder", "other", "FILE"}


def test_move(mtp: Initiator, share: Path) -> None:
    names = mtp.names()
    mtp.move(names["file"], names["other"])
    assert (share / "other" / "file").read_bytes() == b"file"
    assert mtp.object_info(names["file"]).parent == names["other"]
    assert mtp.names(names["other"]) == {"file": names["file"]}
    mtp.move(names["file"], 0)
    assert (share / "file").read_bytes() == b"file"
    assert mtp.object_info(names["file"]).parent == 0


def test_move_a_tree(mtp: Initiator, share: Path) -> None:
    names = mtp.names()
    leaf = mtp.find("folder/deep/leaf")
    mtp.move(names["folder"], names["other"])
    assert (share / "other" / "folder" / "deep" / "leaf").exists()
    assert mtp.get_object(leaf) == b"leaf"


def test_move_below_itself(mtp: Initiator, share: Path) -> None:
    folder, deep = mtp.names()["folder"], mtp.find("folder/deep")
    for parent in (folder, deep):
        with refused():
            mtp.move(folder, parent)
    assert (share / "folder" / "deep" / "leaf").exists()


def test_move_onto_another(mtp: Initiator, share: Path) -> None:
    (share / "other" / "file").write_bytes(b"other")
    names = mtp.names()
    with refused():
        mtp.move(names["file"], names["other"])
    assert (share / "other" / "file").read_bytes() == b"other"


def test_move_into_a_file_or_nowhere(mtp: Initiator) -> None:
    inner = mtp.find("folder/inner")
    for parent in (mtp.names()["file"], 0x00ABCDEF):
        with refused(Rc.INVALID_PARENT_OBJECT, Rc.INVALID_OBJECT_HANDLE):
            mtp.move(inner, parent)
    with refused(Rc.INVALID_STORAGE_ID):
        mtp.move(inner, 0, 0x00990001)


def test_copy(mtp: Initiator, share: Path) -> None:
    names = mtp.names()
    copy = mtp.copy(names["file"], names["other"])
    assert copy not in names.values()
    assert (share / "other" / "file").read_bytes() == b"file"
    assert (share / "file").read_bytes() == b"file"
    assert (share / "other" / "file").stat().st_mtime == WHEN
    assert mtp.get_object(copy) == b"file"


def test_copy_a_tree(mtp: Initiator, share: Path) -> None:
    names = mtp.names()
    copy = mtp.copy(names["folder"], names["other"])
    assert (share / "other" / "folder" / "deep" / "leaf").read_bytes() == b"leaf"
    assert (share / "folder" / "deep" / "leaf").read_bytes() == b"leaf"
    assert set(mtp.names(copy)) == {"inner", "deep"}


def test_copy_a_folder_below_itself(mtp: Initiator, share: Path) -> None:
    folder, deep = mtp.names()["folder"], mtp.find("folder/deep")
    with refused():
        mtp.copy(folder, deep)
    assert {path.name for path in (share / "folder" / "deep").iterdir()} == {"leaf"}


def test_copy_onto_itself(mtp: Initiator, share: Path) -> None:
    with refused():
        mtp.copy(mtp.names()["file"], 0)
    assert (share / "file").read_bytes() == b"file"


@pytest.fixture
def two(tmp_path: Path, share: Path) -> Iterator[Initiator]:
    (tmp_path / "second").mkdir()
    with phone(Export(share, "first"), Export(tmp_path / "second", "second")) as initiator:
        yield initiator


def test_copy_to_another_storage(two: Initiator, tmp_path: Path) -> None:
    second = two.storage_ids()[1]
    copy = two.copy(two.find("file"), 0, second)
    assert (tmp_path / "second" / "file").read_bytes() == b"file"
    assert two.object_info(copy).storage == second


def test_move_to_another_storage(two: Initiator, tmp_path: Path) -> None:
    """Done whole or refused with nothing changed."""
    handle, second = two.find("file"), two.storage_ids()[1]
    done = two.transact(Op.MOVE_OBJECT, handle, second, 0).code == Rc.OK
    assert (tmp_path / "second" / "file").exists() == done
    assert (tmp_path / "share" / "file").exists() != done
    if done:
        assert two.object_info(handle).storage == second


def test_the_name_property_renames_as_well_or_is_read_only(mtp: Initiator, share: Path) -> None:
    handle = mtp.names()["file"]
    desc = mtp.prop_desc(Prop.NAME, mtp.object_info(handle).format)
    if desc.writable:
        mtp.set_prop_value(handle, Prop.NAME, 0xFFFF, "by name")
        assert (share / "by name").exists()
    else:
        with refused(Rc.ACCESS_DENIED):
            mtp.set_prop_value(handle, Prop.NAME, 0xFFFF, "by name")
