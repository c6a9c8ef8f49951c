"""Symbolic links swapped against every component of a path while a storage is used: python -m tests.reliability.swaps.

An attacker, a process of its own, exchanges folders and files of an export for links to their like outside, as fast as
it can, and back. Whatever the storage is asked meanwhile, not a byte may come from outside, and none go there.
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.reliability.figures import figure
from usbredir_mtp.mtp import containment, syscalls
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.folder_links import LinkedFolderStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    Names = tuple[str, ...]

ROOT = Path(__file__).parents[2]
FOLDERS = ("share", "a", "b", "c")
"""Each in the one before."""
INSIDE = b"inside"
SECRET = b"secret" * 1000
NAMES = {*FOLDERS, "file", "new", "made", "moved"}
"""All that a storage may tell of."""
TRIES = 100
"""Tries until the export is made anew."""
_RENAME_EXCHANGE = 2
_PATIENCE = 20


class EscapeError(AssertionError):
    """Something came from outside, or went there; the text says what."""


@dataclass(slots=True)
class Outcome:
    """What came of a run: tries, and those of them that came through; times that a link was swapped."""

    tries: int = 0
    done: int = 0
    swaps: int = 0


# -- the attacker -----------------------------------------------------------------------------------------------------


class Attacker:
    """The process that swaps, for the time of a `with`."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", __name__ if __name__ != "__main__" else "tests.reliability.swaps", "--attack"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_exc: object) -> None:
        with self._process:
            self._process.kill()

    def tell(self, top: Path | str) -> int:
        """Attack what is there, or nothing for ""; the swaps until then."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{top}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def attack() -> None:
    """Be the attacker: read places from standard input, and swap in the last one."""
    dice, swaps = Random(6), 0
    victims: list[tuple[int, str, int]] = []
    while True:
        if select.select([0], [], [], 0 if victims else None)[0]:
            top = os.read(0, 1 << 12).decode().strip()
            for descriptor in {row[0] for row in victims} | {row[2] for row in victims}:
                os.close(descriptor)
            victims = _victims(Path(top)) if top else []
            sys.stdout.write(f"{swaps}\n")
            sys.stdout.flush()
        for _ in range(100 if victims else 0):
            folder, name, spare = dice.choice(victims)
            # What was removed is no more.
            with suppress(OSError):
                syscalls.renameat2(folder, name, spare, f"{victims.index((folder, name, spare))}", _RENAME_EXCHANGE)
                swaps += 1


def _victims(top: Path) -> list[tuple[int, str, int]]:
    """Each component: its true folder's descriptor, its name, and the descriptor of where the links to swap are."""
    spare = os.open(top / "spare", os.O_RDONLY)
    folders = [top]
    for name in FOLDERS:
        folders.append(folders[-1] / name)
    rows = [(folder, name) for folder, name in zip(folders, FOLDERS, strict=False)]
    rows += [(folder, "file") for folder in folders[1:]]
    descriptors = {folder: os.open(folder, os.O_RDONLY) for folder in folders}
    return [(descriptors[folder], name, spare) for folder, name in rows]


def make(top: Path) -> None:
    """An export, its like outside, and links to that."""
    for first, content in (("share", INSIDE), ("outside", SECRET)):
        place = top / first
        for folder in ("", *FOLDERS[1:]):
            place /= folder
            place.mkdir(parents=True, exist_ok=True)
            (place / "file").write_bytes(content)
            (place / ("new" if first == "share" else "secret")).write_bytes(content)
    (top / "spare").mkdir()
    outside = [Path(*FOLDERS[1:depth]) for depth in range(1, len(FOLDERS) + 1)]
    targets = [*outside, *(folder / "file" for folder in outside)]
    for number, target in enumerate(targets):
        depth = max(len(target.parts), 1) if number else 0
        start = "../" * depth if number % 2 else f"{top}/"
        (top / "spare" / str(number)).symlink_to(f"{start}outside/{target}")


# -- the storage ------------------------------------------------------------------------------------------------------


def _read(storage: FolderStorage, folder: Names) -> None:
    with closing(storage.open((*folder, "file"))) as source:
        data = bytes(source.read(1 << 16))
    if not data.startswith(INSIDE[: len(data)]):
        raise EscapeError(f"read {data[:20]!r}")


def _names(storage: FolderStorage, folder: Names) -> None:
    _require({entry.name for entry in storage.scan(folder)})


def _listing(storage: FolderStorage, folder: Names) -> None:
    found = dict(storage.scan_stat(folder))
    _require(set(found))
    for stat in found.values():
        _require_size(stat.size)


def _stat(storage: FolderStorage, folder: Names) -> None:
    _require_size(storage.stat((*folder, "file")).size)


def _require(names: set[str]) -> None:
    if not names <= NAMES:
        raise EscapeError(f"listed {names - NAMES}")


def _require_size(size: int) -> None:
    if size == len(SECRET):
        raise EscapeError("told the size of what is outside")


def _write(storage: FolderStorage, path: Names) -> None:
    upload = storage.create(path, len(INSIDE))
    try:
        upload.write(INSIDE)
        upload.commit(10**18)
    finally:
        upload.abort()


def _edit(storage: FolderStorage, folder: Names) -> None:
    with closing(storage.edit((*folder, "file"))) as editor:
        editor.write_at(0, INSIDE)


def _folders(storage: FolderStorage, folder: Names) -> None:
    storage.make_folder((*folder, "made"))
    storage.remove((*folder, "made"))


def _rename(storage: FolderStorage, folder: Names) -> None:
    storage.rename((*folder, "file"), (*folder, "moved"))
    storage.rename((*folder, "moved"), (*folder, "file"))


def _move(storage: FolderStorage, folder: Names) -> None:
    storage.rename((*folder, "new"), ("moved",))
    storage.rename(("moved",), (*folder, "new"))


def _protect(storage: FolderStorage, folder: Names) -> None:
    storage.set_writable((*folder, "file"), False)
    storage.set_writable((*folder, "file"), True)


OPERATIONS: list[Callable[[FolderStorage, Names], None]] = [
    _read,
    _names,
    _listing,
    _stat,
    lambda storage, folder: _write(storage, (*folder, "file")),
    lambda storage, folder: _write(storage, (*folder, "new")),
    _edit,
    _folders,
    _rename,
    _move,
    lambda storage, folder: storage.copy_file((*folder, "file"), (*folder, "new"), lambda: None),
    lambda storage, folder: storage.remove((*folder, "new")),
    lambda storage, folder: storage.set_modified((*folder, "file"), 10**18),
    _protect,
]
KINDS: list[tuple[type[FolderStorage], containment.Resolver]] = [
    (kind, resolver)
    for kind in (FolderStorage, LinkedFolderStorage)
    for resolver in (containment.by_openat2, containment.by_components)
]


@dataclass(slots=True)
class Run:
    """Some tries, in exports that are made anew from time to time."""

    top: Path
    attacker: Attacker
    kinds: Sequence[tuple[type[FolderStorage], containment.Resolver]]
    dice: Random = field(default_factory=lambda: Random(61))
    outcome: Outcome = field(default_factory=Outcome)

    def batch(self) -> None:
        """An export, all of what it is used for, and its removal, under attack.

        Raises:
            EscapeError: Something came from outside, or went there.
        """
        make(self.top)
        before = state(self.top)
        kind, resolver = self.kinds[self.outcome.tries // TRIES % len(self.kinds)]
        with kind(self.top / "share", description="share") as storage:
            storage._root._resolve = resolver
            self.attacker.tell(self.top)
            for _ in range(TRIES - 1):
                self._try(self.dice.choice(OPERATIONS), storage, FOLDERS[1 : self.dice.randrange(1, 5)])
            self._try(lambda storage, path: storage.remove(path), storage, ("a",))
            self.outcome.swaps = self.attacker.tell("")
        if state(self.top) != before:
            raise EscapeError("what is outside has changed")
        shutil.rmtree(self.top)

    def _try(self, use: Callable[[FolderStorage, Names], None], storage: FolderStorage, folder: Names) -> None:
        self.outcome.tries += 1
        with suppress(OSError, MtpError):
            use(storage, folder)
            self.outcome.done += 1


def state(top: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """All that one can see outside of the export."""
    found = {}
    for path in _outside(top):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_ino, content)
    return found


def _outside(top: Path) -> Iterator[Path]:
    yield from (path for path in top.iterdir() if path.name not in {"share", "spare"})
    yield from (top / "outside").rglob("*")


def run(
    seconds: float = float("inf"),
    tries: float = float("inf"),
    kinds: Sequence[tuple[type[FolderStorage], containment.Resolver]] = KINDS,
) -> Outcome:
    """Try for that long, or so often, with these kinds of storages in turn.

    Raises:
        EscapeError: The export is no wall.
    """
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder, Attacker() as attacker:
        attempt = Run(Path(folder, "top"), attacker, kinds)
        while attempt.outcome.tries < tries and time.monotonic() < deadline:
            attempt.batch()
    return attempt.outcome


def report(outcome: Outcome) -> None:
    """Keep the figures."""
    figure("uses of an export under attack", outcome.tries)
    figure("of them that came through", outcome.done)
    figure("swaps of a link meanwhile", outcome.swaps)


def main() -> None:
    """A long run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=1_000_000)
    parser.add_argument("--attack", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.attack:
        attack()
        return
    outcome = run(tries=arguments.tries)
    report(outcome)
    print(outcome)


if __name__ == "__main__":
    main()
