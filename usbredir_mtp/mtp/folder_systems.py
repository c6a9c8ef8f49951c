"""File systems mounted below a host folder: each counts its objects from the same number on."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from usbredir_mtp.mtp.containment import Root

_LOOK: Final = os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK)
_MARK_BITS: Final = 32


@dataclass(slots=True, eq=False)
class FileSystems:
    """Gives each file system of an export a mark, which is 0 for the root's own.

    A mark is made of the file system's id (statvfs(3), f_fsid), which for most kinds survives a restart; device
    numbers are given in the order of mounting. Where there is no such id, or two file systems claim the same one, it
    is made of the device number all the same.
    """

    root: Root
    _marks: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self._marks = {os.fstat(self.root.fileno()).st_dev: 0}

    def mark(self, device: int, name: str, folder: int) -> int:
        """The 32-bit mark of a device (`st_dev`), of which `name` in the open folder is an object."""
        known = self._marks.get(device)
        return self._learn(device, name, folder) if known is None else known

    def _learn(self, device: int, name: str, folder: int) -> int:
        if device == os.fstat(self.root.fileno()).st_dev:  # mounted anew since we started
            return self._marks.setdefault(device, 0)
        mark = _fold(_id(device, name, folder) or device)
        if mark in self._marks.values():
            mark = _fold(device) or 1
        return self._marks.setdefault(device, mark)


def identity(status: os.stat_result, mark: int) -> int:
    """At most 96 bits that tell an object from all others below a host folder; hard links are one object."""
    return status.st_ino | mark << 64


def _id(device: int, name: str, folder: int) -> int:
    """The id of the file system that `name` is on; 0 if it has none or does not tell."""
    try:
        fd = os.open(name, _LOOK, dir_fd=folder)
    except OSError:
        return 0
    try:
        return os.fstatvfs(fd).f_fsid if os.fstat(fd).st_dev == device else 0
    except OSError:
        return 0
    finally:
        os.close(fd)


def _fold(number: int) -> int:
    return (number ^ number >> _MARK_BITS) & (1 << _MARK_BITS) - 1
