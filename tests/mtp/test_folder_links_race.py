"""Somebody on the host points a link elsewhere, or puts one in a folder's place, before any one of the system calls."""

from __future__ import annotations

import itertools
import os
import shutil
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from usbredir_mtp.mtp import containment, syscalls
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.folder_links import LinkedFolderStorage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CALLS = [
    (os, ("stat", "open", "readlink", "scandir", "access", "mkdir", "rename", "unlink", "rmdir", "utime")),
    (syscalls, ("openat2", "renameat2")),
]


@dataclass
class Attack:
    """Does something once, before a system call of that number."""

    number: int
    act: Callable[[], object]
    seen: int = 0
    done: bool = False

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def attacked(*args: object, **more: object) -> Any:
            self.seen += 1
            if self.seen > self.number and not self.done:
                self.done = True
                self.act()
            return call(*args, **more)

        return attacked


def make(top: Path) -> Path:
    """A share with a folder, and its like outside."""
    share = top / "share"
    for folder, text in {share / "box": "inner", top / "outside": "secret"}.items():
        (folder / "deep").mkdir(parents=True)
        (folder / "inner").write_text(text)
        (folder / "deep" / "file").write_text(text)
    return share


def point(share: Path, target: str) -> None:
    (share / "spare").symlink_to(target)
    (share / "spare").rename(share / "link")


def replace_folder(share: Path, target: str) -> None:
    (share / "box").rename(share / "kept")
    (share / "box").symlink_to(target)


def replace_file(share: Path, target: str) -> None:
    (share / "spare").symlink_to(target)
    (share / "spare").rename(share / "box" / "inner")


# What the link says at first, and what is done then.
ATTACKS: dict[str, tuple[str, Callable[[Path, str], None], str]] = {
    "out, relative": ("box", point, "../outside"),
    "out, absolute": ("box", point, "{outside}"),
    "back inside": ("../outside", point, "box"),
    "its target becomes a link": ("box", replace_folder, "../outside"),
    "its target becomes an absolute link": ("box", replace_folder, "{outside}"),
    "a file becomes a link": ("box", replace_file, "../../outside/inner"),
    "a file becomes an absolute link": ("box", replace_file, "{outside}/inner"),
}


def read(storage: LinkedFolderStorage) -> None:
    with closing(storage.open(("link", "inner"))) as source:
        assert bytes(source.read(100)) == b"inner"


def listing(storage: LinkedFolderStorage) -> None:
    assert "outside" not in {entry.name for entry in storage.scan(("link",))}
    for name, status in storage.scan_stat(("link",)):
        assert (name, status.size) in {("deep", 0), ("inner", 5)}


def write(storage: LinkedFolderStorage, *path: str) -> None:
    upload = storage.create(path, 3)
    try:
        upload.write(b"new")
        upload.commit(10**18)
    finally:
        upload.abort()


def edit(storage: LinkedFolderStorage) -> None:
    with closing(storage.edit(("link", "inner"))) as editor:
        editor.write_at(0, b"edited")


USES: dict[str, Callable[[LinkedFolderStorage], object]] = {
    "read": read,
    "list": listing,
    "list all": lambda storage: list(storage.scan_stat(())),
    "stat": lambda storage: storage.stat(("link", "deep", "file")),
    "replace": lambda storage: write(storage, "link", "inner"),
    "make a file": lambda storage: write(storage, "link", "new"),
    "edit": edit,
    "make a folder": lambda storage: storage.make_folder(("link", "made")),
    "rename": lambda storage: storage.rename(("link", "inner"), ("link", "renamed")),
    "rename the link": lambda storage: storage.rename(("link",), ("renamed",)),
    "remove": lambda storage: storage.remove(("link", "inner")),
    "remove a tree": lambda storage: storage.remove(("link", "deep")),
    "remove the link": lambda storage: storage.remove(("link",)),
    "copy": lambda storage: storage.copy_file(("link", "inner"), ("link", "copy"), lambda: None),
    "date": lambda storage: storage.set_modified(("link", "inner"), 0),
    "protect": lambda storage: storage.set_writable(("link", "inner"), False),
}


def outside_of(top: Path) -> dict[str, tuple[int, int, bytes]]:
    found = {}
    for path in sorted((top / "outside").rglob("*")):
        status = path.lstat()
        found[path.name] = status.st_mode, status.st_mtime_ns, b"" if path.is_dir() else path.read_bytes()
    return found


@pytest.mark.parametrize("resolver", [containment.by_openat2, containment.by_components])
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("use", USES)
def test_nothing_outside_is_seen_or_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: str, attack: str, resolver: containment.Resolver
) -> None:
    if resolver is containment.by_openat2 and not syscalls.has_openat2():
        pytest.skip("no openat2")
    first, act, target = ATTACKS[attack]
    for number in itertools.count():
        top = tmp_path / str(number)
        share = make(top)
        point(share, first)
        before = outside_of(top)
        text = target.format(outside=top / "outside")
        with LinkedFolderStorage(share, description="share") as storage, monkeypatch.context() as patch:
            storage._root._resolve = resolver
            moment = Attack(number, lambda share=share, text=text: act(share, text))  # type: ignore[misc]
            for module, names in CALLS:
                for name in names:
                    patch.setattr(module, name, moment.before(getattr(module, name)))
            with suppress(OSError, MtpError):
                USES[use](storage)
        assert outside_of(top) == before, f"before call {number}"
        shutil.rmtree(top)
        if not moment.done:
            break
    assert number > 0
