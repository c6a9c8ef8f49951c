from __future__ import annotations

import errno
import logging
import os
import shutil
import sys
import threading
import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from watchdog.events import DirMovedEvent, FileCreatedEvent, FileMovedEvent, FileOpenedEvent
from watchdog.observers import inotify
from watchdog.observers.inotify import InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD, WatchDescriptor
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

from usbredir_mtp.mtp import observer, watch
from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.folder_temporaries import is_temporary
from usbredir_mtp.mtp.storage import Change, ChangeKind
from usbredir_mtp.mtp.watch import FolderWatch, watch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from usbredir_mtp.mtp.storage import Path as StoragePath

PATIENCE = 20.0
EVERYTHING = Change(ChangeKind.RESCAN, (), folder=True)
TEMPORARY = ".usbredir-mtp-0123456789abcdef.part"
INSIDE = ChangeKind.ADDED, ChangeKind.REMOVED, ChangeKind.MOVED, ChangeKind.MODIFIED


@dataclass
class Listener:
    """Collects changes and lets a test wait for one."""

    changes: list[Change] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, change: Change) -> None:
        with self.arrived:
            self.changes.append(change)
            self.arrived.notify_all()

    def wait(self, *expected: Change) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: set(expected) <= set(self.changes), PATIENCE), self.changes

    def clear(self) -> None:
        with self.arrived:
            self.changes.clear()


def added(*path: str, folder: bool = False) -> Change:
    return Change(ChangeKind.ADDED, path, folder=folder)


def removed(*path: str, folder: bool = False) -> Change:
    return Change(ChangeKind.REMOVED, path, folder=folder)


def moved(old: StoragePath, new: StoragePath, *, folder: bool = False) -> Change:
    return Change(ChangeKind.MOVED, old, new, folder)


def rescan(*path: str) -> Change:
    return Change(ChangeKind.RESCAN, path, folder=True)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    (tmp_path / "share").mkdir()
    return tmp_path / "share"


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def running(share: Path, listener: Listener) -> Iterator[FolderWatch]:
    """A watch that has begun."""
    threads = set(threading.enumerate())
    running = watch_folder(os.path.realpath(share), listener, is_temporary)
    listener.wait(EVERYTHING)
    listener.clear()
    yield running
    running.stop()
    assert set(threading.enumerate()) <= threads


@pytest.mark.usefixtures("running")
class TestEvents:
    def test_files(self, share: Path, listener: Listener) -> None:
        (share / "file").write_bytes(b"x")
        listener.wait(added("file"), Change(ChangeKind.MODIFIED, ("file",)))
        (share / "file").rename(share / "new")
        listener.wait(moved(("file",), ("new",)))
        (share / "new").unlink()
        listener.wait(removed("new"))

    def test_writing_tells_once_when_it_is_done(self, share: Path, listener: Listener) -> None:
        (share / "file").touch()
        listener.wait(Change(ChangeKind.MODIFIED, ("file",)))
        listener.clear()
        with (share / "file").open("wb", buffering=0) as file:
            for _ in range(10):
                file.write(b"x")
        (share / "last").touch()
        listener.wait(added("last"))
        assert [change for change in listener.changes if change.path == ("file",)] == [
            Change(ChangeKind.MODIFIED, ("file",))
        ]

    def test_reading_tells_nothing(self, share: Path, listener: Listener) -> None:
        (share / "file").write_bytes(b"x")
        listener.wait(Change(ChangeKind.MODIFIED, ("file",)))
        listener.clear()
        (share / "file").read_bytes()
        assert list(share.iterdir())
        (share / "last").touch()
        listener.wait(added("last"))
        assert not [change for change in listener.changes if change.path == ("file",)]

    def test_folders(self, share: Path, listener: Listener) -> None:
        (share / "folder").mkdir()
        listener.wait(added("folder", folder=True), rescan("folder"))
        (share / "folder" / "file").touch()
        listener.wait(added("folder", "file"))
        (share / "folder").rename(share / "new")
        listener.wait(moved(("folder",), ("new",), folder=True))
        (share / "new" / "later").touch()
        listener.wait(added("new", "later"))
        shutil.rmtree(share / "new")
        listener.wait(removed("new", folder=True), removed("new", "file"))

    def test_a_moved_folder_is_one_change(self, share: Path, listener: Listener) -> None:
        (share / "a" / "b").mkdir(parents=True)
        (share / "a" / "b" / "file").touch()
        listener.wait(rescan("a"))
        (share / "last").touch()
        listener.wait(added("last"))
        (share / "a").rename(share / "c")
        (share / "very last").touch()
        listener.wait(added("very last"))
        moves = [change for change in listener.changes if change.kind is ChangeKind.MOVED]
        assert moves == [moved(("a",), ("c",), folder=True)]

    def test_a_tree_made_at_once(self, share: Path, listener: Listener) -> None:
        source = share.parent / "source"
        for number in range(100):
            (source / str(number % 10) / str(number)).mkdir(parents=True)
        shutil.copytree(source, share / "tree")
        for number in range(100):
            (share / "tree" / str(number % 10) / str(number) / "file").touch()
        for number in range(100):
            listener.wait(added("tree", str(number % 10), str(number), "file"))

    def test_a_folder_from_outside(self, share: Path, listener: Listener) -> None:
        (share.parent / "other" / "sub").mkdir(parents=True)
        (share.parent / "other").rename(share / "other")
        listener.wait(added("other", folder=True), rescan("other"))
        (share / "other" / "sub" / "file").touch()
        listener.wait(added("other", "sub", "file"))

    def test_a_folder_to_the_outside_and_back(self, share: Path, listener: Listener) -> None:
        (share / "folder" / "sub").mkdir(parents=True)
        listener.wait(added("folder", "sub", folder=True))
        (share / "folder").rename(share.parent / "elsewhere")
        listener.wait(removed("folder", folder=True))
        listener.clear()
        (share.parent / "elsewhere").rename(share / "back")
        listener.wait(added("back", folder=True), rescan("back"))
        (share / "file").touch()
        listener.wait(added("file"))

    def test_names_that_are_no_text(self, share: Path, listener: Listener) -> None:
        (share / os.fsdecode(b"\xff\xfe")).mkdir()
        (share / os.fsdecode(b"\xff\xfe") / "日本").touch()
        listener.wait(added("\udcff\udcfe", folder=True), added("\udcff\udcfe", "日本"))

    def test_temporary_names_are_hidden(self, share: Path, listener: Listener) -> None:
        (share / TEMPORARY).write_bytes(b"x")
        (share / TEMPORARY).rename(share / "final")
        listener.wait(added("final"))
        (share / "final").rename(share / TEMPORARY)
        listener.wait(removed("final"))
        (share / TEMPORARY).unlink()
        (share / "last").touch()
        listener.wait(added("last"))
        assert {change.path for change in listener.changes} == {("final",), ("last",)}

    def test_links_are_not_followed(self, share: Path, listener: Listener) -> None:
        (share.parent / "outside").mkdir()
        (share / "link").symlink_to(share.parent / "outside")
        listener.wait(added("link"))
        (share.parent / "outside" / "file").touch()
        (share / "last").touch()
        listener.wait(added("last"))
        assert {change.path for change in listener.changes} == {("link",), ("last",)}

    def test_a_lost_event_leads_to_one_rescan(self, share: Path, listener: Listener) -> None:
        overflow()
        listener.wait(EVERYTHING)
        (share / "file").touch()
        listener.wait(added("file"))
        assert listener.changes.count(EVERYTHING) == 1


@pytest.mark.usefixtures("running")
def test_what_leaves_the_tree_is_not_waited_for_long() -> None:
    assert InotifyMoveEventGrouper()._queue.delay == observer._MOVE_SECONDS


def overflow() -> None:
    """The kernel's queue is full."""
    (reader,) = (thread for thread in threading.enumerate() if isinstance(thread, InotifyFD))
    reader.handle_event(InotifyEvent(WatchDescriptor(-1), InotifyConstants.IN_Q_OVERFLOW, 0, b""))


def test_the_rescan_waits_until_all_is_watched_again(
    listener: Listener, running: FolderWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes between a look and a watch that comes later would be lost; the walk of a large tree takes long."""
    real = InotifyWatchGroup._add_all_callbacks
    looked = threading.Event()
    walks: list[str] = []

    def walk(group: InotifyWatchGroup, path: bytes) -> None:
        walks.append("begun")
        looked.wait(0.5)  # a look at the wrong time comes sooner
        real(group, path)
        walks.append("done")

    def look(change: Change) -> None:
        if change == EVERYTHING:
            walks.append("looked")
            looked.set()
        listener(change)

    monkeypatch.setattr(InotifyWatchGroup, "_add_all_callbacks", walk)
    running.listener = look
    overflowing = threading.Thread(target=overflow)
    overflowing.start()
    listener.wait(EVERYTHING)
    overflowing.join()
    assert walks[-2:] == ["done", "looked"]
    assert walks.count("begun") == walks.count("done")


def test_a_storage_is_watched(share: Path, listener: Listener) -> None:
    with FolderStorage(share, description="share") as storage:
        running = storage.watch(listener)
        assert running is not None
        try:
            listener.wait(EVERYTHING)
            upload = storage.create(("file",), 1)
            upload.write(b"x")
            upload.commit(None)
            listener.wait(added("file"))
            assert [change for change in listener.changes if change.kind in INSIDE] == [added("file")]
        finally:
            running.stop()


def test_a_tree_of_11000_folders(share: Path, listener: Listener) -> None:
    """With watchdog's default events its own walk of such a tree overflows the kernel's queue."""
    for number in range(11_000):
        (share / str(number // 110) / str(number)).mkdir(parents=True)
    running = watch_folder(os.path.realpath(share), listener, is_temporary)
    try:
        listener.wait(EVERYTHING)
        for number in (0, 5_000, 10_999):
            (share / str(number // 110) / str(number) / "file").touch()
            listener.wait(added(str(number // 110), str(number), "file"))
        assert listener.changes.count(EVERYTHING) == 1
    finally:
        running.stop()


def test_nothing_is_delivered_after_stop(share: Path, listener: Listener, running: FolderWatch) -> None:
    (share / "file").touch()
    listener.wait(added("file"))
    running.stop()
    listener.clear()
    running.deliver(EVERYTHING)
    (share / "other").touch()
    running.stop()
    assert listener.changes == []


def test_stop_waits_for_the_listener(share: Path) -> None:
    entered, leave, left = threading.Event(), threading.Event(), threading.Event()

    def slow(_change: Change) -> None:
        entered.set()
        assert leave.wait(PATIENCE)
        left.set()

    running = watch_folder(os.path.realpath(share), slow, is_temporary)
    assert entered.wait(PATIENCE)
    threading.Timer(0.05, leave.set).start()
    running.stop()
    assert left.is_set()


def test_a_listener_may_stop_its_watch(share: Path) -> None:
    stopped = threading.Event()
    watches: list[FolderWatch] = []
    ready = threading.Event()

    def listener(_change: Change) -> None:
        assert ready.wait(PATIENCE)
        watches[0].stop()
        stopped.set()

    watches.append(watch_folder(os.path.realpath(share), listener, is_temporary))
    ready.set()
    assert stopped.wait(PATIENCE)


def test_a_listener_that_fails_is_logged(share: Path, listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    def fails(change: Change) -> None:
        listener(change)
        raise ValueError("unfit")

    running = watch_folder(os.path.realpath(share), fails, is_temporary)
    try:
        listener.wait(EVERYTHING)
        (share / "one").touch()
        listener.wait(added("one"))
        (share / "two").touch()
        listener.wait(added("two"))
    finally:
        running.stop()
    assert "unfit" in caplog.text


def test_a_root_that_is_removed_and_made_again(
    share: Path, listener: Listener, running: FolderWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_CHECK_SECONDS", 0.02)
    (share / "file").touch()
    listener.wait(added("file"))
    shutil.rmtree(share)
    listener.wait(removed("file"), EVERYTHING)
    running.missed()  # do not wait for the long check that was under way
    listener.clear()
    share.mkdir()
    listener.wait(EVERYTHING)
    until(share, listener)


def test_a_root_made_again_under_the_number_of_the_old_one(
    share: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_identity", lambda root: (1, 2))
    running = watch_folder(os.path.realpath(share), listener, is_temporary)
    try:
        listener.wait(EVERYTHING)
        share.rmdir()
        share.mkdir()
        until(share, listener)
    finally:
        running.stop()


def test_a_root_that_is_replaced(
    share: Path, listener: Listener, running: FolderWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_CHECK_SECONDS", 0.02)
    share.rename(share.parent / "old")
    share.mkdir()
    running.missed()
    until(share, listener)


def until(share: Path, listener: Listener) -> None:
    """Touch new files until one is noticed: the new watch may begin at any time."""
    deadline = time.monotonic() + PATIENCE
    number = 0
    while time.monotonic() < deadline:
        (share / f"new {number}").touch()
        number += 1
        with listener.arrived:
            if listener.arrived.wait_for(
                lambda: any(change.kind is ChangeKind.ADDED and "new" in change.path[0] for change in listener.changes),
                0.05,
            ):
                return
    pytest.fail(f"nothing was noticed: {listener.changes}")


def test_a_root_that_is_not_there_yet(
    share: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "_CHECK_SECONDS", 0.02)
    share.rmdir()
    running = watch_folder(os.path.realpath(share), listener, is_temporary)
    try:
        share.mkdir()
        listener.wait(EVERYTHING)
        until(share, listener)
    finally:
        running.stop()
    assert not caplog.records


@pytest.mark.skipif(sys.platform != "linux", reason="inotify's")
def test_an_event_in_the_last_moment_is_no_error(
    share: Path, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    watch_folder(os.path.realpath(share), listener, is_temporary).stop()
    watchdog = logging.getLogger("watchdog.observers.inotify")
    watchdog.error("InotifyEmitter.queue_events() called when the thread is inactive")
    assert not caplog.records
    watchdog.error("anything else")
    assert caplog.messages == ["anything else"]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.ENOSPC, "fs.inotify.max_user_watches"),
        (errno.EMFILE, "fs.inotify.max_user_instances"),
        (errno.EIO, "not known"),
    ],
)
@pytest.mark.parametrize("where", ["observer", "start"])
def test_what_the_host_refuses_is_one_warning(
    share: Path,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
    text: str,
    where: str,
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    if where == "observer":
        monkeypatch.setattr(observer, "Observer", refuse)
    else:
        monkeypatch.setattr(inotify.InotifyEmitter, "on_thread_start", refuse)
    threads = set(threading.enumerate())
    running = watch_folder(os.path.realpath(share), listener, is_temporary)
    finish(running)
    running.stop()
    assert set(threading.enumerate()) <= threads
    (record,) = (record for record in caplog.records if record.name == watch.__name__)
    assert text in record.getMessage()
    assert record.levelname == "WARNING"
    assert listener.changes == []


def test_a_walk_cut_short_by_the_limit_is_noticed(
    share: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    starts: list[object] = []
    start = inotify.InotifyEmitter.on_thread_start

    def none_left(self: inotify.InotifyEmitter) -> None:
        starts.append(self)
        if len(starts) == 2:
            raise OSError(errno.ENOSPC, "inotify watch limit reached")
        start(self)

    monkeypatch.setattr(inotify.InotifyEmitter, "on_thread_start", none_left)
    threads = set(threading.enumerate())
    running = watch_folder(os.path.realpath(share), listener, is_temporary)
    finish(running)
    assert "max_user_watches" in caplog.text
    assert set(threading.enumerate()) <= threads
    running.stop()


def finish(running: FolderWatch) -> None:
    running._thread.join(PATIENCE)
    assert not running._thread.is_alive()


def translated(event: object) -> list[Change]:
    handler = observer._Handler(FolderWatch("/share", lambda _change: None, is_temporary))
    return list(handler.translate(event))  # type: ignore[arg-type]


def test_translation() -> None:
    assert translated(FileCreatedEvent("/share/a/b")) == [added("a", "b")]
    assert translated(FileCreatedEvent(b"/share/\xff")) == [added("\udcff")]
    assert translated(FileCreatedEvent("/shared/a")) == []
    assert translated(FileCreatedEvent(f"/share/{TEMPORARY}/x")) == []
    assert translated(FileOpenedEvent("/share/a")) == []
    assert translated(FileMovedEvent("/elsewhere/a", "/share/b")) == [added("b")]
    assert translated(FileMovedEvent("/share/b", "/elsewhere/a")) == [removed("b")]
    assert translated(FileMovedEvent("/elsewhere/b", "/elsewhere/a")) == []
    assert translated(DirMovedEvent("/elsewhere/b", "/share/a")) == [added("a", folder=True), rescan("a")]


def test_the_root_of_all() -> None:
    handler = observer._Handler(FolderWatch("/", lambda _change: None, is_temporary))
    assert list(handler.translate(FileCreatedEvent("/a/b"))) == [added("a", "b")]


def test_watchdogs_verbose_warning_stays_quiet(running: FolderWatch) -> None:
    warnings.warn("Callback with id '1' already exists for watch", RuntimeWarning, stacklevel=1)
