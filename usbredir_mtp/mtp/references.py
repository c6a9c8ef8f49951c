"""Object references (MTP 1.1, 4.5.6, D.2.36-37): playlists and the like; kept over restarts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from usbredir_mtp.mtp.codes import ResponseCode
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.nodes import Node, locate, storage_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usbredir_mtp.mtp.memory import Memory
    from usbredir_mtp.mtp.objects import ObjectTable

    Place = list[Any]
    """[volume of the storage, names from its root down]: JSON's form of where an object is."""

_KEY = "references"

MAX_REFERENCES = 1 << 20
"""References kept in all: they are the guest's to set and the host's memory to spend."""


class References:
    """Which objects refer to which others. What is gone no longer refers, nor is referred to."""

    def __init__(self, objects: ObjectTable, memory: Memory) -> None:
        self._objects = objects
        self._memory = memory
        self._lock = threading.Lock()
        self._known: dict[Node, list[Node]] = {}
        self._kept = _readable(memory.get(_KEY))
        """Of storages that have not been asked for since the start."""

    def get(self, node: Node) -> list[Node]:
        """The objects that one refers to, in order."""
        with self._lock:
            self._resolve()
            return [other for other in self._known.get(node, ()) if other.parent is not None]

    def set(self, node: Node, others: Iterable[Node]) -> None:
        """Let one object refer to others, and no longer to those it did.

        Raises:
            MtpError: STORAGE_FULL if there are too many in all.
        """
        others = list(others)
        with self._lock:
            self._resolve()
            total = sum(map(len, self._known.values())) - len(self._known.get(node, ())) + len(others)
            if total > MAX_REFERENCES:
                raise MtpError(ResponseCode.STORAGE_FULL, f"more than {MAX_REFERENCES} references")
            self._known[node] = others
        self.save()

    def save(self) -> None:
        """Write down where the objects are by now."""
        with self._lock:
            if not self._known and not self._kept:
                return
            self._known = {
                node: alive
                for node, others in self._known.items()
                if node.parent is not None and (alive := [other for other in others if other.parent is not None])
            }
            places = [
                [place, [where for other in others if (where := _place(other))]]
                for node, others in self._known.items()
                if (place := _place(node))
            ]
            self._memory.set(_KEY, [*self._kept, *places])

    def _resolve(self) -> None:
        """Find the objects of what was kept, where their storages are here."""
        if not self._kept:
            return
        here = {storage_of(root).volume for root in self._objects.stores}
        kept, self._kept = self._kept, []
        for place, targets in kept:
            if not {place[0], *(target[0] for target in targets)} <= here:
                self._kept.append((place, targets))
                continue
            node = self._find(place)
            if node is not None:
                found = map(self._find, targets)
                self._known[node] = [other for other in found if other is not None]

    def _find(self, place: Place) -> Node | None:
        volume, names = place
        node: Node | None = next(root for root in self._objects.stores if storage_of(root).volume == volume)
        for name in names:
            if node is None or not node.folder:
                return None
            if name not in (node.children or {}):
                try:
                    self._objects.children(node)
                except (OSError, MtpError):
                    return None
            node = (node.children or {}).get(name)
        return node


def _readable(kept: Any) -> list[tuple[Place, list[Place]]]:
    """What is kept, if it is what we write: people edit files."""

    def is_place(place: Any) -> bool:
        return (
            isinstance(place, list)
            and [type(part) for part in place] == [str, list]
            and all(isinstance(name, str) for name in place[1])
        )

    def is_row(row: Any) -> bool:
        return (
            isinstance(row, list)
            and len(row) == 2  # noqa: PLR2004  (who refers, to whom)
            and is_place(row[0])
            and isinstance(row[1], list)
            and all(map(is_place, row[1]))
        )

    return [(row[0], row[1]) for row in kept if is_row(row)] if isinstance(kept, list) else []


def _place(node: Node) -> Place | None:
    try:
        _, storage, path = locate(node)
    except MtpError:
        return None
    return [storage.volume, list(path)]
