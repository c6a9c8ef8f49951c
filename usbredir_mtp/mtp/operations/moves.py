"""Moving and copying objects (MTP 1.1, D.2.25, D.2.26)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import OperationCode
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.nodes import locate
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply
from usbredir_mtp.mtp.operations.places import changeable, destination, place
from usbredir_mtp.mtp.operations.trees import copy_tree

if TYPE_CHECKING:
    from usbredir_mtp.mtp.responder import Responder


def move_object(responder: Responder, parameters: Parameters) -> Reply:
    """MoveObject(handle, storage, parent); between storages it is a copy and a deletion."""
    handle, storage_id, parent, *_ = parameters
    objects = responder.objects
    node = objects.get(handle)
    folder = destination(objects, storage_id, parent)
    storage, path = changeable(node)
    _, target_storage, target_folder = locate(folder)
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
    _, storage, path = locate(node)
    _, target_storage, target_folder = locate(folder)
    target = (*target_folder, node.name)
    with objects.own_change((folder, node.name)):
        copy_tree(storage, path, target_storage, target, responder.checkpoint)
        copy = objects.added(folder, node.name, target_storage.stat(target), responder)
    return Reply(parameters=(copy.handle,))


OPERATIONS: dict[int, Operation] = {
    OperationCode.MOVE_OBJECT: Operation(move_object),
    OperationCode.COPY_OBJECT: Operation(copy_object),
}
