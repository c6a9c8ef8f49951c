"""Tells systemd from the event loop how the program is: what it says then is true of the loop as well."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbredir_mtp.notify import Notifier

INTERVAL: Final = 2.0
"""Seconds at most until a change of the status is told. Guests that come and go quickly cost no more than that."""


class Reporter:
    """Keeps systemd informed, from `begin` to `end`.

    Args:
        notifier: To whom, if at all.
        status: What the program does, in one line; called on the loop's thread and on that of `reload`.
    """

    def __init__(self, notifier: Notifier, status: Callable[[], str]) -> None:
        self._notifier = notifier
        self._status = status
        self._told = ""
        self._has_ended = False
        # Half of the watchdog's time is what sd_watchdog_enabled(3) recommends.
        self._interval = min(INTERVAL, (notifier.watchdog or INTERVAL) / 2)

    def begin(self) -> None:
        """Guests can attach now; to be called on the loop's thread, as `end`."""
        if self._notifier.socket is not None:
            self._ready()
            asyncio.get_running_loop().call_later(self._interval, self._tell)

    def reload(self, reload: Callable[[], None]) -> None:
        """Call it, and say that it goes on meanwhile; on any thread."""
        self._notifier.reloading()
        try:
            reload()
        finally:
            if not self._has_ended:
                self._ready()

    def end(self) -> None:
        """The program unplugs its devices, which may take as long as transfers do."""
        self._has_ended = True
        self._notifier.stopping()

    def _ready(self) -> None:
        self._told = self._status()
        self._notifier.ready(self._told)

    def _tell(self) -> None:
        if self._has_ended:
            self._notifier.still_stopping()
        else:
            status = self._status()
            self._notifier.alive(None if status == self._told else status)
            self._told = status
        asyncio.get_running_loop().call_later(self._interval, self._tell)
