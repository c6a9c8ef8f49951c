from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.mtp.test_watch import EVERYTHING, Listener, added, removed
from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.folder_links import LinkedFolderStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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
    assert replace(storage.stat(("link",)), identity=storage.stat(("file",)).identity) == storage.stat(("file",))


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
    targets += ["/file", "/box", "/box/inner"]  # which are there, were the export the root of all
    for number, target in enumerate(targets):
        (share / f"link {number}").symlink_to(target)
    assert set(names(storage)) == {"box", "file"}
    with pytest.raises(FileNotFoundError):
        storage.open(("link 0", "secret"))


def test_an_absolute_link_by_the_path_that_the_user_gave(share: Path) -> None:
    (share.parent / "alias").symlink_to("share")
    (share / "link").symlink_to(f"{share.parent}/alias/./box//inner")
    (share / "real").symlink_to(share.resolve() / "file")
    with LinkedFolderStorage(share.parent / "alias", description="share") as storage:
        assert read(storage, "link") == b"inner"
        assert read(storage, "real") == b"file"


def test_no_place_outside_is_looked_at(
    storage: LinkedFolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a server that does not answer."""
    outside = share.parent / "outside"
    for name, target in {"up": "../outside/secret", "absolute": f"{outside}/secret", "folder": f"{outside}"}.items():
        (share / name).symlink_to(target)
    looked_at: list[str] = []

    def spy(call: Callable[..., object], path: object, *args: object, **more: object) -> object:
        looked_at.append(str(path))
        return call(path, *args, **more)

    for call in ("stat", "open", "readlink"):
        monkeypatch.setattr(os, call, partial(spy, getattr(os, call)))
    assert set(names(storage)) == {"box", "file"}
    monkeypatch.undo()
    assert {"up", "absolute", "folder"} <= set(looked_at)
    assert not [path for path in looked_at if ".." in path or path.startswith(str(outside)) or path == "secret"]


@pytest.mark.parametrize("target", ["file/../box/inner", "missing/../file", "file/..", "box/inner/../../file"])
def test_there_is_no_way_up_from_what_is_no_folder(storage: LinkedFolderStorage, share: Path, target: str) -> None:
    (share / "link").symlink_to(target)
    assert "link" not in names(storage)
    with pytest.raises(FileNotFoundError):
        storage.stat(("link",))


@pytest.mark.parametrize("name", ["", ".", "..", "box/inner", "nul\0"])
def test_impossible_names(storage: LinkedFolderStorage, name: str) -> None:
    for path in ((name,), ("box", name), ("box", name, "file")):
        with pytest.raises(OSError, match="Invalid argument"):
            storage.stat(path)


def test_what_is_not_shown_cannot_be_changed(storage: LinkedFolderStorage, share: Path) -> None:
    for name, target in {"out": "../outside", "nowhere": "missing", "loop": "loop"}.items():
        (share / name).symlink_to(target)
    (share / "box" / "up").symlink_to("..")
    for path in (("out",), ("nowhere",), ("loop",), ("box", "up")):
        with pytest.raises(FileNotFoundError):
            storage.stat(path)
        with pytest.raises(FileNotFoundError):
            storage.remove(path)
        with pytest.raises(FileNotFoundError):
            storage.rename(path, ("new",))
        assert share.joinpath(*path).is_symlink()


def test_a_link_that_a_file_replaces_during_the_listing(
    storage: LinkedFolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed once."""
    (share / "link").symlink_to("file")
    status = storage.stat(("link",))
    (share / "link").unlink()
    (share / "link").touch()
    monkeypatch.setattr(storage, "_links", lambda folder: iter([("link", status)]))
    assert sorted(entry.name for entry in storage.scan(())) == ["box", "file", "link"]
    assert sorted(name for name, _ in storage.scan_stat(())) == ["box", "file", "link"]


def test_a_link_renamed_to_what_is_there(storage: LinkedFolderStorage, share: Path) -> None:
    (share / "link").symlink_to("file")
    (share / "other").symlink_to("box")
    for new in ("file", "box", "other"):
        with pytest.raises(FileExistsError):
            storage.rename(("link",), (new,))


def test_a_link_in_another_case_where_case_is_ignored(
    storage: LinkedFolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hard links stand in for the two names that such a file system knows for one entry."""
    (share / "link").symlink_to("file")
    os.link(share / "link", share / "LINK", follow_symlinks=False)
    renamed: list[object] = []
    monkeypatch.setattr(os, "rename", lambda old, new, **_kwargs: renamed.append((old, new)))
    storage.rename(("link",), ("LINK",))
    assert renamed == [("link", "LINK")]


def test_a_link_that_became_a_file_meanwhile(
    storage: LinkedFolderStorage, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (share / "plain").touch()
    monkeypatch.setattr(storage, "_is_link", lambda path: True)
    for change in (storage.remove, lambda path: storage.rename(path, ("new",))):
        with pytest.raises(FileNotFoundError):
            change(("plain",))
    assert (share / "plain").exists()


def test_identities(storage: LinkedFolderStorage, share: Path) -> None:
    """Whoever sees an object in two places sees two; each keeps its identity when it is renamed."""
    (share / "link").symlink_to("box")
    (share / "again").symlink_to("box")
    (share / "to file").symlink_to("file")
    paths: list[tuple[str, ...]] = [("file",), ("to file",), ("box",), ("link",), ("again",)]
    paths += [(folder, name) for folder in ("box", "link", "again") for name in ("inner", "deep")]
    seen = {path: storage.stat(path).identity for path in paths}
    assert len(set(seen.values())) == len(paths)
    assert max(seen.values()) < 1 << 96
    folders: list[tuple[str, ...]] = [(), ("box",), ("link",)]
    for folder in folders:
        for name, status in storage.scan_stat(folder):
            assert status.identity == seen[*folder, name]
    storage.rename(("link",), ("renamed",))
    assert storage.stat(("renamed",)).identity == seen[("link",)]
    assert storage.stat(("renamed", "inner")).identity == seen["link", "inner"]
    assert storage.stat(("box", "inner")).identity == (share / "box" / "inner").stat().st_ino


def test_changes_are_told_under_the_links_names_too(storage: LinkedFolderStorage, share: Path) -> None:
    (share / "link").symlink_to("box")
    (share / "to file").symlink_to("file")
    listener = Listener()
    running = storage.watch(listener)
    assert running is not None
    try:
        listener.wait(EVERYTHING)
        names(storage)
        (share / "box" / "new").touch()
        listener.wait(added("box", "new"), added("link", "new"))
        (share / "file").unlink()
        listener.wait(removed("file"), removed("to file"))
    finally:
        running.stop()


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
    assert not {("box", "up"), ("box", "self")} & found
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


def test_without_following_no_link_is_there(share: Path) -> None:
    (share / "link").symlink_to("file")
    with FolderStorage(share, description="share") as storage:
        assert names(storage) == {"box": True, "file": False}
