"""Object properties of many objects at once: 9805-9807 (MTP 1.1, D.2.34-36)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import ALL_HANDLES, MAX_UINT32, OperationCode, ResponseCode
from usbredir_mtp.mtp.datatypes import encode_uint32_array
from usbredir_mtp.mtp.errors import MtpError, response_code
from usbredir_mtp.mtp.object_properties import (
    CONTENT_PROPERTIES,
    OBJECT_PROPERTIES,
    PropertyList,
    PropertyRow,
    decode_rows,
    row,
)
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply, data_reply, takes_dataset
from usbredir_mtp.mtp.operations.media import with_media
from usbredir_mtp.mtp.operations.properties import set_property

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbredir_mtp.mtp.nodes import Node, ObjectView
    from usbredir_mtp.mtp.responder import Responder
    from usbredir_mtp.mtp.storage import Buffer

logger = logging.getLogger(__name__)


def get_object_prop_list(responder: Responder, parameters: Parameters) -> Reply:
    """GetObjectPropList(handle, format or 0, property or 0xFFFFFFFF, group, depth) (MTP 1.1, D.2.34)."""
    handle, format_, code, group, depth = parameters
    codes = _selected(code, group)
    rows = PropertyList(codes)
    for views in _selected_views(responder, handle, depth):
        responder.checkpoint()
        chosen = [view for view in views if format_ in {0, view.node.format}]
        rows.extend(with_media(responder, chosen, codes))
    return data_reply(rows.encode())


def _selected(code: int, group: int) -> list[int]:
    """Property 0 hands the choice to the group (MTP 1.1, D.2.34)."""
    if code == MAX_UINT32:
        return list(OBJECT_PROPERTIES)
    if code:
        row(code)
        return [code]
    if not group:
        raise MtpError(ResponseCode.PARAMETER_NOT_SUPPORTED, "neither property nor group")
    codes = [code for code, spec in {**OBJECT_PROPERTIES, **CONTENT_PROPERTIES}.items() if spec.group == group]
    if not codes:
        raise MtpError(ResponseCode.SPECIFICATION_BY_GROUP_UNSUPPORTED, f"group {group}")
    return codes


def _selected_views(responder: Responder, handle: int, depth: int) -> Iterator[list[ObjectView]]:
    """Handle 0 means the objects in the roots, 0xFFFFFFFF every object; the depth counts levels of folders."""
    objects = responder.objects
    if handle in {0, ALL_HANDLES}:
        # Depth 0 of "the root" would be nothing at all: initiators that send it want the root's objects.
        levels = MAX_UINT32 if handle == ALL_HANDLES else max(depth, 1)
        pending: list[tuple[Node, int]] = [(root, levels) for root in objects.stores.roots(ALL_HANDLES)]
    else:
        node = objects.get(handle)
        yield [objects.view(node, responder)]
        pending = [(node, depth)] if node.folder and depth else []
    while pending:
        folder, levels = pending.pop()
        try:
            views = objects.views(folder, responder)
        except FileNotFoundError:
            continue
        yield views
        if levels > 1:
            below = levels if levels == MAX_UINT32 else levels - 1
            pending += [(view.node, below) for view in views if view.node.folder]


def set_object_prop_list(responder: Responder, _parameters: Parameters, data: Buffer) -> Reply:
    """SetObjectPropList, then a property list: set in order; answers with the index of the first that cannot be."""
    for index, item in enumerate(decode_rows(data)):
        try:
            _set(responder, item)
        except (MtpError, OSError) as error:
            logger.info("property %d of a list: %s", index, error)
            return Reply(code=response_code(error), parameters=(index,))
    return Reply()


def _set(responder: Responder, item: PropertyRow) -> None:
    responder.objects.get(item.handle)
    if item.kind != row(item.code).kind:
        raise MtpError(ResponseCode.INVALID_OBJECT_PROP_FORMAT, f"object property {item.code:#06x} as {item.kind:#06x}")
    set_property(responder, item.handle, item.code, item.value)


def get_interdependent_prop_desc(_responder: Responder, _parameters: Parameters) -> Reply:
    """GetInterdependentPropDesc(format): no property here depends on another."""
    return data_reply(encode_uint32_array([]))


OPERATIONS: dict[int, Operation] = {
    OperationCode.GET_OBJECT_PROP_LIST: Operation(get_object_prop_list),
    OperationCode.SET_OBJECT_PROP_LIST: takes_dataset(set_object_prop_list),
    OperationCode.GET_INTERDEPENDENT_PROP_DESC: Operation(get_interdependent_prop_desc),
}
