"""Changes on the host as a storage's changes."""

from __future__ import annotations

import errno
import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path as HostPath
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.storage import Change, ChangeKind, WatchState
from usbredir_mtp.mtp.watch_plan import WatchMode, WatchPlan, others_change

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbredir_mtp.mtp.observer import Observe

log = logging.getLogger(__name__)

_REMEDIES = {
    errno.ENOSPC: "raise the sysctl fs.inotify.max_user_watches",
    errno.EMFILE: "raise the sysctl fs.inotify.max_user_instances",
}
_EVERYTHING = Change(ChangeKind.RESCAN, (), folder=True)

_CHECK_SECONDS = 5.0  # how often the root is looked after: unmounting it is not an event
_SETTLE_SECONDS = 0.2  # a flood of changes that overflowed the queue may go on
_STOP_SECONDS = 0.9  # nobody shall wait for longer


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
    losses: int = field(init=False, default=0)
    _state: WatchState = field(init=False, default=WatchState.STARTING)
    _stopped: threading.Event = field(init=False, default_factory=threading.Event)
    _wake: threading.Event = field(init=False, default_factory=threading.Event)
    _root_gone: threading.Event = field(init=False, default_factory=threading.Event)
    _delivery: threading.RLock = field(init=False, default_factory=threading.RLock)
    _thread: threading.Thread = field(init=False)

    def start(self) -> None:
        """Start watching in the background; once."""
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

    @property
    def state(self) -> WatchState:
        """See `storage.Watch`; FAILED also if a fault of ours has ended it."""
        return self._state if self._thread.is_alive() else WatchState.FAILED

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
        try:
            # On this thread, since it takes long to load.
            from usbredir_mtp.mtp import observer  # noqa: PLC0415

            with observer.overflows(self.missed):
                while not self._stopped.is_set():
                    self._watch_once(observer.observe)
        except OSError as error:
            remedy = _REMEDIES.get(error.errno or 0, "the cause is not known")
            outcome = f"looked for every {self.plan.seconds:g} s only" if mode is WatchMode.AUTO else "not noticed"
            log.warning("changes of %s will be %s: %s (%s)", self.root, outcome, error, remedy)
            if mode is WatchMode.AUTO:
                self._poll()

    def _poll(self) -> None:
        """Let the listener look at all that initiators have seen, time and again."""
        pause = 0.0
        while not self._stopped.wait(pause):
            begun = time.monotonic()
            self._state = WatchState.GONE if _identity(self.root) is None else WatchState.POLLING
            self.deliver(_EVERYTHING)
            pause = max(self.plan.seconds, _POLL_SHARE * (time.monotonic() - begun))

    def _watch_once(self, observe: Observe) -> None:
        """Watch the root for as long as it is the same folder."""
        self._root_gone.clear()
        watched = _identity(self.root)
        self._state = WatchState.GONE if watched is None else WatchState.STARTING
        observation = None if watched is None else observe(self)
        if observation is None:
            self.deliver(_EVERYTHING)  # nothing is there any more
            self._stopped.wait(_CHECK_SECONDS)
            return
        try:
            self.deliver(_EVERYTHING)  # whatever happened before we began
            self._state = WatchState.WATCHING
            while self._is_root(watched) and observation.whole and not self._wake.wait(_CHECK_SECONDS):
                pass
            if self._is_root(watched) and not observation.whole:
                log.warning("watching %s has failed, and begins anew", self.root)
        finally:
            observation.end()
        self._wake.clear()  # after the end of whoever sets it: an overflow is logged more than once
        if self._is_root(watched):
            # Events were lost, and watches with them. watchdog puts these right at some time, but what comes
            # between our look and that would be lost too: begin anew, which looks when all is watched.
            self.losses += 1
            self._stopped.wait(_SETTLE_SECONDS)

    def _is_root(self, watched: tuple[int, int] | None) -> bool:
        # The number of a folder that was removed may be given to the next one: look at both.
        return not self._root_gone.is_set() and not self._stopped.is_set() and _identity(self.root) == watched


def _identity(root: str) -> tuple[int, int] | None:
    try:
        status = HostPath(root).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
