"""Changes of what links lead to, as changes of what is shown under the links' names."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.storage import Change, ChangeKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbredir_mtp.mtp.storage import Path


@dataclass(slots=True, eq=False)
class Aliases:
    """The links that have been listed, and what each led to then: as many as the object table has objects for them.

    A link that has gone, or leads elsewhere by now, costs a look at what is there, which finds nothing new.
    """

    _targets: dict[Path, Path] = field(init=False, default_factory=dict)
    _links: dict[Path, set[Path]] = field(init=False, default_factory=dict)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def note(self, link: Path, target: Path) -> None:
        """The link at `link`, as reached, leads to `target`, which is a path without links."""
        with self._lock:
            before = self._targets.get(link)
            if before == target:
                return
            if before is not None:
                self._links[before].discard(link)
                if not self._links[before]:
                    del self._links[before]
            self._targets[link] = target
            self._links.setdefault(target, set()).add(link)

    def translate(self, change: Change) -> Iterator[Change]:
        """The change, then what it means for the links."""
        yield change
        kind, path, target, folder = change
        if kind is not ChangeKind.MOVED:
            yield from self._changes(kind, path, folder=folder)
            return
        # Not as a move: the other end need not be below the same link, nor the link lead there any more.
        yield from self._changes(ChangeKind.REMOVED, path, folder=folder)
        if target is not None:
            yield from self._changes(ChangeKind.ADDED, target, folder=folder)

    def _changes(self, kind: ChangeKind, path: Path, *, folder: bool) -> Iterator[Change]:
        with self._lock:
            around = [
                (*link, *path[length:])
                for length in range(1, len(path) + 1)
                for link in self._links.get(path[:length], ())
            ]
            below = [
                link
                for target, links in (self._links.items() if folder and path else ())
                if len(target) > len(path) and target[: len(path)] == path
                for link in links
            ]
        for place in around:
            yield Change(kind, place, folder=folder)
        for place in below:
            yield Change(kind, place, folder=True)
