"""The names under which uploads arrive, and what is left of them when their server was killed.

Such a file is locked (flock(2)) for as long as it bears that name, and the lock ends with the process that holds it,
however that ends: what nobody has locked is nobody's any more. So several servers can share a folder.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import secrets
import stat
import time
from contextlib import ExitStack, suppress
from typing import Final, NamedTuple

from usbredir_mtp.mtp.watch_plan import others_change

log = logging.getLogger(__name__)

_PREFIX: Final = ".usbredir-mtp-"
_SUFFIX: Final = ".part"
_OURS: Final = re.compile(rf"{re.escape(_PREFIX)}[0-9a-f]{{16}}{re.escape(_SUFFIX)}")
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Network file systems give an exclusive lock only to who may write.
_LOOK: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_SURELY_DEAD: Final = 86400.0  # seconds without a byte: not every network file system tells hosts of others' locks


def is_temporary(name: str) -> bool:
    """Whether `name` is that of an upload still on its way: no object to anybody."""
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX)


class Temporary(NamedTuple):
    """The file of an upload: its name, a descriptor to write to it by, and one that holds the lock."""

    name: str
    fd: int
    lock: int


def make_temporary(folder: int) -> Temporary:
    """Make the file of an upload in an open folder. It may only be given its own name while the lock is held.

    Raises:
        OSError: from the file system.
    """
    while True:
        name = f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        with ExitStack() as undo:
            fd = os.open(name, _CREATE, 0o600, dir_fd=folder)
            undo.callback(_remove, folder, name)
            undo.callback(os.close, fd)
            with suppress(FileNotFoundError):  # another server came upon it before it was locked
                # By a descriptor of its own: the other one is closed before the file has its name.
                lock = os.open(name, _READ, dir_fd=folder)
                undo.callback(os.close, lock)
                if _lock(lock) and _is_there(folder, name):
                    undo.pop_all()
                    return Temporary(name, fd, lock)


def clear(folder: int, name: str) -> None:
    """Remove a file of a temporary name in an open folder, if it is ours and nobody is writing to it any more."""
    if _OURS.fullmatch(name) is None:
        return
    try:
        fd = os.open(name, _LOOK, dir_fd=folder)
    except OSError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(fd)
        if _is_dead(folder, status) and os.path.samestat(
            status, os.stat(name, dir_fd=folder, follow_symlinks=False)
        ):  # else it got its own name just now
            os.unlink(name, dir_fd=folder)
            log.info("removed %s, left behind by a server that was killed", name)
    except OSError as error:
        log.debug("%s stays: %s", name, error)
    finally:
        os.close(fd)


def _remove(folder: int, name: str) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)


def _lock(fd: int) -> bool:
    """Lock it, unless somebody else has; where there are no locks nothing is ever cleared either."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno != errno.EWOULDBLOCK
    return True


def _is_there(folder: int, name: str) -> bool:
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        return True
    return False


def _is_dead(folder: int, status: os.stat_result) -> bool:
    if not stat.S_ISREG(status.st_mode):
        return False
    return time.time() - status.st_mtime > _SURELY_DEAD or not others_change(f"/proc/self/fd/{folder}")
