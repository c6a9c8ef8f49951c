"""Places that a responder is changing, and what a watch sees there meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.mtp.storage import Change, ChangeKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usbredir_mtp.mtp.nodes import Root
    from usbredir_mtp.mtp.storage import Path

    Place = tuple[Root, Path]

MAX_DEFERRED = 4096
"""Changes kept back while a responder changes the same place: beyond that one re-scan costs less."""


class Claims:
    """Claimed places, and the changes seen there in the meantime. The owner does the locking."""

    def __init__(self) -> None:
        self._claims: list[Place] = []
        self._deferred: list[tuple[Root, Change]] = []

    def __bool__(self) -> bool:
        return bool(self._claims)

    def begin(self, places: Iterable[Place]) -> None:
        """Claim some places."""
        self._claims += places

    def end(self, places: Iterable[Place]) -> list[tuple[Root, Change]]:
        """Release them; gives the changes that were kept back."""
        for place in places:
            self._claims.remove(place)
        deferred, self._deferred = self._deferred, []
        return deferred

    def names(self, root: Root, folder: Path) -> set[str]:
        """The claimed names in a folder."""
        return {path[-1] for owner, path in self._claims if owner is root and path[:-1] == folder}

    def defer(self, root: Root, change: Change) -> bool:
        """Keep a change back if it concerns a claimed place; too many of them are one re-scan."""
        paths = (change.path, change.target or change.path)
        if not any(owner is root and path[: len(at)] == at for owner, at in self._claims for path in paths):
            return False
        if len(self._deferred) >= MAX_DEFERRED:
            roots = dict.fromkeys(other for other, _ in self._deferred)
            self._deferred = [(other, Change(ChangeKind.RESCAN, ())) for other in roots]
        self._deferred.append((root, change))
        return True
