from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from usbredir_mtp.mtp import folder_protection
from usbredir_mtp.mtp.containment import require_object
from usbredir_mtp.mtp.folder import FolderStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[FolderStorage]:
    (tmp_path / "share").mkdir()
    before = os.umask(0o027)
    try:
        with FolderStorage(tmp_path / "share", description="share") as storage:
            yield storage
    finally:
        os.umask(before)


@pytest.fixture
def share(storage: FolderStorage, tmp_path: Path) -> Path:
    return tmp_path / "share"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("before", "protected", "after"),
    [
        (0o644, 0o444, 0o644),
        (0o666, 0o444, 0o644),  # the umask forbids others to write, and lets the group read only
        (0o600, 0o400, 0o600),
        (0o444, 0o444, 0o644),
        (0o000, 0o000, 0o200),
        (0o755, 0o555, 0o755),
        (0o4755, 0o4555, 0o4755),
    ],
)
@pytest.mark.parametrize("folder", [False, True])
def test_write_permissions(
    storage: FolderStorage, share: Path, before: int, protected: int, after: int, folder: bool
) -> None:
    path = share / "name"
    path.mkdir() if folder else path.touch()
    path.chmod(before)
    storage.set_writable(("name",), False)
    assert mode(path) == protected
    assert not storage.stat(("name",)).writable
    assert not dict(storage.scan_stat(()))["name"].writable
    storage.set_writable(("name",), True)
    assert mode(path) == after
    assert storage.stat(("name",)).writable
    path.chmod(0o755)


def test_the_group_may_write_again_where_the_umask_lets_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(0o440)
    before = os.umask(0o002)
    try:
        with FolderStorage(tmp_path, description="share") as storage:
            storage.set_writable(("file",), True)
    finally:
        os.umask(before)
    assert mode(tmp_path / "file") == 0o660


def unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is for who owns a file of mode 000 and is not root."""
    real = os.open

    def refuse(path: str, flags: int, *args: int, dir_fd: int | None = None) -> int:
        if path == "file" and not flags & os.O_PATH:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, flags, *args, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)


def test_a_file_that_its_owner_may_not_read(
    storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (share / "file").touch(0o222)
    (share / "file").chmod(0o222)
    unreadable(monkeypatch)
    storage.set_writable(("file",), False)
    assert mode(share / "file") == 0
    storage.set_writable(("file",), True)
    assert mode(share / "file") == 0o200


def test_the_same_without_proc(storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (share / "file").touch()

    def missing(path: str, mode: int) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    unreadable(monkeypatch)
    monkeypatch.setattr(os, "chmod", missing)
    with pytest.raises(OSError, match="Bad file descriptor"):
        storage.set_writable(("file",), False)


def test_the_same_without_o_path(storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (share / "file").touch()
    root = os.open(share, os.O_RDONLY)
    unreadable(monkeypatch)
    refuse = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, **more: refuse(path, 0, **more))
    try:
        with pytest.raises(PermissionError):
            folder_protection.protect(root, "file", writable=False, allowed=0o666)
    finally:
        os.close(root)


def test_what_is_not_ours(storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (share / "file").touch(0o644)

    def refuse(fd: int, mode: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchmod", refuse)
    with pytest.raises(PermissionError):
        storage.set_writable(("file",), False)
    assert storage.stat(("file",)).writable


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("file"), os.mkfifo])
def test_what_is_no_object(storage: FolderStorage, share: Path, make: Callable[[Path], Any]) -> None:
    (share / "file").touch(0o644)
    make(share / "other")
    before = (share / "other").lstat().st_mode
    with pytest.raises(FileNotFoundError):
        storage.set_writable(("other",), False)
    assert (share / "other").lstat().st_mode == before
    assert mode(share / "file") & 0o200


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("kept"), os.mkfifo])
def test_what_takes_its_place_meanwhile(
    storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Any]
) -> None:
    (share / "file").touch(0o600)
    real = require_object

    def swap(status: os.stat_result) -> None:
        monkeypatch.setattr(folder_protection, "require_object", real)
        real(status)
        (share / "file").rename(share / "kept")
        make(share / "file")

    monkeypatch.setattr(folder_protection, "require_object", swap)
    with pytest.raises(OSError):  # noqa: PT011  (ELOOP or ENOENT)
        storage.set_writable(("file",), False)
    assert mode(share / "kept") == 0o600


def test_refusals(storage: FolderStorage, share: Path) -> None:
    (share / "file").touch(0o600)
    with pytest.raises(PermissionError):
        storage.set_writable((), False)
    with pytest.raises(FileNotFoundError):
        storage.set_writable(("missing",), False)
    storage.read_only = True
    with pytest.raises(OSError, match="Read-only"):
        storage.set_writable(("file",), False)
    assert mode(share / "file") == 0o600


def test_no_descriptor_is_left(storage: FolderStorage, share: Path) -> None:
    (share / "file").touch()
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208
    storage.set_writable(("file",), False)
    storage.set_writable(("file",), True)
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
