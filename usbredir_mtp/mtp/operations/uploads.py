"""New objects: SendObjectInfo or SendObjectPropList announces one, SendObject fills it (MTP 1.1, D.2.12-13, D.2.37)."""

from __future__ import annotations

import errno
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from usbredir_mtp.mtp.codes import (
    ALL_HANDLES,
    MAX_UINT32,
    ObjectFormat,
    ObjectProperty,
    OperationCode,
    ResponseCode,
)
from usbredir_mtp.mtp.datasets import ObjectInfo
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.nodes import locate
from usbredir_mtp.mtp.object_properties import PropertyRow, decode_rows, row
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply, takes_dataset, takes_stream
from usbredir_mtp.mtp.operations.places import destination, host_name, writable
from usbredir_mtp.mtp.state import PendingObject

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbredir_mtp.mtp.nodes import Node
    from usbredir_mtp.mtp.responder import Responder
    from usbredir_mtp.mtp.storage import Buffer, Stat, Upload


class _New(NamedTuple):
    """An object to be; size and time are None where the initiator did not say."""

    folder: Node
    name: str
    is_folder: bool
    size: int | None
    modified: int | None


def send_object_info(responder: Responder, parameters: Parameters, data: Buffer) -> Reply:
    """SendObjectInfo(storage, parent), then an ObjectInfo; answers storage, parent and the new object's handle.

    A folder is made at once; a file when its SendObject is complete.
    """
    folder = destination(responder.objects, parameters[0], parameters[1])
    presentation = locate(folder)[0].presentation
    info = ObjectInfo.decode(data, presentation.zone)
    name = host_name(responder.objects, folder, info.filename)
    size = None if info.size == MAX_UINT32 else info.size
    is_folder = info.format == ObjectFormat.ASSOCIATION
    return _begin(responder, _New(folder, name, is_folder, size, info.modified))


def send_object_prop_list(responder: Responder, parameters: Parameters, data: Buffer) -> Reply:
    """SendObjectPropList(storage, parent, format, size's high half, low half), then a property list.

    Answers like SendObjectInfo, with the index of the property that cannot be as fourth parameter, which aft wants in
    any case. The file name is all that is needed.
    """
    storage_id, parent, format_, high, low = parameters
    folder = destination(responder.objects, storage_id, parent)
    texts: dict[int, str] = {}
    for index, item in enumerate(decode_rows(data)):
        try:
            texts[item.code] = str(_wanted(item))
        except MtpError as error:
            return Reply(code=error.code, parameters=(0, 0, 0, index))
    presentation = locate(folder)[0].presentation
    wanted = texts.get(ObjectProperty.OBJECT_FILE_NAME) or texts.get(ObjectProperty.NAME, "")
    name = host_name(responder.objects, folder, wanted)
    size = None if (high, low) == (MAX_UINT32, MAX_UINT32) else high << 32 | low
    modified = presentation.decode_time(texts.get(ObjectProperty.DATE_MODIFIED, ""))
    is_folder = format_ == ObjectFormat.ASSOCIATION
    reply = _begin(responder, _New(folder, name, is_folder, size, modified))
    return Reply(parameters=(*reply.parameters, 0))


def _wanted(item: PropertyRow) -> object:
    """A property's value, if it can be one of an object: what cannot be set is what the object will tell."""
    try:
        spec = row(item.code)
    except MtpError as error:
        raise MtpError(ResponseCode.INVALID_OBJECT_PROP_CODE, error.detail) from error
    if item.kind != spec.kind:
        raise MtpError(ResponseCode.INVALID_OBJECT_PROP_FORMAT, f"object property {item.code:#06x} as {item.kind:#06x}")
    return item.value


def _begin(responder: Responder, new: _New) -> Reply:
    root, _, _ = locate(new.folder)
    handle = _make_folder(responder, new.folder, new.name).handle if new.is_folder else _announce(responder, new)
    return Reply(parameters=(root.storage_id, new.folder.handle or ALL_HANDLES, handle))


def _make_folder(responder: Responder, folder: Node, name: str) -> Node:
    """A folder that is there already is what the initiator wants: it gets that one."""
    objects = responder.objects
    storage, parent = writable(folder)
    path = (*parent, name)
    with objects.own_change((folder, name)):
        with suppress(FileExistsError):
            storage.make_folder(path)
        stat = storage.stat(path)
        if not stat.folder:
            raise FileExistsError(errno.EEXIST, "a file has that name", name)
        return objects.added(folder, name, stat, responder)


def _announce(responder: Responder, new: _New) -> int:
    """Refuse at once what cannot work: initiators send all of the data before they look at the response."""
    objects = responder.objects
    storage, path = writable(new.folder)
    with suppress(FileNotFoundError):
        there = storage.stat((*path, new.name))
        if there.folder:
            raise IsADirectoryError(errno.EISDIR, "a folder has that name", new.name)
        if not there.writable:
            raise MtpError(ResponseCode.OBJECT_WRITE_PROTECTED, f"{new.name!r} is protected")
    if new.size and new.size > storage.space().free:
        raise MtpError(ResponseCode.STORAGE_FULL)
    forget_pending(responder)
    handle = objects.reserve(new.folder, new.name)
    responder.require_session().pending = PendingObject(handle, new.folder, new.name, new.size, new.modified)
    return handle


def forget_pending(responder: Responder) -> PendingObject | None:
    """Take back what SendObjectInfo announced."""
    session = responder.require_session()
    pending, session.pending = session.pending, None
    if pending is not None:
        responder.objects.release(pending.folder, pending.name)
    return pending


class _Announced:
    """An upload of which SendObjectInfo has told the size; it is running until `abort`, which is always called."""

    def __init__(self, upload: Upload, size: int | None, on_end: Callable[[], None]) -> None:
        self._upload = upload
        self._size = size
        self._written = 0
        self._on_end: Callable[[], None] | None = on_end

    def write(self, data: Buffer, /) -> None:
        self._written += len(data)
        if self._size is not None and self._written > self._size:
            raise MtpError(ResponseCode.INVALID_PARAMETER, f"more than the announced {self._size} bytes")
        self._upload.write(data)

    def abort(self) -> None:
        on_end, self._on_end = self._on_end, None
        try:
            self._upload.abort()
        finally:
            if on_end is not None:
                on_end()

    def commit(self, modified: int | None) -> Stat:
        if self._size not in {None, self._written}:
            raise MtpError(ResponseCode.INCOMPLETE_TRANSFER, f"{self._written} bytes of {self._size}")
        return self._upload.commit(modified)


def _open_upload(responder: Responder, _parameters: Parameters) -> _Announced:
    pending = responder.require_session().pending
    if pending is None:
        raise MtpError(ResponseCode.NO_VALID_OBJECT_INFO, "SendObject without SendObjectInfo")
    stores = responder.objects.stores
    root, _, _ = locate(pending.folder)
    storage, path = writable(pending.folder)
    upload = storage.create((*path, pending.name), pending.size)
    stores.begin_upload(root)
    return _Announced(upload, pending.size, partial(stores.end_upload, root))


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


OPERATIONS: dict[int, Operation] = {
    OperationCode.SEND_OBJECT_INFO: takes_dataset(send_object_info),
    OperationCode.SEND_OBJECT: takes_stream(_open_upload, send_object),
    OperationCode.SEND_OBJECT_PROP_LIST: takes_dataset(send_object_prop_list),
}
