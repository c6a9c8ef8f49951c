"""Media metadata and thumbnails: what is known already, and what can be found out."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import stat
import threading
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import ResponseCode
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.media.cache import DiskCache, Recent
from usbredir_mtp.mtp.media.jpeg import jpeg_size
from usbredir_mtp.mtp.media.model import Limits, MediaType, ThumbnailInfo, media_type, suffix_of
from usbredir_mtp.mtp.media.process import WorkerFailedError, WorkerProcess, WorkerUnavailableError, worker_command
from usbredir_mtp.mtp.media.properties import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from usbredir_mtp.mtp.media.client import Message
    from usbredir_mtp.mtp.media.model import MediaKey
    from usbredir_mtp.mtp.media.properties import Properties

    OpenFile = Callable[[], int]
    """Opens the file: a descriptor for reading that can seek, for the callee to close."""

logger = logging.getLogger(__name__)

_LIBRARIES = ("PIL", "mutagen")

_KNOWN = 16_384  # files whose properties and thumbnail sizes are remembered: well below 1 KB each
_PICTURES = 256  # thumbnails in memory: an initiator asks again soon or not at all; some 10 KB each, 128 at most


class Media:
    """Reads media files. One for all sessions; thread-safe.

    What was found out, and that nothing could be, is remembered for the same content.
    """

    def __init__(self, cache: Path | None, limits: Limits | None = None, command: Sequence[str] | None = None) -> None:
        """Nothing is started or read yet.

        Args:
            cache: Folder for thumbnails, made when there is one to keep; None: none are kept on disk.
            limits: What reading a file may cost.
            command: Runs the process that parses instead of `process.worker_command`.
        """
        self._limits = limits or Limits()
        self._usable = self.available()
        self._worker = WorkerProcess(command or worker_command(self._limits), self._limits.seconds)
        self._turn = threading.Lock()
        self._disk = DiskCache(cache, self._limits.cache_bytes)
        self._properties: Recent[Properties] = Recent(_KNOWN)
        self._infos: Recent[ThumbnailInfo | None] = Recent(_KNOWN)
        self._pictures: Recent[bytes] = Recent(_PICTURES)

    @staticmethod
    def available() -> bool:
        """Whether the libraries of the extra are installed."""
        return all(importlib.util.find_spec(name) is not None for name in _LIBRARIES)

    def handles(self, name: str) -> MediaType | None:
        """What a file of that name is; None for nothing that can be read, and always without the extra."""
        return media_type(name) if self._usable else None

    def known_properties(self, key: MediaKey) -> Mapping[int, int | str] | None:
        """The properties (`properties.MEDIA_PROPERTIES`) if they are in memory; never blocks."""
        return self._properties.get(key)

    def properties(self, key: MediaKey, name: str, open_file: OpenFile) -> Mapping[int, int | str]:
        """The properties of a file; none for one that cannot be read.

        Blocks for at most `Limits.seconds`, and as long again while other sessions' files are read.
        """
        kind = self.handles(name)
        known = self.known_properties(key)
        if known is not None or kind is None:
            return known or {}
        try:
            with self._take_turn():
                known = self.known_properties(key)
                return self._read_properties(key, kind, name, open_file) if known is None else known
        except (OSError, MtpError, WorkerUnavailableError) as error:
            logger.debug("%s: no properties: %s", name, error)
            return {}

    def known_thumbnail(self, key: MediaKey) -> ThumbnailInfo | None:
        """Size of a thumbnail that was made or read since the start; never blocks."""
        return self._infos.get(key)

    def thumbnail(self, key: MediaKey, name: str, open_file: OpenFile) -> bytes:
        """A JPEG of at most `Limits.side` pixels a side.

        Blocks for at most `Limits.seconds`, and as long again while other sessions' files are read.

        Raises:
            MtpError: NO_THUMBNAIL_PRESENT if there is none, DEVICE_BUSY if others' files take too long.
            OSError: `open_file`'s.
        """
        kind = self.handles(name)
        if kind is None:
            raise _no_thumbnail(name)
        data = self._kept_thumbnail(key, name) or self._thumbnail_from_disk(key)
        if data is not None:
            return data
        with self._take_turn():
            data = self._kept_thumbnail(key, name)
            return self._make_thumbnail(key, kind, name, open_file) if data is None else data

    def close(self) -> None:
        """End the process, and a job with it; nothing more can be found out then."""
        self._worker.stop()
        with self._turn:
            self._worker.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _take_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=self._limits.seconds):
            raise MtpError(ResponseCode.DEVICE_BUSY, "other files are being read")
        try:
            yield
        finally:
            self._turn.release()

    def _read_properties(self, key: MediaKey, kind: MediaType, name: str, open_file: OpenFile) -> Properties:
        values: Properties = {}
        try:
            answer = self._ask("properties", kind, name, open_file)
            found = answer.header.get("properties")
            if isinstance(found, dict):
                values = clean(found, kind)
        except WorkerFailedError as error:
            logger.debug("%s: %s", name, error)
            self._infos.put(key, None)
        self._properties.put(key, values)
        return values

    def _make_thumbnail(self, key: MediaKey, kind: MediaType, name: str, open_file: OpenFile) -> bytes:
        try:
            data = self._ask("thumbnail", kind, name, open_file).body
        except WorkerUnavailableError as error:
            raise _no_thumbnail(f"{name}: {error}") from error
        except WorkerFailedError as error:
            logger.debug("%s: %s", name, error)
            self._properties.put(key, self._properties.get(key) or {})
            data = b""
        info = self._describe(data)
        self._infos.put(key, info)
        if info is None:
            raise _no_thumbnail(name)
        self._pictures.put(key, data)
        self._disk.put(self._disk.file_name(key, self._limits.side), data)
        return data

    def _kept_thumbnail(self, key: MediaKey, name: str) -> bytes | None:
        """What memory has.

        Raises:
            MtpError: NO_THUMBNAIL_PRESENT if there is known to be none.
        """
        if key in self._infos and self._infos.get(key) is None:
            raise _no_thumbnail(name)
        return self._pictures.get(key)

    def _thumbnail_from_disk(self, key: MediaKey) -> bytes | None:
        data = self._disk.get(self._disk.file_name(key, self._limits.side))
        info = self._describe(data) if data else None
        if data is None or info is None:
            return None
        self._infos.put(key, info)
        self._pictures.put(key, data)
        return data

    def _describe(self, data: bytes) -> ThumbnailInfo | None:
        """What a thumbnail is like; None if it is none."""
        size = jpeg_size(data)
        return ThumbnailInfo(len(data), *size) if size is not None and max(size) <= self._limits.side else None

    def _ask(self, job: str, kind: MediaType, name: str, open_file: OpenFile) -> Message:
        descriptor = open_file()
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise WorkerFailedError("not a regular file")
            if kind is MediaType.IMAGE and status.st_size > self._limits.bytes:
                raise WorkerFailedError(f"image of {status.st_size} bytes")
            answer = self._worker.run({"job": job, "kind": kind, "suffix": suffix_of(name)}, descriptor)
        finally:
            os.close(descriptor)
        if "fault" in answer.header:
            logger.debug("%s: %.200s", name, answer.header["fault"])
        return answer


def _no_thumbnail(detail: str) -> MtpError:
    return MtpError(ResponseCode.NO_THUMBNAIL_PRESENT, detail)
