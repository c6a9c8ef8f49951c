"""Any capabilities of the guest's, and bytes that come one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.codes import ALL
from tests.support.initiator import Initiator, OutStyle
from tests.support.server import Server, running_server
from tests.support.usbredir import ALL_CAPS, Cap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SINGLE = [Cap(1 << bit) for bit in range(8)]
SUBSETS = [Cap.NONE, ALL_CAPS, Cap(0x7E), *SINGLE, *[ALL_CAPS & ~cap for cap in SINGLE]]
CONTENT = bytes(range(256)) * 200


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    share = tmp_path_factory.mktemp("share")
    (share / "file").write_bytes(CONTENT)
    with running_server([share]) as running:
        yield running


def tour(mtp: Initiator, name: str) -> None:
    """A short session that uses every pipe."""
    assert mtp.guest.control_in(0x80, 6, 0x100, 0, 18)[:2] == b"\x12\1"
    assert mtp.guest.get_configuration() == 1
    assert mtp.guest.get_interface(0) == 0
    assert mtp.device_status()[0] == 0x2001
    assert mtp.get_object(mtp.names()["file"]) == CONTENT
    handle = mtp.send_file(name, CONTENT[:1012])
    assert mtp.get_partial64(handle, 1000, 100) == CONTENT[1000:1012]
    assert {row.handle for row in mtp.prop_list(ALL, depth=ALL)} >= {handle}
    mtp.delete(handle)
    mtp.bus_reset()
    mtp.open_session()
    mtp.close_session()
    mtp.guest.stop_interrupt()
    mtp.guest.close()


@pytest.mark.parametrize("caps", SUBSETS, ids=lambda caps: f"{caps.value:#04x}")
def test_any_subset(server: Server, caps: Cap) -> None:
    tour(server.initiator(caps), f"caps {caps.value:#x}")


@pytest.mark.parametrize("caps", [Cap.NONE, ALL_CAPS], ids=["none", "all"])
def test_byte_by_byte(server: Server, caps: Cap) -> None:
    tour(server.initiator(caps, split=1), f"split {caps.value:#x}")


@pytest.mark.parametrize("split", [3, 7, 16, 1000])
def test_in_pieces(server: Server, split: int) -> None:
    tour(server.initiator(split=split), f"split {split}")


@pytest.mark.parametrize("style", OutStyle)
@pytest.mark.parametrize("exact", [False, True])
def test_habits_of_hosts(server: Server, style: OutStyle, exact: bool) -> None:
    tour(server.initiator(style=style, exact=exact), f"{style.name} {exact}")


@pytest.mark.parametrize("speed", ["full", "high", "super"])
@pytest.mark.parametrize("exact", [False, True])
def test_speeds(tmp_path: Path, speed: str, exact: bool) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    with running_server([tmp_path], "--speed", speed) as server:
        mtp = server.initiator(exact=exact)
        tour(mtp, "tour")
        mtp = server.initiator(exact=exact)
        for size in (0, 51, 52, 500, 1012, 1013, 4084):
            handle = mtp.send_file("sized", CONTENT[:size])
            assert mtp.get_object(handle) == CONTENT[:size]


def test_a_lone_filter_is_taken(server: Server) -> None:
    """QEMU with `filter=` sends its rules right after hello; they ask for no answer."""
    guest = server.connect()
    guest.greet()
    guest.send(23, 0, data=b"-1,-1,-1,-1,1\0")
    guest.wait_device()
    guest.set_configuration(1)
    guest.close()


def test_a_device_that_the_guest_rejects(server: Server) -> None:
    guest = server.connect()
    guest.greet()
    guest.send(23, 0, data=b"0x06,-1,-1,-1,0|-1,-1,-1,-1,1\0")
    guest.wait_device()
    guest.send(22, 0)
    guest.close()
    tour(server.initiator(), "after reject")


def test_either_loop(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    with running_server([tmp_path], "--loop", "asyncio") as server:
        tour(server.initiator(), "asyncio")
