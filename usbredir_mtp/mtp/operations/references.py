"""Object references: 9810, 9811 (MTP 1.1, D.2.38, D.2.39)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import OperationCode, ResponseCode
from usbredir_mtp.mtp.datatypes import decode_uint32_array, encode_uint32_array
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply, data_reply, takes_dataset
from usbredir_mtp.mtp.operations.places import writable

if TYPE_CHECKING:
    from usbredir_mtp.mtp.responder import Responder
    from usbredir_mtp.mtp.storage import Buffer


def get_object_references(responder: Responder, parameters: Parameters) -> Reply:
    """GetObjectReferences(handle)."""
    node = responder.objects.get(parameters[0])
    return data_reply(encode_uint32_array(other.handle for other in responder.device.references.get(node)))


def set_object_references(responder: Responder, parameters: Parameters, data: Buffer) -> Reply:
    """SetObjectReferences(handle), then an array of handles."""
    node = responder.objects.get(parameters[0])
    writable(node)
    try:
        others = [responder.objects.get(handle) for handle in decode_uint32_array(data)]
    except MtpError as error:
        code = error.code
        if code is ResponseCode.INVALID_OBJECT_HANDLE:
            code = ResponseCode.INVALID_OBJECT_REFERENCE
        raise MtpError(code, error.detail) from error
    responder.device.references.set(node, others)
    return Reply()


OPERATIONS: dict[int, Operation] = {
    OperationCode.GET_OBJECT_REFERENCES: Operation(get_object_references),
    OperationCode.SET_OBJECT_REFERENCES: takes_dataset(set_object_references),
}
