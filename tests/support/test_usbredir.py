"""The guest against scripted usb-hosts."""

from __future__ import annotations

import socket

import pytest

from tests.support.peer import (
    CONNECT,
    EP_INFO,
    HELLO,
    INTERFACES,
    PLUG_IN,
    Device,
    Script,
    packet,
)
from tests.support.usbredir import (
    Cap,
    Guest,
    HungUpError,
    StallError,
    Status,
    TransferError,
    Type,
    UnpluggedError,
)

GREETING = HELLO + bytes.fromhex("7e000000")
FIRST = 0x7F00_0000_0001


def attached(said: bytes, *, step: int = 1 << 20) -> Guest:
    guest = Guest(Script(GREETING + PLUG_IN + said, step))
    guest.attach()
    return guest


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_attach(step: int) -> None:
    guest = attached(b"", step=step)
    assert guest.device is not None
    assert (guest.device["vendor_id"], guest.device["product_id"]) == (0x46F4, 4)
    assert guest.codec.caps == Cap(0x7E)
    assert (guest.endpoint(2, 0), guest.endpoint(2, 0x80), guest.endpoint(3, 0x80)) == (
        0x02,
        0x81,
        0x83,
    )
    assert [row.triple for row in guest.interfaces] == [(6, 1, 1)]


@pytest.mark.parametrize(
    "said",
    [
        packet(4, 0, INTERFACES) + packet(5, 0, EP_INFO) + packet(1, 0, CONNECT),
        packet(5, 0, EP_INFO) + packet(1, 0, CONNECT),
        packet(0, 0, bytes(68)),
    ],
    ids=["interfaces first", "no interfaces", "hello again"],
)
def test_wrong_order(said: bytes) -> None:
    with pytest.raises(AssertionError):
        Guest(Script(GREETING + said)).attach()


def test_anything_before_hello() -> None:
    with pytest.raises(AssertionError):
        Guest(Script(bytes.fromhex("02000000 00000000 00000000"))).attach()


def test_requests_and_their_replies() -> None:
    guest = attached(
        packet(8, FIRST, b"\0\1")
        + packet(11, FIRST + 1, b"\0\0\0")
        + packet(100, FIRST + 2, bytes.fromhex("80 06 80 00 0001 0000 0200 1201"))
        + packet(101, FIRST + 3, bytes.fromhex("81 00 0300 00000000 0000 616263"))
        + packet(101, FIRST + 4, bytes.fromhex("02 00 0200 00000000 0000"))
    )
    guest.set_configuration(1)
    assert guest.get_interface(0) == 0
    assert guest.control_in(0x80, 6, 0x100, 0, 18) == b"\x12\x01"
    assert guest.bulk_in(512) == b"abc"
    guest.bulk_out(b"hi")
    assert not guest.pending


def test_statuses_raise() -> None:
    guest = attached(
        packet(100, FIRST, bytes.fromhex("80 06 80 04 0001 0000 0000"))
        + packet(101, FIRST + 1, bytes.fromhex("81 02 0000 00000000 0000"))
    )
    with pytest.raises(StallError):
        guest.control_in(0x80, 6, 0x100, 0, 18)
    with pytest.raises(TransferError) as caught:
        guest.bulk_in(512)
    assert caught.value.status is Status.INVAL


@pytest.mark.parametrize(
    "reply",
    [
        packet(101, FIRST + 9, bytes.fromhex("81 00 0000 00000000 0000")),
        packet(101, FIRST, bytes.fromhex("82 00 0000 00000000 0000")),
        packet(101, FIRST, bytes.fromhex("81 00 0500 00000000 0000 6162636465")),
        packet(101, FIRST, bytes.fromhex("81 00 0200 00000000 0000 61")),
        packet(101, FIRST, bytes.fromhex("81 01 0100 00000000 0000 61")),
        packet(8, FIRST, b"\0\1"),
    ],
    ids=["id", "endpoint", "babble", "length", "cancelled with data", "type"],
)
def test_replies_that_do_not_fit(reply: bytes) -> None:
    guest = attached(reply)
    with pytest.raises(AssertionError):
        guest.bulk_in(4)


def test_a_second_reply() -> None:
    done = packet(101, FIRST, bytes.fromhex("81 00 0000 00000000 0000"))
    guest = attached(done + done)
    assert guest.bulk_in(4) == b""
    with pytest.raises(AssertionError):
        guest.pump()


def test_cancel() -> None:
    guest = attached(packet(101, FIRST, bytes.fromhex("81 01 0000 00000000 0000")))
    id_ = guest.submit_bulk_in(64)
    guest.cancel(id_)
    assert guest.wait(id_).status is Status.CANCELLED


def test_events_count_up() -> None:
    started = packet(17, FIRST, b"\0\x83")
    event = bytes.fromhex("83 00 0100 61")
    guest = attached(started + packet(103, 0, event) + packet(103, 1, event))
    guest.start_interrupt()
    assert [guest.wait_event(), guest.wait_event()] == [b"a", b"a"]
    with pytest.raises(TimeoutError):
        guest.wait_event()
    guest = attached(started + packet(103, 1, event))
    guest.start_interrupt()
    with pytest.raises(AssertionError):
        guest.wait_event()
    with pytest.raises(AssertionError):
        attached(packet(103, 0, event)).wait_event()


def test_disconnect_is_acknowledged() -> None:
    guest = attached(packet(2, 0, b"") + PLUG_IN)
    with pytest.raises(UnpluggedError):
        guest.bulk_in(4)
    assert guest.log[-1] == (True, packet(24, 0, b""))
    guest.wait_device()
    assert guest.connects == 2


def test_the_end() -> None:
    script = Script(GREETING, ended=True)
    guest = Guest(script)
    with pytest.raises(HungUpError):
        guest.attach()
    guest.expect_close()


def test_the_log_keeps_every_byte() -> None:
    device = Device(step=10)
    guest = Guest(device)
    guest.attach()
    guest.bulk_out(b"data")
    ours = b"".join(data for sent, data in guest.log if sent)
    theirs = b"".join(data for sent, data in guest.log if not sent)
    assert ours.endswith(b"data")
    assert theirs.startswith(GREETING + PLUG_IN)


def test_split_sends_pieces_over_a_socket() -> None:
    near, far = socket.socketpair()
    with near, far:
        guest = Guest(near, split=1)
        guest.send(Type.RESET, 0)
        assert far.recv(100, socket.MSG_WAITALL | socket.MSG_PEEK)[:4] == b"\3\0\0\0"
        assert far.recv(100) == bytes.fromhex("03000000 00000000 00000000")
