"""The object table: handle <-> object, shared by every session on the same storages.

Handles are dense, given when a folder is first listed, and never reused, so finding an object costs one index.
The table is in memory only; whoever changes a storage tells it, and it tells the other sessions by events.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.changes import apply
from usbredir_mtp.mtp.claims import Claims
from usbredir_mtp.mtp.codes import EventCode, ResponseCode
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.events import Event, Publisher
from usbredir_mtp.mtp.nodes import Node, ObjectView, Root, children_of, locate
from usbredir_mtp.mtp.presentation import NATIVE, Presentation
from usbredir_mtp.mtp.stores import Stores

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from usbredir_mtp.mtp.storage import Change, Path, Stat, Storage

logger = logging.getLogger(__name__)


class ObjectTable:
    """All objects of a set of storages.

    Thread-safe. The lock is held for changes in memory only, never while a storage is asked; events are published
    under it, so that they come in the order of the changes.
    """

    def __init__(self, publisher: Publisher | None = None, presentation: Presentation = NATIVE) -> None:
        self.publisher = publisher or Publisher()
        self.stores = Stores(presentation)
        self._lock = threading.RLock()
        self._nodes: list[Node | None] = [None]  # handle 0 is no object's
        self._reserved: dict[tuple[Node, str], int] = {}
        self._claims = Claims()
        self._version = 0

    # -- storages ------------------------------------------------------------------------------------------------

    def add_storage(self, storage: Storage) -> Root:
        """Make a storage known."""
        root = self.stores.add(storage)
        self.publisher.publish([Event(EventCode.STORE_ADDED, root.storage_id)])
        return root

    def remove_storage(self, root: Root) -> None:
        """Take a storage and all of its objects away; it is closed once no transaction can be using it."""
        with self._lock:
            self._drop_below(root)
            root.children, root.listed = {}, False
            self.publisher.publish([Event(EventCode.STORE_REMOVED, root.storage_id)])
        self.stores.remove(root)

    # -- finding -------------------------------------------------------------------------------------------------

    def get(self, handle: int) -> Node:
        """The object of that handle.

        Raises:
            MtpError: INVALID_OBJECT_HANDLE.
        """
        node = self._nodes[handle] if handle < len(self._nodes) else None
        if node is None:
            raise MtpError(ResponseCode.INVALID_OBJECT_HANDLE, f"handle {handle:#x}")
        return node

    def find(self, root: Root, path: Path) -> Node | None:
        """The object at a path, if it is known."""
        node: Node | None = root
        for name in path:
            if node is None or node.children is None:
                return None
            node = node.children.get(name)
        return node

    def view(self, node: Node, origin: object = None) -> ObjectView:
        """An object with its attributes as they are now.

        Raises:
            OSError: from the storage.
        """
        root, storage, path = locate(node)
        stat = storage.stat(path)
        self._seen(node, stat, origin)
        return ObjectView(node, root, stat)

    # -- listing -------------------------------------------------------------------------------------------------

    def children(self, folder: Node, origin: object = None) -> list[Node]:
        """What a folder holds now; the storage is asked each time, so a listing is never out of date.

        Raises:
            OSError: from the storage.
        """
        _, storage, path = locate(folder)
        version = self._version
        found = {entry.name: entry.folder for entry in storage.scan(path)}
        return self._reconcile(folder, found, version, origin)

    def views(self, folder: Node, origin: object = None) -> list[ObjectView]:
        """`children`, each with its attributes."""
        root, storage, path = locate(folder)
        version = self._version
        stats = dict(storage.scan_stat(path))
        found = {name: stat.folder for name, stat in stats.items()}
        views = []
        for node in self._reconcile(folder, found, version, origin):
            stat = stats.get(node.name)
            if stat is not None:
                self._seen(node, stat, origin)
                views.append(ObjectView(node, root, stat))
        return views

    def walk(self, folder: Node, origin: object = None) -> Iterator[Node]:
        """All objects below a folder, folders before what is in them; what vanishes meanwhile is left out."""
        pending = [folder]
        while pending:
            try:
                nodes = self.children(pending.pop(), origin)
            except (OSError, MtpError) as error:
                logger.debug("left out of a listing: %s", error)
                continue
            yield from nodes
            pending += [node for node in nodes if node.folder]

    def _reconcile(self, folder: Node, found: dict[str, bool], version: int, origin: object) -> list[Node]:
        """Bring the table in line with a listing (name: is it a folder) of `folder` that was begun at `version`."""
        while True:
            with self._lock:
                self._leave_out(folder, found)
                gone = [node for name, node in children_of(folder).items() if found.get(name) != node.folder]
                if not gone or version == self._version:
                    return self._take_listing(folder, found, gone, origin)
                version = self._version
            # Something changed while the storage was read: what seems gone may be newer than the listing.
            for node in gone:
                if not self._vanished(node):
                    found[node.name] = node.folder

    def _leave_out(self, folder: Node, found: dict[str, bool]) -> None:
        """Drop from a listing what initiators do not see."""
        root, storage, path = locate(folder)
        known = children_of(folder)
        for name in [name for name in found if name not in known and storage.hides(name)]:
            del found[name]
        for name in self._claims.names(root, path):  # what is there is for the claim's holder to say
            found.pop(name, None)
            if (node := known.get(name)) is not None:
                found[name] = node.folder

    def _take_listing(self, folder: Node, found: dict[str, bool], gone: Iterable[Node], origin: object) -> list[Node]:
        known = children_of(folder)
        events = [event for node in gone for event in self._unlink(node)]
        added = [self._link(folder, name, is_folder) for name, is_folder in found.items() if name not in known]
        if folder.listed:
            events += [Event(EventCode.OBJECT_ADDED, node.handle) for node in added]
        folder.listed = True
        self.publisher.publish(events, origin)
        return list(known.values())

    def _vanished(self, node: Node) -> bool:
        try:
            _, storage, path = locate(node)
            return storage.stat(path).folder != node.folder
        except (OSError, MtpError):
            return True

    def _seen(self, node: Node, stat: Stat, origin: object) -> None:
        """An initiator is shown an object's attributes; those who were shown others learn that they changed."""
        stamp = None if stat.folder else _stamp(stat)
        if node.stamp == stamp:
            return
        with self._lock:
            before, node.stamp = node.stamp, stamp
            if before not in {None, stamp}:
                self.publisher.publish([Event(EventCode.OBJECT_INFO_CHANGED, node.handle)], origin)

    # -- changes made by initiators ------------------------------------------------------------------------------

    @contextmanager
    def own_change(self, *places: tuple[Node, str]) -> Iterator[None]:
        """Claims places (folder and name) while a responder changes them; it tells the table before it leaves.

        Until then what a watch sees there waits, and a listing leaves them alone: neither could know what it means.
        """
        claims = [(root, (*path, name)) for folder, name in places for root, _, path in [locate(folder)]]
        with self._lock:
            self._claims.begin(claims)
        try:
            yield
        finally:
            with self._lock:
                deferred = self._claims.end(claims)
            for root, change in deferred:
                apply(self, root, change)

    def defer(self, root: Root, change: Change) -> bool:
        """Keep a change of a claimed place until the claim ends; False if the place is not claimed."""
        if not self._claims:
            return False
        with self._lock:
            return self._claims.defer(root, change)

    def reserve(self, folder: Node, name: str) -> int:
        """The handle that an object of that name has, or will have once it exists."""
        with self._lock:
            node = children_of(folder).get(name)
            if node is not None:
                return node.handle
            key = (folder, name)
            if key not in self._reserved:
                self._reserved[key] = self._new_handle()
            return self._reserved[key]

    def release(self, folder: Node, name: str) -> None:
        """Nothing came of a reservation."""
        self._reserved.pop((folder, name), None)

    def added(self, folder: Node, name: str, stat: Stat, origin: object = None) -> Node:
        """An object was made or replaced."""
        with self._lock:
            node = children_of(folder).get(name)
            events: list[Event] = []
            if node is not None and node.folder != stat.folder:
                events += self._unlink(node)
                node = None
            if node is None:
                node = self._link(folder, name, stat.folder)
                events.append(Event(EventCode.OBJECT_ADDED, node.handle))
            elif not stat.folder and node.stamp not in {None, _stamp(stat)}:
                events.append(Event(EventCode.OBJECT_INFO_CHANGED, node.handle))
            node.stamp = None if stat.folder else _stamp(stat)
            self.publisher.publish(events, origin)
        return node

    def changed(self, node: Node, stat: Stat, origin: object = None) -> None:
        """A file's content or attributes are now as `stat` says."""
        stamp = _stamp(stat)
        with self._lock:
            if stamp != node.stamp:
                node.stamp = stamp
                self.publisher.publish([Event(EventCode.OBJECT_INFO_CHANGED, node.handle)], origin)

    def removed(self, node: Node, origin: object = None) -> None:
        """An object is gone, with all that was in it."""
        with self._lock:
            self.publisher.publish(self._unlink(node), origin)

    def refresh(self, node: Node, origin: object = None) -> None:
        """A change of an object and what is in it may have come half-way: look what is left."""
        try:
            _, storage, path = locate(node)
            storage.stat(path)
        except FileNotFoundError:
            self.removed(node, origin)
        else:
            for folder in [node, *self._known_folders(node)]:
                with suppress(OSError, MtpError):
                    self.children(folder, origin)

    def _known_folders(self, node: Node) -> Iterator[Node]:
        for child in list((node.children or {}).values()):
            if child.listed:
                yield child
                yield from self._known_folders(child)

    def moved(self, node: Node, folder: Node, name: str, origin: object = None, *, replace: bool = True) -> bool:
        """An object has a new name or place, in the same storage; it keeps its handle.

        Others learn it as removal and addition of the handle: some initiators ignore ObjectInfoChanged.

        Returns:
            Whether it was taken in: not so if another object is known to be there, which is not to be replaced.
        """
        with self._lock:
            if node.parent is None:
                raise MtpError(ResponseCode.INVALID_OBJECT_HANDLE, f"{name!r} was removed meanwhile")
            events: list[Event] = []
            replaced = children_of(folder).get(name)
            if replaced is not None and replaced is not node:
                if not replace:
                    return False
                events += self._unlink(replaced)
            children_of(node.parent).pop(node.name, None)
            node.parent, node.name = folder, name
            children_of(folder)[name] = node
            self._version += 1
            codes = (EventCode.OBJECT_REMOVED, EventCode.OBJECT_ADDED)
            events += [Event(code, node.handle) for code in codes]
            self.publisher.publish(events, origin)
        return True

    # -- the table itself (lock held) ----------------------------------------------------------------------------

    def _new_handle(self) -> int:
        self._nodes.append(None)
        return len(self._nodes) - 1

    def _link(self, folder: Node, name: str, is_folder: bool) -> Node:
        handle = self._reserved.pop((folder, name), None) or self._new_handle()
        node = Node(handle, folder, name, {} if is_folder else None)
        self._nodes[handle] = node
        children_of(folder)[name] = node
        self._version += 1
        return node

    def _unlink(self, node: Node) -> list[Event]:
        """Drop an object and all below it; a removed folder is one event: what was in it is gone with it."""
        if node.parent is None or self._nodes[node.handle] is not node:
            return []
        siblings = children_of(node.parent)
        if siblings.get(node.name) is node:
            del siblings[node.name]
        self._drop_below(node)
        self._nodes[node.handle] = None
        node.parent = None
        return [Event(EventCode.OBJECT_REMOVED, node.handle)]

    def _drop_below(self, folder: Node) -> None:
        pending = list((folder.children or {}).values())
        while pending:
            dropped = pending.pop()
            self._nodes[dropped.handle] = None
            dropped.parent = None
            pending += (dropped.children or {}).values()
        self._version += 1


def _stamp(stat: Stat) -> int:
    return hash((stat.modified, stat.size))
