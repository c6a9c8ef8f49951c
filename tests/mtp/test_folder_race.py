"""Somebody on the host swaps a folder of the export for a link to elsewhere, again and again."""

from __future__ import annotations

import itertools
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from usbredir_mtp.mtp import containment, syscalls
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.folder import FolderStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(not syscalls.has_openat2(), reason="needs RENAME_EXCHANGE")

ROUNDS = 400


@pytest.fixture(params=["best", "by components"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FolderStorage]:
    if request.param == "by components":
        monkeypatch.setattr(containment, "best_resolver", lambda: containment.by_components)
    (tmp_path / "share" / "a" / "b").mkdir(parents=True)
    (tmp_path / "outside" / "b").mkdir(parents=True)
    for folder in ("outside", "outside/b"):
        (tmp_path / folder / "file").write_bytes(b"secret")
    with FolderStorage(tmp_path / "share", description="share") as storage:
        yield storage


@contextmanager
def swapping(victim: Path, link: Path, target: Path) -> Iterator[None]:
    link.symlink_to(target)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            with suppress(FileNotFoundError):
                syscalls.renameat2(-100, str(victim), -100, str(link), flags=2)  # RENAME_EXCHANGE

    attacker = threading.Thread(target=swap)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # the more often the threads alternate, the more is tried
    attacker.start()
    try:
        yield
    finally:
        done.set()
        attacker.join()
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("victim", ["a", "a/b"])
def test_nothing_outside_is_touched(storage: FolderStorage, tmp_path: Path, victim: str) -> None:
    share, outside = tmp_path / "share", tmp_path / "outside"
    before = {path: path.stat() for path in (outside, *outside.rglob("*"))}
    folder = ("a", "b")
    uses: list[Callable[[], object]] = [
        lambda: storage.create((*folder, "file"), 4).commit(0),
        lambda: storage.make_folder((*folder, "made")),
        lambda: storage.set_modified((*folder, "file"), 0),
        lambda: storage.edit((*folder, "file")).close(),
        lambda: storage.rename((*folder, "file"), (*folder, "renamed")),
        lambda: storage.copy_file((*folder, "renamed"), (*folder, "copy"), lambda: None),
        lambda: storage.remove((*folder, "file")),
        lambda: storage.remove((*folder, "renamed")),
        lambda: storage.remove((*folder, "copy")),
        lambda: storage.remove((*folder, "made")),
        lambda: storage.remove((*folder, "file")),
    ]
    succeeded = failed = 0
    target = outside.joinpath(*victim.split("/")[1:])
    with swapping(share / victim, tmp_path / "link", target):
        for number in range(ROUNDS * 100):
            try:
                uses[number % len(uses)]()
                succeeded += 1
            except (OSError, MtpError):
                failed += 1
            if min(succeeded, failed) > ROUNDS:
                break
    assert min(succeeded, failed) > 0, "the race never happened"
    assert {path: path.stat().st_mtime_ns for path in (outside, *outside.rglob("*"))} == {
        path: status.st_mtime_ns for path, status in before.items()
    }
    assert (outside / "b" / "file").read_bytes() == (outside / "file").read_bytes() == b"secret"


def test_removing_a_tree_never_leaves_it(storage: FolderStorage, tmp_path: Path) -> None:
    share, outside = tmp_path / "share", tmp_path / "outside"
    with swapping(share / "a" / "b", tmp_path / "link", outside):
        for _ in range(ROUNDS):
            with suppress(OSError, MtpError):
                storage.remove(("a",))
            with suppress(OSError):
                (share / "a" / "b").mkdir(parents=True)
            with suppress(OSError):
                (share / "a" / "own").touch()
    assert sorted(path.name for path in outside.iterdir()) == ["b", "file"]
    assert (outside / "b" / "file").read_bytes() == b"secret"


def test_listings_never_show_the_outside(storage: FolderStorage, tmp_path: Path) -> None:
    share, outside = tmp_path / "share", tmp_path / "outside"
    (share / "a" / "b" / "inside").touch()
    seen: set[tuple[str, ...]] = set()
    with swapping(share / "a" / "b", tmp_path / "link", outside / "b"):
        for number in itertools.count():
            if seen and number >= ROUNDS * 3:
                break
            with suppress(OSError):
                seen.add(tuple(entry.name for entry in storage.scan(("a", "b"))))
                seen.add(tuple(name for name, _ in storage.scan_stat(("a", "b"))))
    assert seen == {("inside",)}
