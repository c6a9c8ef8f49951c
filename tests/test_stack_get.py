"""Downloads: every size at which something could go wrong, in every way that hosts read."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.codes import Op, Rc
from tests.support.initiator import Initiator, refused
from tests.support.server import Server, running_server
from tests.support.usbredir import Type

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
SIZES = [0, 1, 500, 512, 1012, 1024, 16372, 16384, 16385, MIB - 12, MIB - 1, MIB, MIB + 1]
WAYS = {
    "libmtp": (16384, 1, True),
    "until short": (16384, 1, False),
    "one packet": (512, 1, False),
    "64 KiB, 16 in flight": (65536, 16, False),
    "1 MiB, 2 in flight": (MIB, 2, False),
}
"""Bytes a transfer, transfers in flight, asking for exactly the rest."""


def pattern(size: int) -> bytes:
    return struct.pack(f"<{size // 4 + 1}I", *range(size // 4 + 1))[:size]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    share = tmp_path_factory.mktemp("share")
    for size in SIZES:
        (share / str(size)).write_bytes(pattern(size))
    (share / "long").write_bytes(pattern(8 * MIB))
    with running_server([share]) as running:
        yield running


@pytest.mark.parametrize("way", WAYS)
def test_get(server: Server, way: str) -> None:
    transfer, depth, exact = WAYS[way]
    mtp = server.initiator(transfer=transfer, depth=depth, exact=exact)
    handles = mtp.names()
    for size in SIZES:
        if size > 65536 and way == "one packet":
            continue
        assert mtp.get_object(handles[str(size)]) == pattern(size), size
    mtp.guest.close()


@pytest.mark.parametrize("size", SIZES)
def test_get_by_transfers_that_fit_exactly(server: Server, size: int) -> None:
    """A transfer of just the message's length ends it; a zero-length packet is due only at full packets."""
    mtp = server.initiator()
    number = mtp.send_command(Op.GET_OBJECT, mtp.names()[str(size)])
    message = mtp.read_transfer(size + 12)
    assert message == struct.pack("<IHHI", size + 12, 2, Op.GET_OBJECT, number) + pattern(size)
    if (size + 12) % mtp.packet == 0:
        assert mtp.read_transfer() == b""
    assert mtp.finish(Op.GET_OBJECT, number).code == Rc.OK
    mtp.guest.close()


def test_transfers_wait_for_the_data(server: Server) -> None:
    """IN transfers that were there before the command are answered in order: that is USB's NAK."""
    mtp = server.initiator(depth=8)
    handles = mtp.names()
    mtp._waiting.extend(mtp.guest.submit_bulk_in(mtp.transfer) for _ in range(8 - len(mtp._waiting)))
    assert mtp.get_object(handles["16385"]) == pattern(16385)
    mtp.guest.close()


@pytest.mark.parametrize("transfers", [0, 1, 7])
@pytest.mark.parametrize("depth", [1, 4])
def test_cancel(server: Server, transfers: int, depth: int) -> None:
    mtp = server.initiator(depth=depth)
    handles = mtp.names()
    number = mtp.send_command(Op.GET_OBJECT, handles["long"])
    for _ in range(transfers):
        mtp.read_transfer()
    mtp.cancel(number)
    assert mtp.get_object(handles["500"]) == pattern(500)
    mtp.guest.close()


def test_ids_may_be_used_again(server: Server) -> None:
    """QEMU's ids are addresses of its packets: the same few come again and again."""
    guest = server.attach()
    endpoint = guest.endpoint(2, 0x80)
    for _ in range(3):
        id_ = guest.submit_bulk_in(512)
        guest.cancel(id_)
        assert guest.wait(id_).fields["length"] == 0
        fields = (endpoint, 0, 512, 0, 0)
        again = guest.request(Type.BULK, *fields, endpoint=endpoint, asked=512, id_=id_)
        guest.cancel(again)
        guest.wait(again)
    guest.close()


def test_a_folder_has_no_data(server: Server, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with running_server([tmp_path]) as other:
        mtp = other.initiator()
        with refused(Rc.INVALID_OBJECT_HANDLE, Rc.INVALID_OBJECT_FORMAT_CODE, Rc.ACCESS_DENIED):
            mtp.get_object(mtp.names()["folder"])


def test_a_file_that_vanished(tmp_path: Path) -> None:
    (tmp_path / "gone").write_bytes(b"x")
    with running_server([tmp_path]) as server:
        mtp = server.initiator()
        handle = mtp.names()["gone"]
        (tmp_path / "gone").unlink()
        with refused(Rc.INVALID_OBJECT_HANDLE):
            mtp.get_object(handle)


def test_a_file_that_shrinks_ends_the_transaction(tmp_path: Path) -> None:
    """Its length was promised in the container's header, so the response says that data are missing."""
    (tmp_path / "shrinks").write_bytes(bytes(64 * MIB))
    with running_server([tmp_path]) as server:
        mtp = server.initiator()
        number = mtp.send_command(Op.GET_OBJECT, mtp.names()["shrinks"])
        mtp.read_transfer()
        (tmp_path / "shrinks").write_bytes(b"")
        assert give_up(mtp, number) in {Rc.INCOMPLETE_TRANSFER, Rc.GENERAL_ERROR}
        assert list(mtp.names()) == ["shrinks"]


def give_up(mtp: Initiator, number: int) -> int:
    """Read to the end of a data phase, and its response's code."""
    while len(mtp.read_transfer()) == mtp.transfer:
        pass
    _, code, _ = mtp.read_container(3, number)
    return code
