"""Thumbnails that are kept: a bounded memory, and a bounded folder on disk."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import tempfile
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

from usbredir_mtp.mtp.media.client import MAX_BODY

if TYPE_CHECKING:
    from pathlib import Path

    from usbredir_mtp.mtp.media.model import MediaKey

logger = logging.getLogger(__name__)

_V = TypeVar("_V")

_MAKE = 1  # how thumbnails are made: one more forgets all that are kept
_OURS = re.compile(r"[0-9a-f]{40}\.jpg|\.new-.*")


class Recent(Generic[_V]):
    """What is known of the content that was asked for last. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[MediaKey, _V] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: MediaKey) -> bool:
        return key in self._values

    def get(self, key: MediaKey) -> _V | None:
        """The value, None if there is none."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: MediaKey, value: _V) -> None:
        """Remember; what was not asked for the longest is forgotten."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self._limit:
                self._values.popitem(last=False)


class DiskCache:
    """Small files in a folder of the user's. Thread-safe, and other processes may use the folder, too.

    A folder that cannot be used is no error: nothing is kept then.
    """

    def __init__(self, folder: Path | None, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._used: int | None = None
        self._lock = threading.Lock()

    @staticmethod
    def file_name(key: MediaKey, side: int) -> str:
        """The file for a thumbnail of that content and size."""
        text = f"{_MAKE}\0{side}\0{key.volume}\0{key.identity}\0{key.size}\0{key.modified}"
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest() + ".jpg"

    def get(self, name: str) -> bytes | None:
        """What is kept under that name, if anything."""
        if self._folder is None:
            return None
        path = self._folder / name
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BODY + 1)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                logger.debug("thumbnail cache: %s", error)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # used now: a file's access time is not kept everywhere
        return data if len(data) <= MAX_BODY else None

    def put(self, name: str, data: bytes) -> None:
        """Keep `data`, and remove what has not been used for longest where that is too much."""
        if self._folder is None:
            return
        try:
            with self._lock:
                self._write(self._folder, name, data)
        except OSError as error:
            logger.debug("thumbnail cache: %s", error)

    def _write(self, folder: Path, name: str, data: bytes) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, new = tempfile.mkstemp(prefix=".new-", dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.replace(new, folder / name)  # noqa: PTH105  (mkstemp gives a string)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new)  # noqa: PTH108  (as above)
            raise
        if self._used is not None:
            self._used += len(data)
        if self._used is None or self._used > self._limit:
            self._used = self._prune(folder)

    def _prune(self, folder: Path) -> int:
        """Remove the files that were not used for longest if there is too much, until there is some room again."""
        found: list[tuple[int, int, str]] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if _OURS.fullmatch(entry.name):
                    with contextlib.suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        found.append((status.st_mtime_ns, status.st_size, entry.path))
        used = sum(size for _, size, _ in found)
        if used <= self._limit:
            return used
        for _, size, path in sorted(found):
            if used <= self._limit * 3 // 4:
                break
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                os.unlink(path)  # noqa: PTH108  (scandir gives a string)
            used -= size
        return used
