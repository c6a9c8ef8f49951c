"""Changes that happen behind the object table: what a storage's watch reports, taken in."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.nodes import storage_of
from usbredir_mtp.mtp.storage import Change, ChangeKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbredir_mtp.mtp.nodes import Root
    from usbredir_mtp.mtp.objects import ObjectTable
    from usbredir_mtp.mtp.storage import Path, Storage, Watch

logger = logging.getLogger(__name__)


def follow(table: ObjectTable, root: Root) -> Watch | None:
    """Take in what happens to a storage from now on; None if it cannot tell."""
    return storage_of(root).watch(lambda change: apply(table, root, change))


def apply(table: ObjectTable, root: Root, change: Change) -> None:
    """Take in one change; what the table knows already is no news."""
    if root.removed or table.defer(root, change):
        return
    try:
        _APPLY[change.kind](table, root, change)
    except (OSError, MtpError) as error:
        logger.debug("change %s not followed: %s", change, error)


def _present(table: ObjectTable, root: Root, change: Change) -> None:
    """Something appeared or changed at `change.path`."""
    folder = table.find(root, change.path[:-1])
    if folder is None or not folder.listed or not change.path:
        return  # nobody has seen that folder yet: a listing will show it
    storage, name = storage_of(root), change.path[-1]
    if not storage.hides(name) or table.find(root, change.path) is not None:
        table.added(folder, name, storage.stat(change.path))


def _removed(table: ObjectTable, root: Root, change: Change) -> None:
    node = table.find(root, change.path)
    if node is None or node is root:
        return
    # The name may be in use again by the time that the news arrives.
    with suppress(OSError):
        if storage_of(root).stat(change.path).folder == node.folder:
            return
    table.removed(node)


def _moved(table: ObjectTable, root: Root, change: Change) -> None:
    """The object keeps its handle, unless the news is old: something else has the one name or the other by now."""
    storage = storage_of(root)
    target = change.target or ()
    node, folder = table.find(root, change.path), table.find(root, target[:-1])
    if folder is None or not target or storage.hides(target[-1]):
        _removed(table, root, change)
    elif node is None or node is root or _is_there(storage, change.path):
        _present(table, root, change._replace(path=target))
    elif not (_is_there(storage, target) and table.moved(node, folder, target[-1], replace=False)):
        _removed(table, root, change)
        _present(table, root, change._replace(path=target))


def _is_there(storage: Storage, path: Path) -> bool:
    with suppress(OSError):
        storage.stat(path)
        return True
    return False


def _missed(table: ObjectTable, root: Root, change: Change) -> None:
    """Look at everything that initiators have seen at and below `change.path`."""
    pending = [table.find(root, change.path)]
    while pending:
        folder = pending.pop()
        if folder is None or not folder.listed or root.removed:
            continue
        with suppress(OSError, MtpError):
            pending += [view.node for view in table.views(folder) if view.node.folder]


_APPLY: dict[ChangeKind, Callable[[ObjectTable, Root, Change], None]] = {
    ChangeKind.ADDED: _present,
    ChangeKind.MODIFIED: _present,
    ChangeKind.REMOVED: _removed,
    ChangeKind.MOVED: _moved,
    ChangeKind.RESCAN: _missed,
}
