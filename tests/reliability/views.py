"""What a guest shows of a storage's root, as events tell it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.support.codes import Ev
from tests.support.initiator import MtpFailure

if TYPE_CHECKING:
    from tests.support.initiator import Event, Initiator

PATIENCE = 20.0


class View:
    """A guest that has read the root once, and goes by events from then on.

    Attributes:
        handles: The objects that it shows.
    """

    def __init__(self, mtp: Initiator) -> None:
        self._mtp = mtp
        self.handles = set(mtp.object_handles())

    def take(self, event: Event) -> None:
        """Do what a guest does on an event."""
        match event.code:
            case Ev.OBJECT_ADDED:
                self.handles.add(event.params[0])
            case Ev.OBJECT_REMOVED:
                self.handles.discard(event.params[0])
            case Ev.STORE_REMOVED:
                self.handles = set()
            case Ev.STORE_ADDED:
                self.handles = set(self._mtp.object_handles())

    def follow_to(self, wanted: set[str], patience: float = PATIENCE) -> None:
        """Take events until it shows this.

        Raises:
            AssertionError: What it shows stays something else.
        """
        deadline = time.monotonic() + patience
        while (shown := self._names()) != wanted:
            left = deadline - time.monotonic()
            assert left > 0, (shown, wanted)
            try:
                self.take(self._mtp.wait_event(left))
            except TimeoutError:
                raise AssertionError((shown, wanted)) from None

    def _names(self) -> set[str]:
        return {self._name(handle) for handle in self.handles}

    def _name(self, handle: int) -> str:
        try:
            return self._mtp.object_info(handle).name
        except MtpFailure:
            return f"no object {handle}"
