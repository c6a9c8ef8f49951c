"""Removing objects: DeleteObject (MTP 1.1, D.2.11), and all of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import ALL_HANDLES, OperationCode, ResponseCode
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply
from usbredir_mtp.mtp.operations.places import changeable, place

if TYPE_CHECKING:
    from usbredir_mtp.mtp.nodes import Node, Root
    from usbredir_mtp.mtp.responder import Responder
    from usbredir_mtp.mtp.storage import Path, Storage


def delete_object(responder: Responder, parameters: Parameters) -> Reply:
    """DeleteObject(handle or 0xFFFFFFFF for all, format or 0)."""
    handle, format_, *_ = parameters
    if format_:
        raise MtpError(ResponseCode.SPECIFICATION_BY_FORMAT_UNSUPPORTED)
    if handle != ALL_HANDLES:
        _delete(responder, responder.objects.get(handle))
        return Reply()
    codes = [delete_children(responder, root) for root in responder.objects.stores.roots(ALL_HANDLES)]
    return Reply(code=max(codes, default=ResponseCode.OK))


def _delete(responder: Responder, node: Node) -> None:
    objects = responder.objects
    storage, path = changeable(node)
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


def delete_children(responder: Responder, root: Root) -> ResponseCode:
    """Remove all that a storage shows; answers PARTIAL_DELETION if something could not be removed."""
    code = ResponseCode.OK
    for node in responder.objects.children(root, responder):
        responder.checkpoint()
        try:
            _delete(responder, node)
        except (OSError, MtpError):
            code = ResponseCode.PARTIAL_DELETION
    return code


OPERATIONS: dict[int, Operation] = {
    OperationCode.DELETE_OBJECT: Operation(delete_object),
}
