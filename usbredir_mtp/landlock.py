"""Landlock, by which a process gives up what it does not need (Linux; Documentation/userspace-api/landlock.rst).

What is handled and not allowed is denied, with EACCES, to this thread, to the threads and processes that it starts
from then on, and for good. What is open already stays so.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import stat
import struct
import sys
from contextlib import suppress
from enum import IntFlag
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

MIN_ABI: Final = 2
"""Linux 5.19. Before it no file could be moved from one folder to another in a sandbox, whatever was allowed."""


class Access(IntFlag):
    """Rights to files and folders: LANDLOCK_ACCESS_FS_*. All but the first three and the last two are a folder's."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


_OF_FILES: Final = Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV
_SINCE: Final = {3: Access.TRUNCATE, 5: Access.IOCTL_DEV}
"""The rights that later versions than `MIN_ABI` brought; an older kernel lets pass what they are about."""

_NET_SINCE: Final = 4
_BIND_TCP: Final = 1 << 0
_CONNECT_TCP: Final = 1 << 1
_SCOPED_SINCE: Final = 6
_SCOPED: Final = 1 << 0 | 1 << 1  # no abstract unix socket and no signal to anybody outside

_RULESET: Final = struct.Struct("=QQQ")  # struct landlock_ruleset_attr: handled_access_fs, handled_access_net, scoped
_PATH_BENEATH: Final = struct.Struct("=Qi")  # allowed_access, parent_fd; packed
_NET_PORT: Final = struct.Struct("=QQ")  # allowed_access, port
_RULE_PATH_BENEATH: Final = 1
_RULE_NET_PORT: Final = 2
_VERSION_FLAG: Final = 1 << 0

# The same numbers on all architectures that got theirs from the common table.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_OTHER_NUMBERS: Final = ("alpha", "mips")

_PR_SET_NO_NEW_PRIVS: Final = 38

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """The version of Landlock that the kernel has.

    Raises:
        OSError: ENOSYS if it has none, EOPNOTSUPP if it is turned off, EPERM if a container forbids it.
    """
    if sys.platform != "linux" or platform.machine().startswith(_OTHER_NUMBERS):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return _syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)


def handled(version: int) -> Access:
    """The rights that a version of Landlock knows."""
    later = [right for since, right in _SINCE.items() if version < since]
    return Access(sum(Access) - sum(later))


def restrict(
    version: int, paths: Iterable[tuple[Path, Access]], bind: Collection[int] = (), connect: Collection[int] = ()
) -> None:
    """Give up, for good, all access to files and to TCP but this. There must be no other thread.

    Args:
        version: What `abi` says.
        paths: Rights to folders, with all that is in them, and to files; several to one add up. They are tied to what
            is there now: what is not there cannot be allowed, nor what is put in its place later.
        bind: The TCP ports that may be listened on, from Linux 6.7 on; 0 stands for whichever is free.
        connect: Those that may be connected to. There is no other TCP then, but over connections that are accepted.

    Raises:
        OSError: it cannot be done; nothing is restricted then.
    """
    rights = handled(version)
    net = _BIND_TCP | _CONNECT_TCP if version >= _NET_SINCE else 0
    attributes = _RULESET.pack(rights, net, _SCOPED if version >= _SCOPED_SINCE else 0)
    ruleset = _syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path, access in paths:
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                _allow_path(ruleset, path, access & rights)
        for right, ports in {_BIND_TCP: bind, _CONNECT_TCP: connect}.items() if net else ():
            for port in ports:
                _syscall(_ADD_RULE, ruleset, _RULE_NET_PORT, _NET_PORT.pack(right, port), 0)
        _set_no_new_privileges()
        _syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_path(ruleset: int, path: Path, access: Access) -> None:
    target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(target).st_mode):
            access &= _OF_FILES
        if access:
            _syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, _PATH_BENEATH.pack(access, target), 0)
    finally:
        os.close(target)


def _set_no_new_privileges() -> None:
    """A set-user-id program shall not be tricked by our restrictions: without this the kernel refuses them."""
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _syscall(number: int, *arguments: bytes | int | None) -> int:
    converted = [ctypes.c_long(each) if isinstance(each, int) else ctypes.c_char_p(each) for each in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *converted))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
