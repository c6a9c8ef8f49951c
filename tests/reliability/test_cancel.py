"""A guest gives a transfer up, at any place of it: it is in step again at once."""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING

import pytest

from tests.reliability.figures import figure
from tests.reliability.long import LONG, forget_conversation
from tests.support.codes import Op, Rc
from tests.support.server import phone
from tests.support.transactions import HEADER, RESPONSE
from tests.support.wire import Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.initiator import Initiator
    from tests.support.wire import Packet

OFFSETS = 1000 if LONG else 100
PACKET, TRANSFER = 512, 16384
MIB = 1 << 20
LARGE = random.Random(14).randbytes(6 * MIB)
"""More than is read ahead."""
SENT = LARGE[: 3 * MIB]
SMALL = b"small"
pytestmark = pytest.mark.timeout(600 if LONG else 120)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    (tmp_path / "large").write_bytes(LARGE)
    (tmp_path / "small").write_bytes(SMALL)
    return tmp_path


@pytest.fixture
def mtp(share: Path) -> Iterator[Initiator]:
    with phone(share) as initiator:
        forget_conversation(initiator.guest)
        yield initiator


def offsets(size: int) -> Iterator[int]:
    """Places within a message of that size; transfers are whole packets."""
    dice = random.Random(size)
    for _ in range(OFFSETS):
        yield dice.randrange(size // PACKET) * PACKET


def report(what: str, seconds: list[float]) -> None:
    figure(what, len(seconds))
    figure(f"ms until in step, median ({what})", statistics.median(seconds) * 1e3)
    figure(f"ms until in step, at most ({what})", max(seconds) * 1e3)


def read(mtp: Initiator, size: int) -> bytes:
    """So much of a message."""
    data = bytearray()
    while len(data) < size:
        data += mtp.read_transfer(min(TRANSFER, size - len(data)))
    return bytes(data)


def in_step(mtp: Initiator, small: int) -> None:
    assert mtp.object_info(small).size == len(SMALL)


def test_a_get_is_cancelled_by_a_request(mtp: Initiator) -> None:
    names, seconds = mtp.names(), []
    for offset in offsets(len(LARGE) + HEADER.size):
        number = mtp.send_command(Op.GET_OBJECT, names["large"])
        assert read(mtp, offset)[HEADER.size :] == LARGE[: max(offset - HEADER.size, 0)]
        for _ in range(offset % 3):
            mtp.guest.submit_bulk_in(TRANSFER)
        begun = time.perf_counter()
        mtp.cancel(number)
        in_step(mtp, names["small"])
        seconds.append(time.perf_counter() - begun)
        assert mtp.get_object(names["small"]) == SMALL
    assert mtp.get_object(names["large"]) == LARGE
    report("downloads cancelled", seconds)


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_put_is_cancelled_by_a_request(mtp: Initiator, share: Path, old: bytes | None) -> None:
    if old is not None:
        (share / "new").write_bytes(old)
    small, seconds = mtp.names()["small"], []
    present = {path.name for path in share.iterdir()}
    for offset in offsets(len(SENT)):
        number = mtp.begin_upload("new", len(SENT), b"")
        for start in range(0, offset - HEADER.size, TRANSFER):
            mtp.guest.submit_bulk_out(SENT[start : min(start + TRANSFER, offset)])
        begun = time.perf_counter()
        mtp.cancel(number)
        in_step(mtp, small)
        seconds.append(time.perf_counter() - begun)
        assert {path.name for path in share.iterdir()} == present
    if old is not None:
        assert (share / "new").read_bytes() == old
    mtp.send_file("new", SENT)
    assert (share / "new").read_bytes() == SENT
    report(f"uploads {'of a new file' if old is None else 'in place of a file'} cancelled", seconds)


# By cancel packets: the host takes its transfers back, and asks again


def take_back(mtp: Initiator, ids: list[int]) -> list[Packet]:
    """Cancel transfers; those that were done by then are, the others never happened."""
    for id_ in ids:
        mtp.guest.cancel(id_)
    replies = [mtp.guest.wait(id_) for id_ in ids]
    statuses = [reply.status for reply in replies]
    done = statuses.count(Status.SUCCESS)
    assert statuses == [Status.SUCCESS] * done + [Status.CANCELLED] * (len(ids) - done)
    return replies[:done]


def test_transfers_of_a_get_are_taken_back(mtp: Initiator) -> None:
    dice, names, taken_back = random.Random(1), mtp.names(), 0
    wanted = len(LARGE) + HEADER.size
    while taken_back < OFFSETS:
        number = mtp.send_command(Op.GET_OBJECT, names["large"])
        message = bytearray()
        while wanted - len(message) > 16 * TRANSFER + PACKET:  # all of what follows
            message += read(mtp, dice.randrange(8 * TRANSFER // PACKET) * PACKET)
            flying = [mtp.guest.submit_bulk_in(dice.randrange(1, 33) * PACKET) for _ in range(8)]
            message += b"".join(reply.data for reply in take_back(mtp, flying))
            message += mtp.read_transfer(PACKET)
            taken_back += 1
        message += mtp.read_message()
        assert mtp.read_container(RESPONSE, number)[1] == Rc.OK
        assert message[HEADER.size :] == LARGE
    figure("transfers of a download taken back", taken_back)


def test_transfers_of_a_put_are_taken_back(mtp: Initiator, share: Path) -> None:
    dice, taken_back = random.Random(2), 0
    pieces = [SENT[start : start + TRANSFER] for start in range(0, len(SENT), TRANSFER)]
    while taken_back < OFFSETS:
        number = mtp.begin_upload("new", len(SENT), b"")
        left = pieces
        while left:
            flying = [mtp.guest.submit_bulk_out(piece) for piece in left[: dice.randrange(1, 40)]]
            left = left[len(take_back(mtp, flying)) :]
            taken_back += 1
        mtp.guest.bulk_out(b"")
        assert mtp.finish(Op.SEND_OBJECT, number).code == Rc.OK
        assert (share / "new").read_bytes() == SENT
    figure("transfers of an upload taken back", taken_back)
