"""What the command line exports: its syntax, and the storages that come of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.objects import ObjectTable

_SYNTAX = re.compile(r"(?:(?P<name>[^/=]+)=)?(?P<path>.+?)(?P<read_only>:ro)?", re.DOTALL)


class ExportError(ValueError):
    """An export that cannot be used; the text says why and what to do."""


@dataclass(slots=True, frozen=True)
class Export:
    """One shared folder."""

    name: str
    path: Path
    read_only: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.path} ({'read-only' if self.read_only else 'read-write'})"


def parse_export(text: str, *, read_only: bool = False) -> Export:
    """An export from `[NAME=]PATH[:ro]`; a folder that bears the whole text as its name comes first.

    Raises:
        ExportError: there is no such folder, or it cannot be listed.
    """
    whole = Path(text).expanduser()
    if whole.is_dir():
        return _export(None, whole, read_only=read_only)
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise ExportError("the folder is missing: use [NAME=]PATH[:ro]")
    path = Path(match["path"]).expanduser()
    return _export(match["name"], path, read_only=read_only or match["read_only"] is not None)


def _export(name: str | None, path: Path, *, read_only: bool) -> Export:
    try:
        next(path.iterdir(), None)
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror}") from error
    path = path.resolve()
    return Export(name or path.name or str(path), path, read_only)


def open_exports(exports: list[Export]) -> ObjectTable:
    """The object table over some exports, one storage each."""
    objects = ObjectTable()
    for export in exports:
        objects.add_storage(FolderStorage(export.path, description=export.name, read_only=export.read_only))
    return objects
