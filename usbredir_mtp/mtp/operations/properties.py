"""Object properties one by one: 9801-9804, SetObjectProtection (MTP 1.1, D.2.18, D.2.30-33)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import EventCode, ObjectProperty, OperationCode, ProtectionStatus, ResponseCode
from usbredir_mtp.mtp.datatypes import decode_value, encode_uint16_array
from usbredir_mtp.mtp.errors import DatasetError, MtpError
from usbredir_mtp.mtp.events import Event
from usbredir_mtp.mtp.nodes import locate
from usbredir_mtp.mtp.object_properties import describe, encode_value, row, supported
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply, data_reply, takes_dataset
from usbredir_mtp.mtp.operations.media import with_media
from usbredir_mtp.mtp.operations.places import changeable, host_name, place, writable

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbredir_mtp.mtp.datatypes import Value
    from usbredir_mtp.mtp.nodes import Node
    from usbredir_mtp.mtp.responder import Responder
    from usbredir_mtp.mtp.storage import Buffer


def get_object_props_supported(responder: Responder, parameters: Parameters) -> Reply:
    """GetObjectPropsSupported(format)."""
    return data_reply(encode_uint16_array(supported(parameters[0], media=responder.device.media is not None)))


def get_object_prop_desc(_responder: Responder, parameters: Parameters) -> Reply:
    """GetObjectPropDesc(property, format)."""
    return data_reply(describe(parameters[0], parameters[1]))


def get_object_prop_value(responder: Responder, parameters: Parameters) -> Reply:
    """GetObjectPropValue(handle, property)."""
    handle, code, *_ = parameters
    node = responder.objects.get(handle)
    row(code)
    [view] = with_media(responder, [responder.objects.view(node, responder)], [code])
    return data_reply(encode_value(code, view))


def _rename(responder: Responder, node: Node, value: str) -> None:
    folder, _ = place(node)
    name = host_name(responder.objects, folder, value)
    if name == node.name:
        return
    storage, path = changeable(node)
    with responder.objects.own_change((folder, node.name), (folder, name)):
        storage.rename(path, (*path[:-1], name))
        responder.objects.moved(node, folder, name, responder)


def _set_modified(responder: Responder, node: Node, value: str) -> None:
    modified = locate(node)[0].presentation.decode_time(value)
    if modified is None:
        raise MtpError(ResponseCode.INVALID_OBJECT_PROP_VALUE, f"not a date: {value!r}")
    storage, path = changeable(node)
    with responder.objects.own_change(place(node)):
        storage.set_modified(path, modified)
        if not node.folder:
            responder.objects.changed(node, storage.stat(path), responder)


_SETTERS: dict[int, Callable[[Responder, Node, str], None]] = {
    ObjectProperty.OBJECT_FILE_NAME: _rename,
    ObjectProperty.DATE_MODIFIED: _set_modified,
}


def set_property(responder: Responder, handle: int, code: int, value: Value) -> None:
    """Set a property to a value of its own type.

    Raises:
        MtpError: INVALID_OBJECT_HANDLE, OBJECT_PROP_NOT_SUPPORTED, ACCESS_DENIED if it cannot be set, and what
            prevents it.
        OSError: from the storage.
    """
    node = responder.objects.get(handle)
    if not row(code).settable:
        raise MtpError(ResponseCode.ACCESS_DENIED, f"object property {code:#06x} cannot be set")
    _SETTERS[code](responder, node, str(value))


def set_object_prop_value(responder: Responder, parameters: Parameters, data: Buffer) -> Reply:
    """SetObjectPropValue(handle, property), then its value; the file name's is how objects are renamed."""
    handle, code, *_ = parameters
    responder.objects.get(handle)
    try:
        value = decode_value(row(code).kind, data)
    except DatasetError as error:
        raise MtpError(ResponseCode.INVALID_OBJECT_PROP_FORMAT, error.detail) from error
    set_property(responder, handle, code, value)
    return Reply()


def set_object_protection(responder: Responder, parameters: Parameters) -> Reply:
    """SetObjectProtection(handle, status): the host's write permission (MTP 1.1, D.2.18)."""
    handle, status, *_ = parameters
    node = responder.objects.get(handle)
    if status not in set(ProtectionStatus):
        raise MtpError(ResponseCode.INVALID_PARAMETER, f"protection status {status:#06x}")
    storage, path = writable(node)
    with responder.objects.own_change(place(node)):
        storage.set_writable(path, status == ProtectionStatus.NONE)
    responder.objects.publisher.publish([Event(EventCode.OBJECT_INFO_CHANGED, handle)], responder)
    return Reply()


OPERATIONS: dict[int, Operation] = {
    OperationCode.SET_OBJECT_PROTECTION: Operation(set_object_protection),
    OperationCode.GET_OBJECT_PROPS_SUPPORTED: Operation(get_object_props_supported),
    OperationCode.GET_OBJECT_PROP_DESC: Operation(get_object_prop_desc),
    OperationCode.GET_OBJECT_PROP_VALUE: Operation(get_object_prop_value),
    OperationCode.SET_OBJECT_PROP_VALUE: takes_dataset(set_object_prop_value),
}
