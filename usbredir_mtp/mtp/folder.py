"""A folder of the host as a storage."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import unicodedata
from contextlib import ExitStack, suppress
from pathlib import Path as HostPath
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.containment import (
    FOLDER,
    LISTING,
    Root,
    error_of,
    require_file,
    require_object,
)
from usbredir_mtp.mtp.folder_files import (
    FileEditor,
    FileSource,
    FileUpload,
    copy_bytes,
    describe,
    rename_new,
    require_absent,
    set_times,
)
from usbredir_mtp.mtp.folder_protection import protect
from usbredir_mtp.mtp.folder_systems import FileSystems
from usbredir_mtp.mtp.folder_temporaries import clear, is_temporary
from usbredir_mtp.mtp.folder_tree import remove_tree
from usbredir_mtp.mtp.storage import Entry, Space, Storage
from usbredir_mtp.mtp.watch import watch_folder
from usbredir_mtp.mtp.watch_plan import AUTO, WatchMode, WatchPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbredir_mtp.mtp.storage import Change, DataSource, Editor, Path, Stat, Upload, Watch

_EFFECTIVE_IDS = os.access in os.supports_effective_ids
_NO_FOLLOW = os.access not in os.supports_follow_symlinks


class FolderStorage(Storage):
    """The files and folders below a folder of the host, and nothing but these.

    Symbolic links, FIFOs, sockets and devices do not exist here (ENOENT), nor do uploads on their
    way. Names are the file system's (PEP 383). Permissions are those of our process.

    Args:
        root: The folder.
        description: What the user sees.
        volume: Unique and stable; by default derived from the root's real path.
        read_only: Refuse all changes, with EROFS.
        show_hidden: Show names that begin with a dot to everybody, not only to who made them.
        watch: How to notice changes on the host.
        fsync: What is uploaded or copied, and a new folder, has to be on the disk before we say that it is done.

    Raises:
        OSError: The root is missing, is not a folder, or may not be opened.
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
        self._root = Root(root)
        self._systems = FileSystems(self._root)
        self.description = description
        self.volume = volume or _digest(self._root.path)
        self.read_only = read_only
        self._show_hidden = show_hidden
        self._watch = watch
        self._fsync = fsync
        self._new_mode = 0o666 & ~_umask()

    @property
    def path(self) -> str:
        """The root's real path on the host."""
        return self._root.path

    def close(self) -> None:
        """Close the root; nothing may be under way any more."""
        self._root.close()

    def space(self) -> Space:
        """What the root's file system says of itself to unprivileged users."""
        status = os.fstatvfs(self._root.fileno())
        return Space(status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)

    def scan(self, folder: Path) -> Iterator[Entry]:
        """What a folder holds, as the directory itself tells."""
        for entry, _ in self._entries(folder):
            yield Entry(entry.name, entry.is_dir(follow_symlinks=False))

    def scan_stat(self, folder: Path) -> Iterator[tuple[str, Stat]]:
        """`scan` and `stat` in one."""
        for entry, fd in self._entries(folder):
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                require_object(status)
                yield entry.name, self._describe(status, entry.name, fd)

    def stat(self, path: Path) -> Stat:
        """Attributes of a file or folder; ENOENT for anything else."""
        if not path:
            return describe(self._root.stat(path), writable=True)
        _require_visible(path)
        return self._root.at(path, self._look)

    def open(self, path: Path, offset: int = 0, size: int | None = None) -> DataSource:
        """Read a file; one that shrinks meanwhile ends early, one that grows does not matter."""
        _require_visible(path)
        fd, status = self._root.open_file(path, os.O_RDONLY)
        rest = max(status.st_size - offset, 0)
        return FileSource(fd, offset, rest if size is None else min(rest, size))

    def descriptor(self, path: Path) -> int:
        """A descriptor to read a file by."""
        _require_visible(path)
        return self._root.open_file(path, os.O_RDONLY)[0]

    def create(self, path: Path, size: int | None) -> Upload:
        """Start an upload.

        Raises:
            OSError: ENOSPC if `size` bytes do not fit, EISDIR for a folder, EACCES if what is there
                may not be written, is neither file nor folder, or the name is one of our own.
        """
        return self._create(path, size)

    def edit(self, path: Path) -> Editor:
        """Open a file for changes in place."""
        self._require_writable(path)
        fd, _ = self._root.open_file(path, os.O_RDWR)
        return FileEditor(fd)

    def make_folder(self, path: Path) -> None:
        """Make one folder."""
        self._require_writable(path)
        with self._root.parent(path) as (folder, name):
            os.mkdir(name, dir_fd=folder)
            if self._fsync:
                _sync_folder(folder)

    def rename(self, old: Path, new: Path) -> None:
        """Rename or move; onto itself in another case where the file system ignores case.

        Raises:
            OSError: EEXIST, EINVAL for a folder that would be below itself, EXDEV between file
                systems.
        """
        self._rename(old, new, require_object)

    def remove(self, path: Path) -> None:
        """Remove a file, or a folder and all that is in it: links and the like are unlinked."""
        self._require_writable(path)
        with self._root.parent(path) as (folder, name):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            require_object(status)
            if not stat.S_ISDIR(status.st_mode):
                os.unlink(name, dir_fd=folder)
                return
        remove_tree(self._root, path)

    def copy_file(self, old: Path, new: Path, checkpoint: Callable[[], None]) -> None:
        """Copy a file with its time and permissions."""
        self._require_writable(old)
        fd, status = self._root.open_file(old, os.O_RDONLY)
        try:
            upload = self._create(new, status.st_size, copy_of=status)
            try:
                copy_bytes(fd, upload.fd, checkpoint)
                upload.commit(status.st_mtime_ns)
            finally:
                upload.abort()
        finally:
            os.close(fd)

    def set_modified(self, path: Path, modified: int) -> None:
        """Set the modification time of a file or folder."""
        self._require_writable(path)
        with self._root.parent(path) as (folder, name):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            require_object(status)
            set_times(name, status.st_atime_ns, modified, dir_fd=folder)

    def set_writable(self, path: Path, writable: bool) -> None:
        """Take the write permissions away, or give them to whoever may read, but for what the umask forbids."""
        self._require_writable(path)
        with self._root.parent(path) as (folder, name):
            protect(folder, name, writable=writable, allowed=self._new_mode)

    def hides(self, name: str) -> bool:
        """Whether a name begins with a dot, and those are hidden."""
        return not self._show_hidden and name.startswith(".")

    def recover(self, stopped: Callable[[], bool]) -> None:
        """Remove what is left of uploads whose server was killed: a walk through all folders, none through a link."""
        pending: list[Path] = [()]
        while pending and not self.read_only and not stopped():
            folder = pending.pop()
            with suppress(OSError):
                found = [entry for entry, _ in self._entries(folder) if entry.is_dir(follow_symlinks=False)]
                pending += [(*folder, entry.name) for entry in found]

    def watch(self, listener: Callable[[Change], None]) -> Watch | None:
        """Report changes, if that is the plan; a warning in the log where it cannot be done."""
        if self._watch.mode is WatchMode.OFF:
            return None
        return watch_folder(self._root.path, listener, is_temporary, self._watch)

    def _look(self, folder: int, name: str) -> Stat:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        require_object(status)
        return self._describe(status, name, folder)

    def _describe(self, status: os.stat_result, name: str, folder: int) -> Stat:
        mark = self._systems.mark(status.st_dev, name, folder)
        return describe(status, writable=_writable(name, folder), mark=mark)

    def _entries(self, folder: Path) -> Iterator[tuple[os.DirEntry[str], int]]:
        """The entries that are objects, each with the folder's descriptor."""
        _require_visible(folder)
        fd = self._root.open_folder(folder, LISTING)
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    if is_temporary(entry.name):
                        if not self.read_only and entry.is_file(follow_symlinks=False):
                            clear(fd, entry.name)
                    elif entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
                        yield entry, fd
        finally:
            os.close(fd)

    def _rename(self, old: Path, new: Path, require: Callable[[os.stat_result], None]) -> None:
        """`rename` of what `require` lets pass."""
        self._require_writable(old)
        self._require_writable(new)
        with self._root.parent(old) as source, self._root.parent(new) as target:
            status = os.stat(source[1], dir_fd=source[0], follow_symlinks=False)
            require(status)
            try:
                rename_new(*source, *target)
            except FileExistsError:
                if not _same_entry(status, source, target):
                    raise
                os.rename(source[1], target[1], src_dir_fd=source[0], dst_dir_fd=target[0])

    def _create(self, path: Path, size: int | None, copy_of: os.stat_result | None = None) -> FileUpload:
        """Start an upload, or a copy, which does not replace anything."""
        self._require_writable(path)
        with ExitStack() as stack:
            with self._root.parent(path) as (_, name):
                folder = self._root.open_folder(path[:-1], LISTING if self._fsync else FOLDER)
            stack.callback(os.close, folder)
            if copy_of is not None:
                require_absent(folder, name)
            old = _replaceable(name, folder)
            _require_space(folder, size)
            like = copy_of or old
            upload = FileUpload(
                folder,
                name,
                mode=self._new_mode if like is None else stat.S_IMODE(like.st_mode),
                owner=None if old is None else (old.st_uid, old.st_gid),
                replace=copy_of is None,
                mark=self._systems.mark(os.fstat(folder).st_dev, ".", folder),
                durable=self._fsync,
            )
            stack.pop_all()
            return upload

    def _require_writable(self, path: Path) -> None:
        if self.read_only:
            raise error_of(errno.EROFS, path)
        if not path:
            raise error_of(errno.EACCES)
        _require_visible(path[:-1])
        if is_temporary(path[-1]):
            raise error_of(errno.EACCES, path)


def _require_visible(path: Path) -> None:
    if any(map(is_temporary, path)):
        raise error_of(errno.ENOENT, path)


def _writable(name: str, folder: int) -> bool:
    return os.access(
        name,
        os.W_OK,
        dir_fd=folder,
        effective_ids=_EFFECTIVE_IDS,
        follow_symlinks=_NO_FOLLOW,
    )


def _replaceable(name: str, folder: int) -> os.stat_result | None:
    """The attributes of the file that an upload is going to replace, if there is one."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    try:
        require_file(status)
    except FileNotFoundError:  # something is there, though no storage shows it
        raise error_of(errno.EACCES) from None
    if not _writable(name, folder):
        raise error_of(errno.EACCES)
    return status


def _sync_folder(folder: int) -> None:
    """Have a folder's entries on the disk; its descriptor may be one that cannot be read by."""
    fd = os.open(".", LISTING, dir_fd=folder)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _require_space(folder: int, size: int | None) -> None:
    status = os.fstatvfs(folder)
    # Some file systems cannot tell, and say 0 blocks in all.
    if size and status.f_blocks and size > status.f_bavail * status.f_frsize:
        raise error_of(errno.ENOSPC)


def _same_entry(old: os.stat_result, source: tuple[int, str], target: tuple[int, str]) -> bool:
    """Whether both names are one entry of one folder: equal, or so to a file system without case.

    Two hard links look the same if their names do; then rename(2) does nothing.
    """
    (source_fd, source_name), (target_fd, target_name) = source, target
    return (
        os.path.samestat(os.fstat(source_fd), os.fstat(target_fd))
        and _folded(source_name) == _folded(target_name)
        and os.path.samestat(old, os.stat(target_name, dir_fd=target_fd, follow_symlinks=False))
    )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _digest(path: str) -> str:
    return hashlib.blake2s(os.fsencode(path), digest_size=8).hexdigest()


def _umask() -> int:
    """The process's umask, without changing it for other threads where /proc tells it."""
    with suppress(OSError, ValueError, StopIteration):
        lines = HostPath("/proc/self/status").read_text("ascii", "replace").splitlines()
        return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
