"""A device as MTP sees it: what all of its sessions, in however many guests, have in common."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.changes import follow
from usbredir_mtp.mtp.codes import DeviceProperty, EventCode
from usbredir_mtp.mtp.device_properties import DeviceProperties
from usbredir_mtp.mtp.events import Event
from usbredir_mtp.mtp.housekeeping import Housekeeper
from usbredir_mtp.mtp.identity import ResponderIdentity
from usbredir_mtp.mtp.memory import Memory
from usbredir_mtp.mtp.nodes import storage_of
from usbredir_mtp.mtp.references import References

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbredir_mtp.mtp.media.media import Media
    from usbredir_mtp.mtp.nodes import Root
    from usbredir_mtp.mtp.objects import ObjectTable
    from usbredir_mtp.mtp.storage import Storage, Watch

logger = logging.getLogger(__name__)

_STATE = "state"
_RUNNING = "running"
"""What is remembered from the start to a good end: where it is found at the start, the last end was none."""


@dataclass(slots=True)
class MtpDevice:
    """One device.

    Attributes:
        objects: What it shares.
        identity: Who it says it is.
        memory: What it remembers over restarts.
        media: Reads pictures and music; None to do without.
        allow_format: Whether FormatStore may remove everything.
        properties: The device properties' values.
        references: Which objects refer to which others.
    """

    objects: ObjectTable
    identity: ResponderIdentity = field(default_factory=ResponderIdentity)
    memory: Memory = field(default_factory=Memory)
    media: Media | None = None
    allow_format: bool = False
    properties: DeviceProperties = field(init=False)
    references: References = field(init=False)
    _watches: dict[Root, Watch | None] = field(init=False, default_factory=dict)
    _watching: bool = field(init=False, default=False)
    _running: ExitStack = field(init=False, default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.properties = DeviceProperties(lambda: self.identity, self.objects.publisher, self.memory)
        self.references = References(self.objects, self.memory)

    def start(self) -> None:
        """Follow what happens on the host, and do what follows from it; once."""
        self._watching = True
        was_killed = self.memory.get(_STATE) == _RUNNING
        self.memory.set(_STATE, _RUNNING)
        for root in self.objects.stores:
            self._watches[root] = follow(self.objects, root)
        housekeeper = Housekeeper(self, recover=was_killed)
        housekeeper.start()
        self._running.callback(housekeeper.stop)

    def add_storage(self, storage: Storage) -> Root:
        """Share another storage from now on."""
        root = self.objects.add_storage(storage)
        if self._watching:
            self._watches[root] = follow(self.objects, root)
        return root

    def remove_storage(self, root: Root, grace: float = 0.0) -> None:
        """Share it no longer; it is closed once no transaction can be using it.

        Args:
            root: The storage's root.
            grace: Seconds to wait, while all goes on, for uploads to it to end.
        """
        if not self.objects.stores.wait_for_uploads(root, grace):
            logger.warning("%s: taken away in the middle of an upload", storage_of(root).description)
        self._stop_watching(root)
        self.objects.remove_storage(root)

    def watches(self) -> Iterator[tuple[Root, Watch | None]]:
        """The storages, and what tells of changes to each; None for nothing. For any thread."""
        for root in self.objects.stores:
            yield root, self._watches.get(root)

    def rename(self, identity: ResponderIdentity) -> None:
        """Be called something else from now on; initiators are told."""
        if identity == self.identity:
            return
        before, self.identity = self.identity, identity
        events = [Event(EventCode.DEVICE_INFO_CHANGED)]
        if identity.friendly_name != before.friendly_name:
            events.append(Event(EventCode.DEVICE_PROP_CHANGED, DeviceProperty.DEVICE_FRIENDLY_NAME))
        self.objects.publisher.publish(events)

    def close(self) -> None:
        """End what `start` began, and close the storages: no session may be left."""
        self.objects.stores.stop_waiting()
        self._running.close()
        if self._watching and not self.objects.stores.used:  # else there may be uploads that will not be undone
            self.memory.set(_STATE, None)
        for root in self.objects.stores:
            self._stop_watching(root)
            storage_of(root).close()
        if self.media is not None:
            self.media.close()

    def _stop_watching(self, root: Root) -> None:
        watch = self._watches.pop(root, None)
        if watch is not None:
            watch.stop()
