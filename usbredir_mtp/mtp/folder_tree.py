"""Removing a folder of a host folder with all that is in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import ResponseCode
from usbredir_mtp.mtp.containment import LISTING
from usbredir_mtp.mtp.errors import MtpError

if TYPE_CHECKING:
    from usbredir_mtp.mtp.containment import Root
    from usbredir_mtp.mtp.storage import Path


def remove_tree(root: Root, path: Path) -> None:
    """Remove the folder at `path`, going on past what cannot be removed.

    Links, FIFOs and the like in it are unlinked. Each folder is reached from the root anew, so
    depth costs neither descriptors nor stack.

    Raises:
        MtpError: PARTIAL_DELETION if something is gone and something is not.
        OSError: The first failure, if nothing could be removed.
    """
    removal = _Removal(root)
    folders = [path]
    for folder in folders:  # grows while we walk it: parents come before their children
        folders += removal.empty(folder)
    for folder in reversed(folders):
        removal.remove_folder(folder)
    removal.conclude()


@dataclass(slots=True, eq=False)
class _Removal:
    root: Root
    removed: int = 0
    failure: OSError | None = None

    def empty(self, folder: Path) -> list[Path]:
        """Unlink all but the folders in `folder`, and return those."""
        found: list[Path] = []
        try:
            fd = self.root.open_folder(folder, LISTING)
        except OSError as error:
            self._failed(error)
            return found
        try:
            with os.scandir(fd) as scan:
                entries = list(scan)  # a listing that is changed while it is read may skip some
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found.append((*folder, entry.name))
                else:
                    self._unlink(entry.name, fd)
        except OSError as error:
            self._failed(error)
        finally:
            os.close(fd)
        return found

    def remove_folder(self, folder: Path) -> None:
        try:
            with self.root.parent(folder) as (parent, name):
                os.rmdir(name, dir_fd=parent)
        except OSError as error:
            self._failed(error)
        else:
            self.removed += 1

    def conclude(self) -> None:
        if self.failure is None:
            return
        if self.removed:
            raise MtpError(ResponseCode.PARTIAL_DELETION, str(self.failure)) from self.failure
        raise self.failure

    def _unlink(self, name: str, folder: int) -> None:
        try:
            os.unlink(name, dir_fd=folder)
        except OSError as error:
            self._failed(error)
        else:
            self.removed += 1

    def _failed(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # else somebody else has removed it
            self.failure = self.failure or error
