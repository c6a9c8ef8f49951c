"""Pictures of objects: GetThumb (MTP 1.1, D.2.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import OperationCode, ResponseCode
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply

if TYPE_CHECKING:
    from usbredir_mtp.mtp.responder import Responder


def get_thumb(responder: Responder, parameters: Parameters) -> Reply:
    """GetThumb(handle)."""
    responder.objects.get(parameters[0])
    raise MtpError(ResponseCode.NO_THUMBNAIL_PRESENT)


OPERATIONS: dict[int, Operation] = {
    OperationCode.GET_THUMB: Operation(get_thumb),
}
