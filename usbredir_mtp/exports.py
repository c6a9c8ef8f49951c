"""What is exported: its syntax, the storages that come of it, and their coming and going."""

from __future__ import annotations

import logging
import re
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.folder_links import LinkedFolderStorage
from usbredir_mtp.mtp.names import wire_name
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
    fsync: bool = False

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
            fsync=self.fsync,
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
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise ExportError("the folder is missing: use [NAME=]PATH[:ro]")
    with suppress(ExportError):
        return located(defaults, None, text)
    read_only = defaults.read_only or match["read_only"] is not None
    return located(replace(defaults, read_only=read_only), match["name"], match["path"])


def located(settings: Export, name: str | None, text: str) -> Export:
    """The export of a folder, `~` allowed, with these settings.

    Raises:
        ExportError: there is no such folder, or it cannot be listed.
    """
    try:
        path = Path(text).expanduser()
        next(path.iterdir(), None)
        path = path.resolve()
    except OSError as error:
        raise ExportError(f"{text}: {error.strerror}") from error
    except RuntimeError as error:
        raise ExportError(f"{text}: {error}") from error
    if name and wire_name(name) != name:
        raise ExportError(
            f"{name[:40]!r} is no name that a guest can be shown: longer than 254 characters, or not UTF-8"
        )
    return replace(settings, name=name or wire_name(path.name or str(path)), path=path)


class Shares:
    """What a device shares at the moment. For one thread at a time."""

    def __init__(self, device: MtpDevice) -> None:
        self._device = device
        self._roots: dict[Export, Root] = {}

    def update(self, exports: Iterable[Export], grace: float = 0.0) -> None:
        """Share these, and no others.

        Args:
            exports: What to share.
            grace: Seconds that uploads to the others may take to end first.

        Raises:
            OSError: a folder cannot be opened; nothing has changed then.
        """
        wanted = dict.fromkeys(exports)
        opened: dict[Export, FolderStorage] = {}
        with ExitStack() as undo:
            for export in [export for export in wanted if export not in self._roots]:
                opened[export] = undo.enter_context(export.open())
            undo.pop_all()
        deadline = monotonic() + grace
        for export in [export for export in self._roots if export not in wanted]:
            logger.info("going as soon as no upload to it is running: %s", export)
            self._device.remove_storage(self._roots.pop(export), deadline - monotonic())
            logger.info("no longer shared: %s", export)
        for export, storage in opened.items():
            self._roots[export] = self._device.add_storage(storage)
            logger.info("shared: %s", export)
