from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from usbredir_mtp.mtp import syscalls
from usbredir_mtp.mtp.codes import ResponseCode
from usbredir_mtp.mtp.containment import FOLDER, Root
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.folder import FolderStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIME = 1_234_567_890_987_654_321


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


@pytest.fixture(params=["renameat2", "no renameat2", "file system without it"])
def renames(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to rename without overwriting."""
    if request.param == "no renameat2":
        monkeypatch.setattr(syscalls, "_RENAMEAT2", {})
    elif request.param == "file system without it":

        def refuse(*_args: object) -> None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

        monkeypatch.setattr(syscalls, "renameat2", refuse)


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def nothing() -> None:
    pass


@pytest.mark.usefixtures("renames")
class TestRename:
    def test_files_and_folders(self, storage: FolderStorage, share: Path) -> None:
        (share / "a").mkdir()
        (share / "file").write_bytes(b"x")
        storage.rename(("file",), ("a", "renamed"))
        storage.rename(("a",), ("b",))
        assert (share / "b" / "renamed").read_bytes() == b"x"
        assert names(share) == ["b"]

    @pytest.mark.parametrize("kind", ["file", "folder", "link", "fifo"])
    def test_never_overwrites(self, storage: FolderStorage, share: Path, kind: str) -> None:
        (share / "old").write_bytes(b"old")
        match kind:
            case "file":
                (share / "new").write_bytes(b"new")
            case "folder":
                (share / "new").mkdir()
            case "link":
                (share / "new").symlink_to("nowhere")
            case _:
                os.mkfifo(share / "new")
        with pytest.raises(FileExistsError):
            storage.rename(("old",), ("new",))
        assert names(share) == ["new", "old"]
        assert (share / "old").read_bytes() == b"old"

    def test_an_empty_folder_is_not_replaced(self, storage: FolderStorage, share: Path) -> None:
        (share / "old").mkdir()
        (share / "new").mkdir()
        with pytest.raises(FileExistsError):
            storage.rename(("old",), ("new",))

    def test_onto_itself(self, storage: FolderStorage, share: Path) -> None:
        (share / "file").write_bytes(b"x")
        storage.rename(("file",), ("file",))
        assert (share / "file").read_bytes() == b"x"

    def test_hard_links_are_other_objects(self, storage: FolderStorage, share: Path) -> None:
        (share / "a").write_bytes(b"x")
        (share / "b").hardlink_to(share / "a")
        with pytest.raises(FileExistsError):
            storage.rename(("a",), ("b",))

    def test_another_case(self, storage: FolderStorage, share: Path) -> None:
        (share / "Straße").touch()
        storage.rename(("Straße",), ("STRASSE",))
        assert names(share) == ["STRASSE"]

    def test_a_folder_below_itself(self, storage: FolderStorage, share: Path) -> None:
        (share / "a" / "b").mkdir(parents=True)
        with pytest.raises(OSError, match="Invalid argument") as caught:
            storage.rename(("a",), ("a", "b", "c"))
        assert caught.value.errno == errno.EINVAL

    def test_something_missing(self, storage: FolderStorage, share: Path) -> None:
        (share / "file").touch()
        with pytest.raises(FileNotFoundError):
            storage.rename(("missing",), ("new",))
        with pytest.raises(FileNotFoundError):
            storage.rename(("file",), ("missing", "new"))
        with pytest.raises(PermissionError):
            storage.rename((), ("new",))
        with pytest.raises(PermissionError):
            storage.rename(("file",), ())


def test_another_case_where_case_is_ignored(
    storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hard links stand in for the two names that such a file system knows for one entry."""
    (share / "name").touch()
    (share / "NAME").hardlink_to(share / "name")
    renamed: list[object] = []
    monkeypatch.setattr(os, "rename", lambda old, new, **_kwargs: renamed.append((old, new)))
    storage.rename(("name",), ("NAME",))
    assert renamed == [("name", "NAME")]


def test_another_file_system(storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    (share / "file").touch()
    monkeypatch.setattr(syscalls, "renameat2", refuse)
    with pytest.raises(OSError, match="cross-device") as caught:
        storage.rename(("file",), ("new",))
    assert caught.value.errno == errno.EXDEV


def test_make_folder(storage: FolderStorage, share: Path) -> None:
    storage.make_folder(("a",))
    storage.make_folder(("a", "b"))
    assert (share / "a" / "b").is_dir()
    (share / "link").symlink_to("nowhere")
    for path in (("a",), ("link",)):
        with pytest.raises(FileExistsError):
            storage.make_folder(path)
    with pytest.raises(PermissionError):
        storage.make_folder(())


def test_set_modified(storage: FolderStorage, share: Path) -> None:
    (share / "file").touch()
    (share / "folder").mkdir()
    os.utime(share / "file", ns=(5, 6))
    storage.set_modified(("file",), TIME)
    storage.set_modified(("folder",), TIME)
    assert (share / "file").stat().st_mtime_ns == TIME == storage.stat(("folder",)).modified
    assert (share / "file").stat().st_atime_ns == 5


class TestRemove:
    def test_a_file(self, storage: FolderStorage, share: Path) -> None:
        (share / "file").touch()
        storage.remove(("file",))
        assert names(share) == []
        with pytest.raises(FileNotFoundError):
            storage.remove(("file",))
        with pytest.raises(PermissionError):
            storage.remove(())

    def test_a_tree_with_everything_in_it(self, storage: FolderStorage, share: Path) -> None:
        outside = share.parent / "outside"
        outside.mkdir()
        (outside / "precious").touch()
        for folder in ("t", "t/a", "t/a/b", "t/c"):
            (share / folder).mkdir()
            (share / folder / "file").touch()
            (share / folder / "link").symlink_to(outside)
            (share / folder / "other link").symlink_to(outside / "precious")
            os.mkfifo(share / folder / "fifo")
            (share / folder / os.fsdecode(b"\xff")).touch()
        storage.remove(("t",))
        assert names(share) == []
        assert names(outside) == ["precious"]

    def test_a_deep_tree(self, storage: FolderStorage, share: Path) -> None:
        path: tuple[str, ...] = ()
        for _ in range(1100):  # more than the interpreter's stack, and than descriptors by default
            path = (*path, "d")
            storage.make_folder(path)
        storage.remove(("d",))
        assert names(share) == []

    def test_a_wide_folder(self, storage: FolderStorage, share: Path) -> None:
        (share / "wide").mkdir()
        for number in range(3000):
            (share / "wide" / str(number)).touch()
        storage.remove(("wide",))
        assert names(share) == []

    @staticmethod
    def refuse(monkeypatch: pytest.MonkeyPatch, function: str, *refused: str) -> None:
        original: Callable[..., None] = getattr(os, function)

        def fail(name: str, **kwargs: Any) -> None:
            if name in refused:
                raise PermissionError(errno.EACCES, "refused")
            original(name, **kwargs)

        monkeypatch.setattr(os, function, fail)

    def test_a_part_that_stays(self, storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for folder in ("t", "t/a", "t/b"):
            (share / folder).mkdir()
            (share / folder / "file").touch()
            (share / folder / "stays").touch()
        with monkeypatch.context() as patch:
            self.refuse(patch, "unlink", "stays")
            with pytest.raises(MtpError, match="refused") as caught:
                storage.remove(("t",))
        assert caught.value.code is ResponseCode.PARTIAL_DELETION
        assert names(share / "t") == ["a", "b", "stays"]
        assert names(share / "t" / "a") == ["stays"]

    def test_nothing_can_be_removed(self, storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (share / "t").mkdir()
        (share / "t" / "stays").touch()
        with monkeypatch.context() as patch:
            self.refuse(patch, "unlink", "stays")
            with pytest.raises(PermissionError, match="refused"):
                storage.remove(("t",))
        with monkeypatch.context() as patch:
            self.refuse(patch, "unlink", "stays")
            with pytest.raises(PermissionError, match="refused"):
                storage.remove(("t", "stays"))

    def test_a_folder_that_cannot_be_listed(
        self, storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (share / "t" / "a").mkdir(parents=True)
        (share / "t" / "a" / "file").touch()
        (share / "t" / "file").touch()
        scandir = os.scandir
        calls: list[int] = []

        def fail_second(fd: int) -> object:
            calls.append(fd)
            if len(calls) == 2:
                raise OSError(errno.EIO, "unreadable")
            return scandir(fd)

        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", fail_second)
            with pytest.raises(MtpError, match="unreadable"):
                storage.remove(("t",))
        assert names(share / "t") == ["a"]

    def test_a_folder_that_cannot_be_opened(
        self, storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (share / "t" / "a" / "b").mkdir(parents=True)
        open_folder = Root.open_folder

        def refuse(root: Root, path: tuple[str, ...], flags: int = FOLDER) -> int:
            if path[-1:] == ("b",):
                raise PermissionError(errno.EACCES, "refused")
            return open_folder(root, path, flags)

        with monkeypatch.context() as patch:
            patch.setattr(Root, "open_folder", refuse)
            self.refuse(patch, "rmdir", "b")
            with pytest.raises(PermissionError, match="refused"):
                storage.remove(("t",))
        assert (share / "t" / "a" / "b").is_dir()

    def test_somebody_else_removes_it_too(
        self, storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (share / "t").mkdir()
        (share / "t" / "file").touch()
        unlink = os.unlink

        def twice(name: str, **kwargs: Any) -> None:
            unlink(name, **kwargs)
            unlink(name, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", twice)
            storage.remove(("t",))
        assert names(share) == []


@pytest.fixture(params=["kernel", "refused", "nothing copied", "long"])
def copies(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to copy."""

    def refuse(*_args: object) -> int:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    if request.param == "refused":
        monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    elif request.param == "nothing copied":
        monkeypatch.setattr(os, "copy_file_range", lambda *_args: 0, raising=False)
    elif request.param == "long":
        copy = os.copy_file_range
        monkeypatch.setattr(os, "copy_file_range", lambda source, target, size: copy(source, target, min(size, 7)))


@pytest.mark.usefixtures("copies")
@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_copy(storage: FolderStorage, share: Path, size: int) -> None:
    content = os.urandom(size)
    (share / "old").write_bytes(content)
    (share / "old").chmod(0o640)
    os.utime(share / "old", ns=(1, TIME))
    (share / "folder").mkdir()
    checked: list[list[str]] = []
    storage.copy_file(("old",), ("folder", "new"), lambda: checked.append(names(share / "folder")))
    new = share / "folder" / "new"
    assert new.read_bytes() == content
    assert (stat.S_IMODE(new.stat().st_mode), new.stat().st_mtime_ns) == (0o640, TIME)
    assert names(share / "folder") == ["new"]
    assert checked
    assert not any("new" in seen for seen in checked)


@pytest.mark.usefixtures("copies")
def test_a_copy_that_is_given_up(storage: FolderStorage, share: Path) -> None:
    class Enough(Exception):  # noqa: N818  (not an error)
        pass

    def give_up() -> None:
        raise Enough

    (share / "old").write_bytes(b"x" * 100)
    with pytest.raises(Enough):
        storage.copy_file(("old",), ("new",), give_up)
    assert names(share) == ["old"]


def test_a_copy_does_not_overwrite(storage: FolderStorage, share: Path) -> None:
    (share / "old").write_bytes(b"old")
    (share / "new").write_bytes(b"new")
    (share / "folder").mkdir()
    with pytest.raises(FileExistsError):
        storage.copy_file(("old",), ("new",), nothing)
    with pytest.raises(FileExistsError):
        storage.copy_file(("old",), ("folder",), nothing)
    with pytest.raises(IsADirectoryError):
        storage.copy_file(("folder",), ("other",), nothing)
    with pytest.raises(FileNotFoundError):
        storage.copy_file(("missing",), ("other",), nothing)

    def appear() -> None:
        (share / "late").write_bytes(b"host")

    with pytest.raises(FileExistsError):
        storage.copy_file(("old",), ("late",), appear)
    assert (share / "late").read_bytes() == b"host"
    assert names(share) == ["folder", "late", "new", "old"]


def test_a_copy_that_fails(storage: FolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (share / "old").write_bytes(b"old")
    monkeypatch.setattr(os, "copy_file_range", refuse)
    with pytest.raises(OSError, match="No space"):
        storage.copy_file(("old",), ("new",), nothing)
    assert names(share) == ["old"]
