"""Storages: GetStorageIDs, GetStorageInfo, FormatStore (MTP 1.1, D.2.4, D.2.5, D.2.15)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import AccessCapability, OperationCode, ResponseCode
from usbredir_mtp.mtp.datasets import StorageInfo
from usbredir_mtp.mtp.datatypes import encode_uint32_array
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.nodes import storage_of
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply, data_reply
from usbredir_mtp.mtp.operations.removal import delete_children

if TYPE_CHECKING:
    from usbredir_mtp.mtp.responder import Responder


def get_storage_ids(responder: Responder, _parameters: Parameters) -> Reply:
    """GetStorageIDs."""
    return data_reply(encode_uint32_array(root.storage_id for root in responder.objects.stores))


def get_storage_info(responder: Responder, parameters: Parameters) -> Reply:
    """GetStorageInfo(storage)."""
    storage = storage_of(responder.objects.stores.root(parameters[0]))
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


def format_store(responder: Responder, parameters: Parameters) -> Reply:
    """FormatStore(storage, file system): removes everything in it, if whoever shares it allows that."""
    root = responder.objects.stores.root(parameters[0])
    if storage_of(root).read_only:
        raise MtpError(ResponseCode.STORE_READ_ONLY)
    if not responder.device.allow_format:
        raise MtpError(ResponseCode.ACCESS_DENIED, "formatting is not allowed (see --allow-format)")
    return Reply(code=delete_children(responder, root))


OPERATIONS: dict[int, Operation] = {
    OperationCode.GET_STORAGE_IDS: Operation(get_storage_ids),
    OperationCode.GET_STORAGE_INFO: Operation(get_storage_info),
    OperationCode.FORMAT_STORE: Operation(format_store),
}
