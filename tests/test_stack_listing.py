"""Storages, handles, object information."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.support.codes import ALL, Format, Rc
from tests.support.initiator import Initiator, refused
from tests.support.mtp import parse_date
from tests.support.server import Export, phone, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHEN = datetime(2021, 3, 4, 5, 6, 7, tzinfo=UTC).timestamp()


@pytest.fixture
def mtp(tmp_path: Path) -> Iterator[Initiator]:
    (tmp_path / "a.txt").write_bytes(b"a")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "b.bin").write_bytes(b"bb")
    (tmp_path / "folder" / "deep" / "c").write_bytes(b"ccc")
    (tmp_path / "empty").mkdir()
    os.utime(tmp_path / "a.txt", (WHEN, WHEN))
    with phone(Export(tmp_path, "share")) as initiator:
        yield initiator


def named(mtp: Initiator, handles: list[int]) -> set[str]:
    return {mtp.object_info(handle).name for handle in handles}


def test_one_storage(mtp: Initiator) -> None:
    (storage,) = mtp.storage_ids()
    assert storage & 0xFFFF
    info = mtp.storage_info(storage)
    assert (info.type, info.filesystem, info.access) in {(3, 2, 0), (4, 2, 0)}
    assert info.description == "share"
    assert 0 < info.free <= info.capacity


def test_several_storages(tmp_path: Path) -> None:
    exports = []
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"in {name}").touch()
        exports.append(Export(tmp_path / name, name, read_only=name == "two"))
    with phone(*exports) as mtp:
        ids = mtp.storage_ids()
        infos = [mtp.storage_info(storage) for storage in ids]
        assert [info.description for info in infos] == ["one", "two", "three"]
        assert [info.access for info in infos] == [0, 1, 0]
        assert len({info.volume for info in infos}) == 3
        assert len(set(ids)) == 3
        for storage, info in zip(ids, infos, strict=True):
            assert set(mtp.names(storage=storage)) == {f"in {info.description}"}
        assert len(mtp.object_handles()) == 3
        assert {mtp.object_info(handle).storage for handle in mtp.object_handles()} == set(ids)


def test_the_roots_children(mtp: Initiator) -> None:
    for storage in (ALL, mtp.storage):
        handles = mtp.object_handles(storage, 0, ALL)
        assert named(mtp, handles) == {"a.txt", "photo.jpg", "folder", "empty"}
    assert {mtp.object_info(handle).parent for handle in mtp.object_handles()} == {0}


def test_parent_zero_means_all_objects(mtp: Initiator) -> None:
    for storage in (ALL, mtp.storage):
        handles = mtp.object_handles(storage, 0, 0)
        assert named(mtp, handles) == {"a.txt", "photo.jpg", "folder", "empty", "b.bin", "deep", "c"}


def test_a_folders_children(mtp: Initiator) -> None:
    folder = mtp.names()["folder"]
    children = mtp.names(folder)
    assert set(children) == {"b.bin", "deep"}
    assert mtp.object_info(children["deep"]).parent == folder
    assert set(mtp.names(children["deep"])) == {"c"}
    assert mtp.names(mtp.names()["empty"]) == {}


def test_handles_stay(mtp: Initiator) -> None:
    assert mtp.names() == mtp.names()
    assert mtp.find("folder/deep/c") == mtp.find("folder/deep/c")


@pytest.mark.parametrize("parent", [0, ALL])
def test_number_of_objects(mtp: Initiator, parent: int) -> None:
    for format_ in (Format.ANY, Format.FOLDER):
        assert mtp.num_objects(ALL, format_, parent) == len(mtp.object_handles(ALL, format_, parent))


def test_formats_filter(mtp: Initiator) -> None:
    assert named(mtp, mtp.object_handles(ALL, Format.FOLDER, 0)) == {"folder", "deep", "empty"}
    assert named(mtp, mtp.object_handles(ALL, Format.FOLDER, ALL)) == {"folder", "empty"}
    if Format.JPEG in mtp.device_info().formats:
        assert named(mtp, mtp.object_handles(ALL, Format.JPEG, 0)) == {"photo.jpg"}


def test_an_unknown_format_matches_nothing(mtp: Initiator) -> None:
    response = mtp.transact(0x1007, ALL, 0xBEEF, 0)
    assert (response.code, response.data) == (Rc.OK, bytes(4)) or response.code in {
        Rc.INVALID_OBJECT_FORMAT_CODE,
        Rc.SPECIFICATION_BY_FORMAT_UNSUPPORTED,
    }


def test_a_file_is_no_parent(mtp: Initiator) -> None:
    for parent in (mtp.names()["a.txt"], 0x00ABCDEF):
        with refused(Rc.INVALID_PARENT_OBJECT, Rc.INVALID_OBJECT_HANDLE):
            mtp.object_handles(ALL, 0, parent)


def test_object_info_of_a_file(mtp: Initiator) -> None:
    info = mtp.object_info(mtp.names()["a.txt"])
    assert (info.storage, info.size, info.parent, info.association) == (mtp.storage, 1, 0, 0)
    assert info.format in mtp.device_info().formats
    assert info.format != Format.FOLDER
    assert info.protection == 0
    assert parse_date(info.modified).timestamp() == WHEN


def test_object_info_of_a_folder(mtp: Initiator) -> None:
    info = mtp.object_info(mtp.names()["folder"])
    assert (info.format, info.association, info.size) == (Format.FOLDER, 1, 0)


@pytest.mark.parametrize(
    "name",
    ["é", "日本語.txt", "emoji 😀", "e\u0301 decomposed", " blanks ", "a" * 254, "dots...", "-", "a\\b"],
)
def test_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with phone(tmp_path) as mtp:
        assert mtp.get_object(mtp.names()[name]) == b"x"


def test_a_name_that_is_not_utf_8_can_be_read(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).write_bytes(b"latin")
    with phone(tmp_path) as mtp:
        (handle,) = mtp.object_handles()
        assert mtp.object_info(handle).name
        assert mtp.get_object(handle) == b"latin"


def test_many_files(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"{number}").touch()
    with phone(tmp_path) as mtp:
        assert len(mtp.object_handles()) == 3000
        assert mtp.num_objects() == 3000


def test_free_space_is_the_hosts(tmp_path: Path) -> None:
    with phone(tmp_path) as mtp:
        said = mtp.storage_info(mtp.storage)
        disk = os.statvfs(tmp_path)
        assert said.capacity == disk.f_blocks * disk.f_frsize


def test_a_second_session_sees_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with running_server([tmp_path]) as server:
        first = server.initiator()
        assert list(first.names()) == ["file"]
        first.close_session()
        first.open_session()
        assert list(first.names()) == ["file"]


def test_dot_names_are_hidden_but_from_those_who_made_them(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "shown").touch()
    with running_server([tmp_path]) as server:
        one, other = server.initiator(), server.initiator()
        assert list(one.names()) == ["shown"]
        assert one.num_objects(parent=0) == 1
        handle = one.send_file(".made", b"by a guest")
        assert other.names()[".made"] == handle
        assert other.get_object(handle) == b"by a guest"
        one.rename(one.names()["shown"], ".shown")
        assert set(other.names()) == {".made", ".shown"}


def test_dot_names_are_shown_on_demand(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with phone(tmp_path, options=["--show-hidden"]) as mtp:
        assert list(mtp.names()) == [".git"]
