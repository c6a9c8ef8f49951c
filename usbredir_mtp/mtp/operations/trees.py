"""Copies of files and folders, within a storage or from one to another."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import ResponseCode
from usbredir_mtp.mtp.errors import MtpError

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbredir_mtp.mtp.storage import Path, Storage

logger = logging.getLogger(__name__)

_BLOCK = 1 << 20


def copy_tree(
    storage: Storage,
    path: Path,
    target_storage: Storage,
    target: Path,
    checkpoint: Callable[[], None],
) -> None:
    """Copy an object with all that is in it; what was copied is removed again if it cannot be completed.

    Args:
        storage: Where `path` is.
        path: What to copy.
        target_storage: Where `target` is to be.
        target: The copy; must not exist.
        checkpoint: Called between blocks and files; may raise to give up.

    Raises:
        OSError: from the storages; FileExistsError if there is something at `target`.
        MtpError: INVALID_PARENT_OBJECT for a copy of a folder into itself.
    """
    if storage is target_storage and target[: len(path)] == path:
        raise MtpError(ResponseCode.INVALID_PARENT_OBJECT, "a folder cannot be copied into itself")
    _require_free(target_storage, target)
    try:
        _copy(storage, path, target_storage, target, checkpoint)
    except BaseException:
        with suppress(OSError, MtpError):
            target_storage.remove(target)
        raise


def _require_free(storage: Storage, target: Path) -> None:
    with suppress(FileNotFoundError):
        storage.stat(target)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target[-1])


def _copy(
    storage: Storage,
    path: Path,
    target_storage: Storage,
    target: Path,
    checkpoint: Callable[[], None],
) -> None:
    checkpoint()
    stat = storage.stat(path)
    if not stat.folder:
        if storage is target_storage:
            storage.copy_file(path, target, checkpoint)
        else:
            _stream_file(storage, path, target_storage, target, checkpoint)
        return
    target_storage.make_folder(target)
    for entry in list(storage.scan(path)):
        _copy(storage, (*path, entry.name), target_storage, (*target, entry.name), checkpoint)
    with suppress(OSError):  # a folder's time is a nicety
        target_storage.set_modified(target, stat.modified)


def _stream_file(
    storage: Storage,
    path: Path,
    target_storage: Storage,
    target: Path,
    checkpoint: Callable[[], None],
) -> None:
    modified = storage.stat(path).modified
    with closing(storage.open(path)) as source:
        upload = target_storage.create(target, source.length)
        try:
            left = source.length
            while left:
                checkpoint()
                data = source.read(min(left, _BLOCK))
                if not data:
                    raise MtpError(ResponseCode.INCOMPLETE_TRANSFER, f"{path[-1]!r} became shorter")
                upload.write(data)
                left -= len(data)
            upload.commit(modified)
        finally:
            upload.abort()
