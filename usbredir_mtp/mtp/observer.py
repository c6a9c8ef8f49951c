"""How a `FolderWatch` hears of changes from the host's kernel; the only module that knows watchdog."""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from watchdog.events import (
    EVENT_TYPE_CLOSED,
    EVENT_TYPE_CREATED,
    EVENT_TYPE_DELETED,
    EVENT_TYPE_MODIFIED,
    EVENT_TYPE_MOVED,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from usbredir_mtp.mtp.storage import Change, ChangeKind
from usbredir_mtp.mtp.watch import FolderWatch

if sys.platform == "linux":
    from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watchdog.observers.api import BaseObserver

    from usbredir_mtp.mtp.storage import Path

Observe = Callable[[FolderWatch], "Observation | None"]

# Nothing but what is used: with watchdog's defaults its own walk of a large tree overflows the
# kernel's queue, and no event ever arrives.
_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    # Only inotify tells when a writer is done.
    FileClosedEvent if sys.platform == "linux" else FileModifiedEvent,
]
_KINDS = {
    EVENT_TYPE_CREATED: ChangeKind.ADDED,
    EVENT_TYPE_DELETED: ChangeKind.REMOVED,
    EVENT_TYPE_MODIFIED: ChangeKind.MODIFIED,
    EVENT_TYPE_CLOSED: ChangeKind.MODIFIED,
}

_MOVE_SECONDS = 0.01  # inotify tells both ends of a move in a row; what left the tree is told after that


@dataclass(slots=True, frozen=True)
class Observation:
    """A running observer, which consists of several threads."""

    observer: BaseObserver

    @property
    def whole(self) -> bool:
        """Whether all of its threads are alive: should one fail, no event comes any more."""
        reader = getattr(self.observer, "_inotify_fd", self.observer)
        threads = [self.observer, reader, *self.observer.emitters]
        return all(thread.is_alive() for thread in threads)

    def end(self) -> None:
        """Wait until no event comes any more."""
        self.observer.stop()
        self.observer.join()


def observe(watch: FolderWatch) -> Observation | None:
    """A running observer that tells a watch of changes; None if the root vanished just now.

    Raises:
        OSError: One of the limits of inotify is reached, or the host cannot watch that folder.
    """
    _tame_watchdog()
    root = watch.root
    observer = Observer()
    try:
        observer.schedule(_Handler(watch), root, recursive=True, event_filter=_EVENTS)
        observer.start()
        _require_watches_left(root)
    except OSError as error:
        observer.stop()
        if observer.is_alive():
            observer.join()
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return None
        raise
    return Observation(observer)


def _require_watches_left(root: str) -> None:
    """Find out whether a limit cut the walk short: watchdog tells that of the root's watch only.

    Raises:
        OSError: ENOSPC if not one more folder could be watched.
    """
    probe = Observer()
    try:
        probe.schedule(FileSystemEventHandler(), root, event_filter=_EVENTS)
        probe.start()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
    finally:
        probe.stop()
        if probe.is_alive():
            probe.join()


def _tame_watchdog() -> None:
    # watchdog 7 warns, naming each of its watches, when a folder comes that it already watches:
    # moved away and back, or just made. As an error it would end watchdog's thread.
    warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
    if sys.platform == "linux":
        # By default every event behind one of what left the tree is half a second late. Should the other end of
        # a move come even later, it is told as a removal and an addition.
        InotifyMoveEventGrouper.delay = _MOVE_SECONDS
        # It calls an event that comes while it is stopped an error.
        logging.getLogger("watchdog.observers.inotify").addFilter(_is_no_late_event)


def _is_no_late_event(record: logging.LogRecord) -> bool:
    return "when the thread is inactive" not in record.getMessage()


@contextmanager
def overflows(missed: Callable[[], None]) -> Iterator[None]:
    """Have it told meanwhile when the kernel's queue has overflowed."""
    handler, logger = _OverflowHandler(missed), logging.getLogger("watchdog.observers")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@dataclass(slots=True, eq=False)
class _Handler(FileSystemEventHandler):
    """Puts watchdog's events in a storage's words."""

    watch: FolderWatch

    def dispatch(self, event: FileSystemEvent) -> None:
        for change in self.translate(event):
            self.watch.deliver(change)

    def translate(self, event: FileSystemEvent) -> Iterator[Change]:
        # What watchdog made up about the contents of a folder that moved is said by that folder's
        # own MOVED, or by its RESCAN if it came from outside.
        if event.is_synthetic:
            return
        source = self._path(event.src_path)
        if source == ():
            self.watch.root_gone()
        elif event.event_type == EVENT_TYPE_MOVED:
            yield from self._moved(source, self._path(event.dest_path), folder=event.is_directory)
        elif source is not None and event.event_type in _KINDS:
            yield from _change(_KINDS[event.event_type], source, folder=event.is_directory)

    def _moved(self, source: Path | None, target: Path | None, *, folder: bool) -> Iterator[Change]:
        if source and target:
            yield Change(ChangeKind.MOVED, source, target, folder)
        elif source:
            yield from _change(ChangeKind.REMOVED, source, folder=folder)
        elif target:
            yield from _change(ChangeKind.ADDED, target, folder=folder)

    def _path(self, path: bytes | str) -> Path | None:
        """The path below the root; None for what is outside of it or hidden."""
        text = os.fsdecode(path)
        prefix = self.watch.root.rstrip("/") + "/"
        if text == self.watch.root:
            return ()
        if not text.startswith(prefix):
            return None
        names = tuple(text.removeprefix(prefix).split("/"))
        return None if any(map(self.watch.is_temporary, names)) else names


class _OverflowHandler(logging.Handler):
    """Hears of the kernel's queue having overflowed, which watchdog tells to its log only."""

    def __init__(self, missed: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._missed = missed

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage():
            self._missed()


def _change(kind: ChangeKind, path: Path, *, folder: bool) -> Iterator[Change]:
    yield Change(kind, path, folder=folder)
    if folder and kind is ChangeKind.ADDED:
        # It may have come with contents, or got them before it was watched.
        yield Change(ChangeKind.RESCAN, path, folder=True)
