"""Changes on the host, and by other guests, reach a guest as events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.codes import Ev, Rc
from tests.support.initiator import Event, Initiator, refused
from tests.support.server import Export, phone, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def settle(mtp: Initiator, share: Path) -> None:
    """Watching begins in the background: wait until a change is seen, then until it is quiet."""
    mtp.names()
    for attempt in range(100):
        marker = share / f"marker {attempt}"
        marker.touch()
        try:
            mtp.wait_event(0.2)
        except TimeoutError:
            continue
        finally:
            marker.unlink()
        break
    else:
        raise AssertionError("no event ever came")
    quiet(mtp)


def quiet(mtp: Initiator) -> None:
    """Take in events until none comes for a while."""
    while True:
        try:
            mtp.wait_event(1.0)
        except TimeoutError:
            return


def until(mtp: Initiator, code: int, handle: int | None = None) -> Event:
    """The next event of a kind (about an object)."""
    while True:
        event = mtp.wait_event()
        assert event.code in set(Ev), event
        if event.code == code and handle in {None, event.params[0]}:
            return event


def about(mtp: Initiator, handle: int) -> None:
    """Wait until an object is said to be there, perhaps again, or to have changed."""
    while True:
        event = mtp.wait_event()
        if event.params[0] == handle and event.code != Ev.OBJECT_REMOVED:
            return


def added(mtp: Initiator, name: str) -> int:
    """Wait for ObjectAdded of an object of that name; its handle."""
    while True:
        handle = until(mtp, Ev.OBJECT_ADDED).params[0]
        if mtp.object_info(handle).name == name:
            return handle


@pytest.fixture
def share(tmp_path: Path) -> Path:
    (tmp_path / "share" / "folder").mkdir(parents=True)
    (tmp_path / "share" / "file").write_bytes(b"old")
    return tmp_path / "share"


@pytest.fixture
def mtp(share: Path) -> Iterator[Initiator]:
    with phone(share) as initiator:
        settle(initiator, share)
        yield initiator


def test_a_new_file(mtp: Initiator, share: Path) -> None:
    (share / "new").write_bytes(b"content")
    handle = added(mtp, "new")
    assert mtp.names()["new"] == handle
    assert mtp.get_object(handle) == b"content"


def test_a_new_folder_and_what_is_in_it(mtp: Initiator, share: Path) -> None:
    (share / "more").mkdir()
    folder = added(mtp, "more")
    assert mtp.names(folder) == {}
    (share / "more" / "inner").touch()
    handle = added(mtp, "inner")
    assert mtp.object_info(handle).parent == folder
    assert mtp.names(folder) == {"inner": handle}


def test_a_change_in_a_folder(mtp: Initiator, share: Path) -> None:
    folder = mtp.names()["folder"]
    assert mtp.names(folder) == {}
    (share / "folder" / "new").touch()
    assert mtp.object_info(added(mtp, "new")).parent == folder


def test_a_removed_file(mtp: Initiator, share: Path) -> None:
    handle = mtp.names()["file"]
    (share / "file").unlink()
    until(mtp, Ev.OBJECT_REMOVED, handle)
    assert "file" not in mtp.names()
    with refused(Rc.INVALID_OBJECT_HANDLE):
        mtp.object_info(handle)


def test_a_changed_file(mtp: Initiator, share: Path) -> None:
    handle = mtp.names()["file"]
    (share / "file").write_bytes(b"new and longer")
    until(mtp, Ev.OBJECT_INFO_CHANGED, handle)
    assert mtp.object_info(handle).size == 14
    assert mtp.get_object(handle) == b"new and longer"


def test_a_renamed_file(mtp: Initiator, share: Path) -> None:
    """One object with a new name, or one gone and another there."""
    handle = mtp.names()["file"]
    (share / "file").rename(share / "renamed")
    event = mtp.wait_event()
    assert event.params[0] == handle or event.code == Ev.OBJECT_ADDED
    quiet(mtp)
    assert set(mtp.names()) == {"folder", "renamed"}


def test_a_tree_that_is_moved_in(mtp: Initiator, share: Path, tmp_path: Path) -> None:
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "leaf").write_bytes(b"leaf")
    (tmp_path / "tree").rename(share / "tree")
    folder = added(mtp, "tree")
    assert set(mtp.names(folder)) == {"deep"}
    assert mtp.get_object(mtp.find("tree/deep/leaf")) == b"leaf"


def test_events_belong_to_no_transaction(mtp: Initiator, share: Path) -> None:
    (share / "new").touch()
    event = until(mtp, Ev.OBJECT_ADDED)
    assert event.transaction in {0, 0xFFFFFFFF}
    assert len(event.params) in {1, 3}


def test_symlinks_make_no_objects(mtp: Initiator, share: Path) -> None:
    (share / "link").symlink_to("file")
    (share / "after").touch()
    assert mtp.object_info(until(mtp, Ev.OBJECT_ADDED).params[0]).name == "after"


def test_own_uploads_are_no_news(mtp: Initiator, share: Path) -> None:
    """ObjectAdded tells of objects that the initiator did not make."""
    mtp.send_file("own", b"content")
    mtp.make_folder("own folder")
    (share / "host").touch()
    assert mtp.object_info(until(mtp, Ev.OBJECT_ADDED).params[0]).name == "host"


def test_own_deletions_are_no_news(mtp: Initiator, share: Path) -> None:
    names = mtp.names()
    mtp.delete(names["folder"])
    (share / "file").unlink()
    assert until(mtp, Ev.OBJECT_REMOVED).params[0] == names["file"]


def test_own_renames_and_moves_are_no_news(mtp: Initiator, share: Path) -> None:
    names = mtp.names()
    mtp.rename(names["file"], "renamed")
    mtp.move(names["file"], names["folder"])
    (share / "host").touch()
    assert mtp.object_info(until(mtp, Ev.OBJECT_ADDED).params[0]).name == "host"


def test_own_changes_survive_the_watch(mtp: Initiator) -> None:
    """The host's news of a change race with the operation that made it: the object stays what it was."""
    for number in range(20):
        folder, other = mtp.make_folder(f"from {number}"), mtp.make_folder(f"to {number}")
        leaf = mtp.send_file("leaf", b"leaf", folder)
        mtp.move(folder, other)
        mtp.rename(folder, "moved")
        assert mtp.object_info(folder).parent == other
        assert mtp.get_object(leaf) == b"leaf"
        mtp.delete(other)


def test_a_torn_upload_makes_no_event(mtp: Initiator, share: Path) -> None:
    number = mtp.begin_upload("torn", 1 << 20, bytes(500))
    mtp.cancel(number)
    (share / "host").touch()
    assert mtp.object_info(until(mtp, Ev.OBJECT_ADDED).params[0]).name == "host"


def test_no_session_no_event(mtp: Initiator, share: Path) -> None:
    mtp.close_session()
    (share / "unseen").touch()
    with pytest.raises(TimeoutError):
        mtp.wait_event(1.0)
    mtp.open_session()
    assert "unseen" in mtp.names()


def test_a_second_export(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with phone(Export(tmp_path / "one", "one"), Export(tmp_path / "two", "two")) as mtp:
        settle(mtp, tmp_path / "one")
        settle(mtp, tmp_path / "two")
        (tmp_path / "two" / "new").touch()
        assert mtp.object_info(added(mtp, "new")).storage == mtp.storage_ids()[1]


def test_two_guests_on_one_export(share: Path) -> None:
    with running_server([share]) as server:
        first, second = server.initiator(), server.initiator()
        first.names()
        second.names()
        handle = first.send_file("shared", b"by the first")
        other = added(second, "shared")
        assert second.get_object(other) == b"by the first"
        assert second.names()["shared"] == other
        second.rename(other, "renamed")
        about(first, handle)
        assert first.object_info(handle).name == "renamed"
        first.delete(handle)
        until(second, Ev.OBJECT_REMOVED, other)
        assert "renamed" not in second.names()


def test_two_guests_upload_at_once(share: Path) -> None:
    with running_server([share]) as server:
        guests = [server.initiator(), server.initiator()]
        for number in range(20):
            for name, mtp in zip("ab", guests, strict=True):
                mtp.send_file(f"{name}{number}", name.encode() * number)
        expected = {"file", "folder"} | {f"{name}{number}" for name in "ab" for number in range(20)}
        for mtp in guests:
            assert set(mtp.names()) == expected


def test_polling_notices_what_guests_have_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    (tmp_path / "box").mkdir()
    (tmp_path / "file").write_text("x")
    with running_server([tmp_path], "--watch", "poll=0.1") as server:
        mtp = server.initiator()
        names = mtp.names()
        mtp.object_info(names["file"])
        assert any("looking for changes every 0.1 s" in text for text in caplog.messages)
        (tmp_path / "file").write_text("longer")
        assert mtp.wait_event().params == (names["file"],)
        (tmp_path / "new").touch()
        added = mtp.wait_event()
        assert added.code == Ev.OBJECT_ADDED
        assert mtp.object_info(added.params[0]).name == "new"
        (tmp_path / "box").rmdir()
        removed = mtp.wait_event()
        assert (removed.code, removed.params) == (Ev.OBJECT_REMOVED, (names["box"],))
