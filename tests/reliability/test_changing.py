"""A file that changes on the host while a guest reads it: it never hangs, and never gets a mixture."""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.reliability.figures import figure
from tests.support.codes import Op, Rc
from tests.support.server import phone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.initiator import Initiator

MIB = 1 << 20
TRANSFER = 256 << 10
OLD = random.Random(15).randbytes(12 * MIB)
NEW = random.Random(16).randbytes(12 * MIB)
POINTS = [1, 2, 4, 12, 30, 47]
"""Transfers that the guest has by then; the server is some ahead of it."""


def truncate(path: Path) -> None:
    os.truncate(path, 100)


def halve(path: Path) -> None:
    os.truncate(path, len(OLD) // 2 + 1)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(NEW)


def replace(path: Path) -> None:
    path.with_name("new").write_bytes(NEW)
    path.with_name("new").rename(path)


def replace_by_less(path: Path) -> None:
    path.with_name("new").write_bytes(NEW[:1000])
    path.with_name("new").rename(path)


def delete(path: Path) -> None:
    path.unlink()


def write_anew(path: Path) -> None:
    path.unlink()
    path.write_bytes(NEW)


def turn_into_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def turn_into_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def turn_into_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def move_away(path: Path) -> None:
    path.rename(path.with_name("moved"))


def remove_the_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


SHRINKS = [truncate, halve]
STAYS = [
    *(append, replace, replace_by_less, delete, write_anew, move_away, remove_the_folder),
    *(turn_into_a_folder, turn_into_a_link, turn_into_a_fifo),
]


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("share")


@pytest.fixture(scope="module")
def mtp(share: Path) -> Iterator[Initiator]:
    with phone(share, options=["--no-media", "--watch", "off"]) as mtp:
        mtp.transfer = TRANSFER
        yield mtp


@pytest.fixture
def path(share: Path) -> Iterator[Path]:
    (share / "folder").mkdir()
    yield share / "folder" / "file"
    shutil.rmtree(share / "folder", ignore_errors=True)


def download(mtp: Initiator, handle: int, point: int, change: Callable[[], None]) -> tuple[bytes, int]:
    """What is read while that happens, and the response's code."""
    number = mtp.send_command(Op.GET_OBJECT, handle)
    pieces: list[bytes] = []
    while not pieces or len(pieces[-1]) == TRANSFER:
        if len(pieces) == point:
            change()
        pieces.append(mtp.read_transfer())
    message = b"".join(pieces)
    assert int.from_bytes(message[:4], "little") == len(OLD) + 12
    return message[12:], mtp.read_container(3, number)[1]


@pytest.mark.parametrize("change", [*SHRINKS, *STAYS], ids=lambda change: change.__name__)
def test_a_download_of_a_file_that_changes(mtp: Initiator, path: Path, change: Callable[[Path], None]) -> None:
    for point in POINTS:
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        path.write_bytes(OLD)
        data, code = download(mtp, mtp.find("folder/file"), point, lambda: change(path))
        if change in SHRINKS and len(data) < len(OLD):
            assert code == Rc.INCOMPLETE_TRANSFER, point
            assert OLD.startswith(data), point
        else:
            assert code == Rc.OK, point
            assert data == OLD, point
        if point == POINTS[0]:
            assert (code == Rc.OK) == (change in STAYS), "the server was not that far ahead"
    figure("ways to change a file that is being read", len(SHRINKS) + len(STAYS))
    figure("points in a download at which each was tried", len(POINTS))


@pytest.mark.parametrize("change", [replace, write_anew], ids=lambda change: change.__name__)
def test_each_part_is_of_one_file(mtp: Initiator, path: Path, change: Callable[[Path], None]) -> None:
    path.write_bytes(OLD)
    handle = mtp.find("folder/file")
    assert mtp.get_partial64(handle, MIB, MIB) == OLD[MIB : 2 * MIB]
    change(path)
    assert mtp.get_partial64(handle, 2 * MIB, MIB) == NEW[2 * MIB : 3 * MIB]


@pytest.mark.parametrize("left", [0, MIB, MIB + 500])
def test_a_part_that_is_not_there_any_more_is_short(mtp: Initiator, path: Path, left: int) -> None:
    path.write_bytes(OLD)
    handle = mtp.find("folder/file")
    os.truncate(path, left)
    assert mtp.get_partial64(handle, MIB, MIB) == OLD[MIB:left]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (delete, Rc.INVALID_OBJECT_HANDLE),
        (turn_into_a_folder, Rc.INVALID_OBJECT_HANDLE),
        (turn_into_a_link, Rc.INVALID_OBJECT_HANDLE),
        (turn_into_a_fifo, Rc.INVALID_OBJECT_HANDLE),
    ],
)
def test_what_is_gone_before_it_is_read(mtp: Initiator, path: Path, change: Callable[[Path], None], code: int) -> None:
    path.write_bytes(OLD)
    handle = mtp.find("folder/file")
    change(path)
    assert mtp.transact(Op.GET_OBJECT, handle).code == code
    assert mtp.transact(Op.GET_PARTIAL_OBJECT, handle, 0, MIB).code == code
