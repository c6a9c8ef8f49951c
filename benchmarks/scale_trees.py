"""Trees of empty files and folders, made once and kept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

IN_A_FOLDER = 1000


def files_below(where: Path, count: int) -> Path:
    """A folder with `count` empty files below it, 1000 in each of its folders."""
    root = where / f"files-{count}"
    if not _is_made(root):
        for first in range(0, count, IN_A_FOLDER):
            _make_files(root / f"folder {first // IN_A_FOLDER:04}", min(IN_A_FOLDER, count - first))
        _mark(root)
    return root


def flat_folder(where: Path, count: int) -> Path:
    """A folder that holds a folder "flat" with `count` empty files in it."""
    root = where / f"flat-{count}"
    if not _is_made(root):
        _make_files(root / "flat", count)
        _mark(root)
    return root


def folders_below(where: Path, count: int) -> Path:
    """A folder with `count` folders below it, 1000 in each of those at its top."""
    root = where / f"folders-{count}"
    if not _is_made(root):
        tops = max(count // (IN_A_FOLDER + 1), 1)
        for number in range(count - tops):
            (root / f"top {number % tops:04}" / f"folder {number // tops:04}").mkdir(parents=True, exist_ok=True)
        _mark(root)
    return root


def large_file(where: Path, size: int) -> Path:
    """A folder that holds one file of `size` bytes, all of them written."""
    root = where / f"large-{size}"
    if not _is_made(root):
        root.mkdir(parents=True, exist_ok=True)
        with (root / "file").open("wb") as file:
            for start in range(0, size, 1 << 20):
                file.write(bytes(min(1 << 20, size - start)))
        _mark(root)
    return root


def _make_files(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        os.close(os.open(folder / f"file {number:06}.txt", os.O_CREAT | os.O_WRONLY, 0o644))


def _is_made(root: Path) -> bool:
    return root.with_suffix(".made").exists()


def _mark(root: Path) -> None:
    root.with_suffix(".made").touch()
