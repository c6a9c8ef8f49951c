"""The one place that turns a path of a storage into something open, never outside of the export.

Everything is opened relative to a descriptor of the export's root, kept from the start, and no
component of a path may be a symbolic link at the moment when it is walked: swapping a folder for
a link, at any time, leads nowhere.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path as HostPath
from typing import TYPE_CHECKING, TypeVar

from usbredir_mtp.mtp import syscalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from usbredir_mtp.mtp.storage import Path

    Resolver = Callable[[int, Sequence[bytes], int], int]

_Result = TypeVar("_Result")

logger = logging.getLogger(__name__)

_EXTRA = os.O_CLOEXEC | os.O_NOFOLLOW
FOLDER = _EXTRA | os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)
"""Flags that open a folder as a place to start from; O_PATH needs no permission to list it."""
LISTING = _EXTRA | os.O_DIRECTORY | os.O_RDONLY
"""Flags that open a folder to be listed."""
_FILE = _EXTRA | os.O_NONBLOCK | os.O_NOCTTY  # a FIFO put in a file's place must not block us

_PATH_MAX = 4096
_ROOT_GONE = {errno.ENOENT, errno.ESTALE}
_NO_OBJECT = {errno.ELOOP, errno.ENXIO, errno.ENODEV}  # a link, a socket, a device


def error_of(code: int, path: Path = ()) -> OSError:
    """An `OSError` (of the subclass that fits) with the system's own text for `code`."""
    return OSError(code, os.strerror(code), "/".join(path) or None)


def encode_name(name: str) -> bytes:
    """A name's bytes in the file system (PEP 383).

    Raises:
        OSError: EINVAL for what is not the name of one entry of a folder, EILSEQ for text that the
            file system cannot hold.
    """
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        raise error_of(errno.EILSEQ) from None
    if encoded in {b"", b".", b".."} or b"/" in encoded or b"\0" in encoded:
        raise error_of(errno.EINVAL)
    return encoded


def require_file(status: os.stat_result) -> None:
    """Let only a regular file pass.

    Raises:
        OSError: EISDIR for a folder, ENOENT for links, FIFOs, sockets and devices: to a storage
            they do not exist.
    """
    if stat.S_ISDIR(status.st_mode):
        raise error_of(errno.EISDIR)
    if not stat.S_ISREG(status.st_mode):
        raise error_of(errno.ENOENT)


def require_object(status: os.stat_result) -> None:
    """Let only a regular file or a folder pass, else raise ENOENT."""
    if not stat.S_ISDIR(status.st_mode):
        require_file(status)


def by_components(root: int, names: Sequence[bytes], flags: int) -> int:
    """Open the folder `names` below `root` one component at a time; for every POSIX system."""
    current = root
    try:
        for name in names[:-1]:
            following = os.open(name, FOLDER, dir_fd=current)
            if current != root:
                os.close(current)
            current = following
        return os.open(names[-1] if names else b".", flags, dir_fd=current)
    finally:
        if current != root:
            os.close(current)


def by_openat2(root: int, names: Sequence[bytes], flags: int) -> int:
    """Open the folder `names` below `root` with one system call."""
    path = b"/".join(names) or b"."
    if len(path) >= _PATH_MAX:
        return by_components(root, names, flags)
    try:
        return syscalls.openat2(root, path, flags)
    except BlockingIOError:  # something is being renamed on the way all the time
        return by_components(root, names, flags)


def best_resolver() -> Resolver:
    """The fastest way to open folders that this kernel has."""
    return by_openat2 if syscalls.has_openat2() else by_components


@dataclass(slots=True, eq=False, init=False)
class Root:
    """The root of an export: the only way to reach what is in it.

    Should the folder be removed and made again, or unmounted and mounted, the next operation finds
    the new one. Names are those of the file system, as PEP 383 strings. Every method raises
    `OSError`: ENOTDIR where a component that has to be a folder is anything else, ENAMETOOLONG,
    EINVAL and EILSEQ for impossible names, and the system's own.

    Attributes:
        path: The root's real path: no component of it was a symbolic link when we started.
    """

    path: str
    _resolve: Resolver
    _fd: int
    _renewals: int

    def __init__(self, path: str | os.PathLike[str], resolve: Resolver | None = None) -> None:
        self.path = os.path.realpath(path)
        self._resolve = resolve or best_resolver()
        self._fd = os.open(self.path, FOLDER)
        self._renewals = 0

    def fileno(self) -> int:
        """The root's descriptor."""
        return self._fd

    def close(self) -> None:
        """Let go of the root, when nobody uses it any more; may be called more than once."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def open_folder(self, path: Path, flags: int = FOLDER) -> int:
        """A new descriptor of a folder; `flags` is `FOLDER` or `LISTING`. The caller closes it."""
        names = [encode_name(name) for name in path]
        if not path:
            self._renew()  # something else may have been mounted there
        return self._again(lambda: self._open_folder(names, flags))

    @contextmanager
    def parent(self, path: Path) -> Iterator[tuple[int, str]]:
        """The descriptor of the folder that holds `path`, for the time of a `with`, and its name.

        The caller must use the name with `follow_symlinks=False` or O_NOFOLLOW.

        Raises:
            OSError: EACCES for the root itself, which is nobody's to change.
        """
        if not path:
            raise error_of(errno.EACCES)
        encode_name(path[-1])
        folder = self._fd if len(path) == 1 else self.open_folder(path[:-1])
        try:
            yield folder, path[-1]
        except OSError as error:
            if error.errno in _ROOT_GONE:
                self._renew()
            raise
        finally:
            if len(path) > 1:
                os.close(folder)

    def open_file(self, path: Path, access: int) -> tuple[int, os.stat_result]:
        """Open a regular file; `access` is O_RDONLY, O_WRONLY or O_RDWR. The caller closes it.

        Raises:
            OSError: EISDIR for a folder, ENOENT for links, FIFOs, sockets and devices, which are
                not opened; should one be put in the file's place just then, it does not block.
        """
        return self._again(lambda: self._open_file(path, access))

    def stat(self, path: Path) -> os.stat_result:
        """Attributes of whatever is there, a symbolic link's own included."""
        if not path:
            self._renew()
            return os.fstat(self._fd)
        return self.at(path, lambda fd, name: os.stat(name, dir_fd=fd, follow_symlinks=False))

    def at(self, path: Path, use: Callable[[int, str], _Result]) -> _Result:
        """What `use` says of the arguments that `parent` gives, asked again of a renewed root."""

        def attempt() -> _Result:
            with self.parent(path) as (folder, name):
                return use(folder, name)

        return self._again(attempt)

    def _open_folder(self, names: Sequence[bytes], flags: int) -> int:
        try:
            return self._resolve(self._fd, names, flags)
        except OSError as error:
            if error.errno == errno.ELOOP:  # openat2's word for what O_DIRECTORY calls ENOTDIR
                raise error_of(errno.ENOTDIR) from None
            raise

    def _open_file(self, path: Path, access: int) -> tuple[int, os.stat_result]:
        with self.parent(path) as (folder, name):
            require_file(os.stat(name, dir_fd=folder, follow_symlinks=False))
            try:
                fd = os.open(name, access | _FILE, dir_fd=folder)
            except OSError as error:
                if error.errno in _NO_OBJECT:
                    raise error_of(errno.ENOENT, path) from None
                raise
        try:
            status = os.fstat(fd)
            require_file(status)
            os.set_blocking(fd, True)
        except BaseException:
            os.close(fd)
            raise
        return fd, status

    def _again(self, attempt: Callable[[], _Result]) -> _Result:
        """Try once more if it failed because the root was no longer the one at its path."""
        seen = self._renewals
        try:
            return attempt()
        except OSError as error:
            if error.errno not in _ROOT_GONE:
                raise
            self._renew()
            if self._renewals == seen:
                raise
        return attempt()

    def _renew(self) -> None:
        """Open the root anew if its path leads to another folder by now."""
        with suppress(OSError):
            if os.path.samestat(HostPath(self.path).stat(), os.fstat(self._fd)):
                return
            fresh = os.open(self.path, FOLDER)
            try:
                # In one step, since other threads may be using the descriptor's number.
                os.dup2(fresh, self._fd, inheritable=False)
            finally:
                os.close(fresh)
            self._renewals += 1
            self._try_listing()

    def _try_listing(self) -> None:
        """Say in the log if another folder than at the start is of no use: what the guest hears is too little."""
        try:
            os.close(os.open(".", LISTING, dir_fd=self._fd))
        except OSError as error:
            logger.warning(
                "%s is another folder now, and cannot be listed: %s (a sandbox keeps to the one that was there at the "
                "start; restart to share this one)",
                self.path,
                error.strerror,
            )
