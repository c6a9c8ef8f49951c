"""What other responders are known to do wrong (QEMU's usb-mtp, uMTP-Responder, Android's), held against this one."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.support.codes import ALL, Op, Prop, Rc
from tests.support.initiator import OutStyle, refused
from tests.support.mtp import parse_date
from tests.support.server import phone, running_server
from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.folder_files import FileUpload

if TYPE_CHECKING:
    from pathlib import Path

    from usbredir_mtp.mtp.storage import Stat

SIZES = [0, 52, 114, 116, 500, 578, 1012, 1024, 4084, 16372, 16384]
"""At which a container's last packet is full, or has ended a responder or its whole VM."""


@pytest.mark.parametrize("speed", ["full", "high", "super"])
@pytest.mark.parametrize("style", list(OutStyle))
def test_no_size_of_an_upload_ends_anything(tmp_path: Path, speed: str, style: OutStyle) -> None:
    """QEMU aborts the VM when (size + 12) % 64 is 0; others wait for a packet that has come."""
    with running_server([tmp_path], "--speed", speed) as server:
        mtp = server.initiator(style=style)
        for size in SIZES:
            handle = mtp.send_file(f"{size}", os.urandom(size))
            assert mtp.get_object(handle) == (tmp_path / f"{size}").read_bytes()


def test_names_are_names(tmp_path: Path) -> None:
    """QEMU shows "Oops" for every one that is not ASCII."""
    names = {"Füße", "日本語", "🎵", "e\u0301", "ß" * 100}
    for name in names:
        (tmp_path / name).touch()
    with phone(tmp_path) as mtp:
        assert set(mtp.names()) == names


def test_overwriting_leaves_no_old_bytes(tmp_path: Path) -> None:
    """QEMU does not truncate: a shorter file keeps the end of the longer one."""
    (tmp_path / "file").write_bytes(b"long" * 1000)
    with phone(tmp_path) as mtp:
        mtp.send_file("file", b"short")
        assert mtp.get_object(mtp.names()["file"]) == b"short"
    assert (tmp_path / "file").read_bytes() == b"short"


def test_a_name_is_not_its_beginning(tmp_path: Path) -> None:
    """QEMU looks names up by prefix: a new file replaces one whose name goes on."""
    (tmp_path / "report.txt").write_text("kept")
    with phone(tmp_path) as mtp:
        mtp.send_file("report", b"new")
        assert set(mtp.names()) == {"report", "report.txt"}
    assert (tmp_path / "report.txt").read_text() == "kept"


def test_a_handle_costs_one_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU walks a list: the time for a folder grows with the square of its files."""
    asked: list[object] = []
    original = FolderStorage.stat
    for number in range(500):
        (tmp_path / f"{number}").touch()
    with phone(tmp_path) as mtp:
        handles = mtp.object_handles()

        def counted(self: FolderStorage, path: tuple[str, ...]) -> Stat:
            asked.append(path)
            return original(self, path)

        monkeypatch.setattr(FolderStorage, "stat", counted)
        for handle in handles:
            mtp.object_info(handle)
        assert len(asked) == len(handles) == 500


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """uMTP-Responder ignores errors of writing, and the data are lost without a word."""
    (tmp_path / "file").write_bytes(b"old")

    def full(self: FileUpload, data: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with phone(tmp_path) as mtp:
        monkeypatch.setattr(FileUpload, "write", full)
        with refused(Rc.STORE_FULL):
            mtp.send_file("file", b"new" * 1000)
        monkeypatch.undo()
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
        assert (tmp_path / "file").read_bytes() == b"old"
        mtp.send_file("file", b"new")


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/../../out", "..", "box/../../out"])
def test_no_name_leads_out(tmp_path: Path, name: str) -> None:
    """CVE-2018-16867 (a slash in an uploaded name), and ".." through SetObjectPropValue."""
    share = tmp_path / "share"
    (share / "box").mkdir(parents=True)
    (share / "file").write_text("x")
    with phone(share) as mtp:
        handle = mtp.names()["file"]
        with refused(Rc.INVALID_OBJECT_PROP_VALUE):
            mtp.send_file(name, b"evil")
        with refused(Rc.INVALID_OBJECT_PROP_VALUE):
            mtp.make_folder(name)
        with refused(Rc.INVALID_OBJECT_PROP_VALUE):
            mtp.rename(handle, name)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["box", "file", "share"]


def test_a_folder_that_became_a_link_leads_nowhere(tmp_path: Path) -> None:
    """CVE-2018-16872: the folder is swapped for a link between the look and the use."""
    share, outside = tmp_path / "share", tmp_path / "outside"
    (share / "box").mkdir(parents=True)
    (share / "box" / "file").write_text("inside")
    outside.mkdir()
    (outside / "file").write_text("secret")
    with phone(share, options=["--watch", "off"]) as mtp:
        box = mtp.names()["box"]
        handle = mtp.names(box)["file"]
        (share / "box").rename(share / "kept")
        (share / "box").symlink_to(outside)
        with refused():
            mtp.get_object(handle)
        with refused():
            mtp.send_file("new", b"evil", box)
    assert [path.name for path in outside.iterdir()] == ["file"]


def test_a_size_whose_low_half_is_zero(tmp_path: Path) -> None:
    """4 GiB as 32 bits is 0, and Windows hung."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(4 << 30)
    with phone(tmp_path) as mtp:
        handle = mtp.names()["large"]
        assert mtp.object_info(handle).size == 0xFFFFFFFF
        assert mtp.prop_value(handle, Prop.SIZE, 8) == 4 << 30
        assert mtp.get_partial64(handle, (4 << 30) - 10, 100) == bytes(10)


def test_times_are_neither_lost_nor_shifted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.utime(tmp_path / "file", (1_700_000_000, 1_700_000_000))
    with phone(tmp_path) as mtp:
        text = mtp.object_info(mtp.names()["file"]).modified
        assert parse_date(text).timestamp() == 1_700_000_000
        mtp.send_file("back", b"x", modified=text)
    assert (tmp_path / "back").stat().st_mtime == 1_700_000_000


@pytest.mark.parametrize("size", [500, 512 - 12, 1024 - 12, 16384 - 12, 65536 - 12])
def test_data_that_end_on_a_packet_are_ended(tmp_path: Path, size: int) -> None:
    """Without the zero-length packet Windows waits for one or two minutes."""
    (tmp_path / "file").write_bytes(bytes(size))
    with phone(tmp_path) as mtp:
        number = mtp.send_command(Op.GET_OBJECT, mtp.names()["file"])
        assert len(mtp.read_message()) == size + 12  # reads until a short packet
        assert mtp.finish(Op.GET_OBJECT, number).code == Rc.OK


def test_a_listing_of_many_costs_few_transactions(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"{number}").touch()
    with phone(tmp_path) as mtp:
        rows = mtp.prop_list(ALL, depth=ALL)
        assert len({row.handle for row in rows}) == 1000
