"""What can go wrong in the responder, and the one map from the host's errors to MTP's responses."""

from __future__ import annotations

import errno

from usbredir_mtp.mtp.codes import ResponseCode


class MtpError(Exception):
    """An operation ends with this response code instead of OK.

    Attributes:
        code: The response.
        detail: Why, for the log; the initiator never sees it.
    """

    def __init__(self, code: ResponseCode, detail: str = "") -> None:
        super().__init__(f"{code.name}: {detail}" if detail else code.name)
        self.code = code
        self.detail = detail


class DatasetError(MtpError):
    """The initiator's bytes are not the dataset that they ought to be."""

    def __init__(self, detail: str) -> None:
        super().__init__(ResponseCode.INVALID_DATASET, detail)


class TransactionCancelled(Exception):  # noqa: N818  (a decision of the initiator's, not an error)
    """The initiator or the bus gave the running transaction up: no response follows."""


RESPONSE_BY_ERRNO: dict[int, ResponseCode] = {
    errno.EACCES: ResponseCode.ACCESS_DENIED,
    errno.EPERM: ResponseCode.ACCESS_DENIED,
    errno.ENOTSUP: ResponseCode.ACCESS_DENIED,
    errno.EROFS: ResponseCode.STORE_READ_ONLY,
    errno.ENOSPC: ResponseCode.STORAGE_FULL,
    errno.EDQUOT: ResponseCode.STORAGE_FULL,
    errno.EMLINK: ResponseCode.STORAGE_FULL,
    errno.EFBIG: ResponseCode.OBJECT_TOO_LARGE,
    errno.EOVERFLOW: ResponseCode.OBJECT_TOO_LARGE,
    errno.ENOENT: ResponseCode.INVALID_OBJECT_HANDLE,
    errno.ESTALE: ResponseCode.INVALID_OBJECT_HANDLE,
    errno.ELOOP: ResponseCode.INVALID_OBJECT_HANDLE,
    errno.ENOTDIR: ResponseCode.INVALID_PARENT_OBJECT,
    errno.EXDEV: ResponseCode.INVALID_PARENT_OBJECT,
    errno.EISDIR: ResponseCode.INVALID_OBJECT_HANDLE,
    errno.EEXIST: ResponseCode.ACCESS_DENIED,
    errno.ENOTEMPTY: ResponseCode.PARTIAL_DELETION,
    errno.EINVAL: ResponseCode.INVALID_PARAMETER,
    errno.ENAMETOOLONG: ResponseCode.INVALID_PARAMETER,
    errno.EILSEQ: ResponseCode.INVALID_PARAMETER,
    errno.EBUSY: ResponseCode.DEVICE_BUSY,
    errno.ETXTBSY: ResponseCode.DEVICE_BUSY,
    errno.EMFILE: ResponseCode.DEVICE_BUSY,
    errno.ENFILE: ResponseCode.DEVICE_BUSY,
    errno.ENODEV: ResponseCode.STORE_NOT_AVAILABLE,
    errno.ENXIO: ResponseCode.STORE_NOT_AVAILABLE,
    errno.ENOTCONN: ResponseCode.STORE_NOT_AVAILABLE,
    errno.EHOSTDOWN: ResponseCode.STORE_NOT_AVAILABLE,
    errno.ETIMEDOUT: ResponseCode.STORE_NOT_AVAILABLE,
}


def response_code(error: MtpError | OSError) -> ResponseCode:
    """The response for an error of the responder's or the host's; what is not in the table is a GENERAL_ERROR."""
    if isinstance(error, MtpError):
        return error.code
    return RESPONSE_BY_ERRNO.get(error.errno or 0, ResponseCode.GENERAL_ERROR)
