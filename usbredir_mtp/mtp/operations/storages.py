"""Storages: GetStorageIDs, GetStorageInfo (MTP 1.1, D.2.4, D.2.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import AccessCapability, OperationCode
from usbredir_mtp.mtp.datasets import StorageInfo
from usbredir_mtp.mtp.datatypes import encode_uint32_array
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply, data_reply

if TYPE_CHECKING:
    from usbredir_mtp.mtp.responder import Responder


def get_storage_ids(responder: Responder, _parameters: Parameters) -> Reply:
    """GetStorageIDs."""
    return data_reply(encode_uint32_array(responder.objects.storages))


def get_storage_info(responder: Responder, parameters: Parameters) -> Reply:
    """GetStorageInfo(storage)."""
    storage = responder.objects.storage(parameters[0])
    space = storage.space()
    read_only = AccessCapability.READ_ONLY_WITHOUT_DELETION
    info = StorageInfo(
        access_capability=read_only if storage.read_only else AccessCapability.READ_WRITE,
        capacity=space.capacity,
        free=space.free,
        description=storage.description,
        volume=storage.volume,
    )
    return data_reply(info.encode())


OPERATIONS: dict[int, Operation] = {
    OperationCode.GET_STORAGE_IDS: Operation(get_storage_ids),
    OperationCode.GET_STORAGE_INFO: Operation(get_storage_info),
}
