"""Sizes at and beyond 4 GiB, with sparse files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.codes import ALL, Op, Prop
from tests.support.server import phone
from tests.support.transactions import HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.initiator import Initiator

GIB = 1 << 30
TAIL = b"the last bytes of a large file"
SIZES = {
    "just below": 4 * GIB - 13,
    "container full": 4 * GIB - 12,
    "size unknown": 4 * GIB - 1,
    "low half zero": 4 * GIB,
    "just above": 4 * GIB + 1,
    "five": 5 * GIB,
}


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    share = tmp_path_factory.mktemp("share")
    for name, size in SIZES.items():
        with (share / name).open("wb") as file:
            file.seek(size - len(TAIL))
            file.write(TAIL)
    return share


@pytest.fixture(scope="module")
def mtp(share: Path) -> Iterator[Initiator]:
    with phone(share) as initiator:
        yield initiator


@pytest.mark.parametrize("name", SIZES)
def test_sizes(mtp: Initiator, name: str) -> None:
    handle, size = mtp.names()[name], SIZES[name]
    assert mtp.object_info(handle).size == min(size, ALL)
    assert mtp.prop_value(handle, Prop.SIZE, 8) == size
    (row,) = mtp.prop_list(handle, prop=Prop.SIZE)
    assert row.value == size


@pytest.mark.parametrize("name", SIZES)
def test_tails(mtp: Initiator, name: str) -> None:
    handle, size = mtp.names()[name], SIZES[name]
    assert mtp.get_partial64(handle, size - len(TAIL), 16384) == TAIL
    assert mtp.get_partial64(handle, size - 4, 4) == TAIL[-4:]


@pytest.mark.parametrize("name", SIZES)
def test_the_containers_length(mtp: Initiator, name: str) -> None:
    number = mtp.send_command(Op.GET_OBJECT, mtp.names()[name])
    length, *rest = HEADER.unpack_from(mtp.read_transfer())
    assert length == min(SIZES[name] + 12, ALL)
    assert rest == [2, Op.GET_OBJECT, number]
    mtp.cancel(number)


def test_a_32_bit_read_near_its_limit(mtp: Initiator) -> None:
    assert mtp.get_partial(mtp.names()["low half zero"], 4 * GIB - len(TAIL), 100) == TAIL


def test_an_edit_beyond_4_gib(mtp: Initiator, share: Path) -> None:
    handle = mtp.names()["five"]
    mtp.begin_edit(handle)
    mtp.send_partial(handle, 5 * GIB + 7, b"more")
    mtp.end_edit(handle)
    assert mtp.get_partial64(handle, 5 * GIB, 100) == bytes(7) + b"more"
    mtp.begin_edit(handle)
    mtp.truncate(handle, 5 * GIB)
    mtp.end_edit(handle)
    assert (share / "five").stat().st_size == 5 * GIB
    assert mtp.prop_value(handle, Prop.SIZE, 8) == 5 * GIB
