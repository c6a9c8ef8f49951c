"""Changes on the host as a storage's changes; the only module that knows watchdog."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path as HostPath
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
from usbredir_mtp.mtp.watch_plan import WatchMode, WatchPlan, others_change

if sys.platform == "linux":
    from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from watchdog.observers.api import BaseObserver

    from usbredir_mtp.mtp.storage import Path

log = logging.getLogger(__name__)

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
_REMEDIES = {
    errno.ENOSPC: "raise the sysctl fs.inotify.max_user_watches",
    errno.EMFILE: "raise the sysctl fs.inotify.max_user_instances",
}
_EVERYTHING = Change(ChangeKind.RESCAN, (), folder=True)

_CHECK_SECONDS = 5.0  # how often the root is looked after: unmounting it is not an event
_SETTLE_SECONDS = 0.2  # a flood of changes that overflowed the queue may go on
_STOP_SECONDS = 0.9  # nobody shall wait for longer
_MOVE_SECONDS = 0.01  # inotify tells both ends of a move in a row; what left the tree is told after that


_INOTIFY = WatchPlan(WatchMode.INOTIFY)
_POLL_SHARE = 20.0  # of the time at most one in so many parts is spent on looking


def watch_folder(
    root: str,
    listener: Callable[[Change], None],
    is_temporary: Callable[[str], bool],
    plan: WatchPlan = _INOTIFY,
) -> FolderWatch:
    """Report changes below the folder at `root`, with all that is in it, to `listener`.

    Returns at once: setting up the watches walks the whole tree, in the background. When they are
    there, whenever changes were missed, and when the root has been replaced, the listener gets a
    RESCAN of the root, and at each look where the plan is to poll. It is called from threads of the
    watch, one call at a time. Where the host refuses (inotify's limits) a warning is logged; the
    automatic plan is to poll then, with the other no change is ever reported.

    Args:
        root: Absolute path without symbolic links.
        listener: Called with each change, which may concern what is not an object of a storage.
        is_temporary: Tells the names that no storage shows.
        plan: How to notice changes; not OFF.
    """
    watch = FolderWatch(root, listener, is_temporary, plan)
    watch.start()
    return watch


@dataclass(slots=True, eq=False)
class FolderWatch:
    """A `Watch`; `watch_folder` makes it."""

    root: str
    listener: Callable[[Change], None]
    is_temporary: Callable[[str], bool]
    plan: WatchPlan = _INOTIFY
    _stopped: threading.Event = field(init=False, default_factory=threading.Event)
    _wake: threading.Event = field(init=False, default_factory=threading.Event)
    _root_gone: threading.Event = field(init=False, default_factory=threading.Event)
    _delivery: threading.RLock = field(init=False, default_factory=threading.RLock)
    _thread: threading.Thread = field(init=False)

    def start(self) -> None:
        """Start watching in the background; once."""
        # watchdog 7 warns, naming each of its watches, when a folder comes that it already watches:
        # moved away and back, or just made. As an error it would end watchdog's thread.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        if sys.platform == "linux":
            # By default every event behind one of what left the tree is half a second late. Should the other end of
            # a move come even later, it is told as a removal and an addition.
            InotifyMoveEventGrouper.delay = _MOVE_SECONDS
        self._thread = threading.Thread(target=self._run, name="folder-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch.

        The caller must not hold a lock that the listener takes. Should the first walk of the tree
        be under way, its thread ends by itself some time later.
        """
        self._stopped.set()
        self._wake.set()
        with self._delivery:
            pass  # wait for the call in progress
        if self._thread is not threading.current_thread():
            self._thread.join(_STOP_SECONDS)

    def deliver(self, change: Change) -> None:
        """Hand a change to the listener, unless the watch has been stopped."""
        with self._delivery:
            if self._stopped.is_set():
                return
            try:
                self.listener(change)
            except Exception:
                # watchdog's thread would end, and with it all events.
                log.exception("the listener failed on %s", change)

    def missed(self) -> None:
        """Note that changes were lost."""
        self._wake.set()

    def root_gone(self) -> None:
        """Note that the folder that was watched is the root no more."""
        self._root_gone.set()
        self._wake.set()

    def _run(self) -> None:
        mode = self.plan.mode
        if mode is WatchMode.POLL or (mode is WatchMode.AUTO and others_change(self.root)):
            log.info("%s: looking for changes every %g s", self.root, self.plan.seconds)
            self._poll()
            return
        missed = _OverflowHandler(self.missed)
        logger = logging.getLogger("watchdog.observers")
        logger.addHandler(missed)
        try:
            while not self._stopped.is_set():
                self._watch_once()
        except OSError as error:
            remedy = _REMEDIES.get(error.errno or 0, "the cause is not known")
            outcome = f"looked for every {self.plan.seconds:g} s only" if mode is WatchMode.AUTO else "not noticed"
            log.warning("changes of %s will be %s: %s (%s)", self.root, outcome, error, remedy)
            if mode is WatchMode.AUTO:
                self._poll()
        finally:
            logger.removeHandler(missed)

    def _poll(self) -> None:
        """Let the listener look at all that initiators have seen, time and again."""
        pause = 0.0
        while not self._stopped.wait(pause):
            begun = time.monotonic()
            self.deliver(_EVERYTHING)
            pause = max(self.plan.seconds, _POLL_SHARE * (time.monotonic() - begun))

    def _watch_once(self) -> None:
        """Watch the root for as long as it is the same folder."""
        self._root_gone.clear()
        watched = _identity(self.root)
        observer = None if watched is None else _observe(self.root, _Handler(self))
        if observer is None:
            self.deliver(_EVERYTHING)  # nothing is there any more
            self._stopped.wait(_CHECK_SECONDS)
            return
        try:
            self.deliver(_EVERYTHING)  # whatever happened before we began
            while self._is_root(watched) and not self._wake.wait(_CHECK_SECONDS):
                pass
        finally:
            observer.stop()
            observer.join()
        self._wake.clear()  # after the end of whoever sets it: an overflow is logged more than once
        if self._is_root(watched):
            # Events were lost, and watches with them. watchdog puts these right at some time, but what comes
            # between our look and that would be lost too: begin anew, which looks when all is watched.
            self._stopped.wait(_SETTLE_SECONDS)

    def _is_root(self, watched: tuple[int, int] | None) -> bool:
        # The number of a folder that was removed may be given to the next one: look at both.
        return not self._root_gone.is_set() and not self._stopped.is_set() and _identity(self.root) == watched


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


def _identity(root: str) -> tuple[int, int] | None:
    try:
        status = HostPath(root).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _observe(root: str, handler: FileSystemEventHandler) -> BaseObserver | None:
    """A running observer; None if the root vanished just now.

    Raises:
        OSError: One of the limits of inotify is reached, or the host cannot watch that folder.
    """
    observer = Observer()
    try:
        observer.schedule(handler, root, recursive=True, event_filter=_EVENTS)
        observer.start()
        _require_watches_left(root)
    except OSError as error:
        observer.stop()
        if observer.is_alive():
            observer.join()
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return None
        raise
    return observer


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
