"""Files of a host folder while they are open: read, arriving, or changed in place."""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from usbredir_mtp.mtp import syscalls
from usbredir_mtp.mtp.containment import error_of
from usbredir_mtp.mtp.folder_systems import identity
from usbredir_mtp.mtp.folder_temporaries import make_temporary
from usbredir_mtp.mtp.storage import Buffer, Stat

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_MODE_BITS: Final = 0o777  # set-user-id and the like do not outlive the bytes they were given to
_MAX_OFFSET: Final = 2**63 - 1  # off_t
_COPY_BLOCK: Final = 8 << 20  # long enough to be fast, short enough to notice a cancel
_READ_BLOCK: Final = 1 << 20
_NO_COPY_RANGE: Final = {
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.EPERM,
}
_NO_EXCLUSIVE_RENAME: Final = {errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP}


def describe(status: os.stat_result, *, writable: bool, mark: int = 0) -> Stat:
    """What a storage says of a regular file or folder with these attributes.

    Without any write permission it is protected, also from those who need none. `mark` tells which
    file system of the export it is on.
    """
    folder = stat.S_ISDIR(status.st_mode)
    birth: float | None = getattr(status, "st_birthtime", None)  # macOS and BSD
    return Stat(
        folder=folder,
        size=0 if folder else status.st_size,
        modified=status.st_mtime_ns,
        created=None if birth is None else int(birth * 1_000_000_000),
        writable=writable and bool(status.st_mode & 0o222),
        identity=identity(status, mark),
    )


def set_times(target: int | str, access: int, modified: int, dir_fd: int | None = None) -> None:
    """Set access and modification time (ns) of a descriptor, or of a name, no link followed."""
    try:
        if dir_fd is None:
            os.utime(target, ns=(access, modified))
        else:
            os.utime(target, ns=(access, modified), dir_fd=dir_fd, follow_symlinks=False)
    except OverflowError:
        raise error_of(errno.EINVAL) from None


def require_absent(folder: int, name: str) -> None:
    """Raise EEXIST if there is anything of that name in the folder."""
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        raise error_of(errno.EEXIST)


def rename_new(old_fd: int, old: str, new_fd: int, new: str) -> None:
    """Rename within a file system unless something of the new name is there.

    Raises:
        OSError: EEXIST, and those of rename(2).
    """
    try:
        syscalls.renameat2(old_fd, old, new_fd, new)
    except OSError as error:
        if error.errno not in _NO_EXCLUSIVE_RENAME:
            raise
    else:
        return
    require_absent(new_fd, new)
    os.rename(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)


def _check_offset(end: int) -> None:
    if end > _MAX_OFFSET:
        raise error_of(errno.EFBIG)


@dataclass(slots=True, eq=False)
class FileSource:
    """A `DataSource`: `length` bytes of a file from `offset`, or fewer if it shrinks meanwhile."""

    fd: int
    offset: int
    length: int
    _left: int = field(init=False)

    def __post_init__(self) -> None:
        self._left = self.length
        if sys.platform == "linux":
            with suppress(OSError):
                os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def read(self, size: int, /) -> Buffer:
        """The next at most `size` bytes; short only at the end."""
        wanted = min(size, self._left)
        if wanted <= 0:
            return b""
        data = self._pread(wanted)
        while 0 < len(data) < wanted:  # network file systems may give less than there is
            more = self._pread(wanted - len(data))
            if not more:
                break
            data += more
        return data

    def _pread(self, size: int) -> bytes:
        data = os.pread(self.fd, size, self.offset)
        self.offset += len(data)
        self._left = self._left - len(data) if data else 0
        return data

    def close(self) -> None:
        """Close the file."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with suppress(OSError):  # all that was to be read has been
                os.close(fd)


@dataclass(slots=True, eq=False)
class FileEditor:
    """An `Editor` of a file that is open for reading and writing."""

    fd: int

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of `data` at `offset`."""
        view = memoryview(data)
        _check_offset(offset + len(view))
        while view:
            written = os.pwrite(self.fd, view, offset)
            view = view[written:]
            offset += written

    def truncate(self, size: int) -> None:
        """Cut or extend the file to `size` bytes."""
        _check_offset(size)
        os.ftruncate(self.fd, size)

    def close(self) -> None:
        """Close the file."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


@dataclass(slots=True, eq=False)
class FileUpload:
    """An `Upload` into a temporary file beside the one that it becomes.

    The folder's descriptor is kept until the end: a folder that is moved takes the upload along,
    and what is put in its place does not get it.

    Attributes:
        folder: Descriptor of the folder, readable if `durable`; the upload closes it.
        name: The file's name to be.
        mode: Its permission bits to be.
        owner: Its user and group to be, where it replaces a file and we may set them.
        replace: False to fail where there is a file of that name at the end.
        mark: Of the file system.
        durable: The file and its name have to be on the disk when `commit` returns.
        fd: The temporary file.
    """

    folder: int
    name: str
    mode: int
    owner: tuple[int, int] | None = None
    replace: bool = True
    mark: int = 0
    durable: bool = False
    fd: int = field(init=False, default=-1)
    _temporary: str = field(init=False)
    _lock: int = field(init=False)

    def __post_init__(self) -> None:
        self._temporary, self.fd, self._lock = make_temporary(self.folder)

    def write(self, data: Buffer, /) -> None:
        """Append all of `data`."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]

    def commit(self, modified: int | None) -> Stat:
        """Give the file its attributes and then its name."""
        try:
            status = self._finish(modified)
        except BaseException:
            self.abort()
            raise
        self._release()
        return describe(status, writable=True, mark=self.mark)

    def _finish(self, modified: int | None) -> os.stat_result:
        if self.owner is not None:
            with suppress(OSError):  # rarely ours to give; EINVAL for ids that a container lacks
                os.fchown(self.fd, *self.owner)
        os.fchmod(self.fd, self.mode & _MODE_BITS)
        if modified is not None:
            set_times(self.fd, os.fstat(self.fd).st_atime_ns, modified)
        status = os.fstat(self.fd)
        if self.durable:
            os.fsync(self.fd)
        fd, self.fd = self.fd, -1
        os.close(fd)  # network file systems and quotas report a lost write here
        if self.replace:
            os.rename(self._temporary, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        else:
            rename_new(self.folder, self._temporary, self.folder, self.name)
        if self.durable:
            os.fsync(self.folder)
        return status

    def abort(self) -> None:
        """Remove the temporary file; nothing to do after `commit`."""
        if self.folder < 0:
            return
        try:
            os.unlink(self._temporary, dir_fd=self.folder)
        except FileNotFoundError:
            pass  # its folder was emptied meanwhile
        except OSError as error:
            log.warning("cannot remove the unfinished upload %s: %s", self._temporary, error)
        self._release()

    def _release(self) -> None:
        for fd in (self.fd, self._lock, self.folder):
            if fd >= 0:
                with suppress(OSError):
                    os.close(fd)
        self.fd = self._lock = self.folder = -1


def copy_bytes(source: int, target: int, checkpoint: Callable[[], None]) -> None:
    """Copy a file's bytes to an empty one, within the file system where it can; both at offset 0.

    `checkpoint` is called before each block.
    """
    if not _copy_within(source, target, checkpoint):
        _copy_through(source, target, checkpoint)


def _copy_within(source: int, target: int, checkpoint: Callable[[], None]) -> bool:
    """Copy by copy_file_range(2); False if that cannot be done for this pair and nothing is."""
    copied = 0
    if sys.platform == "linux":
        while True:
            checkpoint()
            try:
                count = os.copy_file_range(source, target, _COPY_BLOCK)
            except OSError as error:
                if copied or error.errno not in _NO_COPY_RANGE:
                    raise
                break
            if not count:
                break
            copied += count
    return copied > 0  # a few file systems answer 0 for what they cannot do


def _copy_through(source: int, target: int, checkpoint: Callable[[], None]) -> None:
    while True:
        checkpoint()
        view = memoryview(os.read(source, _READ_BLOCK))
        if not view:
            return
        while view:
            view = view[os.write(target, view) :]
