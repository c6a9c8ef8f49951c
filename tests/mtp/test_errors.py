from __future__ import annotations

import errno
import os

import pytest

from usbredir_mtp.mtp.codes import ResponseCode as Rc
from usbredir_mtp.mtp.errors import RESPONSE_BY_ERRNO, DatasetError, MtpError, response_code

EXPECTED = {
    "EACCES": Rc.ACCESS_DENIED,
    "EPERM": Rc.ACCESS_DENIED,
    "ENOTSUP": Rc.ACCESS_DENIED,
    "EEXIST": Rc.ACCESS_DENIED,
    "EROFS": Rc.STORE_READ_ONLY,
    "ENOSPC": Rc.STORAGE_FULL,
    "EDQUOT": Rc.STORAGE_FULL,
    "EMLINK": Rc.STORAGE_FULL,
    "EFBIG": Rc.OBJECT_TOO_LARGE,
    "EOVERFLOW": Rc.OBJECT_TOO_LARGE,
    "ENOENT": Rc.INVALID_OBJECT_HANDLE,
    "ESTALE": Rc.INVALID_OBJECT_HANDLE,
    "ELOOP": Rc.INVALID_OBJECT_HANDLE,
    "EISDIR": Rc.INVALID_OBJECT_HANDLE,
    "ENOTDIR": Rc.INVALID_PARENT_OBJECT,
    "EXDEV": Rc.INVALID_PARENT_OBJECT,
    "ENOTEMPTY": Rc.PARTIAL_DELETION,
    "EINVAL": Rc.INVALID_PARAMETER,
    "ENAMETOOLONG": Rc.INVALID_PARAMETER,
    "EILSEQ": Rc.INVALID_PARAMETER,
    "EBUSY": Rc.DEVICE_BUSY,
    "ETXTBSY": Rc.DEVICE_BUSY,
    "EMFILE": Rc.DEVICE_BUSY,
    "ENFILE": Rc.DEVICE_BUSY,
    "ENODEV": Rc.STORE_NOT_AVAILABLE,
    "ENXIO": Rc.STORE_NOT_AVAILABLE,
    "ENOTCONN": Rc.STORE_NOT_AVAILABLE,
    "EHOSTDOWN": Rc.STORE_NOT_AVAILABLE,
    "ETIMEDOUT": Rc.STORE_NOT_AVAILABLE,
}


@pytest.mark.parametrize(("name", "code"), EXPECTED.items())
def test_what_the_host_says(name: str, code: Rc) -> None:
    number = getattr(errno, name)
    assert response_code(OSError(number, os.strerror(number), "file")) is code


def test_the_table_above_is_whole() -> None:
    assert set(RESPONSE_BY_ERRNO) == {getattr(errno, name) for name in EXPECTED}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        OSError(99_999, "no such number"),
        OSError(0, "nothing"),
        OSError("only a text"),
        OSError(),
        TimeoutError(),
    ],
)
def test_what_the_table_does_not_have(error: OSError) -> None:
    assert response_code(error) is Rc.GENERAL_ERROR


@pytest.mark.parametrize("code", Rc)
def test_what_mtp_says_stands(code: Rc) -> None:
    assert response_code(MtpError(code, "whatever")) is code


def test_texts_for_the_log() -> None:
    assert str(MtpError(Rc.DEVICE_BUSY)) == "DEVICE_BUSY"
    error = MtpError(Rc.DEVICE_BUSY, "since it is")
    assert str(error) == "DEVICE_BUSY: since it is"
    assert error.detail == "since it is"


def test_broken_datasets() -> None:
    error = DatasetError("too short")
    assert response_code(error) is Rc.INVALID_DATASET
    assert str(error) == "INVALID_DATASET: too short"
