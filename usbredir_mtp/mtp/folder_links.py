"""A host folder in which symbolic links are followed, as long as they lead to something inside of it.

Every path is first put into one without links; all that is done with it then follows none. A link that is swapped in
between makes the operation fail, or meet another object of the same export: it never leads out.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.containment import LISTING, error_of
from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.folder_files import is_temporary, rename_new
from usbredir_mtp.mtp.storage import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbredir_mtp.mtp.storage import DataSource, Editor, Path, Stat, Upload

_MAX_LINKS = 40  # as many as Linux follows in one path


class LinkedFolderStorage(FolderStorage):
    """`FolderStorage`, with the symbolic links that lead to files and folders inside of it.

    Such a link is shown as what it leads to, under its own name. To remove, rename or move it is to do that to the
    link; to write to it is to write to the file that it leads to. A link to a folder that it lies in, through whatever
    links, is not shown: no tree is endless.
    """

    def stat(self, path: Path) -> Stat:
        """Attributes of a file or folder."""
        return super().stat(self._real(path))

    def scan(self, folder: Path) -> Iterator[Entry]:
        """What a folder holds, then its links."""
        yield from super().scan(self._real(folder))
        for name, status in self._links(folder):
            yield Entry(name, status.folder)

    def scan_stat(self, folder: Path) -> Iterator[tuple[str, Stat]]:
        """`scan` and `stat` in one."""
        yield from super().scan_stat(self._real(folder))
        yield from self._links(folder)

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
        old, new = self._own(old), self._own(new)
        if self._target(old) is None:
            super().rename(old, new)
            return
        self._require_writable(old)
        self._require_writable(new)
        with self._root.parent(old) as source, self._root.parent(new) as target:
            rename_new(*source, *target)

    def remove(self, path: Path) -> None:
        """Remove a file, a folder or a link."""
        path = self._own(path)
        if self._target(path) is None:
            super().remove(path)
            return
        self._require_writable(path)
        with self._root.parent(path) as (folder, name):
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

    def _own(self, path: Path) -> Path:
        """Where an object itself lies, be it a link."""
        return (*self._real(path[:-1]), path[-1]) if path else path

    def _real(self, path: Path) -> Path:
        """The path without links to what is at `path`.

        Raises:
            OSError: ENOENT for what is outside, missing, or a link too many; and the system's own.
        """
        real: list[str] = []
        pending = list(reversed(path))
        links = 0
        while pending:
            name = pending.pop()
            if name in {"", "."}:
                continue
            if name == "..":
                if not real:
                    raise error_of(errno.ENOENT, path)
                real.pop()
                continue
            target = self._target((*real, name))
            if target is None:
                real.append(name)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise error_of(errno.ENOENT, path)
            if target.startswith("/"):
                target = self._inside(target, path)
                real.clear()
            pending += reversed(target.split("/"))
        return tuple(real)

    def _target(self, path: Path) -> str | None:
        """What a link says; None for what is none, or not there."""
        with suppress(FileNotFoundError):
            try:
                return self._root.at(path, lambda folder, name: os.readlink(name, dir_fd=folder))
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
        return None

    def _inside(self, target: str, path: Path) -> str:
        """An absolute link's target as seen from the root."""
        if target != self.path and not target.startswith(self.path.rstrip("/") + "/"):
            raise error_of(errno.ENOENT, path)
        return target.removeprefix(self.path)

    def _links(self, folder: Path) -> Iterator[tuple[str, Stat]]:
        """The links in a folder that lead to an object, with that object's attributes."""
        fd = self._root.open_folder(self._real(folder), LISTING)
        try:
            with os.scandir(fd) as entries:
                names = [entry.name for entry in entries if entry.is_symlink() and not is_temporary(entry.name)]
        finally:
            os.close(fd)
        for name in names:
            with suppress(OSError):
                status = self.stat((*folder, name))
                if not status.folder or not self._leads_back((*folder, name)):
                    yield name, status

    def _leads_back(self, path: Path) -> bool:
        """Whether a link leads to a folder that it lies in, on the way by which it is reached."""
        around = [self._root.stat(self._real(path[:length])) for length in range(len(path))]
        target = self._root.stat(self._real(path))
        return any(os.path.samestat(target, other) for other in around if stat.S_ISDIR(other.st_mode))
