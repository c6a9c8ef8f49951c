"""Files of 64 GiB, and about 4 GiB: sizes, and what is at the edges where some number has no more bits."""

from __future__ import annotations

import hashlib
import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.reliability.figures import figure
from tests.reliability.long import LONG, forget_conversation
from tests.support.codes import ALL, Op, Prop, Rc
from tests.support.mtp import Row
from tests.support.server import running_server
from tests.support.transactions import DATA, HEADER, RESPONSE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.initiator import Initiator

GIB = 1 << 30
HUGE = 64 * GIB
SIZES = {"4 GiB - 1": 4 * GIB - 1, "4 GiB": 4 * GIB, "4 GiB + 1": 4 * GIB + 1, "64 GiB": HUGE}
EDGES = [0, 1 << 31, 1 << 32, 1 << 33, 1 << 35, HUGE]
"""Where a signed or unsigned number of 32 bits ends, some of its multiples, and the end of the largest."""
AROUND = 32 << 10
BLOCK = 1 << 20
needs_time = pytest.mark.skipif(not LONG, reason="takes minutes: USBREDIR_MTP_LONG=1")


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sparse files with something around each edge."""
    share = tmp_path_factory.mktemp("share")
    for name, size in SIZES.items():
        with (share / name).open("wb") as file:
            file.truncate(size)
            for edge in EDGES:
                first, last = around(edge, size)
                file.seek(first)
                file.write(mark(edge, last - first))
    return share


@pytest.fixture(scope="module")
def mtp(share: Path) -> Iterator[Initiator]:
    with running_server([share], "--no-media") as server:
        initiator = server.initiator(transfer=BLOCK, depth=4)
        forget_conversation(initiator.guest)
        yield initiator


def around(edge: int, size: int) -> tuple[int, int]:
    """From where to where there is something, within the file."""
    return min(max(edge - AROUND, 0), size), min(edge + AROUND, size)


def mark(edge: int, size: int) -> bytes:
    return random.Random(edge).randbytes(2 * AROUND)[:size]


@pytest.mark.parametrize("name", SIZES)
def test_sizes(mtp: Initiator, name: str) -> None:
    handle, size = mtp.names()[name], SIZES[name]
    assert mtp.object_info(handle).size == min(size, ALL)
    assert mtp.prop_value(handle, Prop.SIZE, 8) == size
    number = mtp.send_command(Op.GET_OBJECT, handle)
    length, *rest = HEADER.unpack_from(mtp.read_transfer())
    assert (length, rest) == (min(size + HEADER.size, ALL), [DATA, Op.GET_OBJECT, number])
    mtp.cancel(number)


@pytest.mark.parametrize("name", SIZES)
def test_edges_are_read(mtp: Initiator, share: Path, name: str) -> None:
    handle, size = mtp.names()[name], SIZES[name]
    compared = 0
    for edge in EDGES:
        first, last = around(edge, size)
        wanted = mark(edge, last - first)
        if not wanted:
            break  # the file ends before that
        assert mtp.get_partial64(handle, first, len(wanted)) == wanted
        for offset in range(max(edge - 2, 0), min(edge + 3, size)):
            assert mtp.get_partial64(handle, offset, 1) == wanted[offset - first : offset - first + 1]
        if edge <= ALL:
            assert mtp.get_partial(handle, first, 100) == wanted[:100]
        compared += len(wanted)
    assert len(mtp.get_partial64(handle, size - 1, 100)) == 1
    assert mtp.get_partial64(handle, size, 100) == b""
    figure(f"bytes compared around the edges of a file of {name}", compared)


@pytest.mark.parametrize("name", SIZES)
def test_edges_are_written(mtp: Initiator, share: Path, name: str) -> None:
    size = SIZES[name]
    with (share / f"edited {name}").open("wb") as file:
        file.truncate(size)
    handle = mtp.names()[f"edited {name}"]
    mtp.begin_edit(handle)
    for edge in EDGES:
        first, last = around(edge, size)
        if first < last:
            mtp.send_partial(handle, first, mark(edge, last - first))
    mtp.end_edit(handle)
    with (share / f"edited {name}").open("rb") as file:
        for edge in EDGES:
            first, last = around(edge, size)
            assert os.pread(file.fileno(), last - first, first) == mark(edge, last - first)
    assert (share / f"edited {name}").stat().st_size == size


def test_truncated_to_every_size(mtp: Initiator, share: Path) -> None:
    (share / "cut").touch()
    handle = mtp.names()["cut"]
    for size in (*SIZES.values(), *reversed(SIZES.values()), 0):
        mtp.begin_edit(handle)
        mtp.truncate(handle, size)
        mtp.end_edit(handle)
        assert (share / "cut").stat().st_size == size
        assert mtp.prop_value(handle, Prop.SIZE, 8) == size


# Every byte of them


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


@needs_time
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", list(SIZES)[:3])
def test_read_through(mtp: Initiator, share: Path, name: str) -> None:
    number = mtp.send_command(Op.GET_OBJECT, mtp.names()[name])
    found, size, length = hashlib.blake2b(), -HEADER.size, BLOCK
    while length == BLOCK:
        data = mtp.read_transfer()
        found.update(data if size >= 0 else data[HEADER.size :])
        length = len(data)
        size += length
    assert mtp.read_container(RESPONSE, number)[1] == Rc.OK
    assert size == SIZES[name]
    assert found.hexdigest() == digest(share / name)


@needs_time
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", list(SIZES)[:3])
def test_written_through(mtp: Initiator, share: Path, name: str) -> None:
    size = SIZES[name]
    mtp.send_prop_list(ALL, 0x3000, size, Row(0, Prop.FILE_NAME, 0xFFFF, "uploaded"))
    number = mtp.send_command(Op.SEND_OBJECT)
    wanted = hashlib.blake2b()
    mtp.guest.bulk_out(HEADER.pack(min(size + HEADER.size, ALL), DATA, Op.SEND_OBJECT, number))
    for start in range(0, size, BLOCK):
        block = start.to_bytes(8, "little") * (BLOCK // 8)
        block = block[: size - start]
        wanted.update(block)
        mtp.guest.bulk_out(block)
    if size % mtp.packet == 0:
        mtp.guest.bulk_out(b"")
    assert mtp.finish(Op.SEND_OBJECT, number).code == Rc.OK
    assert (share / "uploaded").stat().st_size == size
    assert digest(share / "uploaded") == wanted.hexdigest()
    mtp.delete(mtp.names()["uploaded"])
