"""A storage in memory that does what a test tells it, and counts what it is asked."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.storage import Change, ChangeKind, Entry, ReadOnlyStorage, Space, Stat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbredir_mtp.mtp.storage import DataSource, Path


@dataclass
class Item:
    folder: bool
    size: int = 0
    modified: int = 0
    identity: int = field(default_factory=itertools.count(1).__next__)


class MemoryStorage(ReadOnlyStorage):
    """`put`, `drop` and `shift` are the host's doing."""

    read_only = False
    description = "memory"

    def __init__(self, *paths: str, volume: str = "v") -> None:
        self.volume = volume
        self.items: dict[Path, Item] = {}
        self.asked: Counter[str] = Counter()
        self.listener: Callable[[Change], None] | None = None
        self.hidden: set[str] = set()
        self.before_scan_ends: Callable[[], None] = lambda: None
        for path in paths:
            self.put(path)

    # -- the host's side

    def put(self, text: str, size: int = 0) -> Path:
        """A file, or a folder if the path ends in a slash, with its folders."""
        path = tuple(text.strip("/").split("/"))
        for length in range(1, len(path)):
            self.items.setdefault(path[:length], Item(folder=True))
        self.items[path] = Item(
            folder=text.endswith("/"), size=size, modified=self.items.get(path, Item(False)).modified + 1
        )
        return path

    def drop(self, text: str) -> Path:
        path = tuple(text.split("/"))
        for below in [each for each in self.items if each[: len(path)] == path]:
            del self.items[below]
        return path

    def shift(self, old: str, new: str) -> tuple[Path, Path]:
        source, target = tuple(old.split("/")), tuple(new.split("/"))
        moved = {each: item for each, item in self.items.items() if each[: len(source)] == source}
        self.drop(old)
        self.drop(new)
        for path, item in moved.items():
            self.items[target + path[len(source) :]] = item
        return source, target

    def tell(self, kind: ChangeKind, path: Path, target: Path | None = None, *, folder: bool = False) -> None:
        assert self.listener is not None
        self.listener(Change(kind, path, target, folder))

    # -- the storage's

    def space(self) -> Space:
        return Space(1000, 500)

    def scan(self, folder: Path) -> Iterator[Entry]:
        self.asked["scan"] += 1
        self._require(folder)
        names = [path for path in self.items if path[:-1] == folder and path]
        found = [Entry(path[-1], self.items[path].folder) for path in names]
        self.before_scan_ends()
        return iter(found)

    def stat(self, path: Path) -> Stat:
        self.asked["stat"] += 1
        if not path:
            return Stat(folder=True, size=0, modified=0)
        item = self._require(path)
        return Stat(item.folder, item.size, item.modified, identity=item.identity)

    def open(self, path: Path, offset: int = 0, size: int | None = None) -> DataSource:
        raise OSError(path, offset, size)

    def hides(self, name: str) -> bool:
        return name in self.hidden

    def watch(self, listener: Callable[[Change], None]) -> None:
        self.listener = listener

    def _require(self, path: Path) -> Item:
        if path and path not in self.items:
            raise FileNotFoundError(2, os.strerror(2), "/".join(path))
        return self.items[path] if path else Item(folder=True)
