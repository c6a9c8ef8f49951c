"""Protection of files and folders of the host: their write permissions."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import Final

from usbredir_mtp.mtp.containment import require_object

_WRITE: Final = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_READ: Final = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_OPEN: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def protect(folder: int, name: str, *, writable: bool, allowed: int) -> None:
    """Set the write permissions of a file or folder in an open folder; no link is followed.

    Args:
        folder: The folder's descriptor.
        name: What is in it.
        writable: False takes all write permissions away; True gives them to the owner, and to whoever may read and
            is `allowed` to write.
        allowed: The permissions that new files get.

    Raises:
        OSError: ENOENT if it is neither file nor folder, EPERM if it is not ours, and the system's own.
    """
    require_object(os.stat(name, dir_fd=folder, follow_symlinks=False))
    # fchmodat(2) follows links, so it is done by a descriptor.
    try:
        fd = os.open(name, os.O_RDONLY | _OPEN, dir_fd=folder)
    except PermissionError:
        # Its owner may not read it, but still may change that: O_PATH asks for no permission.
        if not hasattr(os, "O_PATH"):
            raise
        fd = os.open(name, os.O_PATH | _OPEN, dir_fd=folder)
    try:
        status = os.fstat(fd)
        require_object(status)
        _change_mode(fd, _mode(stat.S_IMODE(status.st_mode), allowed, writable=writable))
    finally:
        os.close(fd)


def _mode(mode: int, allowed: int, *, writable: bool) -> int:
    if not writable:
        return mode & ~_WRITE
    return mode | stat.S_IWUSR | (mode & _READ) >> 1 & allowed


def _change_mode(fd: int, mode: int) -> None:
    try:
        os.fchmod(fd, mode)
    except OSError as error:
        if error.errno != errno.EBADF:  # which is all that a descriptor of O_PATH says
            raise
        with suppress(FileNotFoundError):  # no /proc
            os.chmod(f"/proc/self/fd/{fd}", mode)  # noqa: PTH101  (a path of ours, not of the export)
            return
        raise error from None
