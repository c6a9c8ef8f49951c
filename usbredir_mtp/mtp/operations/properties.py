"""Object properties: 9801-9805 (MTP 1.1, D.2.30-34)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import (
    ALL_HANDLES,
    MAX_UINT32,
    ObjectProperty,
    OperationCode,
    ResponseCode,
)
from usbredir_mtp.mtp.datatypes import decode_datetime, decode_value, encode_uint16_array
from usbredir_mtp.mtp.errors import DatasetError, MtpError
from usbredir_mtp.mtp.names import host_name
from usbredir_mtp.mtp.object_properties import (
    OBJECT_PROPERTIES,
    PropertyList,
    describe,
    encode_value,
    row,
)
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply, data_reply, takes_dataset
from usbredir_mtp.mtp.operations.places import place, writable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbredir_mtp.mtp.objects import Node, ObjectView
    from usbredir_mtp.mtp.responder import Responder
    from usbredir_mtp.mtp.storage import Buffer


def get_object_props_supported(_responder: Responder, _parameters: Parameters) -> Reply:
    """GetObjectPropsSupported(format): the same for every format."""
    return data_reply(encode_uint16_array(OBJECT_PROPERTIES))


def get_object_prop_desc(_responder: Responder, parameters: Parameters) -> Reply:
    """GetObjectPropDesc(property, format)."""
    return data_reply(describe(parameters[0]))


def get_object_prop_value(responder: Responder, parameters: Parameters) -> Reply:
    """GetObjectPropValue(handle, property)."""
    handle, code, *_ = parameters
    node = responder.objects.get(handle)
    row(code)
    return data_reply(encode_value(code, responder.objects.view(node, responder)))


def _rename(responder: Responder, node: Node, value: str) -> None:
    name = host_name(value)
    storage, path = writable(responder.objects, node)
    if name == node.name:
        return
    folder, _ = place(node)
    with responder.objects.own_change((folder, node.name), (folder, name)):
        storage.rename(path, (*path[:-1], name))
        responder.objects.moved(node, folder, name, responder)


def _set_modified(responder: Responder, node: Node, value: str) -> None:
    modified = decode_datetime(value)
    if modified is None:
        raise MtpError(ResponseCode.INVALID_OBJECT_PROP_VALUE, f"not a date: {value!r}")
    storage, path = writable(responder.objects, node)
    with responder.objects.own_change(place(node)):
        storage.set_modified(path, modified)
        if not node.folder:
            responder.objects.changed(node, storage.stat(path), responder)


_SETTERS: dict[int, Callable[[Responder, Node, str], None]] = {
    ObjectProperty.OBJECT_FILE_NAME: _rename,
    ObjectProperty.DATE_MODIFIED: _set_modified,
}


def set_object_prop_value(responder: Responder, parameters: Parameters, data: Buffer) -> Reply:
    """SetObjectPropValue(handle, property), then its value; the file name's is how objects are renamed."""
    handle, code, *_ = parameters
    node = responder.objects.get(handle)
    spec = row(code)
    if not spec.settable:
        raise MtpError(ResponseCode.ACCESS_DENIED, f"object property {code:#06x} cannot be set")
    try:
        value = decode_value(spec.kind, data)
    except DatasetError as error:
        raise MtpError(ResponseCode.INVALID_OBJECT_PROP_FORMAT, error.detail) from error
    _SETTERS[code](responder, node, str(value))
    return Reply()


def get_object_prop_list(responder: Responder, parameters: Parameters) -> Reply:
    """GetObjectPropList(handle, format or 0, property or 0xFFFFFFFF, group, depth) (MTP 1.1, D.2.34)."""
    handle, format_, code, group, depth = parameters
    rows = PropertyList(_selected(code, group))
    for views in _selected_views(responder, handle, depth):
        responder.checkpoint()
        rows.extend(view for view in views if format_ in {0, view.node.format})
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
    codes = [code for code, spec in OBJECT_PROPERTIES.items() if spec.group == group]
    if not codes:
        raise MtpError(ResponseCode.SPECIFICATION_BY_GROUP_UNSUPPORTED, f"group {group}")
    return codes


def _selected_views(responder: Responder, handle: int, depth: int) -> Iterator[list[ObjectView]]:
    """Handle 0 means the objects in the roots, 0xFFFFFFFF every object; the depth counts levels of folders."""
    objects = responder.objects
    if handle in {0, ALL_HANDLES}:
        # Depth 0 of "the root" would be nothing at all: initiators that send it want the root's objects.
        levels = MAX_UINT32 if handle == ALL_HANDLES else max(depth, 1)
        pending: list[tuple[Node, int]] = [(root, levels) for root in objects.roots(ALL_HANDLES)]
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


OPERATIONS: dict[int, Operation] = {
    OperationCode.GET_OBJECT_PROPS_SUPPORTED: Operation(get_object_props_supported),
    OperationCode.GET_OBJECT_PROP_DESC: Operation(get_object_prop_desc),
    OperationCode.GET_OBJECT_PROP_VALUE: Operation(get_object_prop_value),
    OperationCode.SET_OBJECT_PROP_VALUE: takes_dataset(set_object_prop_value),
    OperationCode.GET_OBJECT_PROP_LIST: Operation(get_object_prop_list),
}
