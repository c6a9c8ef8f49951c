"""The object table: handle <-> object, shared by every session on the same storages.

Handles are dense, given when a folder is first listed, and never reused, so finding an object costs one index.
The table is in memory only; whoever changes a storage tells it, and it tells the other sessions by events.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from usbredir_mtp.mtp.codes import ALL_HANDLES, EventCode, ObjectFormat, ResponseCode
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.formats import file_format
from usbredir_mtp.mtp.names import wire_name
from usbredir_mtp.mtp.storage import Change, ChangeKind, Path, Stat, Storage, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

logger = logging.getLogger(__name__)

ROOT_PARENT = 0
"""The parent that objects in a storage's root are said to have."""

MAX_DEFERRED = 4096
"""Changes kept back while a responder changes the same place: beyond that one re-scan costs less."""


@dataclass(slots=True, eq=False, repr=False)
class Node:
    """One object, or a storage's root (whose handle is 0).

    Attributes:
        name: The host's name.
        children: By host name; None for a file. Holds what is known, which is all once `listed`.
        stamp: What modification time and size were when an initiator last saw or wrote them.
    """

    handle: int
    parent: Node | None
    name: str
    children: dict[str, Node] | None = None
    listed: bool = False
    stamp: int | None = None

    @property
    def folder(self) -> bool:
        """Whether this is an association."""
        return self.children is not None

    @property
    def format(self) -> ObjectFormat:
        """The object's format."""
        return ObjectFormat.ASSOCIATION if self.folder else file_format(self.name)

    @property
    def parent_handle(self) -> int:
        """The parent as datasets give it."""
        return self.parent.handle if self.parent is not None else ROOT_PARENT


@dataclass(slots=True, eq=False)
class Root(Node):
    """The root of one storage."""

    storage_id: int = 0
    storage: Storage | None = None


class ObjectView(NamedTuple):
    """What property lists and datasets are made from: an object and its attributes of this moment."""

    node: Node
    storage_id: int
    stat: Stat
    read_only: bool

    @property
    def handle(self) -> int:
        """The object's handle."""
        return self.node.handle

    @property
    def name(self) -> str:
        """The name on the wire."""
        return wire_name(self.node.name)


class ObjectEvent(NamedTuple):
    """Something that initiators are to be told."""

    code: EventCode
    handle: int


class Subscriber(Protocol):
    """Somebody who wants to know of changes."""

    def notify(self, event: ObjectEvent, /) -> None:
        """Take note; called from any thread, must not block."""


class ObjectTable:
    """All objects of a set of storages.

    Thread-safe. The lock is held for changes in memory only, never while a storage is asked.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._nodes: list[Node | None] = [None]  # handle 0 is no object's
        self._roots: dict[int, Root] = {}
        self._watches: list[Watch] = []
        self._subscribers: list[Subscriber] = []
        self._reserved: dict[tuple[Node, str], int] = {}
        self._claims: list[tuple[Root, Path]] = []
        self._deferred: list[tuple[Root, Change]] = []
        self._version = 0

    # -- storages ------------------------------------------------------------------------------------------------

    def add_storage(self, storage: Storage) -> int:
        """Make a storage known; returns its storage id: physical part counted up, logical part 1 (MTP 1.1, 5.2.1)."""
        storage_id = (len(self._roots) + 1) << 16 | 1
        root = Root(ROOT_PARENT, None, "", {}, storage_id=storage_id, storage=storage)
        self._roots[storage_id] = root
        return storage_id

    def watch(self) -> None:
        """Follow changes that happen behind the table."""
        for root in self._roots.values():
            watch = _storage(root).watch(lambda change, root=root: self.apply(root, change))  # type: ignore[misc]
            if watch is not None:
                self._watches.append(watch)

    def close(self) -> None:
        """Stop following changes."""
        while self._watches:
            self._watches.pop().stop()

    @property
    def storages(self) -> dict[int, Storage]:
        """Storages by id, in the order in which they were added."""
        return {storage_id: _storage(root) for storage_id, root in self._roots.items()}

    def storage(self, storage_id: int) -> Storage:
        """The storage of that id.

        Raises:
            MtpError: INVALID_STORAGE_ID.
        """
        return _storage(self.root(storage_id))

    def root(self, storage_id: int) -> Root:
        """The root of a storage.

        Raises:
            MtpError: INVALID_STORAGE_ID.
        """
        try:
            return self._roots[storage_id]
        except KeyError:
            raise MtpError(ResponseCode.INVALID_STORAGE_ID, f"storage {storage_id:#010x}") from None

    def roots(self, storage_id: int) -> list[Root]:
        """The roots that an operation's storage parameter means: 0xFFFFFFFF stands for all."""
        return list(self._roots.values()) if storage_id == ALL_HANDLES else [self.root(storage_id)]

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

    def locate(self, node: Node) -> tuple[Root, Storage, Path]:
        """Where an object lives."""
        names: list[str] = []
        while node.parent is not None:
            names.append(node.name)
            node = node.parent
        if not isinstance(node, Root):
            raise MtpError(ResponseCode.INVALID_OBJECT_HANDLE, f"{names[-1]!r} is gone")
        return node, _storage(node), tuple(reversed(names))

    def view(self, node: Node, origin: object = None) -> ObjectView:
        """An object with its attributes as they are now.

        Raises:
            OSError: from the storage.
        """
        root, storage, path = self.locate(node)
        stat = storage.stat(path)
        self._seen(node, stat, origin)
        return ObjectView(node, root.storage_id, stat, storage.read_only)

    # -- listing -------------------------------------------------------------------------------------------------

    def children(self, folder: Node, origin: object = None) -> list[Node]:
        """What a folder holds now; the storage is asked each time, so a listing is never out of date.

        Raises:
            OSError: from the storage.
        """
        _, storage, path = self.locate(folder)
        version = self._version
        found = {entry.name: entry.folder for entry in storage.scan(path)}
        return self._reconcile(folder, found, version, origin)

    def views(self, folder: Node, origin: object = None) -> list[ObjectView]:
        """`children`, each with its attributes."""
        root, storage, path = self.locate(folder)
        version = self._version
        stats = dict(storage.scan_stat(path))
        found = {name: stat.folder for name, stat in stats.items()}
        views = []
        for node in self._reconcile(folder, found, version, origin):
            stat = stats.get(node.name)
            if stat is not None:
                self._seen(node, stat, origin)
                views.append(ObjectView(node, root.storage_id, stat, storage.read_only))
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
                for name in self._claimed_names(folder):  # what is there is for the claim's holder to say
                    found.pop(name, None)
                    if (node := _children(folder).get(name)) is not None:
                        found[name] = node.folder
                gone = [node for name, node in _children(folder).items() if found.get(name) != node.folder]
                if not gone or version == self._version:
                    return self._take_listing(folder, found, gone, origin)
                version = self._version
            # Something changed while the storage was read: what seems gone may be newer than the listing.
            for node in gone:
                if not self._vanished(node):
                    found[node.name] = node.folder

    def _take_listing(self, folder: Node, found: dict[str, bool], gone: Iterable[Node], origin: object) -> list[Node]:
        known = _children(folder)
        events = [event for node in gone for event in self._unlink(node)]
        added = [self._link(folder, name, is_folder) for name, is_folder in found.items() if name not in known]
        if folder.listed:
            events += [ObjectEvent(EventCode.OBJECT_ADDED, node.handle) for node in added]
        folder.listed = True
        self._publish(events, origin)
        return list(known.values())

    def _vanished(self, node: Node) -> bool:
        try:
            _, storage, path = self.locate(node)
            return storage.stat(path).folder != node.folder
        except (OSError, MtpError):
            return True

    def _seen(self, node: Node, stat: Stat, origin: object) -> None:
        """An initiator is shown an object's attributes; those who were shown others learn that they changed."""
        stamp = None if stat.folder else _stamp(stat)
        before, node.stamp = node.stamp, stamp
        if before not in {None, stamp}:
            self._publish([ObjectEvent(EventCode.OBJECT_INFO_CHANGED, node.handle)], origin)

    # -- changes made by initiators ------------------------------------------------------------------------------

    @contextmanager
    def own_change(self, *places: tuple[Node, str]) -> Iterator[None]:
        """Claims places (folder and name) while a responder changes them; it tells the table before it leaves.

        Until then what a watch sees there waits, and a listing leaves them alone: neither could know what it means.
        """
        claims = [(root, (*path, name)) for folder, name in places for root, _, path in [self.locate(folder)]]
        with self._lock:
            self._claims += claims
        try:
            yield
        finally:
            with self._lock:
                for claim in claims:
                    self._claims.remove(claim)
                deferred, self._deferred = self._deferred, []
            for root, change in deferred:
                self.apply(root, change)

    def _claimed_names(self, folder: Node) -> set[str]:
        if not self._claims:
            return set()
        root, _, path = self.locate(folder)
        return {place[-1] for owner, place in self._claims if owner is root and place[:-1] == path}

    def _defer(self, root: Root, change: Change) -> bool:
        """Keep a change of a claimed place for later; too many of them are one re-scan."""
        with self._lock:
            paths = (change.path, change.target or change.path)
            if not any(owner is root and path[: len(at)] == at for owner, at in self._claims for path in paths):
                return False
            if len(self._deferred) >= MAX_DEFERRED:
                self._deferred = [(other, Change(ChangeKind.RESCAN, ())) for other in self._roots.values()]
            self._deferred.append((root, change))
            return True

    def reserve(self, folder: Node, name: str) -> int:
        """The handle that an object of that name has, or will have once it exists."""
        with self._lock:
            node = _children(folder).get(name)
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
            node = _children(folder).get(name)
            events: list[ObjectEvent] = []
            if node is not None and node.folder != stat.folder:
                events += self._unlink(node)
                node = None
            if node is None:
                node = self._link(folder, name, stat.folder)
                events.append(ObjectEvent(EventCode.OBJECT_ADDED, node.handle))
            elif not stat.folder and node.stamp not in {None, _stamp(stat)}:
                events.append(ObjectEvent(EventCode.OBJECT_INFO_CHANGED, node.handle))
            node.stamp = None if stat.folder else _stamp(stat)
        self._publish(events, origin)
        return node

    def changed(self, node: Node, stat: Stat, origin: object = None) -> None:
        """A file's content or attributes are now as `stat` says."""
        stamp = _stamp(stat)
        if stamp != node.stamp:
            node.stamp = stamp
            self._publish([ObjectEvent(EventCode.OBJECT_INFO_CHANGED, node.handle)], origin)

    def removed(self, node: Node, origin: object = None) -> None:
        """An object is gone, with all that was in it."""
        with self._lock:
            events = self._unlink(node)
        self._publish(events, origin)

    def refresh(self, node: Node, origin: object = None) -> None:
        """A change of an object and what is in it may have come half-way: look what is left."""
        try:
            _, storage, path = self.locate(node)
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

    def moved(self, node: Node, folder: Node, name: str, origin: object = None) -> None:
        """An object has a new name or place, in the same storage; it keeps its handle.

        Others learn it as removal and addition of the handle: some initiators ignore ObjectInfoChanged.
        """
        with self._lock:
            if node.parent is None:
                raise MtpError(ResponseCode.INVALID_OBJECT_HANDLE, f"{name!r} was removed meanwhile")
            events: list[ObjectEvent] = []
            replaced = _children(folder).get(name)
            if replaced is not None and replaced is not node:
                events += self._unlink(replaced)
            _children(node.parent).pop(node.name, None)
            node.parent, node.name = folder, name
            _children(folder)[name] = node
            self._version += 1
            codes = (EventCode.OBJECT_REMOVED, EventCode.OBJECT_ADDED)
            events += [ObjectEvent(code, node.handle) for code in codes]
        self._publish(events, origin)

    # -- changes seen behind the table ---------------------------------------------------------------------------

    def apply(self, root: Root, change: Change) -> None:
        """Take in what a storage's watch reports; what the table knows already is no news."""
        if self._claims and self._defer(root, change):
            return
        try:
            _APPLY[change.kind](self, root, change)
        except (OSError, MtpError) as error:
            logger.debug("change %s not followed: %s", change, error)

    def _apply_present(self, root: Root, change: Change) -> None:
        """Something appeared or changed at `change.path`."""
        folder = self._known(root, change.path[:-1])
        if folder is None or not folder.listed or not change.path:
            return  # nobody has seen that folder yet: a listing will show it
        self.added(folder, change.path[-1], _storage(root).stat(change.path))

    def _apply_removed(self, root: Root, change: Change) -> None:
        node = self._known(root, change.path)
        if node is None or node is root:
            return
        # The name may be in use again by the time that the news arrives.
        with suppress(OSError):
            if _storage(root).stat(change.path).folder == node.folder:
                return
        self.removed(node)

    def _apply_moved(self, root: Root, change: Change) -> None:
        node = self._known(root, change.path)
        target = change.target or ()
        folder = self._known(root, target[:-1])
        if folder is None or not target:
            self._apply_removed(root, change)
        elif node is None or node is root:
            self._apply_present(root, change._replace(path=target))
        else:
            self.moved(node, folder, target[-1])

    def _apply_rescan(self, root: Root, change: Change) -> None:
        pending = [self._known(root, change.path)]
        while pending:
            folder = pending.pop()
            if folder is None or not folder.listed:
                continue
            with suppress(OSError, MtpError):
                pending += [node for node in self.children(folder) if node.folder]

    def _known(self, root: Root, path: Path) -> Node | None:
        node: Node | None = root
        for name in path:
            if node is None or node.children is None:
                return None
            node = node.children.get(name)
        return node

    # -- events --------------------------------------------------------------------------------------------------

    def subscribe(self, subscriber: Subscriber) -> None:
        """Notify `subscriber` of every event, from any thread, but of those whose `origin` it is itself."""
        with self._lock:
            self._subscribers = [*self._subscribers, subscriber]

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Undo `subscribe`."""
        with self._lock:
            self._subscribers = [other for other in self._subscribers if other is not subscriber]

    def _publish(self, events: Iterable[ObjectEvent], origin: object) -> None:
        subscribers = self._subscribers
        for event in events:
            for subscriber in subscribers:
                if subscriber is not origin:
                    subscriber.notify(event)

    # -- the table itself (lock held) ----------------------------------------------------------------------------

    def _new_handle(self) -> int:
        self._nodes.append(None)
        return len(self._nodes) - 1

    def _link(self, folder: Node, name: str, is_folder: bool) -> Node:
        handle = self._reserved.pop((folder, name), None) or self._new_handle()
        node = Node(handle, folder, name, {} if is_folder else None)
        self._nodes[handle] = node
        _children(folder)[name] = node
        self._version += 1
        return node

    def _unlink(self, node: Node) -> list[ObjectEvent]:
        """Drop an object and all below it; a removed folder is one event: what was in it is gone with it."""
        if node.parent is None or self._nodes[node.handle] is not node:
            return []
        siblings = _children(node.parent)
        if siblings.get(node.name) is node:
            del siblings[node.name]
        pending = [node]
        while pending:
            dropped = pending.pop()
            self._nodes[dropped.handle] = None
            dropped.parent = None
            pending += (dropped.children or {}).values()
        self._version += 1
        return [ObjectEvent(EventCode.OBJECT_REMOVED, node.handle)]


_APPLY: dict[ChangeKind, Callable[[ObjectTable, Root, Change], None]] = {
    ChangeKind.ADDED: ObjectTable._apply_present,  # noqa: SLF001
    ChangeKind.MODIFIED: ObjectTable._apply_present,  # noqa: SLF001
    ChangeKind.REMOVED: ObjectTable._apply_removed,  # noqa: SLF001
    ChangeKind.MOVED: ObjectTable._apply_moved,  # noqa: SLF001
    ChangeKind.RESCAN: ObjectTable._apply_rescan,  # noqa: SLF001
}


def _children(folder: Node | None) -> dict[str, Node]:
    if folder is None or folder.children is None:
        raise MtpError(ResponseCode.INVALID_PARENT_OBJECT, "not a folder")
    return folder.children


def _storage(root: Root) -> Storage:
    assert root.storage is not None
    return root.storage


def _stamp(stat: Stat) -> int:
    return hash((stat.modified, stat.size))
