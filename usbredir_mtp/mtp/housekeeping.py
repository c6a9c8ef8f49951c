"""What is done at the start and some time after a change, away from every guest's way.

One thread, asleep while nothing changes.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import EventCode
from usbredir_mtp.mtp.events import Event
from usbredir_mtp.mtp.nodes import storage_of

if TYPE_CHECKING:
    from usbredir_mtp.mtp.device import MtpDevice
    from usbredir_mtp.mtp.nodes import Root

logger = logging.getLogger(__name__)

DELAY = 1.0
"""Seconds after a change until its consequences are looked at: a burst of changes is one look."""

GRAIN = 1 << 20
"""Bytes: initiators show free space in larger units, and on a busy disk the last digits never rest."""

_STOP_SECONDS = 2.0


class Housekeeper:
    """Tells of changed free space (400C), and writes references down. A subscriber to the device's events.

    Args:
        device: Whose.
        recover: The last process was killed: clear up after it first.
    """

    def __init__(self, device: MtpDevice, *, recover: bool = False) -> None:
        self._device = device
        self._recover = recover
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._told: dict[int, int] = {}
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._device.objects.publisher.subscribe(self)
        self._thread.start()

    def stop(self) -> None:
        """End, with everything written down."""
        self._device.objects.publisher.unsubscribe(self)
        self._stopped.set()
        self._changed.set()
        self._thread.join(_STOP_SECONDS)
        self._device.references.save()

    def notify(self, event: Event, /) -> None:
        """Something changed."""
        if event.code is not EventCode.STORAGE_INFO_CHANGED:
            self._changed.set()

    def _run(self) -> None:
        self._free_spaces()
        if self._recover:
            self._clear_up()
        while True:
            self._changed.wait()
            if self._stopped.wait(DELAY):
                return
            self._changed.clear()
            changed = self._free_spaces()
            self._device.objects.publisher.publish(
                Event(EventCode.STORAGE_INFO_CHANGED, storage_id) for storage_id in changed
            )
            self._device.references.save()

    def _clear_up(self) -> None:
        for root in self._device.objects.stores:
            with self._device.objects.stores.in_use():
                storage_of(root).recover(partial(self._is_over, root))

    def _is_over(self, root: Root) -> bool:
        return self._stopped.is_set() or root.removed

    def _free_spaces(self) -> list[int]:
        """The storages of which the free space is another than the last time."""
        changed = []
        for root in self._device.objects.stores:
            try:
                free = storage_of(root).space().free // GRAIN
            except OSError as error:
                logger.debug("free space of storage %#010x: %s", root.storage_id, error)
                continue
            before = self._told.get(root.storage_id)
            self._told[root.storage_id] = free
            if before not in {None, free}:
                changed.append(root.storage_id)
        return changed
