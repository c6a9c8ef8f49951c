"""Listing and reading objects (MTP 1.1, D.2.6-9, D.2.27; Android's GetPartialObject64)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import ALL_HANDLES, OperationCode, ResponseCode
from usbredir_mtp.mtp.datasets import ObjectInfo
from usbredir_mtp.mtp.datatypes import encode_uint32_array
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.nodes import locate
from usbredir_mtp.mtp.object_properties import association_type, created, protection
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply, data_reply
from usbredir_mtp.mtp.operations.media import thumbnail_info

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbredir_mtp.mtp.nodes import Node
    from usbredir_mtp.mtp.responder import Responder


def _listed(responder: Responder, parameters: Parameters) -> Iterator[Node]:
    """The objects that (storage, format or 0, parent) selects.

    Parent 0 means every object, 0xFFFFFFFF the objects in the root (MTP 1.1, D.2.7).
    """
    storage_id, format_, parent, *_ = parameters
    for node in _candidates(responder, storage_id, parent):
        responder.checkpoint()
        if format_ in {0, node.format}:
            yield node


def _candidates(responder: Responder, storage_id: int, parent: int) -> Iterator[Node]:
    objects = responder.objects
    if parent not in {0, ALL_HANDLES}:
        folder = objects.get(parent)
        if not folder.folder:
            raise MtpError(ResponseCode.INVALID_PARENT_OBJECT, f"handle {parent:#x} is a file")
        if storage_id != ALL_HANDLES:
            objects.stores.root(storage_id)
        yield from objects.children(folder, responder)
        return
    for root in objects.stores.roots(storage_id):
        yield from (objects.walk(root, responder) if parent == 0 else objects.children(root, responder))


def get_num_objects(responder: Responder, parameters: Parameters) -> Reply:
    """GetNumObjects(storage, format, parent)."""
    return Reply(parameters=(sum(1 for _ in _listed(responder, parameters)),))


def get_object_handles(responder: Responder, parameters: Parameters) -> Reply:
    """GetObjectHandles(storage, format, parent)."""
    return data_reply(encode_uint32_array(node.handle for node in _listed(responder, parameters)))


def get_object_info(responder: Responder, parameters: Parameters) -> Reply:
    """GetObjectInfo(handle)."""
    view = responder.objects.view(responder.objects.get(parameters[0]), responder)
    info = ObjectInfo(
        format=view.node.format,
        size=view.stat.size,
        filename=view.name,
        storage_id=view.root.storage_id,
        parent=view.node.parent_handle,
        protection=protection(view),
        association_type=association_type(view),
        created=created(view),
        modified=view.stat.modified,
        thumbnail=thumbnail_info(responder, view),
    )
    return data_reply(info.encode(view.root.presentation.zone))


def _open(responder: Responder, handle: int, offset: int = 0, size: int | None = None) -> Reply:
    node = responder.objects.get(handle)
    if node.folder:
        raise MtpError(ResponseCode.INVALID_OBJECT_HANDLE, f"handle {handle:#x} is a folder")
    _, storage, path = locate(node)
    source = storage.open(path, offset, size)
    return Reply(source, () if size is None else (source.length,))


def get_object(responder: Responder, parameters: Parameters) -> Reply:
    """GetObject(handle)."""
    return _open(responder, parameters[0])


def get_partial_object(responder: Responder, parameters: Parameters) -> Reply:
    """GetPartialObject(handle, offset, most bytes); answers with the bytes sent. 0xFFFFFFFF means to the end."""
    handle, offset, size, *_ = parameters
    return _open(responder, handle, offset, size)


def get_partial_object_64(responder: Responder, parameters: Parameters) -> Reply:
    """GetPartialObject64(handle, offset's low half, high half, most bytes); answers with the bytes sent."""
    handle, low, high, size, _ = parameters
    return _open(responder, handle, high << 32 | low, size)


OPERATIONS: dict[int, Operation] = {
    OperationCode.GET_NUM_OBJECTS: Operation(get_num_objects),
    OperationCode.GET_OBJECT_HANDLES: Operation(get_object_handles),
    OperationCode.GET_OBJECT_INFO: Operation(get_object_info),
    OperationCode.GET_OBJECT: Operation(get_object),
    OperationCode.GET_PARTIAL_OBJECT: Operation(get_partial_object),
    OperationCode.GET_PARTIAL_OBJECT_64: Operation(get_partial_object_64),
}
