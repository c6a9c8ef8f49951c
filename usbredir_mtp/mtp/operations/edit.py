"""Changing files in place: Android's extensions 95C2-95C5.

An edit works on the file itself, as initiators that seek in open files expect; a whole new content is what
SendObject is for, and that replaces the file at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import OperationCode, ResponseCode
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.nodes import locate
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply, takes_stream
from usbredir_mtp.mtp.operations.places import changeable, place

if TYPE_CHECKING:
    from usbredir_mtp.mtp.responder import Responder
    from usbredir_mtp.mtp.storage import Buffer, Editor


class PartialSink:
    """Writes a data phase into an open file from an offset on; what has been written stays.

    Attributes:
        written: Bytes so far.
    """

    def __init__(self, editor: Editor, offset: int, size: int) -> None:
        self.written = 0
        self._editor = editor
        self._offset = offset
        self._size = size

    def write(self, data: Buffer, /) -> None:
        """Write the next bytes.

        Raises:
            MtpError: INVALID_PARAMETER for more than was announced.
            OSError: from the storage.
        """
        if self.written + len(data) > self._size:
            raise MtpError(ResponseCode.INVALID_PARAMETER, f"more than the announced {self._size} bytes")
        self._editor.write_at(self._offset + self.written, data)
        self.written += len(data)

    def abort(self) -> None:
        """An edit has no way back."""


MAX_EDITORS = 64
"""Files that one session may hold open: file descriptors are the host's, not the guest's, to spend."""


def _editor(responder: Responder, handle: int) -> Editor:
    """The editor that BeginEditObject opened.

    Raises:
        MtpError: INVALID_OBJECT_HANDLE; GENERAL_ERROR, as Android has it, if no edit was begun.
    """
    responder.objects.get(handle)
    editor = responder.require_session().editors.get(handle)
    if editor is None:
        raise MtpError(ResponseCode.GENERAL_ERROR, f"handle {handle:#x} is not being edited")
    return editor


def begin_edit_object(responder: Responder, parameters: Parameters) -> Reply:
    """BeginEditObject(handle)."""
    session = responder.require_session()
    handle = parameters[0]
    if handle in session.editors:
        raise MtpError(ResponseCode.DEVICE_BUSY, f"handle {handle:#x} is being edited")
    if len(session.editors) >= MAX_EDITORS:
        raise MtpError(ResponseCode.DEVICE_BUSY, f"{MAX_EDITORS} objects are being edited")
    node = responder.objects.get(handle)
    if node.folder:
        raise MtpError(ResponseCode.INVALID_OBJECT_HANDLE, f"handle {handle:#x} is a folder")
    storage, path = changeable(node)
    session.editors[handle] = storage.edit(path)
    return Reply()


def _open_partial(responder: Responder, parameters: Parameters) -> PartialSink:
    handle, low, high, size, _ = parameters
    return PartialSink(_editor(responder, handle), high << 32 | low, size)


def send_partial_object(_responder: Responder, parameters: Parameters, sink: PartialSink) -> Reply:
    """SendPartialObject(handle, offset's low half, high half, bytes), then the bytes; answers how many were written."""
    size = parameters[3]
    code = ResponseCode.OK if sink.written == size else ResponseCode.INCOMPLETE_TRANSFER
    return Reply(parameters=(sink.written,), code=code)


def truncate_object(responder: Responder, parameters: Parameters) -> Reply:
    """TruncateObject(handle, size's low half, high half)."""
    handle, low, high, *_ = parameters
    _editor(responder, handle).truncate(high << 32 | low)
    return Reply()


def end_edit_object(responder: Responder, parameters: Parameters) -> Reply:
    """EndEditObject(handle): the others learn of the change."""
    handle = parameters[0]
    editor = _editor(responder, handle)
    node = responder.objects.get(handle)
    _, storage, path = locate(node)
    del responder.require_session().editors[handle]
    with responder.objects.own_change(place(node)):
        editor.close()
        responder.objects.changed(node, storage.stat(path), responder)
    return Reply()


OPERATIONS: dict[int, Operation] = {
    OperationCode.SEND_PARTIAL_OBJECT: takes_stream(_open_partial, send_partial_object),
    OperationCode.TRUNCATE_OBJECT: Operation(truncate_object),
    OperationCode.BEGIN_EDIT_OBJECT: Operation(begin_edit_object),
    OperationCode.END_EDIT_OBJECT: Operation(end_edit_object),
}
