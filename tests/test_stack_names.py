"""Hostile names: refused, and nothing happens outside of the export."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.codes import ALL, Format, Op, Prop, Rc
from tests.support.initiator import Initiator, refused
from tests.support.mtp import ObjectInfo
from tests.support.server import phone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BAD = [
    "",
    ".",
    "..",
    "/",
    "a/b",
    "../outside",
    "/etc/x",
    "a/../../outside",
    "nul\0byte",
    "\0",
    "日" * 100,
    "\ud800",
]
"""The long one has 100 units but 300 bytes of UTF-8; the last is half of a surrogate pair."""


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    (share / "folder").mkdir(parents=True)
    (share / "file").write_bytes(b"file")
    (tmp_path / "outside").write_bytes(b"outside")
    return share


@pytest.fixture
def mtp(share: Path) -> Iterator[Initiator]:
    with phone(share) as initiator:
        yield initiator


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("name", BAD)
def test_upload(mtp: Initiator, tmp_path: Path, name: str) -> None:
    before = tree(tmp_path)
    for parent in (ALL, mtp.names()["folder"]):
        with refused():
            mtp.send_file(name, b"bad", parent)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", BAD)
def test_new_folder(mtp: Initiator, tmp_path: Path, name: str) -> None:
    before = tree(tmp_path)
    with refused():
        mtp.make_folder(name)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("old", ["file", "folder"])
def test_rename(mtp: Initiator, tmp_path: Path, name: str, old: str) -> None:
    before = tree(tmp_path)
    with refused():
        mtp.rename(mtp.names()[old], name)
    assert tree(tmp_path) == before
    assert set(mtp.names()) == {"file", "folder"}


@pytest.mark.parametrize("name", ["a\\b", "C:", "con", "~", "*?<>|", "..."])
def test_names_that_are_only_strange(mtp: Initiator, share: Path, name: str) -> None:
    mtp.send_file(name, b"fine")
    assert (share / name).read_bytes() == b"fine"
    assert name in mtp.names()


def test_the_longest_name(mtp: Initiator, share: Path) -> None:
    """254 UTF-16 units and a NUL are what an MTP string holds (MTP 1.1, 3.2.3)."""
    mtp.send_file("n" * 254, b"long")
    assert (share / ("n" * 254)).exists()


def test_a_host_name_too_long_for_mtp_hides_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ("n" * 255)).write_bytes(b"long")
    (tmp_path / "short").write_bytes(b"short")
    with phone(tmp_path) as mtp:
        assert mtp.get_object(mtp.names()["short"]) == b"short"


@pytest.mark.parametrize("text", [b"\xff", b"\x05a\0", b"\x03a\0\0\0b\0", b"\x02\0\0\0\0", b"\x01\0\0"])
def test_strings_that_are_not_strings(mtp: Initiator, tmp_path: Path, text: bytes) -> None:
    """Too short for its count, a NUL before the end, nothing but NULs."""
    before = tree(tmp_path)
    head = ObjectInfo(name="").encode()[:52]
    with refused():
        mtp.command(Op.SEND_OBJECT_INFO, mtp.storage, ALL, data=head + text + bytes(3))
        mtp.send_object(b"")
    with refused():
        mtp.command(Op.SET_OBJECT_PROP_VALUE, mtp.names()["file"], Prop.FILE_NAME, data=text)
    assert tree(tmp_path) == before


def test_temporary_names_are_not_taken_from_guests(mtp: Initiator, share: Path) -> None:
    """An upload under a name of the program's own would be invisible: it is refused or can be seen."""
    name = ".usbredir-mtp-0.part"
    response = mtp.transact(
        Op.SEND_OBJECT_INFO, mtp.storage, ALL, data=ObjectInfo(format=Format.FOLDER, name=name).encode()
    )
    assert (response.code == 0x2001) == (share / name).exists() == (name in mtp.names())


def test_a_rename_of_a_folder_keeps_its_children(mtp: Initiator, share: Path) -> None:
    folder = mtp.names()["folder"]
    child = mtp.send_file("child", b"c", folder)
    mtp.rename(folder, "renamed")
    assert (share / "renamed" / "child").exists()
    assert mtp.get_object(child) == b"c"
    assert mtp.object_info(child).parent == folder


def test_a_name_that_had_to_be_altered_means_the_object_that_bears_it(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"old")
    with phone(tmp_path) as mtp:
        [(name, handle)] = mtp.names().items()
        assert name.startswith("caf%E9~")
        assert mtp.send_file(name, b"new") == handle
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]
        other = mtp.send_file("other", b"")
        with refused(Rc.ACCESS_DENIED):
            mtp.rename(other, name)
        mtp.delete(handle)
        mtp.rename(other, name)
        assert {path.name for path in tmp_path.iterdir()} == {name}
