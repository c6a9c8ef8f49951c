"""Nothing outside of the export is read or written; a read-only export stays as it is."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.codes import ALL, Op, Prop, Rc
from tests.support.initiator import Initiator, refused
from tests.support.mtp import ObjectInfo, Row
from tests.support.server import Export, phone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECRET = b"not for guests"


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that one can see of a tree: mode, modification time, content."""
    found = {}
    for path in folder.rglob("*"):
        stat = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path.relative_to(folder))] = (stat.st_mode, stat.st_mtime_ns, content)
    return found


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    (share / "folder").mkdir(parents=True)
    (share / "folder" / "inner").write_bytes(b"inner")
    (share / "file").write_bytes(b"file")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "inner").write_bytes(SECRET)
    (tmp_path / "outside" / "secret").write_bytes(SECRET)
    return share


@pytest.mark.parametrize("target", ["../outside/secret", "../outside", "file", "folder", "nowhere", "."])
def test_symlinks_are_not_there(share: Path, target: str) -> None:
    (share / "link").symlink_to(target)
    with phone(share) as mtp:
        assert set(mtp.names()) == {"file", "folder"}
        assert mtp.num_objects(ALL, 0, 0) == 3


def test_an_absolute_symlink_in_a_folder(share: Path, tmp_path: Path) -> None:
    (share / "folder" / "link").symlink_to(tmp_path / "outside")
    with phone(share) as mtp:
        assert set(mtp.names(mtp.names()["folder"])) == {"inner"}


def test_special_files_are_not_there(share: Path) -> None:
    os.mkfifo(share / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(share, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        with phone(share) as mtp:
            assert set(mtp.names()) == {"file", "folder"}


def test_a_folder_that_becomes_a_symlink(share: Path, tmp_path: Path) -> None:
    before = tree(tmp_path / "outside")
    with phone(share) as mtp:
        folder = mtp.names()["folder"]
        inner = mtp.names(folder)["inner"]
        (share / "folder").rename(tmp_path / "away")
        (share / "folder").symlink_to("../outside")
        assert mtp.transact(Op.GET_OBJECT, inner).data != SECRET
        assert mtp.transact(Op.GET_PARTIAL_OBJECT, inner, 0, 100).data != SECRET
        listed = mtp.transact(Op.GET_OBJECT_HANDLES, ALL, 0, folder)
        assert len(listed.data) <= 8, "the outside was listed"
        for attempt in (
            lambda: mtp.send_file("new", b"x", folder),
            lambda: mtp.make_folder("new folder", folder),
            lambda: mtp.rename(inner, "renamed"),
            lambda: mtp.delete(inner),
            lambda: mtp.begin_edit(inner),
        ):
            with refused():
                attempt()
    assert tree(tmp_path / "outside") == before


def test_a_file_that_becomes_a_symlink(share: Path, tmp_path: Path) -> None:
    before = tree(tmp_path / "outside")
    with phone(share) as mtp:
        file = mtp.names()["file"]
        (share / "file").unlink()
        (share / "file").symlink_to("../outside/secret")
        assert mtp.transact(Op.GET_OBJECT, file).data == b""
        with refused():
            mtp.begin_edit(file)
    assert tree(tmp_path / "outside") == before


def test_an_upload_over_a_symlink(share: Path, tmp_path: Path) -> None:
    """Refused, or the link itself is replaced: its target never changes."""
    before = tree(tmp_path / "outside")
    (share / "link").symlink_to("../outside/secret")
    with phone(share) as mtp:
        info = ObjectInfo(size=3, name="link")
        if mtp.transact(Op.SEND_OBJECT_INFO, mtp.storage, ALL, data=info.encode()).code == Rc.OK:
            mtp.transact(Op.SEND_OBJECT, data=b"new")
    assert tree(tmp_path / "outside") == before


def test_a_file_that_becomes_a_fifo_blocks_nobody(share: Path) -> None:
    with phone(share) as mtp:
        file = mtp.names()["file"]
        (share / "file").unlink()
        os.mkfifo(share / "file")
        with refused():
            mtp.get_object(file)
        with refused():
            mtp.begin_edit(file)
        assert "folder" in mtp.names()


def test_deleting_a_folder_spares_what_its_links_point_to(share: Path, tmp_path: Path) -> None:
    before = tree(tmp_path / "outside")
    (share / "folder" / "link").symlink_to(tmp_path / "outside")
    (share / "folder" / "filelink").symlink_to(tmp_path / "outside" / "secret")
    os.mkfifo(share / "folder" / "pipe")
    with phone(share) as mtp:
        mtp.delete(mtp.names()["folder"])
    assert not (share / "folder").exists()
    assert tree(tmp_path / "outside") == before


def test_copying_a_folder_leaves_links_out(share: Path, tmp_path: Path) -> None:
    (share / "folder" / "link").symlink_to(tmp_path / "outside" / "secret")
    (share / "target").mkdir()
    with phone(share) as mtp:
        mtp.copy(mtp.names()["folder"], mtp.names()["target"])
    assert {path.name for path in (share / "target" / "folder").iterdir()} == {"inner"}


@pytest.fixture(params=["one", "all"])
def frozen(request: pytest.FixtureRequest, share: Path) -> Iterator[Initiator]:
    one = request.param == "one"
    with phone(Export(share, "share", read_only=one), options=() if one else ("--read-only",)) as mtp:
        yield mtp


CHANGES: dict[str, Callable[[Initiator], object]] = {
    "upload": lambda mtp: mtp.send_file("new", b"new"),
    "overwrite": lambda mtp: mtp.send_file("file", b"new"),
    "new folder": lambda mtp: mtp.make_folder("new"),
    "delete": lambda mtp: mtp.delete(mtp.names()["file"]),
    "delete a folder": lambda mtp: mtp.delete(mtp.names()["folder"]),
    "delete all": lambda mtp: mtp.delete(ALL),
    "rename": lambda mtp: mtp.rename(mtp.names()["file"], "new"),
    "move": lambda mtp: mtp.move(mtp.names()["file"], mtp.names()["folder"]),
    "copy": lambda mtp: mtp.copy(mtp.names()["file"], mtp.names()["folder"]),
    "upload with a property list": lambda mtp: mtp.send_prop_list(
        ALL, 0x3000, 3, Row(0, Prop.FILE_NAME, 0xFFFF, "new")
    ),
    "rename by a property list": lambda mtp: mtp.set_prop_list(Row(mtp.names()["file"], Prop.FILE_NAME, 0xFFFF, "new")),
    "date": lambda mtp: mtp.set_prop_value(mtp.names()["file"], Prop.MODIFIED, 0xFFFF, "20200101T000000"),
    "protect": lambda mtp: mtp.command(Op.SET_OBJECT_PROTECTION, mtp.names()["file"], 1),
    "format": lambda mtp: mtp.command(Op.FORMAT_STORE, mtp.storage),
    "edit": lambda mtp: mtp.begin_edit(mtp.names()["file"]),
    "truncate": lambda mtp: mtp.truncate(mtp.names()["file"], 0),
    "partial write": lambda mtp: mtp.send_partial(mtp.names()["file"], 0, b"x"),
}
REFUSALS = {
    "delete all": (Rc.STORE_READ_ONLY, Rc.ACCESS_DENIED, Rc.INVALID_OBJECT_HANDLE, Rc.PARTIAL_DELETION),
    "truncate": (),
    "partial write": (),
}
"""Where the read-only storage need not be the first thing that is wrong."""


@pytest.mark.parametrize("change", CHANGES)
def test_read_only(frozen: Initiator, share: Path, change: str) -> None:
    before = tree(share)
    with refused(*REFUSALS.get(change, (Rc.STORE_READ_ONLY,))):
        CHANGES[change](frozen)
    assert tree(share) == before
    assert frozen.get_object(frozen.names()["file"]) == b"file"


def test_read_only_is_told(frozen: Initiator) -> None:
    assert frozen.storage_info(frozen.storage).access == 1
    file = frozen.names()["file"]
    assert frozen.object_info(file).protection in {0, 1}
    assert frozen.prop_value(file, Prop.PROTECTION, 4) == frozen.object_info(file).protection


def test_moving_from_a_read_only_storage(share: Path, tmp_path: Path) -> None:
    (tmp_path / "rw").mkdir()
    with phone(Export(share, "ro", read_only=True), Export(tmp_path / "rw", "rw")) as mtp:
        frozen, writable = mtp.storage_ids()
        file = mtp.names(storage=frozen)["file"]
        with refused(Rc.STORE_READ_ONLY):
            mtp.move(file, 0, writable)
        mtp.copy(file, 0, writable)
        with refused(Rc.STORE_READ_ONLY):
            mtp.copy(mtp.names(storage=writable)["file"], mtp.names(storage=frozen)["folder"], frozen)
    assert (share / "file").read_bytes() == (tmp_path / "rw" / "file").read_bytes() == b"file"


def test_links_are_followed_inside_of_the_export_on_demand(tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    (share / "file").write_text("inside")
    (share / "in").symlink_to("file")
    (share / "out").symlink_to("/etc/passwd")
    with phone(share, options=["--follow-symlinks"]) as mtp:
        names = mtp.names()
        assert set(names) == {"file", "in"}
        assert mtp.get_object(names["in"]) == b"inside"
        assert mtp.prop_value(names["in"], Prop.UNIQUE_ID, 10) != mtp.prop_value(names["file"], Prop.UNIQUE_ID, 10)
