"""Making, moving, copying and deleting objects (MTP 1.1, D.2.11-13, D.2.25, D.2.26)."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import (
    ALL_HANDLES,
    MAX_UINT32,
    ObjectFormat,
    OperationCode,
    ResponseCode,
)
from usbredir_mtp.mtp.datasets import ObjectInfo
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.names import host_name
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply, takes_dataset, takes_stream
from usbredir_mtp.mtp.operations.places import destination, place, writable
from usbredir_mtp.mtp.operations.trees import copy_tree
from usbredir_mtp.mtp.state import PendingObject

if TYPE_CHECKING:
    from usbredir_mtp.mtp.objects import Node
    from usbredir_mtp.mtp.responder import Responder
    from usbredir_mtp.mtp.storage import Buffer, Path, Stat, Storage, Upload


def send_object_info(responder: Responder, parameters: Parameters, data: Buffer) -> Reply:
    """SendObjectInfo(storage, parent), then an ObjectInfo; answers storage, parent and the new object's handle.

    A folder is made at once; a file when its SendObject is complete.
    """
    info = ObjectInfo.decode(data)
    objects = responder.objects
    folder = destination(objects, parameters[0], parameters[1])
    name = host_name(info.filename)
    if info.format == ObjectFormat.ASSOCIATION:
        handle = _make_folder(responder, folder, name).handle
    else:
        handle = _announce(responder, folder, name, info)
    root, _, _ = objects.locate(folder)
    return Reply(parameters=(root.storage_id, folder.handle or ALL_HANDLES, handle))


def _make_folder(responder: Responder, folder: Node, name: str) -> Node:
    """A folder that is there already is what the initiator wants: it gets that one."""
    objects = responder.objects
    storage, parent = writable(objects, folder)
    path = (*parent, name)
    with objects.own_change((folder, name)):
        with suppress(FileExistsError):
            storage.make_folder(path)
        stat = storage.stat(path)
        if not stat.folder:
            raise FileExistsError(errno.EEXIST, "a file has that name", name)
        return objects.added(folder, name, stat, responder)


def _announce(responder: Responder, folder: Node, name: str, info: ObjectInfo) -> int:
    """Refuse at once what cannot work: initiators send all of the data before they look at the response."""
    objects = responder.objects
    storage, path = writable(objects, folder)
    size = None if info.size == MAX_UINT32 else info.size
    with suppress(FileNotFoundError):
        if storage.stat((*path, name)).folder:
            raise IsADirectoryError(errno.EISDIR, "a folder has that name", name)
    if size and size > storage.space().free:
        raise MtpError(ResponseCode.STORAGE_FULL)
    forget_pending(responder)
    handle = objects.reserve(folder, name)
    responder.require_session().pending = PendingObject(handle, folder, name, size, info.modified)
    return handle


def forget_pending(responder: Responder) -> PendingObject | None:
    """Take back what SendObjectInfo announced."""
    session = responder.require_session()
    pending, session.pending = session.pending, None
    if pending is not None:
        responder.objects.release(pending.folder, pending.name)
    return pending


class _Announced:
    """An upload of which SendObjectInfo has told the size."""

    def __init__(self, upload: Upload, size: int | None) -> None:
        self._upload = upload
        self._size = size
        self._written = 0

    def write(self, data: Buffer, /) -> None:
        self._written += len(data)
        if self._size is not None and self._written > self._size:
            raise MtpError(ResponseCode.INVALID_PARAMETER, f"more than the announced {self._size} bytes")
        self._upload.write(data)

    def abort(self) -> None:
        self._upload.abort()

    def commit(self, modified: int | None) -> Stat:
        if self._size not in {None, self._written}:
            raise MtpError(ResponseCode.INCOMPLETE_TRANSFER, f"{self._written} bytes of {self._size}")
        return self._upload.commit(modified)


def _open_upload(responder: Responder, _parameters: Parameters) -> _Announced:
    pending = responder.require_session().pending
    if pending is None:
        raise MtpError(ResponseCode.NO_VALID_OBJECT_INFO, "SendObject without SendObjectInfo")
    storage, path = writable(responder.objects, pending.folder)
    return _Announced(storage.create((*path, pending.name), pending.size), pending.size)


def send_object(responder: Responder, _parameters: Parameters, upload: _Announced) -> Reply:
    """SendObject: the announced file's data has arrived; it must have the announced size (MTP 1.1, D.2.13)."""
    pending = responder.require_session().pending
    assert pending is not None
    objects = responder.objects
    with objects.own_change((pending.folder, pending.name)):
        stat = upload.commit(pending.modified)
        objects.added(pending.folder, pending.name, stat, responder)
    forget_pending(responder)
    return Reply()


def delete_object(responder: Responder, parameters: Parameters) -> Reply:
    """DeleteObject(handle or 0xFFFFFFFF for all, format or 0)."""
    handle, format_, *_ = parameters
    if format_:
        raise MtpError(ResponseCode.SPECIFICATION_BY_FORMAT_UNSUPPORTED)
    if handle != ALL_HANDLES:
        _delete(responder, responder.objects.get(handle))
        return Reply()
    return Reply(code=_delete_all(responder))


def _delete(responder: Responder, node: Node) -> None:
    objects = responder.objects
    storage, path = writable(objects, node)
    with objects.own_change(place(node)):
        _remove(responder, node, storage, path)


def _remove(responder: Responder, node: Node, storage: Storage, path: Path) -> None:
    objects = responder.objects
    try:
        storage.remove(path)
    except FileNotFoundError:
        objects.removed(node, responder)
        raise
    except (OSError, MtpError):
        objects.refresh(node, responder)
        raise
    objects.removed(node, responder)


def _delete_all(responder: Responder) -> ResponseCode:
    code = ResponseCode.OK
    for root in responder.objects.roots(ALL_HANDLES):
        for node in responder.objects.children(root, responder):
            responder.checkpoint()
            try:
                _delete(responder, node)
            except (OSError, MtpError):
                code = ResponseCode.PARTIAL_DELETION
    return code


def move_object(responder: Responder, parameters: Parameters) -> Reply:
    """MoveObject(handle, storage, parent); between storages it is a copy and a deletion."""
    handle, storage_id, parent, *_ = parameters
    objects = responder.objects
    node = objects.get(handle)
    folder = destination(objects, storage_id, parent)
    storage, path = writable(objects, node)
    _, target_storage, target_folder = objects.locate(folder)
    target = (*target_folder, node.name)
    if target_storage is storage:
        with objects.own_change(place(node), (folder, node.name)):
            storage.rename(path, target)
            objects.moved(node, folder, node.name, responder)
        return Reply()
    with objects.own_change(place(node), (folder, node.name)):
        copy_tree(storage, path, target_storage, target, responder.checkpoint)
        try:
            storage.remove(path)
        except (OSError, MtpError):
            objects.refresh(node, responder)
            objects.added(folder, node.name, target_storage.stat(target), responder)
            raise
        objects.moved(node, folder, node.name, responder)
    return Reply()


def copy_object(responder: Responder, parameters: Parameters) -> Reply:
    """CopyObject(handle, storage, parent); answers the copy's handle."""
    handle, storage_id, parent, *_ = parameters
    objects = responder.objects
    node = objects.get(handle)
    folder = destination(objects, storage_id, parent)
    _, storage, path = objects.locate(node)
    _, target_storage, target_folder = objects.locate(folder)
    target = (*target_folder, node.name)
    with objects.own_change((folder, node.name)):
        copy_tree(storage, path, target_storage, target, responder.checkpoint)
        copy = objects.added(folder, node.name, target_storage.stat(target), responder)
    return Reply(parameters=(copy.handle,))


OPERATIONS: dict[int, Operation] = {
    OperationCode.DELETE_OBJECT: Operation(delete_object),
    OperationCode.SEND_OBJECT_INFO: takes_dataset(send_object_info),
    OperationCode.SEND_OBJECT: takes_stream(_open_upload, send_object),
    OperationCode.MOVE_OBJECT: Operation(move_object),
    OperationCode.COPY_OBJECT: Operation(copy_object),
}
