"""What the responder needs of a storage; a host folder is one kind, others may be written against this.

A storage is a tree of files and folders, addressed by paths from its root. Its methods are plain, may block, and
are called from the worker threads of several sessions at once. They raise `OSError` for what the medium says and
`MtpError` for what MTP says; `errors.response_code` turns both into a response.
"""

from __future__ import annotations

import errno
import os
import tempfile
from abc import ABC, abstractmethod
from contextlib import closing
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

Buffer = bytes | bytearray | memoryview

_COPY_BLOCK = 1 << 20

Path = tuple[str, ...]
"""Names from the storage's root down; `()` is the root. A name is the medium's own (file systems: PEP 383)."""


@dataclass(slots=True, frozen=True)
class Stat:
    """What a storage knows of one file or folder.

    Attributes:
        folder: An association (MTP's word for a folder), else a file.
        size: Bytes; 0 for a folder.
        modified: Nanoseconds since the epoch.
        created: Nanoseconds since the epoch, or None where the medium does not keep it.
        writable: False when the medium's permissions forbid to change it.
        identity: Stays the same when the object is renamed or moved within its storage, and over restarts.
    """

    folder: bool
    size: int
    modified: int
    created: int | None = None
    writable: bool = True
    identity: int = 0


class Space(NamedTuple):
    """Bytes of a storage: in all, and those a guest may still fill."""

    capacity: int
    free: int


class DataSource(Protocol):
    """The data of a data phase from responder to initiator."""

    @property
    def length(self) -> int:
        """Bytes that `read` will give in all."""

    def read(self, size: int, /) -> Buffer:
        """The next at most `size` bytes; short only at the end, which is `b""` when it comes early."""

    def close(self) -> None:
        """Give up what the source holds; may be called more than once."""


class DataSink(Protocol):
    """Takes the data of a data phase from initiator to responder, in order."""

    def write(self, data: Buffer, /) -> None:
        """Take all of `data`."""

    def abort(self) -> None:
        """The data will not be complete: undo; may be called more than once and after success."""


class Upload(DataSink, Protocol):
    """A file on its way in: it appears under its name only at `commit`, replacing a file of that name."""

    def commit(self, modified: int | None) -> Stat:
        """Make the file visible, with that modification time (ns since the epoch) if one is given."""


class Editor(Protocol):
    """A file open for changes in place."""

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of `data` at `offset`; a gap before it reads as zeros."""

    def truncate(self, size: int) -> None:
        """Cut or extend the file to `size` bytes."""

    def close(self) -> None:
        """Let go of the file; may be called more than once."""


class ChangeKind(Enum):
    """What happened to an object outside of the responder."""

    ADDED = auto()
    REMOVED = auto()
    MOVED = auto()
    """Renamed or moved within the storage; `Change.target` says where to."""
    MODIFIED = auto()
    """Content or attributes of a file changed."""
    RESCAN = auto()
    """Changes were missed somewhere at or below `Change.path`."""


class Change(NamedTuple):
    """One change of a storage that did not come through the responder (or that did: the table can tell)."""

    kind: ChangeKind
    path: Path
    target: Path | None = None
    folder: bool = False


class WatchState(StrEnum):
    """How a watch is getting on."""

    STARTING = "starting"
    """Changes are not noticed yet."""
    WATCHING = "watching"
    """They are told as they happen."""
    POLLING = "polling"
    """They are looked for from time to time."""
    GONE = "gone"
    """What is watched is not there; it is waited for."""
    FAILED = "failed"
    """They are not noticed, and will not be."""


class Watch(Protocol):
    """A running subscription to a storage's changes.

    Attributes:
        losses: How many times changes were lost, and all had to be looked at.
    """

    losses: int

    @property
    def state(self) -> WatchState:
        """How it is getting on; may be asked by any thread."""

    def stop(self) -> None:
        """End it; no change is delivered once this has returned. May be called more than once."""


@dataclass(slots=True, frozen=True)
class Entry:
    """One row of a folder's listing."""

    name: str
    folder: bool


class Storage(ABC):
    """A tree of files and folders behind one MTP storage.

    Attributes:
        description: StorageInfo's storage description: what the user sees ("share").
        volume: StorageInfo's volume identifier: unique and stable over restarts.
        read_only: StorageInfo's access capability; `ObjectTable` and responder refuse all changes.
    """

    description: str
    volume: str
    read_only: bool

    @abstractmethod
    def space(self) -> Space:
        """How full the medium is."""

    @abstractmethod
    def scan(self, folder: Path) -> Iterator[Entry]:
        """What a folder holds, in no order: files and folders only, no stat per entry where that is possible."""

    @abstractmethod
    def stat(self, path: Path) -> Stat:
        """Attributes of one object; never follows a symbolic link."""

    def scan_stat(self, folder: Path) -> Iterator[tuple[str, Stat]]:
        """`scan` and `stat` in one; a storage that can do it faster overrides this."""
        for entry in self.scan(folder):
            try:
                yield entry.name, self.stat((*folder, entry.name))
            except FileNotFoundError:
                continue

    @abstractmethod
    def open(self, path: Path, offset: int = 0, size: int | None = None) -> DataSource:
        """Read a file from `offset`, at most `size` bytes (all to the end by default).

        `DataSource.length` is settled when the file is opened.
        """

    def descriptor(self, path: Path) -> int:
        """A descriptor to read a file by, seekable, which the caller closes; a copy where there is no file."""
        with tempfile.TemporaryFile() as copy, closing(self.open(path)) as source:
            while data := source.read(_COPY_BLOCK):
                copy.write(data)
            copy.seek(0)
            return os.dup(copy.fileno())

    @abstractmethod
    def create(self, path: Path, size: int | None) -> Upload:
        """Start an upload of `size` bytes (None: not known) to a new or existing file.

        Raises:
            OSError: ENOSPC if `size` bytes are known not to fit, EISDIR if `path` is a folder, and the medium's own.
        """

    @abstractmethod
    def edit(self, path: Path) -> Editor:
        """Open an existing file for changes in place."""

    @abstractmethod
    def make_folder(self, path: Path) -> None:
        """Make one folder; FileExistsError if something of that name is there."""

    @abstractmethod
    def rename(self, old: Path, new: Path) -> None:
        """Rename or move within the storage; FileExistsError if `new` is another object than `old`."""

    @abstractmethod
    def remove(self, path: Path) -> None:
        """Remove a file, or a folder with all that is in it, never following a symbolic link.

        Raises:
            MtpError: PARTIAL_DELETION if a part of a folder is gone and a part could not be removed.
        """

    @abstractmethod
    def copy_file(self, old: Path, new: Path, checkpoint: Callable[[], None]) -> None:
        """Copy a file within the storage with its modification time; `new` appears when it is whole.

        `checkpoint` is called between blocks and may raise to give up.
        """

    @abstractmethod
    def set_modified(self, path: Path, modified: int) -> None:
        """Set the modification time, in ns since the epoch."""

    def set_writable(self, path: Path, writable: bool) -> None:  # noqa: ARG002
        """Protect a file or folder from changes, or no longer; `Stat.writable` tells from then on.

        Raises:
            OSError: from the medium; ENOTSUP if it knows no such thing, as here.
        """
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), path[-1] if path else None)

    def hides(self, name: str) -> bool:  # noqa: ARG002
        """Whether objects of that name are shown only to those who made them."""
        return False

    def recover(self, stopped: Callable[[], bool]) -> None:  # noqa: B027
        """Clear up after a process that was killed, until done or `stopped` says so."""

    def watch(self, listener: Callable[[Change], None]) -> Watch | None:  # noqa: ARG002
        """Report changes to `listener` (from any thread) until stopped; None: this storage cannot tell."""
        return None

    def close(self) -> None:  # noqa: B027
        """Give up what the storage holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class ReadOnlyStorage(Storage):
    """A storage that nobody can change: `space`, `scan`, `stat` and `open` are all that is left to write."""

    read_only = True

    def create(self, path: Path, size: int | None) -> Upload:  # noqa: ARG002
        """Refused."""
        raise _refusal(path)

    def edit(self, path: Path) -> Editor:
        """Refused."""
        raise _refusal(path)

    def make_folder(self, path: Path) -> None:
        """Refused."""
        raise _refusal(path)

    def rename(self, old: Path, new: Path) -> None:  # noqa: ARG002
        """Refused."""
        raise _refusal(old)

    def remove(self, path: Path) -> None:
        """Refused."""
        raise _refusal(path)

    def copy_file(self, old: Path, new: Path, checkpoint: Callable[[], None]) -> None:  # noqa: ARG002
        """Refused."""
        raise _refusal(new)

    def set_modified(self, path: Path, modified: int) -> None:  # noqa: ARG002
        """Refused."""
        raise _refusal(path)

    def set_writable(self, path: Path, writable: bool) -> None:  # noqa: ARG002
        """Refused."""
        raise _refusal(path)


def _refusal(path: Path) -> OSError:
    return OSError(errno.EROFS, os.strerror(errno.EROFS), path[-1] if path else None)
