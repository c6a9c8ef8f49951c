"""Where an initiator wants an object to be: shared by the operations that make, move and copy objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import ALL_HANDLES, ResponseCode
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.names import may_be_altered
from usbredir_mtp.mtp.nodes import locate, storage_of

if TYPE_CHECKING:
    from usbredir_mtp.mtp.nodes import Node
    from usbredir_mtp.mtp.objects import ObjectTable
    from usbredir_mtp.mtp.storage import Path, Storage


def destination(objects: ObjectTable, storage_id: int, parent: int) -> Node:
    """The folder that (storage, parent) names; the storage may be 0 if the parent says it, or for the first one.

    Raises:
        MtpError: INVALID_STORAGE_ID, INVALID_PARENT_OBJECT, STORE_READ_ONLY.
    """
    folder = _root(objects, storage_id) if parent in {0, ALL_HANDLES} else _parent(objects, parent)
    root, storage, _ = locate(folder)
    if storage_id not in {0, root.storage_id}:
        raise MtpError(ResponseCode.INVALID_PARENT_OBJECT, f"the parent is not in storage {storage_id:#010x}")
    if storage.read_only:
        raise MtpError(ResponseCode.STORE_READ_ONLY)
    return folder


def _root(objects: ObjectTable, storage_id: int) -> Node:
    if storage_id:
        return objects.stores.root(storage_id)
    for root in objects.stores:
        if not storage_of(root).read_only:
            return root
    raise MtpError(ResponseCode.STORE_READ_ONLY, "no storage can be written to")


def _parent(objects: ObjectTable, handle: int) -> Node:
    try:
        folder = objects.get(handle)
    except MtpError as error:
        raise MtpError(ResponseCode.INVALID_PARENT_OBJECT, error.detail) from error
    if not folder.folder:
        raise MtpError(ResponseCode.INVALID_PARENT_OBJECT, f"handle {handle:#x} is a file")
    return folder


def host_name(objects: ObjectTable, folder: Node, name: str) -> str:
    """The host's name for what an initiator calls `name` in a folder.

    A name that had to be altered for the wire means the object that bears it: no two may look the same.

    Raises:
        MtpError: INVALID_OBJECT_PROP_VALUE for a name that no file can have or that would lead elsewhere.
        OSError: from the storage.
    """
    root, _, _ = locate(folder)
    plain = root.presentation.host_name(name)
    if may_be_altered(name):
        for node in objects.children(folder):
            if node.name != plain and root.presentation.wire_name(node.name) == name:
                return node.name
    return plain


def writable(node: Node) -> tuple[Storage, Path]:
    """The storage and path of an object in or below which something is about to be changed.

    Raises:
        MtpError: STORE_READ_ONLY.
    """
    _, storage, path = locate(node)
    if storage.read_only:
        raise MtpError(ResponseCode.STORE_READ_ONLY)
    return storage, path


def changeable(node: Node) -> tuple[Storage, Path]:
    """`writable`, for an object that is itself to be changed, moved or removed, and so must not be protected.

    Raises:
        MtpError: STORE_READ_ONLY, OBJECT_WRITE_PROTECTED.
        OSError: from the storage.
    """
    storage, path = writable(node)
    if not storage.stat(path).writable:
        raise MtpError(ResponseCode.OBJECT_WRITE_PROTECTED, f"{node.name!r} is protected")
    return storage, path


def place(node: Node) -> tuple[Node, str]:
    """The folder and the name of an object.

    Raises:
        MtpError: INVALID_OBJECT_HANDLE if it was removed meanwhile.
    """
    if node.parent is None:
        raise MtpError(ResponseCode.INVALID_OBJECT_HANDLE, f"{node.name!r} is gone")
    return node.parent, node.name
