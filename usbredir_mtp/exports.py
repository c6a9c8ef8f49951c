"""What is exported: its syntax, the storages that come of it, and their coming and going."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.folder_links import LinkedFolderStorage
from usbredir_mtp.mtp.watch_plan import AUTO, WatchPlan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usbredir_mtp.mtp.device import MtpDevice
    from usbredir_mtp.mtp.nodes import Root

logger = logging.getLogger(__name__)

_SYNTAX = re.compile(r"(?:(?P<name>[^/=]+)=)?(?P<path>.+?)(?P<read_only>:ro)?", re.DOTALL)


class ExportError(ValueError):
    """An export that cannot be used; the text says why and what to do."""


@dataclass(slots=True, frozen=True)
class Export:
    """One shared folder."""

    name: str
    path: Path
    read_only: bool = False
    show_hidden: bool = False
    follow_symlinks: bool = False
    watch: WatchPlan = AUTO

    def __str__(self) -> str:
        return f"{self.name}: {self.path} ({'read-only' if self.read_only else 'read-write'})"

    def open(self) -> FolderStorage:
        """Its storage.

        Raises:
            OSError: the folder is gone, or may not be opened.
        """
        kind = LinkedFolderStorage if self.follow_symlinks else FolderStorage
        return kind(
            self.path,
            description=self.name,
            read_only=self.read_only,
            show_hidden=self.show_hidden,
            watch=self.watch,
        )


def parse_export(text: str, defaults: Export | None = None) -> Export:
    """An export from `[NAME=]PATH[:ro]`; a folder that bears the whole text as its name comes first.

    Args:
        text: What the user wrote.
        defaults: Whose settings hold where the text does not say otherwise.

    Raises:
        ExportError: there is no such folder, or it cannot be listed.
    """
    defaults = defaults or Export("", Path())
    whole = Path(text).expanduser()
    if whole.is_dir():
        return located(defaults, None, whole)
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise ExportError("the folder is missing: use [NAME=]PATH[:ro]")
    read_only = defaults.read_only or match["read_only"] is not None
    return located(replace(defaults, read_only=read_only), match["name"], Path(match["path"]).expanduser())


def located(settings: Export, name: str | None, path: Path) -> Export:
    """The export of a folder with these settings.

    Raises:
        ExportError: there is no such folder, or it cannot be listed.
    """
    try:
        next(path.iterdir(), None)
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror}") from error
    path = path.resolve()
    return replace(settings, name=name or path.name or str(path), path=path)


class Shares:
    """What a device shares at the moment. For one thread at a time."""

    def __init__(self, device: MtpDevice) -> None:
        self._device = device
        self._roots: dict[Export, Root] = {}

    def update(self, exports: Iterable[Export]) -> None:
        """Share these, and no others.

        Raises:
            OSError: a folder cannot be opened; nothing has changed then.
        """
        wanted = dict.fromkeys(exports)
        opened = {export: export.open() for export in wanted if export not in self._roots}
        for export in [export for export in self._roots if export not in wanted]:
            self._device.remove_storage(self._roots.pop(export))
            logger.info("no longer shared: %s", export)
        for export, storage in opened.items():
            self._roots[export] = self._device.add_storage(storage)
            logger.info("shared: %s", export)
