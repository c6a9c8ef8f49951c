"""Partial reads and edits in place (Android's extensions)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.codes import ALL, Op, Rc
from tests.support.initiator import Initiator, refused
from tests.support.mtp import ObjectInfo
from tests.support.server import phone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def mtp(tmp_path: Path) -> Iterator[Initiator]:
    (tmp_path / "file").write_bytes(CONTENT)
    with phone(tmp_path) as initiator:
        yield initiator


@pytest.fixture
def handle(mtp: Initiator) -> int:
    return mtp.names()["file"]


@pytest.mark.parametrize("offset", [0, 1, 500, 16384, len(CONTENT) - 1, len(CONTENT)])
@pytest.mark.parametrize("size", [0, 1, 500, 512, 16372, 16384, len(CONTENT), ALL])
def test_partial_read(mtp: Initiator, handle: int, offset: int, size: int) -> None:
    expected = CONTENT[offset : offset + size]
    assert mtp.get_partial(handle, offset, size) == expected
    assert mtp.get_partial64(handle, offset, size) == expected


@pytest.mark.parametrize("offset", [len(CONTENT) + 1, ALL])
def test_partial_read_past_the_end(mtp: Initiator, handle: int, offset: int) -> None:
    """Nothing, or a refusal: no data beyond the end in any case."""
    for code, params in (
        (Op.GET_PARTIAL_OBJECT, (handle, offset, 100)),
        (Op.GET_PARTIAL_OBJECT_64, (handle, offset, 0, 100)),
        (Op.GET_PARTIAL_OBJECT_64, (handle, 0, 0xFFFF, 100)),
        (Op.GET_PARTIAL_OBJECT_64, (handle, ALL, ALL, 100)),
    ):
        response = mtp.transact(code, *params)
        assert response.data == b""
        assert response.code in {Rc.OK, Rc.INVALID_PARAMETER}


def test_write_in_the_middle(mtp: Initiator, handle: int, tmp_path: Path) -> None:
    mtp.begin_edit(handle)
    mtp.send_partial(handle, 1000, b"edited")
    mtp.end_edit(handle)
    assert (tmp_path / "file").read_bytes() == CONTENT[:1000] + b"edited" + CONTENT[1006:]
    assert mtp.object_info(handle).size == len(CONTENT)


def test_append_and_leave_a_gap(mtp: Initiator, handle: int, tmp_path: Path) -> None:
    mtp.begin_edit(handle)
    mtp.send_partial(handle, len(CONTENT), b"more")
    mtp.send_partial(handle, len(CONTENT) + 10, b"gap")
    mtp.end_edit(handle)
    assert (tmp_path / "file").read_bytes() == CONTENT + b"more" + bytes(6) + b"gap"
    assert mtp.object_info(handle).size == len(CONTENT) + 13


@pytest.mark.parametrize("size", [0, 1, 500, 1012, 70_000])
def test_partial_write_sizes(mtp: Initiator, handle: int, tmp_path: Path, size: int) -> None:
    mtp.begin_edit(handle)
    mtp.send_partial(handle, 5, b"\xaa" * size)
    mtp.end_edit(handle)
    expected = CONTENT[:5] + b"\xaa" * size + CONTENT[5 + size :]
    assert (tmp_path / "file").read_bytes() == expected


@pytest.mark.parametrize("size", [0, 1, len(CONTENT), len(CONTENT) + 1000])
def test_truncate(mtp: Initiator, handle: int, tmp_path: Path, size: int) -> None:
    mtp.begin_edit(handle)
    mtp.truncate(handle, size)
    mtp.end_edit(handle)
    assert (tmp_path / "file").read_bytes() == CONTENT[:size].ljust(size, b"\0")
    assert mtp.object_info(handle).size == size


def test_an_editor_saves(mtp: Initiator, tmp_path: Path) -> None:
    """What gvfs does for an editor: empty object under another name, fill it, rename it over."""
    new = mtp.send_object_info(mtp.storage, ALL, ObjectInfo(size=0, name=".file.tmp"))
    mtp.send_object(b"")
    mtp.begin_edit(new)
    mtp.send_partial(new, 0, b"saved")
    mtp.end_edit(new)
    mtp.delete(mtp.names()["file"])
    mtp.rename(new, "file")
    assert (tmp_path / "file").read_bytes() == b"saved"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_edits_without_a_begin_stand_alone_or_are_refused(mtp: Initiator, handle: int, tmp_path: Path) -> None:
    """Android refuses them; either way the answer is what happened."""
    done = mtp.transact(Op.SEND_PARTIAL_OBJECT, handle, 0, 0, 4, data=b"Edit").code == Rc.OK
    assert (tmp_path / "file").read_bytes() == (b"Edit" + CONTENT[4:] if done else CONTENT)
    done = mtp.transact(Op.TRUNCATE_OBJECT, handle, 3, 0).code == Rc.OK
    assert ((tmp_path / "file").stat().st_size == 3) == done
    assert mtp.object_info(handle).size == (3 if done else len(CONTENT))
    with refused():
        mtp.end_edit(handle)


def test_a_folder_cannot_be_edited(mtp: Initiator) -> None:
    with refused():
        mtp.begin_edit(mtp.make_folder("folder"))


def test_partial_write_with_another_length(mtp: Initiator, handle: int, tmp_path: Path) -> None:
    """The fourth parameter counts the data: fewer are an error or counted, more are never written."""
    mtp.begin_edit(handle)
    response = mtp.transact(Op.SEND_PARTIAL_OBJECT, handle, 0, 0, 100, data=b"x" * 50)
    assert response.code != Rc.OK or response.params == (50,)
    with refused():
        mtp.command(Op.SEND_PARTIAL_OBJECT, handle, 200, 0, 100, data=b"x" * 150)
    mtp.end_edit(handle)
    assert (tmp_path / "file").read_bytes()[300:] == CONTENT[300:]


def test_closing_the_session_ends_the_edit(mtp: Initiator, handle: int, tmp_path: Path) -> None:
    mtp.begin_edit(handle)
    mtp.send_partial(handle, 0, b"kept")
    mtp.close_session()
    assert (tmp_path / "file").read_bytes()[:4] == b"kept"
    mtp.open_session()
    again = mtp.names()["file"]
    with refused():
        mtp.end_edit(again)
    mtp.begin_edit(again)


def test_cancel_in_mid_edit(mtp: Initiator, handle: int) -> None:
    mtp.begin_edit(handle)
    number = mtp.send_command(Op.SEND_PARTIAL_OBJECT, handle, 0, 0, 100_000)
    mtp.begin_data(Op.SEND_PARTIAL_OBJECT, number, 100_000, bytes(500))
    mtp.cancel(number)
    mtp.send_partial(handle, 0, CONTENT[:1000])
    mtp.end_edit(handle)
    assert mtp.get_object(handle) == CONTENT
