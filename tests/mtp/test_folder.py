from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from usbredir_mtp.mtp import containment, folder
from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.folder_temporaries import is_temporary
from usbredir_mtp.mtp.storage import Entry, Space, Storage

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPORARY = ".usbredir-mtp-0123456789abcdef.part"


@pytest.fixture(params=["best", "by components"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FolderStorage]:
    if request.param == "by components":
        monkeypatch.setattr(containment, "best_resolver", lambda: containment.by_components)
    (tmp_path / "share").mkdir()
    with FolderStorage(tmp_path / "share", description="share") as storage:
        yield storage


@pytest.fixture
def share(tmp_path: Path) -> Path:
    return tmp_path / "share"


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def fill(share: Path) -> None:
    """One of everything."""
    (share / "file").write_bytes(b"12345")
    (share / "folder").mkdir()
    (share / "link").symlink_to("file")
    (share / "folder link").symlink_to("folder")
    (share / "dangling").symlink_to("nowhere")
    (share / TEMPORARY).write_bytes(b"half")
    os.mkfifo(share / "fifo")


def test_scan_lists_files_and_folders_only(storage: FolderStorage, share: Path) -> None:
    fill(share)
    assert set(storage.scan(())) == {Entry("file", folder=False), Entry("folder", folder=True)}
    assert list(storage.scan(("folder",))) == []


def test_scan_needs_no_stat(storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(share)
    (share / TEMPORARY).unlink()
    names = storage.scan(())
    first = next(names)  # the folder is open by now
    monkeypatch.setattr(os, "stat", lambda *_args, **_kwargs: pytest.fail("stat was called"))
    assert {first.name, *(entry.name for entry in names)} == {"file", "folder"}


def test_scan_stat_says_what_stat_says(storage: FolderStorage, share: Path) -> None:
    fill(share)
    assert dict(storage.scan_stat(())) == {name: storage.stat((name,)) for name in ("file", "folder")}
    assert dict(storage.scan_stat(())) == dict(Storage.scan_stat(storage, ()))


def test_scan_stat_passes_over_what_vanishes(
    storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(share)

    def vanished(status: os.stat_result) -> None:
        if status.st_size == 5:
            raise FileNotFoundError(errno.ENOENT, "gone")

    monkeypatch.setattr(folder, "require_object", vanished)
    assert [name for name, _ in storage.scan_stat(())] == ["folder"]


@pytest.mark.parametrize("path", [("missing",), ("missing", "x"), (TEMPORARY,), (TEMPORARY, "x")])
def test_missing_paths(storage: FolderStorage, share: Path, path: tuple[str, ...]) -> None:
    fill(share)
    for use in (storage.stat, storage.open, storage.edit, storage.remove, lambda path: list(storage.scan(path))):
        with pytest.raises((FileNotFoundError, PermissionError)):
            use(path)
    with pytest.raises(FileNotFoundError):
        storage.stat(path)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", ["link", "folder link", "dangling", "fifo"])
def test_what_is_no_object_does_not_exist(storage: FolderStorage, share: Path, name: str) -> None:
    fill(share)
    for use in (storage.stat, storage.open, storage.edit, storage.remove):
        with pytest.raises(FileNotFoundError):
            use((name,))
    with pytest.raises(FileNotFoundError):
        storage.rename((name,), ("new",))
    with pytest.raises(FileNotFoundError):
        storage.set_modified((name,), 0)
    with pytest.raises(NotADirectoryError):
        list(storage.scan((name,)))
    assert os.path.lexists(share / name)


def test_stat_of_a_file(storage: FolderStorage, share: Path) -> None:
    file = share / "file"
    file.write_bytes(b"12345")
    os.utime(file, ns=(1, 1_600_000_000_123_456_789))
    stat = storage.stat(("file",))
    assert (stat.folder, stat.size, stat.modified) == (False, 5, 1_600_000_000_123_456_789)
    assert (stat.writable, stat.identity) == (True, file.stat().st_ino)


def test_stat_of_folders(storage: FolderStorage, share: Path) -> None:
    (share / "folder").mkdir()
    for path in ((), ("folder",)):
        stat = storage.stat(path)
        assert (stat.folder, stat.size, stat.identity) == (True, 0, share.joinpath(*path).stat().st_ino)


def test_identity_survives_a_move(storage: FolderStorage, share: Path) -> None:
    (share / "folder").mkdir()
    (share / "file").touch()
    before = storage.stat(("file",)).identity
    storage.rename(("file",), ("folder", "moved"))
    assert storage.stat(("folder", "moved")).identity == before


def test_what_we_may_not_write(storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (share / "file").touch()
    monkeypatch.setattr(os, "access", lambda *_args, **_kwargs: False)
    assert not storage.stat(("file",)).writable
    assert [stat.writable for _, stat in storage.scan_stat(())] == [False]
    with pytest.raises(PermissionError):
        storage.create(("file",), 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_permissions_of_the_file_system(storage: FolderStorage, share: Path) -> None:
    (share / "file").touch(mode=0o444)
    (share / "folder").mkdir(mode=0o555)
    assert not storage.stat(("file",)).writable
    with pytest.raises(PermissionError):
        storage.create(("file",), 1)
    with pytest.raises(PermissionError):
        storage.create(("folder", "file"), 1)


@pytest.mark.parametrize(
    "name", ["\udcff\udc80.bin", "päß.txt", "日本語", "🎉", "e\u0301", "a\nb", " ", "~", "n" * 255, "\udc80" * 255]
)
def test_names_round_trip(storage: FolderStorage, share: Path, name: str) -> None:
    upload = storage.create((name,), 1)
    upload.write(b"x")
    upload.commit(None)
    assert [entry.name for entry in storage.scan(())] == [name]
    assert [path.name for path in share.iterdir()] == [name]
    assert bytes(storage.open((name,)).read(5)) == b"x"


def test_a_name_that_is_too_long(storage: FolderStorage) -> None:
    for use in (lambda path: storage.create(path, 1), storage.make_folder, storage.stat):
        with pytest.raises(OSError, match="too long"):
            use(("n" * 256,))


def test_space(storage: FolderStorage, share: Path) -> None:
    space = storage.space()
    assert 0 <= space.free <= space.capacity
    assert isinstance(space, Space)
    status = os.statvfs(share)
    assert space.capacity == status.f_blocks * status.f_frsize


def test_volume_is_stable_and_unique(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to("a")
    volumes = []
    for name in ("a", "link", "b"):
        with FolderStorage(tmp_path / name, description=name) as storage:
            volumes.append(storage.volume)
    assert volumes[0] == volumes[1] != volumes[2]
    with FolderStorage(str(tmp_path), description="x", volume="mine") as storage:
        assert (storage.volume, storage.description, storage.read_only) == ("mine", "x", False)
        assert storage.path == os.path.realpath(tmp_path)


def test_read_only_refuses_everything(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    with FolderStorage(tmp_path, description="x", read_only=True) as storage:
        for change in (
            lambda: storage.create(("new",), 1),
            lambda: storage.create(("file",), 1),
            lambda: storage.edit(("file",)),
            lambda: storage.make_folder(("new",)),
            lambda: storage.rename(("file",), ("new",)),
            lambda: storage.remove(("file",)),
            lambda: storage.remove(("folder",)),
            lambda: storage.copy_file(("file",), ("new",), lambda: None),
            lambda: storage.set_modified(("file",), 0),
        ):
            with pytest.raises(OSError, match="Read-only") as caught:
                change()
            assert caught.value.errno == errno.EROFS
        assert storage.open(("file",)).read(9) == b"x"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("offset", [0, 1, 5, 10, 11, 2**63, 2**64 - 1])
@pytest.mark.parametrize("size", [None, 0, 1, 5, 100, 2**64 - 1])
def test_reading_a_part(storage: FolderStorage, share: Path, offset: int, size: int | None) -> None:
    content = b"0123456789"
    (share / "file").write_bytes(content)
    expected = content[offset:] if size is None else content[offset : offset + size]
    source = storage.open(("file",), offset, size)
    assert source.length == len(expected)
    read = b""
    while block := source.read(3):
        read += block
    assert read == expected
    assert source.read(3) == b""
    source.close()
    source.close()


def test_reading_beyond_4_gib(storage: FolderStorage, share: Path) -> None:
    with (share / "big").open("wb") as file:
        file.seek(5 << 30)
        file.write(b"tail")
    source = storage.open(("big",), 5 << 30)
    assert (source.length, source.read(100)) == (4, b"tail")
    source.close()
    assert storage.stat(("big",)).size == (5 << 30) + 4


def test_a_file_that_shrinks_ends_early(storage: FolderStorage, share: Path) -> None:
    (share / "file").write_bytes(b"0123456789")
    source = storage.open(("file",))
    assert source.read(2) == b"01"
    os.truncate(share / "file", 5)
    assert source.read(8) == b"234"
    assert source.read(8) == b""
    (share / "file").write_bytes(b"grown again, too late")
    assert source.read(8) == b""
    assert source.length == 10
    source.close()


def test_a_file_that_grows_gives_what_was_promised(storage: FolderStorage, share: Path) -> None:
    (share / "file").write_bytes(b"0123")
    source = storage.open(("file",))
    with (share / "file").open("ab") as file:
        file.write(b"more")
    assert source.read(100) == b"0123"
    assert source.read(100) == b""
    source.close()


def test_short_reads_are_made_whole(storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (share / "file").write_bytes(b"0123456789")
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: pread(fd, min(size, 3), offset))
    source = storage.open(("file",))
    assert source.read(8) == b"01234567"
    assert source.read(8) == b"89"
    source.close()


def test_read_errors_pass(storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (share / "file").write_bytes(b"0123456789")

    def fail(*_args: object) -> bytes:
        raise OSError(errno.EIO, "broken")

    source = storage.open(("file",))
    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(OSError, match="broken"):
        source.read(8)
    source.close()


def test_folders_cannot_be_read_or_edited(storage: FolderStorage, share: Path) -> None:
    (share / "folder").mkdir()
    for use in (storage.open, storage.edit, lambda path: storage.create(path, 1)):
        with pytest.raises(IsADirectoryError):
            use(("folder",))


def test_no_descriptor_is_left(storage: FolderStorage, share: Path) -> None:
    fill(share)
    before = open_fds()
    list(storage.scan(()))
    list(storage.scan_stat(()))
    next(scan := storage.scan(()))
    del scan  # given up half-way
    storage.open(("file",)).close()
    for path in ((), ("file",), ("link",), ("fifo",), ("missing",), ("file", "x"), ("link", "x"), ("..",)):
        for use in (storage.stat, storage.open, storage.edit, lambda path: list(storage.scan(path))):
            try:
                result = use(path)
            except OSError:
                continue
            if hasattr(result, "close"):
                result.close()
    assert open_fds() == before


@pytest.mark.parametrize(
    ("name", "expected"),
    [(TEMPORARY, True), (".usbredir-mtp-", False), (".usbredir-mtp-x.part.txt", False), ("x.part", False)],
)
def test_temporary_names(name: str, expected: bool) -> None:
    assert is_temporary(name) is expected
