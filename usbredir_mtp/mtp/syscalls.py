"""Two system calls of Linux that the standard library does not offer: openat2(2) and renameat2(2)."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform

AT_FDCWD = -100
RENAME_NOREPLACE = 1

_OPENAT2 = {("Linux", "x86_64"): 437, ("Linux", "aarch64"): 437}
_RENAMEAT2 = {("Linux", "x86_64"): 316, ("Linux", "aarch64"): 276}

_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08

_RETRY = {errno.EINTR, errno.EAGAIN}
_ATTEMPTS = 64  # EAGAIN may also mean that the file is leased to somebody who does not let go

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def _syscall(numbers: dict[tuple[str, str], int], *arguments: object) -> int:
    number = numbers.get((platform.system(), platform.machine()))
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    for _ in range(_ATTEMPTS):
        result = int(_libc.syscall(ctypes.c_long(number), *arguments))
        if result >= 0:
            return result
        if ctypes.get_errno() not in _RETRY:
            break
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))


def openat2(dir_fd: int, path: bytes, flags: int) -> int:
    """Open an existing `path` that lies beneath `dir_fd`, with no symbolic link on any component.

    Raises:
        OSError: ELOOP for a symbolic link, EXDEV for a path that leaves `dir_fd`, ENOSYS or EPERM
            where there is no such system call, and those of open(2).
    """
    how = _OpenHow(
        flags=flags,
        resolve=_RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS,
    )
    return _syscall(
        _OPENAT2,
        ctypes.c_long(dir_fd),
        ctypes.c_char_p(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )


@functools.cache
def has_openat2() -> bool:
    """Whether the kernel has openat2 (Linux 5.6), and lets us call it (old containers do not)."""
    try:
        os.close(openat2(AT_FDCWD, b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno not in {errno.ENOSYS, errno.EPERM}
    return True


def renameat2(old_fd: int, old: str, new_fd: int, new: str, flags: int = RENAME_NOREPLACE) -> None:
    """Rename as renameat(2) does, but with `flags`: by default it fails where `new` exists.

    Raises:
        OSError: EEXIST, ENOSYS or EPERM where there is no such system call, EINVAL where the file
            system does not know `flags`, and those of rename(2).
    """
    _syscall(
        _RENAMEAT2,
        ctypes.c_long(old_fd),
        ctypes.c_char_p(os.fsencode(old)),
        ctypes.c_long(new_fd),
        ctypes.c_char_p(os.fsencode(new)),
        ctypes.c_long(flags),
    )
