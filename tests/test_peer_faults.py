"""Faults that other MTP responders have, or had, each held against this one.

QEMU's usb-mtp, uMTP-Responder, Android and buteo-mtp, what their users complain of, and what initiators choke on.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.mtp.memory_storage import MemoryStorage
from tests.support.codes import ALL, Ev, Format, Op, Prop, Rc
from tests.support.initiator import Initiator, MtpFailure, OutStyle, refused
from tests.support.mtp import ObjectInfo, Row, parse_date
from tests.support.server import phone, running_server, serving
from tests.support.watching import is_addition_of, wait_until_watched
from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.objects import ObjectTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType
    from typing import Any

    from usbredir_mtp.mtp.storage import Buffer, Editor, Stat, Upload
    from usbredir_mtp.mtp.storage import Path as StoragePath

GIB = 1 << 30
TEXT = 0xFFFF
PACKETS = {"full": 64, "high": 512, "super": 1024}
SECRET = b"not for guests"
TRAVERSALS = ["..", ".", "../outside", "a/b", "/etc/passwd", "folder/../../outside", "a\0b", ""]


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    (share / "folder").mkdir(parents=True)
    (share / "folder" / "inner").write_bytes(b"inner")
    (share / "file").write_bytes(b"file")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "inner").write_bytes(SECRET)
    return share


@pytest.fixture
def mtp(share: Path) -> Iterator[Initiator]:
    with phone(share) as mtp:
        yield mtp


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


# QEMU aborted the virtual machine, and others hung, at sizes that fill packets: the message's end is a packet of no
# bytes then, which has to be sent, and may not be waited for where there is none.


def packet_sizes(packet: int) -> list[int]:
    """Sizes whose container, or payload alone, fills packets of one speed or the other, and their neighbours."""
    known = [0, 52, 114, 116, 500, 578, 1012, 4084]
    filling = [packet - 12, packet, 3 * packet - 12, 16384 - 12, 16384, 32768 - 12]
    return sorted({*known, *(size + near for size in filling for near in (-1, 0, 1))})


@pytest.mark.parametrize("style", OutStyle)
@pytest.mark.parametrize("speed", PACKETS)
def test_uploads_and_downloads_that_fill_packets(share: Path, speed: str, style: OutStyle) -> None:
    with running_server([share], "--speed", speed) as server:
        mtp = server.initiator(style=style, exact=style is OutStyle.FIRST_PACKET)
        for size in packet_sizes(PACKETS[speed]):
            handle = mtp.send_file("filling", bytes([size & 0xFF]) * size)
            assert (share / "filling").stat().st_size == size
            assert mtp.get_object(handle) == bytes([size & 0xFF]) * size


@pytest.mark.parametrize("speed", PACKETS)
def test_the_packet_of_no_bytes_is_sent_once_and_only_where_it_is_due(share: Path, speed: str) -> None:
    packet = PACKETS[speed]
    with running_server([share], "--speed", speed) as server:
        mtp = server.initiator()
        for size in (packet - 12, 2 * packet - 12, packet - 13, packet - 11):
            number = mtp.send_command(Op.GET_OBJECT, mtp.send_file("filling", bytes(size)))
            transfers = [mtp.read_transfer(packet)]
            while len(transfers[-1]) == packet:
                transfers.append(mtp.read_transfer(packet))
            assert sum(map(len, transfers)) == size + 12
            assert mtp.finish(Op.GET_OBJECT, number).code == Rc.OK  # or else it is a packet of no bytes that comes


def test_a_large_upload_over_ehci(share: Path) -> None:
    """Its driver moves 20 KiB at once: QEMU aborted at 100 MB; a transfer is more than one of our blocks here too."""
    with running_server([share]) as server:
        mtp = server.initiator(transfer=20480)
        for size in (5 << 20, 20480 * 256 - 12):
            mtp.send_file("large", b"\x5a" * size)
            assert (share / "large").read_bytes() == b"\x5a" * size


# QEMU's names, overwriting and look-up


@pytest.mark.parametrize("name", ["Füße", "日本語", "👩‍👩‍👧‍👦", "Ж" * 127, "e\u0301"])
def test_names_that_are_not_ascii_are_no_oops(mtp: Initiator, share: Path, name: str) -> None:
    (share / "folder" / name).write_bytes(b"host's")
    assert mtp.get_object(mtp.find(f"folder/{name}")) == b"host's"
    mtp.send_file(name, b"guest's")
    assert (share / name).read_bytes() == b"guest's"
    assert {"Oops", "oops"}.isdisjoint(mtp.names())


def test_overwriting_truncates(mtp: Initiator, share: Path) -> None:
    handle = mtp.send_file("file", b"x" * 10_000)
    assert mtp.send_file("file", b"y" * 10) == handle
    assert (share / "file").read_bytes() == mtp.get_object(handle) == b"y" * 10


def test_names_are_looked_up_whole(mtp: Initiator, share: Path) -> None:
    """A name that begins like another's, or goes on after it."""
    book, note = mtp.send_file("notebook", b"book"), mtp.send_file("note", b"note")
    n = mtp.send_file("n", b"n")
    assert len({book, note, n}) == 3
    assert mtp.send_file("note", b"new") == note
    mtp.delete(n)
    assert mtp.get_object(book) == b"book"
    assert {path.name for path in share.iterdir()} == {"file", "folder", "notebook", "note"}


def test_the_host_s_names_are_looked_up_whole(share: Path) -> None:
    for name in ("notebook", "note"):
        (share / name).touch()
    with running_server([share]) as server:
        mtp = server.initiator()
        wait_until_watched(mtp, share)
        names = mtp.names()
        (share / "note").unlink()
        assert mtp.wait_event().params == (names["note"],)
        assert mtp.object_info(names["notebook"]).name == "notebook"


def test_only_events_that_were_announced_are_sent(share: Path) -> None:
    with running_server([share]) as server:
        mtp, other = server.initiator(), server.initiator()
        names = mtp.names()
        mtp.object_info(names["file"])
        other.rename(names["file"], "renamed")
        other.send_file("new", b"")
        other.send_file("renamed", b"longer")
        other.set_device_prop_value(Prop.FRIENDLY_NAME, "other")
        other.delete(names["folder"])
        listed = mtp.device_info().events
        seen = set()
        while (event := mtp.wait_event(unless=())).params != (names["folder"],):
            seen.add(event.code)
        assert {Ev.OBJECT_REMOVED, Ev.OBJECT_ADDED, Ev.DEVICE_PROP_CHANGED} <= seen
        assert seen <= set(listed)


# QEMU and uMTP-Responder took minutes over 10,000 files: they look for a handle along a list


def test_a_handle_of_10000_costs_one_look_at_the_medium() -> None:
    storage = MemoryStorage(*(f"folder/{number}" for number in range(10_000)))
    with serving(storage) as server:
        mtp = server.initiator()
        handles = mtp.object_handles(parent=mtp.names()["folder"])
        assert len(handles) == 10_000
        assert storage.asked["scan"] == 2
        storage.asked.clear()
        for handle in handles[::50]:
            mtp.object_info(handle)
        assert dict(storage.asked) == {"stat": 200}


def test_a_handle_is_found_in_as_many_steps_among_10_as_among_10000() -> None:
    def steps(count: int, which: int) -> int:
        """Lines of Python until an object's attributes are there."""
        table = ObjectTable()
        root = table.add_storage(MemoryStorage(*map(str, range(count))))
        handle = table.children(root)[which].handle
        lines = 0

        def trace(_frame: FrameType, _event: str, _arg: object) -> Callable[..., Any]:
            nonlocal lines
            lines += 1
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            table.view(table.get(handle))
        finally:
            sys.settrace(before)
        return lines

    assert len({steps(10, 0), steps(10, -1), steps(10_000, 0), steps(10_000, 5_000), steps(10_000, -1)}) == 1


def test_listing_10000_files_needs_no_look_at_each() -> None:
    """GetObjectHandles is what go-mtpfs gives up after two seconds."""
    storage = MemoryStorage(*(f"folder/{number}" for number in range(10_000)))
    with serving(storage) as server:
        assert server.initiator().num_objects(ALL, 0, 0) == 10_001
        assert dict(storage.asked) == {"scan": 2}


def test_a_listing_with_all_properties_is_one_transaction() -> None:
    storage = MemoryStorage(*(f"folder/{number}" for number in range(1000)))
    with serving(storage) as server:
        mtp = server.initiator()
        before = mtp.transaction
        rows = mtp.prop_list(ALL, depth=ALL)
        assert mtp.transaction == before + 1
        assert len({row.handle for row in rows}) == 1001
        assert dict(storage.asked) == {"scan": 2, "stat": 1001}


# uMTP-Responder says OK to an upload that did not get to the disk


class FailingStorage(FolderStorage):
    """A folder on a medium with room for so many bytes more in each file, which it does not know beforehand."""

    room = 0
    error = errno.ENOSPC

    def create(self, path: StoragePath, size: int | None) -> Upload:
        return _Upload(super().create(path, size), self.room, self.error)

    def edit(self, path: StoragePath) -> Editor:
        return _Editor(super().edit(path), self.room, self.error)


@dataclass
class _Upload:
    inner: Upload
    room: int
    error: int

    def write(self, data: Buffer, /) -> None:
        self.take(len(data))
        self.inner.write(data)

    def commit(self, modified: int | None) -> Stat:
        self.take(1)  # so that what fits exactly fails at its end: network file systems are like that
        return self.inner.commit(modified)

    def abort(self) -> None:
        self.inner.abort()

    def take(self, size: int) -> None:
        self.room -= size
        if self.room < 0:
            raise OSError(self.error, os.strerror(self.error))


@dataclass
class _Editor:
    inner: Editor
    room: int
    error: int

    def write_at(self, offset: int, data: Buffer) -> None:
        if offset + len(data) > self.room:
            raise OSError(self.error, os.strerror(self.error))
        self.inner.write_at(offset, data)

    def truncate(self, size: int) -> None:
        self.inner.truncate(size)

    def close(self) -> None:
        self.inner.close()


ERRORS = [(errno.ENOSPC, Rc.STORE_FULL), (errno.EDQUOT, Rc.STORE_FULL), (errno.EIO, Rc.GENERAL_ERROR)]


@pytest.mark.parametrize(("error", "code"), ERRORS)
@pytest.mark.parametrize("room", [0, 5, 40_000, 3 << 20])
def test_an_upload_that_does_not_get_to_the_disk_is_no_success(share: Path, room: int, error: int, code: int) -> None:
    storage = FailingStorage(share, description="failing")
    storage.room, storage.error = room, error
    with serving(storage) as server:
        mtp = server.initiator()
        before = tree(share)
        for name in ("new", "file"):
            mtp.send_object_info(mtp.storage, ALL, ObjectInfo(size=3 << 20, name=name))
            with refused(code):
                mtp.send_object(bytes(3 << 20))
            assert tree(share) == before
        assert set(mtp.names()) == {"file", "folder"}
        storage.room = 100
        mtp.send_file("new", b"this one fits")
        assert (share / "new").read_bytes() == b"this one fits"


@pytest.mark.parametrize(("error", "code"), ERRORS)
def test_an_edit_that_does_not_get_to_the_disk_is_no_success(share: Path, error: int, code: int) -> None:
    storage = FailingStorage(share, description="failing")
    storage.room, storage.error = 10, error
    with serving(storage) as server:
        mtp = server.initiator()
        handle = mtp.names()["file"]
        mtp.begin_edit(handle)
        mtp.send_partial(handle, 0, b"fits")
        with refused(code):
            mtp.send_partial(handle, 4, bytes(100))
        mtp.end_edit(handle)
        assert mtp.get_object(handle) == (share / "file").read_bytes()
        assert mtp.get_object(handle)[:4] == b"fits"


def test_an_upload_that_is_known_not_to_fit_is_refused_before_its_data(mtp: Initiator, share: Path) -> None:
    with refused(Rc.STORE_FULL):
        mtp.send_prop_list(ALL, Format.UNDEFINED, 1 << 60, Row(0, Prop.FILE_NAME, TEXT, "huge"))
    assert set(mtp.names()) == {path.name for path in share.iterdir()} == {"file", "folder"}


# Names and links that lead out of the folder


@pytest.mark.parametrize("name", TRAVERSALS)
def test_cve_2018_16867_names_with_slashes_in_uploads(mtp: Initiator, tmp_path: Path, name: str) -> None:
    """QEMU; Android's SendObjectInfo took such names too."""
    before = tree(tmp_path)
    for parent in (ALL, mtp.names()["folder"]):
        with refused():
            mtp.send_file(name, b"bad", parent)
        with refused():
            mtp.make_folder(name, parent)
        with refused():
            mtp.send_prop_list(parent, Format.UNDEFINED, 3, Row(0, Prop.FILE_NAME, TEXT, name))
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", TRAVERSALS)
def test_dots_and_slashes_through_set_object_prop_value(mtp: Initiator, tmp_path: Path, name: str) -> None:
    """uMTP-Responder renamed to whatever it was given."""
    before = tree(tmp_path)
    for prop in (Prop.FILE_NAME, Prop.NAME):
        for handle in mtp.names().values():
            with refused():
                mtp.set_prop_value(handle, prop, TEXT, name)
            with refused():
                mtp.set_prop_list(Row(handle, prop, TEXT, name))
    assert tree(tmp_path) == before


@contextmanager
def flipping(folder: Path, link: Path) -> Iterator[None]:
    """Puts a link in a folder's place, and the folder back, time and again."""
    stop = threading.Event()
    away = link.with_name("away")

    def flip() -> None:
        while not stop.is_set():
            folder.rename(away)
            link.rename(folder)
            folder.rename(link)
            away.rename(folder)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def handle_of(mtp: Initiator, name: str) -> int | None:
    """An object of the root, unless something goes while that is listed."""
    try:
        return mtp.names().get(name)
    except MtpFailure:
        return None


def test_cve_2018_16872_a_link_in_a_folder_s_place_at_just_the_wrong_moment(share: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    outside = tree(tmp_path / "outside")
    with running_server([share], "--watch", "off") as server:
        mtp = server.initiator()
        with flipping(share / "folder", tmp_path / "link"):
            for number in range(60):
                folder = handle_of(mtp, "folder")
                if folder is None:
                    continue
                listing = mtp.transact(Op.GET_OBJECT_HANDLES, ALL, 0, folder)
                for handle in memoryview(listing.data)[4:].cast("I") if listing.data else ():
                    assert mtp.transact(Op.GET_OBJECT, handle).data in {b"", b"inner", b"new", b"inn"}
                    mtp.transact(Op.BEGIN_EDIT_OBJECT, handle)
                    mtp.transact(Op.SEND_PARTIAL_OBJECT, handle, 0, 0, 3, data=b"inn")
                    mtp.transact(Op.END_EDIT_OBJECT, handle)
                info = ObjectInfo(size=3, name=f"new {number}")
                if mtp.transact(Op.SEND_OBJECT_INFO, mtp.storage, folder, data=info.encode()).code == Rc.OK:
                    mtp.transact(Op.SEND_OBJECT, data=b"new")
        assert tree(tmp_path / "outside") == outside
        assert set(mtp.names()) == {"file", "folder"}


def test_containment_of_every_component_of_a_path(share: Path, tmp_path: Path) -> None:
    """Not only of the last: the link stands two folders above the file."""
    (share / "folder" / "deep" / "deeper").mkdir(parents=True)
    (share / "folder" / "deep" / "deeper" / "leaf").write_bytes(b"leaf")
    (tmp_path / "outside" / "deeper").mkdir()
    (tmp_path / "outside" / "deeper" / "leaf").write_bytes(SECRET)
    outside = tree(tmp_path / "outside")
    with running_server([share], "--watch", "off") as server:
        mtp = server.initiator()
        leaf, deeper = mtp.find("folder/deep/deeper/leaf"), mtp.find("folder/deep/deeper")
        (share / "folder" / "deep").rename(tmp_path / "away")
        (share / "folder" / "deep").symlink_to(tmp_path / "outside")
        for attempt in (
            lambda: mtp.get_object(leaf),
            lambda: mtp.object_info(leaf),
            lambda: mtp.delete(leaf),
            lambda: mtp.rename(leaf, "other"),
            lambda: mtp.begin_edit(leaf),
            lambda: mtp.copy(leaf, 0),
            lambda: mtp.move(leaf, 0),
            lambda: mtp.send_file("new", b"", deeper),
            lambda: mtp.make_folder("new", deeper),
        ):
            with refused():
                attempt()
    assert tree(tmp_path / "outside") == outside
    assert SECRET not in (path.read_bytes() for path in share.rglob("*") if path.is_file() and not path.is_symlink())


@pytest.mark.parametrize("count", [2, 100, 255])
def test_a_name_whose_count_goes_beyond_the_dataset(mtp: Initiator, tmp_path: Path, count: int) -> None:
    """QEMU trusted the count."""
    before = tree(tmp_path)
    head = ObjectInfo(size=3, name="").encode()[:52]
    with refused(Rc.INVALID_DATASET):
        mtp.command(Op.SEND_OBJECT_INFO, mtp.storage, ALL, data=head + bytes([count]) + b"a\0")
    assert tree(tmp_path) == before


# What users complain of


def test_changes_show_without_replugging(mtp: Initiator, share: Path) -> None:
    """In the next listing at once, and by events to who does not list again."""
    wait_until_watched(mtp, share)
    (share / "new").write_bytes(b"new")
    assert mtp.get_object(mtp.names()["new"]) == b"new"
    (share / "file").unlink()
    assert "file" not in mtp.names()
    (share / "later").touch()
    while not is_addition_of(mtp, mtp.wait_event(), "later"):
        pass


def test_timestamps_are_neither_lost_nor_shifted(share: Path) -> None:
    """Summer and winter, the guest's zone and the host's; renaming, moving, copying and editing others' attributes."""
    moments = ["20200702T030405", "20200102T030405", "20191231T235959"]
    with phone(share, options=["--time-zone", "America/New_York"]) as mtp:
        for text, offset in zip(moments, ("-0400", "-0500", "-0500"), strict=True):
            handle = mtp.send_file("dated", b"x", modified=text)
            expected = parse_date(text + offset).timestamp()
            assert (share / "dated").stat().st_mtime == expected
            assert mtp.object_info(handle).modified[:15] == text
            assert parse_date(str(mtp.prop_value(handle, Prop.MODIFIED, TEXT)) + offset).timestamp() == expected
            copy = mtp.copy(handle, mtp.names()["folder"])
            mtp.rename(copy, "copied")
            mtp.move(copy, 0)
            assert (share / "copied").stat().st_mtime == expected
            mtp.delete(copy)


def test_a_time_that_goes_to_the_guest_and_back_is_the_same(mtp: Initiator, share: Path) -> None:
    os.utime(share / "file", (1_700_000_000, 1_700_000_000))
    text = mtp.object_info(mtp.names()["file"]).modified
    assert parse_date(text).timestamp() == 1_700_000_000
    mtp.send_file("back", b"x", modified=text)
    assert (share / "back").stat().st_mtime == 1_700_000_000


def test_exactly_4_gib_is_neither_0_nor_unknown(share: Path) -> None:
    """The low 32 bits are 0, which hung Windows."""
    with (share / "large").open("wb") as file:
        file.truncate(4 * GIB)
    with phone(share) as mtp:
        handle = mtp.names()["large"]
        assert mtp.object_info(handle).size == 0xFFFFFFFF
        assert mtp.prop_value(handle, Prop.SIZE, 8) == 4 * GIB
        assert mtp.prop_list(handle, prop=Prop.SIZE)[0].value == 4 * GIB
        assert mtp.get_partial64(handle, 4 * GIB - 3, 100) == bytes(3)
        number = mtp.send_command(Op.GET_OBJECT, handle)
        assert mtp.read_transfer()[:4] == b"\xff\xff\xff\xff"
        mtp.cancel(number)


def test_an_announcement_of_exactly_4_gib_is_none_of_an_empty_file(mtp: Initiator, share: Path) -> None:
    """Five bytes are not enough for it, and the disk of a test may not be either."""
    with refused(Rc.INCOMPLETE_TRANSFER, Rc.STORE_FULL):
        mtp.send_prop_list(ALL, Format.UNDEFINED, 4 * GIB, Row(0, Prop.FILE_NAME, TEXT, "large"))
        mtp.send_object(b"12345")
    assert not (share / "large").exists()


def test_dotfiles_are_hidden_until_they_are_asked_for(share: Path) -> None:
    (share / ".hidden").write_bytes(b"hidden")
    with phone(share) as mtp:
        assert set(mtp.names()) == {"file", "folder"}
        made = mtp.send_file(".mine", b"mine")
        assert mtp.names()[".mine"] == made  # who makes one has to find it
    with phone(share, options=["--show-hidden"]) as mtp:
        assert set(mtp.names()) == {"file", "folder", ".hidden", ".mine"}


# What initiators choke on


def test_extensions_suit_libmtp_and_go_mtpfs(mtp: Initiator) -> None:
    """libmtp leaves out a last element without ';', and gives up property lists for Android's; go-mtpfs wants that."""
    text = mtp.device_info().extensions
    by_libmtp = [element.strip() for element in text.split(";")[:-1]]
    assert by_libmtp == ["microsoft.com: 1.0"]
    assert "android.com" in text


def test_extensions_suit_gvfs_where_it_is_wanted(share: Path) -> None:
    """It edits in place only what libmtp takes for Android's."""
    with phone(share, options=["--android"]) as mtp:
        assert "android.com: 1.0" in [element.strip() for element in mtp.device_info().extensions.split(";")[:-1]]


def test_property_lists_by_group(mtp: Initiator) -> None:
    """buteo-mtp and Android have none."""
    handle = mtp.names()["file"]
    group = mtp.prop_desc(Prop.SIZE, Format.UNDEFINED).group
    assert Prop.SIZE in {row.prop for row in mtp.prop_list(handle, prop=0, group=group)}


def test_a_property_list_of_nothing_but_a_name(mtp: Initiator, share: Path) -> None:
    """What Android File Transfer for Linux sends."""
    mtp.send_prop_list(ALL, Format.UNDEFINED, 5, Row(0, Prop.FILE_NAME, TEXT, "by aft"))
    mtp.send_object(b"12345")
    assert (share / "by aft").read_bytes() == b"12345"


def test_an_empty_object_that_is_filled_later(mtp: Initiator, share: Path) -> None:
    """What an editor does through gvfs: the data of its SendObject is a bare header."""
    handle = mtp.send_object_info(mtp.storage, ALL, ObjectInfo(size=0, name=".goutputstream"))
    number = mtp.send_command(Op.SEND_OBJECT)
    mtp.guest.bulk_out(b"\x0c\0\0\0\2\0\x0d\x10" + number.to_bytes(4, "little"))
    assert mtp.finish(Op.SEND_OBJECT, number).code == Rc.OK
    mtp.begin_edit(handle)
    mtp.send_partial(handle, 0, b"saved")
    mtp.end_edit(handle)
    mtp.delete(mtp.names()["file"])
    mtp.rename(handle, "file")
    assert (share / "file").read_bytes() == b"saved"
    assert mtp.names()["file"] == handle


def test_parents_of_root_children_are_0_and_either_word_for_the_root_lists_them(mtp: Initiator) -> None:
    names = mtp.names(parent=ALL)
    assert {mtp.object_info(handle).parent for handle in names.values()} == {0}
    assert set(names.values()) <= set(mtp.object_handles(parent=0))
