from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.folder_temporaries import is_temporary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbredir_mtp.mtp.storage import Upload

TIME = 1_234_567_890_987_654_321
TEMPORARY = ".usbredir-mtp-0123456789abcdef.part"


@pytest.fixture
def share(tmp_path: Path) -> Path:
    (tmp_path / "share").mkdir()
    return tmp_path / "share"


@pytest.fixture
def storage(share: Path) -> Iterator[FolderStorage]:
    with FolderStorage(share, description="share") as storage:
        before = open_fds()
        yield storage
        assert open_fds() == before, "a descriptor was left open"


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failing(code: int) -> Callable[..., int]:
    def fail(*_args: object, **_kwargs: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


def put(storage: FolderStorage, path: tuple[str, ...], data: bytes) -> None:
    upload = storage.create(path, len(data))
    upload.write(data)
    upload.commit(None)


def test_an_upload_appears_when_it_is_whole(storage: FolderStorage, share: Path) -> None:
    upload = storage.create(("new",), 8)
    upload.write(b"1234")
    upload.write(memoryview(bytearray(b"5678")))
    upload.write(b"")
    (temporary,) = names(share)
    assert is_temporary(temporary)
    assert stat.S_IMODE((share / temporary).stat().st_mode) == 0o600
    assert list(storage.scan(())) == []
    assert list(storage.scan_stat(())) == []
    result = upload.commit(TIME)
    assert names(share) == ["new"]
    assert (share / "new").read_bytes() == b"12345678"
    assert (share / "new").stat().st_mtime_ns == TIME
    assert result == storage.stat(("new",))


def test_an_upload_of_nothing(storage: FolderStorage, share: Path) -> None:
    assert storage.create(("empty",), 0).commit(None).size == 0
    assert (share / "empty").read_bytes() == b""


def test_an_upload_replaces_only_at_the_end(storage: FolderStorage, share: Path) -> None:
    (share / "file").write_bytes(b"a long old content")
    upload = storage.create(("file",), None)
    upload.write(b"new")
    assert (share / "file").read_bytes() == b"a long old content"
    upload.commit(None)
    assert (share / "file").read_bytes() == b"new"
    assert names(share) == ["file"]


def test_an_aborted_upload_leaves_nothing(storage: FolderStorage, share: Path) -> None:
    (share / "file").write_bytes(b"old")
    upload = storage.create(("file",), 3)
    upload.write(b"n")
    upload.abort()
    upload.abort()
    assert names(share) == ["file"]
    assert (share / "file").read_bytes() == b"old"
    with pytest.raises(OSError, match="Bad file descriptor"):
        upload.write(b"e")


def test_abort_after_success_does_nothing(storage: FolderStorage, share: Path) -> None:
    upload = storage.create(("file",), 0)
    upload.commit(None)
    upload.abort()
    assert names(share) == ["file"]


def test_short_writes_are_made_whole(storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, pwrite = os.write, os.pwrite
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:3], offset))
    put(storage, ("file",), b"0123456789")
    assert (share / "file").read_bytes() == b"0123456789"
    editor = storage.edit(("file",))
    editor.write_at(2, b"abcdefg")
    editor.close()
    assert (share / "file").read_bytes() == b"01abcdefg9"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_write_that_fails(storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    upload = storage.create(("file",), None)
    upload.write(b"x")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing(code))
        with pytest.raises(OSError) as caught:  # noqa: PT011  (the number is what matters)
            upload.write(b"y")
    assert caught.value.errno == code
    upload.abort()
    assert names(share) == []


@pytest.mark.parametrize("function", ["fchmod", "utime", "rename"])
def test_a_commit_that_fails_leaves_the_old_file(
    storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    (share / "file").write_bytes(b"old")
    upload = storage.create(("file",), 3)
    upload.write(b"new")
    with monkeypatch.context() as patch:
        patch.setattr(os, function, failing(errno.EIO))
        with pytest.raises(OSError, match="Input/output error"):
            upload.commit(TIME)
    upload.abort()
    assert names(share) == ["file"]
    assert (share / "file").read_bytes() == b"old"


def test_a_close_that_fails_is_a_failed_upload(
    storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = storage.create(("file",), 3)
    close = os.close
    failed: list[int] = []

    def fail_once(fd: int) -> None:
        close(fd)
        if not failed:
            failed.append(fd)
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", fail_once)
        with pytest.raises(OSError, match="quota"):
            upload.commit(None)
    assert names(share) == []


def test_an_abort_that_fails_is_logged(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    upload = storage.create(("file",), 3)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", failing(errno.EIO))
        upload.abort()
    assert "unfinished upload .usbredir-mtp-" in caplog.text


def test_a_full_disk_is_known_beforehand(storage: FolderStorage, share: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        storage.create(("file",), storage.space().capacity + 1)
    assert caught.value.errno == errno.ENOSPC
    assert names(share) == []


def test_a_file_system_that_does_not_tell_its_size(
    storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.statvfs_result([0] * 11)
    monkeypatch.setattr(os, "fstatvfs", lambda _fd: status)
    put(storage, ("file",), b"x")
    assert names(share) == ["file"]


def make_link(path: Path) -> None:
    path.symlink_to("elsewhere")


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [make_link, make_fifo])
def test_uploads_do_not_replace_what_is_no_file(
    storage: FolderStorage, share: Path, make: Callable[[Path], None]
) -> None:
    make(share / "special")
    with pytest.raises(PermissionError):
        storage.create(("special",), 1)
    assert names(share) == ["special"]


def test_a_link_put_in_the_way_is_replaced_and_not_followed(storage: FolderStorage, share: Path) -> None:
    outside = share.parent / "outside"
    outside.write_bytes(b"outside")
    upload = storage.create(("file",), 3)
    upload.write(b"new")
    (share / "file").symlink_to(outside)
    upload.commit(None)
    assert outside.read_bytes() == b"outside"
    assert (share / "file").read_bytes() == b"new"
    assert not (share / "file").is_symlink()


@pytest.mark.parametrize("use", ["create", "make_folder", "rename", "copy_file"])
def test_nobody_gets_a_temporary_name(storage: FolderStorage, share: Path, use: str) -> None:
    (share / "file").touch()
    attempts: dict[str, Callable[[], object]] = {
        "create": lambda: storage.create((TEMPORARY,), 1),
        "make_folder": lambda: storage.make_folder((TEMPORARY,)),
        "rename": lambda: storage.rename(("file",), (TEMPORARY,)),
        "copy_file": lambda: storage.copy_file(("file",), (TEMPORARY,), lambda: None),
    }
    with pytest.raises(PermissionError):
        attempts[use]()
    assert names(share) == ["file"]


def test_permission_bits_are_the_old_files(storage: FolderStorage, share: Path) -> None:
    (share / "file").touch()
    (share / "file").chmod(0o4751)
    put(storage, ("file",), b"x")
    assert stat.S_IMODE((share / "file").stat().st_mode) == 0o751


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_is_the_old_files(storage: FolderStorage, share: Path) -> None:
    (share / "file").touch()
    os.chown(share / "file", 1234, 2345)
    put(storage, ("file",), b"x")
    status = (share / "file").stat()
    assert (status.st_uid, status.st_gid) == (1234, 2345)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0, 0o666)])
@pytest.mark.parametrize("proc", [True, False])
def test_new_files_honour_the_umask(share: Path, umask: int, mode: int, proc: bool) -> None:
    program = f"""
import os, pathlib
os.umask({umask})
from usbredir_mtp.mtp import folder
if not {proc}:
    folder.HostPath = lambda _: pathlib.Path("/nonexistent")
storage = folder.FolderStorage({str(share)!r}, description="share")
assert os.umask(0o777) == {umask}  # as it was
storage.create(("file",), 0).commit(None)
os.umask({umask})
storage.make_folder(("folder",))
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path.cwd())
    assert stat.S_IMODE((share / "file").stat().st_mode) == mode
    assert stat.S_IMODE((share / "folder").stat().st_mode) == 0o777 & ~umask


def test_the_folder_removed_meanwhile(storage: FolderStorage, share: Path) -> None:
    (share / "folder").mkdir()
    upload = storage.create(("folder", "file"), 1)
    upload.write(b"x")
    storage.remove(("folder",))
    with pytest.raises(FileNotFoundError):
        upload.commit(None)
    assert names(share) == []


def test_the_folder_swapped_meanwhile_redirects_nothing(storage: FolderStorage, share: Path) -> None:
    (share / "folder").mkdir()
    outside = share.parent / "outside"
    outside.mkdir()
    upload = storage.create(("folder", "file"), 1)
    upload.write(b"x")
    (share / "folder").rename(share / "moved")
    (share / "folder").symlink_to(outside)
    upload.commit(None)
    assert names(outside) == []
    assert names(share / "moved") == ["file"]


@pytest.mark.parametrize("parent", ["link", "file", "missing"])
def test_uploads_into_what_is_no_folder(storage: FolderStorage, share: Path, parent: str) -> None:
    (share / "file").touch()
    (share / "link").symlink_to(".")
    with pytest.raises((NotADirectoryError, FileNotFoundError)):
        storage.create((parent, "new"), 1)
    with pytest.raises((NotADirectoryError, FileNotFoundError)):
        storage.make_folder((parent, "new"))
    assert names(share) == ["file", "link"]


def test_a_refused_temporary_file_leaves_no_descriptor(storage: FolderStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    open_ = os.open

    def refuse(path: str, flags: int, *args: int, **kwargs: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return open_(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="Read-only"):
        storage.create(("file",), 1)


def test_two_uploads_of_one_name(storage: FolderStorage, share: Path) -> None:
    uploads: list[Upload] = [storage.create(("file",), 1) for _ in range(2)]
    for number, upload in enumerate(uploads):
        upload.write(b"%d" % number)
    uploads[1].commit(None)
    uploads[0].commit(None)
    assert (share / "file").read_bytes() == b"0"
    assert names(share) == ["file"]


@pytest.mark.parametrize("modified", [0, -1, 2**33 * 10**9, 253_402_300_799 * 10**9])
def test_any_time_of_a_calendar(storage: FolderStorage, share: Path, modified: int) -> None:
    storage.create(("file",), 0).commit(modified)  # the file system may clamp it
    storage.set_modified(("file",), TIME)
    assert (share / "file").stat().st_mtime_ns == TIME


def test_times_that_no_host_knows(storage: FolderStorage, share: Path) -> None:
    (share / "file").touch()
    with pytest.raises(OSError, match="Invalid argument"):
        storage.set_modified(("file",), 2**100)
    with pytest.raises(OSError, match="Invalid argument"):
        storage.create(("new",), 0).commit(2**100)
    assert names(share) == ["file"]


def test_editing_in_place(storage: FolderStorage, share: Path) -> None:
    (share / "file").write_bytes(b"0123456789")
    inode = (share / "file").stat().st_ino
    editor = storage.edit(("file",))
    editor.write_at(8, memoryview(b"abcd"))
    editor.write_at(0, bytearray(b"X"))
    assert (share / "file").read_bytes() == b"X1234567abcd"
    editor.write_at(14, b"e")
    assert (share / "file").read_bytes() == b"X1234567abcd\0\0e"
    editor.truncate(3)
    assert (share / "file").read_bytes() == b"X12"
    editor.truncate(5)
    editor.close()
    editor.close()
    assert (share / "file").read_bytes() == b"X12\0\0"
    assert (share / "file").stat().st_ino == inode


@pytest.mark.parametrize("offset", [2**63 - 1, 2**63, 2**64 - 1])
def test_edits_beyond_any_file(storage: FolderStorage, share: Path, offset: int) -> None:
    (share / "file").write_bytes(b"x")
    editor = storage.edit(("file",))
    uses: list[Callable[[], None]] = [
        lambda: editor.write_at(offset, b"yz"),
        lambda: editor.truncate(offset + 1),
    ]
    for use in uses:
        with pytest.raises(OSError) as caught:  # noqa: PT011
            use()
        assert caught.value.errno in {errno.EFBIG, errno.EINVAL}
    editor.close()
    assert (share / "file").read_bytes() == b"x"


def test_edits_that_fail(storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (share / "file").write_bytes(b"x")
    editor = storage.edit(("file",))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing(errno.ENOSPC))
        patch.setattr(os, "ftruncate", failing(errno.EFBIG))
        with pytest.raises(OSError, match="No space"):
            editor.write_at(0, b"yz")
        with pytest.raises(OSError, match="too large"):
            editor.truncate(3)
    editor.close()


def test_files_beyond_4_gib(storage: FolderStorage, share: Path) -> None:
    (share / "file").touch()
    editor = storage.edit(("file",))
    editor.truncate(5 << 30)
    editor.write_at(5 << 30, b"tail")
    editor.close()
    source = storage.open(("file",), (5 << 30) - 1)
    assert source.read(9) == b"\0tail"
    source.close()
    storage.remove(("file",))
