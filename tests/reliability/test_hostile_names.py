"""Names that want out of the shared folder, through everything that takes a name: none gets anywhere."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.reliability.figures import figure
from tests.reliability.names import HOST_ONLY, HOSTILE, judge
from tests.support.codes import ALL, Format, Op, Prop, Rc
from tests.support.initiator import MtpFailure, refused
from tests.support.mtp import ObjectInfo
from tests.support.server import phone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.initiator import Initiator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a name may be is for the file system to say")

LEGAL = [name for name in HOSTILE if judge(name).legal]
STRING = 0xFFFF
Tree = dict[bytes, bytes | None]


@pytest.fixture
def mtp(tmp_path: Path) -> Iterator[Initiator]:
    (tmp_path / "share" / "folder").mkdir(parents=True)
    (tmp_path / "share" / "other").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    with phone(tmp_path / "share", options=["--watch", "off", "--show-hidden"]) as mtp:
        yield mtp


def tree(folder: Path) -> Tree:
    """Everything below a folder: paths as the disk has them, and contents, None for a folder."""
    found: Tree = {}
    top = os.fsencode(folder)
    for place, folders, files in os.walk(top):
        below = os.path.relpath(place, top)
        found |= dict.fromkeys((below + b"/" + name for name in folders), None)
        for name in files:
            with os.fdopen(os.open(place + b"/" + name, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                found[below + b"/" + name] = file.read()
    return found


def text_row(handle: int, prop: int, wire: bytes) -> bytes:
    """A property list of one text."""
    numbers = (1).to_bytes(4, "little") + handle.to_bytes(4, "little") + prop.to_bytes(2, "little")
    return numbers + STRING.to_bytes(2, "little") + wire


# What gives a new object in a folder a name: its handle. And what gives another one to an object.


def by_info(mtp: Initiator, folder: int, wire: bytes) -> int:
    info = ObjectInfo(size=3).encode()[:52] + wire + bytes(3)
    handle = mtp.command(Op.SEND_OBJECT_INFO, mtp.storage, folder, data=info).params[2]
    mtp.send_object(b"new")
    return handle


def folder_by_info(mtp: Initiator, folder: int, wire: bytes) -> int:
    info = ObjectInfo(format=Format.FOLDER, association=1).encode()[:52] + wire + bytes(3)
    return mtp.command(Op.SEND_OBJECT_INFO, mtp.storage, folder, data=info).params[2]


def by_list(mtp: Initiator, folder: int, wire: bytes) -> int:
    parameters = (mtp.storage, folder, Format.UNDEFINED, 0, 3)
    data = text_row(0, Prop.FILE_NAME, wire)
    handle = mtp.command(Op.SEND_OBJECT_PROP_LIST, *parameters, data=data).params[2]
    mtp.send_object(b"new")
    return handle


def folder_by_list(mtp: Initiator, folder: int, wire: bytes) -> int:
    parameters = (mtp.storage, folder, Format.FOLDER, 0, 0)
    return mtp.command(Op.SEND_OBJECT_PROP_LIST, *parameters, data=text_row(0, Prop.NAME, wire)).params[2]


def by_value(mtp: Initiator, folder: int, wire: bytes) -> int:
    handle = mtp.send_file("old", b"new", folder)
    return renamed(mtp, handle, Op.SET_OBJECT_PROP_VALUE, (handle, Prop.FILE_NAME), wire)


def folder_by_value(mtp: Initiator, folder: int, wire: bytes) -> int:
    handle = mtp.make_folder("old", folder)
    return renamed(mtp, handle, Op.SET_OBJECT_PROP_VALUE, (handle, Prop.FILE_NAME), wire)


def by_values(mtp: Initiator, folder: int, wire: bytes) -> int:
    handle = mtp.send_file("old", b"new", folder)
    return renamed(mtp, handle, Op.SET_OBJECT_PROP_LIST, (), text_row(handle, Prop.FILE_NAME, wire))


def renamed(mtp: Initiator, handle: int, code: int, parameters: tuple[int, ...], data: bytes) -> int:
    """Rename, or leave nothing behind."""
    try:
        mtp.command(code, *parameters, data=data)
    except MtpFailure:
        mtp.delete(handle)
        raise
    return handle


WAYS: dict[str, Callable[[Initiator, int, bytes], int]] = {
    way.__name__: way
    for way in (by_info, folder_by_info, by_list, folder_by_list, by_value, folder_by_value, by_values)
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["", "folder"])
def test_no_name_leads_out(mtp: Initiator, tmp_path: Path, way: str, place: str) -> None:
    folder = mtp.names()[place] if place else ALL
    before = tree(tmp_path)
    content = None if way.startswith("folder") else b"new"
    for name in HOSTILE:
        legal, wire = judge(name)
        if not legal:
            with refused():
                WAYS[way](mtp, folder, wire)
            assert tree(tmp_path) == before, name
            continue
        handle = WAYS[way](mtp, folder, wire)
        path = b"share/folder/" if place else b"share/"
        assert tree(tmp_path) == before | {path + name.encode(): content}, name
        assert mtp.object_info(handle).name == name
        mtp.delete(handle)
        assert tree(tmp_path) == before, name


# Objects that bear such names, on their way to another folder


def host_names() -> list[bytes]:
    return [name.encode() for name in LEGAL] + HOST_ONLY


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_moved_and_copied_under_their_names(mtp: Initiator, tmp_path: Path, kind: str) -> None:
    share = tmp_path / "share"
    folder, other = (mtp.names()[name] for name in ("folder", "other"))
    before = tree(tmp_path)
    for name in host_names():
        content = None if kind == "folder" else b"host's"
        path = share / "folder" / os.fsdecode(name)
        path.mkdir() if content is None else path.write_bytes(content)
        [handle] = mtp.object_handles(mtp.storage, 0, folder)
        shown = mtp.object_info(handle).name
        assert shown == name.decode() if name not in HOST_ONLY else shown
        copy = mtp.copy(handle, other)
        assert tree(tmp_path) == before | {b"share/folder/" + name: content, b"share/other/" + name: content}, name
        assert mtp.object_info(copy).name == shown
        with refused():
            mtp.move(handle, other)  # there is one already
        mtp.delete(copy)
        mtp.move(handle, other)
        assert tree(tmp_path) == before | {b"share/other/" + name: content}, name
        mtp.move(handle, 0)
        assert tree(tmp_path) == before | {b"share/" + name: content}, name
        assert mtp.object_info(handle).name == shown
        mtp.delete(handle)
        assert tree(tmp_path) == before, name


def test_destinations_that_are_none(mtp: Initiator, tmp_path: Path) -> None:
    """Below itself, below a file, what does not exist, and another storage's."""
    names = mtp.names()
    folder, file = names["folder"], mtp.send_file("file", b"file")
    inner = mtp.make_folder("inner", folder)
    before = tree(tmp_path)
    storage = mtp.storage
    for operation in (Op.MOVE_OBJECT, Op.COPY_OBJECT):
        for parent in (file, 0x7FFFFFFF, 0xFFFFFFFE, 99):
            assert mtp.transact(operation, names["other"], storage, parent).code == Rc.INVALID_PARENT_OBJECT
        for handle in (0, 0xFFFFFFFF, 99):
            assert mtp.transact(operation, handle, storage, folder).code == Rc.INVALID_OBJECT_HANDLE
        for below in (folder, inner):
            with refused():
                mtp.command(operation, folder, storage, below)
        for wrong in (0x00020001, 0x00010002, 0xFFFFFFFE):
            with refused(Rc.INVALID_STORAGE_ID, Rc.INVALID_PARENT_OBJECT):
                mtp.command(operation, file, wrong, folder)
    assert tree(tmp_path) == before


def test_figures() -> None:
    assert len(HOSTILE) >= 200
    figure("hostile names", len(HOSTILE))
    figure("of them refused", len(HOSTILE) - len(LEGAL))
    figure("of them kept as they were given", len(LEGAL))
