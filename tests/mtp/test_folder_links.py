from __future__ import annotations

import os
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.folder_links import LinkedFolderStorage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    (share / "box" / "deep").mkdir(parents=True)
    (share / "file").write_text("file")
    (share / "box" / "inner").write_text("inner")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    return share


@pytest.fixture
def storage(share: Path) -> Iterator[LinkedFolderStorage]:
    with LinkedFolderStorage(share, description="share") as storage:
        yield storage


def names(storage: FolderStorage, *folder: str) -> dict[str, bool]:
    listed = {entry.name: entry.folder for entry in storage.scan(folder)}
    assert listed == {name: status.folder for name, status in storage.scan_stat(folder)}
    return listed


def read(storage: FolderStorage, *path: str) -> bytes:
    with closing(storage.open(path)) as source:
        return bytes(source.read(1000))


def write(storage: FolderStorage, data: bytes, *path: str) -> None:
    upload = storage.create(path, len(data))
    upload.write(data)
    upload.commit(None)


@pytest.mark.parametrize("target", ["file", "./file", "box/../file", "box/deep/../../file", "box/back"])
def test_a_link_to_a_file(storage: LinkedFolderStorage, share: Path, target: str) -> None:
    (share / "box" / "back").symlink_to("../file")
    (share / "link").symlink_to(target)
    assert names(storage)["link"] is False
    assert read(storage, "link") == b"file"
    assert storage.stat(("link",)) == storage.stat(("file",))


def test_a_link_to_a_folder(storage: LinkedFolderStorage, share: Path) -> None:
    (share / "link").symlink_to("box")
    assert names(storage)["link"] is True
    assert names(storage, "link") == {"deep": True, "inner": False}
    assert read(storage, "link", "inner") == b"inner"
    storage.make_folder(("link", "made"))
    write(storage, b"new", "link", "new")
    assert (share / "box" / "made").is_dir()
    assert (share / "box" / "new").read_text() == "new"


def test_an_absolute_link_that_leads_back_inside(storage: LinkedFolderStorage, share: Path) -> None:
    (share / "link").symlink_to(share.resolve() / "box" / "inner")
    (share / "box" / "root").symlink_to(share.resolve())
    assert read(storage, "link") == b"inner"
    assert names(storage, "box") == {"deep": True, "inner": False}


@pytest.mark.parametrize(
    "target",
    [
        "missing",
        "link",
        "../outside/secret",
        "../share/file",
        "box/../../outside/secret",
        "/etc/passwd",
        "file/below",
        "/proc/self/fd/0",
        "../../../../../../../../etc/passwd",
    ],
)
def test_a_link_that_leads_nowhere_or_out(storage: LinkedFolderStorage, share: Path, target: str) -> None:
    (share / "link").symlink_to(target)
    assert "link" not in names(storage)
    for use in (storage.stat, storage.open, storage.edit, lambda path: storage.set_modified(path, 0)):
        with pytest.raises(OSError):  # noqa: PT011  (whichever it is)
            use(("link",))
    if target != "missing":
        with pytest.raises(OSError):  # noqa: PT011
            write(storage, b"x", "link")
    assert (share.parent / "outside" / "secret").read_text() == "secret"


def test_an_absolute_link_out(storage: LinkedFolderStorage, share: Path) -> None:
    targets: list[str | Path] = [share.parent / "outside", f"{share.resolve()}extra", share.parent]
    for number, target in enumerate(targets):
        (share / f"link {number}").symlink_to(target)
    assert set(names(storage)) == {"box", "file"}
    with pytest.raises(FileNotFoundError):
        storage.open(("link 0", "secret"))


def test_fifos_behind_links_are_not_there(storage: LinkedFolderStorage, share: Path) -> None:
    os.mkfifo(share / "fifo")
    (share / "link").symlink_to("fifo")
    assert "link" not in names(storage)
    with pytest.raises(FileNotFoundError):
        storage.open(("link",))


def test_no_tree_is_endless(storage: LinkedFolderStorage, share: Path) -> None:
    (share / "box" / "up").symlink_to("..")
    (share / "box" / "self").symlink_to(".")
    (share / "other").mkdir()
    (share / "other" / "to box").symlink_to("../box")
    (share / "box" / "deep" / "to other").symlink_to("../../other")

    def walk(*folder: str) -> Iterator[tuple[str, ...]]:
        for name, is_folder in names(storage, *folder).items():
            yield (*folder, name)
            if is_folder:
                yield from walk(*folder, name)

    found = set(walk())
    assert ("box", "deep", "to other") in found
    assert ("other", "to box", "deep") in found
    assert max(map(len, found)) <= 4


def test_writing_through_a_link_that_leads_to_nothing_yet(storage: LinkedFolderStorage, share: Path) -> None:
    (share / "link").symlink_to("box/later")
    write(storage, b"now", "link")
    assert (share / "box" / "later").read_text() == "now"
    assert names(storage)["link"] is False


def test_too_many_links(storage: LinkedFolderStorage, share: Path) -> None:
    (share / "0").symlink_to("file")
    for number in range(1, 50):
        (share / str(number)).symlink_to(str(number - 1))
    assert {"0", "39"} <= set(names(storage))
    assert not {"40", "49"} & set(names(storage))


def test_what_is_written_goes_where_the_link_leads(storage: LinkedFolderStorage, share: Path) -> None:
    (share / "link").symlink_to("box/inner")
    write(storage, b"new", "link")
    assert (share / "link").is_symlink()
    assert (share / "box" / "inner").read_text() == "new"
    editor = storage.edit(("link",))
    editor.write_at(3, b"er")
    editor.close()
    assert (share / "box" / "inner").read_text() == "newer"
    storage.set_modified(("link",), 10**18)
    assert (share / "box" / "inner").stat().st_mtime_ns == 10**18
    storage.set_writable(("link",), False)
    assert not storage.stat(("link",)).writable


def test_a_link_itself_is_removed_renamed_and_moved(storage: LinkedFolderStorage, share: Path) -> None:
    for name, target in {"one": "file", "two": "box", "three": "file"}.items():
        (share / name).symlink_to(target)
    storage.remove(("one",))
    storage.remove(("two",))
    storage.rename(("three",), ("box", "moved"))
    with pytest.raises(FileExistsError):
        storage.rename(("box", "moved"), ("file",))
    assert not (share / "one").exists()
    assert os.readlink(share / "box" / "moved") == "file"  # noqa: PTH115
    assert (share / "file").read_text() == "file"
    assert (share / "box" / "inner").exists()
    storage.rename(("file",), ("renamed",))
    storage.remove(("box",))
    assert names(storage) == {"renamed": False}


def test_a_copy_is_of_the_file(storage: LinkedFolderStorage, share: Path) -> None:
    (share / "link").symlink_to("file")
    storage.copy_file(("link",), ("box", "copy"), lambda: None)
    assert not (share / "box" / "copy").is_symlink()
    assert (share / "box" / "copy").read_text() == "file"


def test_read_only(share: Path) -> None:
    (share / "link").symlink_to("file")
    with LinkedFolderStorage(share, description="share", read_only=True) as storage:
        with pytest.raises(OSError, match="Read-only"):
            storage.remove(("link",))
        with pytest.raises(OSError, match="Read-only"):
            storage.rename(("link",), ("other",))
        with pytest.raises(OSError, match="Read-only"):
            write(storage, b"x", "link")
    assert (share / "link").is_symlink()


def test_the_root_is_nobody_s_to_change(storage: LinkedFolderStorage) -> None:
    assert storage.stat(()).folder
    for change in (storage.remove, storage.make_folder):
        with pytest.raises(OSError):  # noqa: PT011
            change(())


def test_links_swapped_at_any_time_lead_nowhere_outside(share: Path, storage: LinkedFolderStorage) -> None:
    """A folder on the way is now a folder, now a link to its like outside."""
    (share.parent / "outside" / "inner").write_text("secret")
    done = threading.Event()

    def swap() -> None:
        box, kept, link = share / "box", share / "kept", share / "spare"
        while not done.is_set():
            link.symlink_to("../outside")
            box.rename(kept)
            link.rename(box)
            box.unlink()
            kept.rename(box)

    attacker = threading.Thread(target=swap)
    attacker.start()
    seen = set()
    try:
        for _ in range(3000):
            try:
                seen.add(read(storage, "box", "inner"))
            except OSError:
                seen.add(b"")
    finally:
        done.set()
        attacker.join()
    assert b"secret" not in seen


def test_without_following_no_link_is_there(share: Path) -> None:
    (share / "link").symlink_to("file")
    with FolderStorage(share, description="share") as storage:
        assert names(storage) == {"box": True, "file": False}
