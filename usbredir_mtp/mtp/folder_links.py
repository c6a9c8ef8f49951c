"""A host folder in which symbolic links are followed, as long as they lead to something inside of it.

Every path is first put into one without links; all that is done with it then follows none. A link that is swapped in
between makes the operation fail, or meet another object of the same export: it never leads out, and no place outside
is even looked at.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.containment import LISTING, encode_name, error_of
from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.folder_aliases import Aliases
from usbredir_mtp.mtp.folder_temporaries import is_temporary
from usbredir_mtp.mtp.storage import Entry
from usbredir_mtp.mtp.watch_plan import AUTO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from usbredir_mtp.mtp.storage import Change, DataSource, Editor, Path, Stat, Upload, Watch
    from usbredir_mtp.mtp.watch_plan import WatchPlan

_MAX_LINKS = 40  # as many as Linux follows in one path
_IDENTITY_BYTES = 12


class LinkedFolderStorage(FolderStorage):
    """`FolderStorage`, with the symbolic links that lead to files and folders inside of it.

    Such a link is shown as what it leads to, under its own name. To remove, rename or move it is to do that to the
    link, whose text stays the same; to write to it is to write to the file that it leads to. A link to a folder that
    it lies in, through whatever links, is not shown: no tree is endless. An absolute link leads inside if its text
    begins with the root's path, be it the real one or the one given.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        description: str,
        volume: str | None = None,
        read_only: bool = False,
        show_hidden: bool = False,
        watch: WatchPlan = AUTO,
        fsync: bool = False,
    ) -> None:
        super().__init__(
            root,
            description=description,
            volume=volume,
            read_only=read_only,
            show_hidden=show_hidden,
            watch=watch,
            fsync=fsync,
        )
        given = os.path.abspath(root)  # noqa: PTH100  (no link resolved: what a link's text may begin with)
        self._prefixes = [_parts(given), _parts(self.path)]
        self._aliases = Aliases()

    def stat(self, path: Path) -> Stat:
        """Attributes of a file or folder."""
        real = self._real(path)
        if real == path:
            return super().stat(real)
        if self._is_link(path):
            return self._link(path, real, self._via(path[:-1]), self._ways(path[:-1]))
        return _seen_via(self._via(path), super().stat(real))

    def scan(self, folder: Path) -> Iterator[Entry]:
        """What a folder holds, then its links."""
        links = dict(self._links(folder))
        for entry in super().scan(self._real(folder)):
            if entry.name not in links:  # put there just now
                yield entry
        for name, status in links.items():
            yield Entry(name, status.folder)

    def scan_stat(self, folder: Path) -> Iterator[tuple[str, Stat]]:
        """`scan` and `stat` in one."""
        links = dict(self._links(folder))
        via = self._via(folder)
        for name, status in super().scan_stat(self._real(folder)):
            if name not in links:
                yield name, _seen_via(via, status)
        yield from links.items()

    def open(self, path: Path, offset: int = 0, size: int | None = None) -> DataSource:
        """Read a file."""
        return super().open(self._real(path), offset, size)

    def descriptor(self, path: Path) -> int:
        """A descriptor to read a file by."""
        return super().descriptor(self._real(path))

    def create(self, path: Path, size: int | None) -> Upload:
        """Start an upload; a link's is one to the file that it leads to."""
        try:
            return super().create(self._real(path), size)
        except FileNotFoundError:
            return super().create(self._own(path), size)

    def edit(self, path: Path) -> Editor:
        """Open a file for changes in place."""
        return super().edit(self._real(path))

    def make_folder(self, path: Path) -> None:
        """Make one folder."""
        super().make_folder(self._own(path))

    def rename(self, old: Path, new: Path) -> None:
        """Rename or move a file, a folder or a link."""
        if not self._is_link(old):
            super().rename(self._own(old), self._own(new))
            return
        self.stat(old)
        self._rename(self._own(old), self._own(new), _require_link)

    def remove(self, path: Path) -> None:
        """Remove a file, a folder or a link."""
        own = self._own(path)
        if not self._is_link(path):
            super().remove(own)
            return
        self._require_writable(own)
        self.stat(path)
        with self._root.parent(own) as (folder, name):
            _require_link(os.stat(name, dir_fd=folder, follow_symlinks=False))
            os.unlink(name, dir_fd=folder)

    def copy_file(self, old: Path, new: Path, checkpoint: Callable[[], None]) -> None:
        """Copy a file, not a link."""
        super().copy_file(self._real(old), self._own(new), checkpoint)

    def set_modified(self, path: Path, modified: int) -> None:
        """Set the modification time of a file or folder."""
        super().set_modified(self._real(path), modified)

    def set_writable(self, path: Path, writable: bool) -> None:
        """Set the permissions of a file or folder."""
        super().set_writable(self._real(path), writable)

    def watch(self, listener: Callable[[Change], None]) -> Watch | None:
        """Report changes, those of what links lead to under the links' names too."""

        def tell(change: Change) -> None:
            for meaning in self._aliases.translate(change):
                listener(meaning)

        return super().watch(tell)

    def _own(self, path: Path) -> Path:
        """Where an object itself lies, be it a link."""
        return (*self._real(path[:-1]), path[-1]) if path else path

    def _is_link(self, path: Path) -> bool:
        return bool(path) and self._target(self._own(path)) is not None

    def _real(self, path: Path) -> Path:
        """The path without links to what is at `path`.

        Raises:
            OSError: ENOENT for what is outside, missing, or a link too many; and the system's own.
        """
        for name in path:
            encode_name(name)  # "." and ".." are for a link's text alone
        real: list[str] = []
        pending = list(reversed(path))
        links = 0
        while pending:
            name = pending.pop()
            if name == "..":
                self._require_folder(real, path)
                real.pop()
                continue
            target = self._target((*real, name))
            if target is None:
                real.append(name)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise error_of(errno.ENOENT, path)
            names = _parts(target)
            if target.startswith("/"):
                names = self._inside(names, path)
                real.clear()
            pending += reversed(names)
        return tuple(real)

    def _require_folder(self, real: Sequence[str], path: Path) -> None:
        """Only a folder below the root has one above it."""
        if not real or not stat.S_ISDIR(self._root.stat(tuple(real)).st_mode):
            raise error_of(errno.ENOENT, path)

    def _target(self, path: Path) -> str | None:
        """What a link says; None for what is none, or not there."""
        with suppress(FileNotFoundError):
            try:
                return self._root.at(path, lambda folder, name: os.readlink(name, dir_fd=folder))
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
        return None

    def _inside(self, names: list[str], path: Path) -> list[str]:
        """An absolute link's target as seen from the root."""
        for prefix in self._prefixes:
            if names[: len(prefix)] == prefix:
                return names[len(prefix) :]
        raise error_of(errno.ENOENT, path)

    def _links(self, folder: Path) -> Iterator[tuple[str, Stat]]:
        """The links in a folder that lead to an object, with that object's attributes."""
        fd = self._root.open_folder(self._real(folder), LISTING)
        try:
            with os.scandir(fd) as entries:
                names = [entry.name for entry in entries if entry.is_symlink() and not is_temporary(entry.name)]
        finally:
            os.close(fd)
        if not names:
            return
        via, ways = self._via(folder), self._ways(folder)
        for name in names:
            link = (*folder, name)
            with suppress(OSError):
                target = self._real(link)
                yield name, self._link(link, target, via, ways)
                self._aliases.note(link, target)

    def _link(self, path: Path, target: Path, via: Sequence[int], ways: Sequence[os.stat_result]) -> Stat:
        """What is said of a link that leads to `target`; `via` and `ways` are those of the folder that it is in.

        Raises:
            OSError: ENOENT if it leads to a folder that it lies in, on the way by which it is reached.
        """
        status = super().stat(target)
        if status.folder:
            reached = self._root.stat(target)
            if any(os.path.samestat(reached, folder) for folder in ways):
                raise error_of(errno.ENOENT, path)
        return _seen_via([*via, self._number(path)], status)

    def _ways(self, folder: Path) -> list[os.stat_result]:
        """A folder and those that it is reached through."""
        return [self._root.stat(self._real(folder[:length])) for length in range(len(folder) + 1)]

    def _via(self, path: Path) -> list[int]:
        """The numbers of the links on a path, which tell one way to an object from another."""
        if self._real(path) == path:
            return []
        ways = (path[:length] for length in range(1, len(path) + 1))
        return [self._number(way) for way in ways if self._is_link(way)]

    def _number(self, link: Path) -> int:
        return self._root.stat(self._own(link)).st_ino


def _parts(text: str) -> list[str]:
    return [name for name in text.split("/") if name not in {"", "."}]


def _require_link(status: os.stat_result) -> None:
    if not stat.S_ISLNK(status.st_mode):
        raise error_of(errno.ENOENT)


def _seen_via(via: list[int], status: Stat) -> Stat:
    """What is reached through links is another object than what they lead to, to whoever sees both."""
    if not via:
        return status
    text = " ".join(map(str, [*via, status.identity])).encode()
    digest = hashlib.blake2s(text, digest_size=_IDENTITY_BYTES).digest()
    return replace(status, identity=int.from_bytes(digest, "big"))
