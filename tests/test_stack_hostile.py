"""Guests that break the rules, and guests that vanish: the server serves the next one."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.codes import Op
from tests.support.initiator import Initiator
from tests.support.server import Server, running_server
from tests.support.usbredir import ALL_CAPS, Guest, Status, Type
from tests.support.wire import hello

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    share = tmp_path_factory.mktemp("share")
    (share / "big").write_bytes(bytes(32 * MIB))
    (share / "small").write_bytes(b"small")
    with running_server([share]) as running:
        yield running


@pytest.fixture(autouse=True)
def next_one_works(server: Server) -> Iterator[None]:
    yield
    mtp = server.initiator()
    assert mtp.get_object(mtp.names()["small"]) == b"small"
    mtp.guest.close()


BEFORE_HELLO = {
    "a request": struct.pack("<III", Type.GET_CONFIGURATION, 0, 1),
    "bulk data": struct.pack("<IIIBBHI", Type.BULK, 8, 1, 0x81, 0, 512, 0),
    "an unknown type": struct.pack("<III", 77, 0, 1),
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a hello too short": struct.pack("<III", Type.HELLO, 10, 0) + bytes(10),
    "a huge hello": struct.pack("<III", Type.HELLO, 0xFFFFFFFF, 0) + bytes(100),
    "an endless version": struct.pack("<III", Type.HELLO, 68, 0) + b"v" * 64 + bytes(4),
}


@pytest.mark.parametrize("name", BEFORE_HELLO)
def test_instead_of_hello(server: Server, name: str) -> None:
    guest = server.connect()
    guest.send_raw(BEFORE_HELLO[name])
    guest.expect_close()
    guest.close()


@pytest.mark.parametrize("words", [0, 1, 2, 200])
def test_hello_of_any_size(server: Server, words: int) -> None:
    guest = server.connect(ALL_CAPS if words else ALL_CAPS & 0)
    body = b"a guest of the future".ljust(64, b"\0") + b"\xff" * 4 * words
    guest.send_raw(struct.pack("<III", Type.HELLO, len(body), 0) + body)
    guest.wait_device()
    guest.set_configuration(1)
    guest.close()


def bulk(guest: Guest, id_: int, endpoint: int, length: int, data: bytes = b"") -> bytes:
    fields = (endpoint, 0, length & 0xFFFF, 0, length >> 16)
    return guest.codec.encode(Type.BULK, id_, *fields, data=data)


FATAL: dict[str, Callable[[Guest], bytes]] = {
    "hello again": lambda guest: guest.codec.encode(Type.HELLO, 0, data=hello(ALL_CAPS)[12:]),
    "an unknown type": lambda guest: guest.codec.encode(99, 5),
    "a length without end": lambda guest: guest.codec.encode(Type.BULK, 5, 2, 0, 0, 0, 0, length=0xFFFFFFFF),
    "a long control packet": lambda guest: guest.codec.encode(Type.CONTROL, 5, 0, 9, 0x21, 0, 0, 0, 0, length=64 * MIB),
    "a reply": lambda guest: guest.codec.encode(Type.CONFIGURATION_STATUS, 5, 0, 1),
    "a device of its own": lambda guest: guest.codec.encode(Type.DEVICE_CONNECT, 0, 2, 0, 0, 0, 1, 1, 1),
    "a header cut off": lambda guest: guest.codec.encode(Type.SET_CONFIGURATION, 5, 1, length=0),
    "a header too long": lambda guest: guest.codec.encode(Type.GET_CONFIGURATION, 5, data=b"x"),
    "IN with data": lambda guest: bulk(guest, 5, 0x81, 4, b"data"),
    "OUT with less data": lambda guest: bulk(guest, 5, 0x02, 100, b"data"),
    "OUT with more data": lambda guest: bulk(guest, 5, 0x02, 1, b"data"),
    "control IN with data": lambda guest: guest.codec.encode(
        Type.CONTROL, 5, 0x80, 6, 0x80, 0, 0x100, 0, 4, data=b"data"
    ),
    "control OUT without data": lambda guest: guest.codec.encode(Type.CONTROL, 5, 0, 9, 0x21, 0, 0, 0, 4),
    "the same id twice": lambda guest: bulk(guest, 5, guest.endpoint(2, 0x80), 64) * 2,
    "a filter without end": lambda guest: guest.codec.encode(Type.FILTER_FILTER, 0, data=b"-1,-1,-1,-1,1"),
}


@pytest.mark.parametrize("name", FATAL)
def test_breaking_the_protocol_ends_the_connection(server: Server, name: str) -> None:
    guest = server.attach()
    guest.send_raw(FATAL[name](guest))
    guest.expect_close()
    guest.close()


@pytest.mark.parametrize("endpoint", [0x8F, 0x85, 0x84])
def test_bulk_in_on_no_endpoint(server: Server, endpoint: int) -> None:
    guest = server.attach()
    reply = guest.wait(guest.submit_bulk_in(512, endpoint))
    assert (reply.status, reply["length"]) == (Status.INVAL, 0)
    assert guest.get_configuration() == 1
    guest.close()


@pytest.mark.parametrize("endpoint", [0x0F, 0x05])
def test_bulk_out_on_no_endpoint(server: Server, endpoint: int) -> None:
    guest = server.attach()
    reply = guest.wait(guest.submit_bulk_out(b"data", endpoint))
    assert reply.status is Status.INVAL
    assert guest.get_configuration() == 1
    guest.close()


def test_bulk_while_not_configured(server: Server) -> None:
    guest = server.attach()
    guest.set_configuration(0)
    assert guest.wait(guest.submit_bulk_in(512)).status is Status.INVAL
    assert guest.wait(guest.submit_bulk_out(b"data")).status is Status.INVAL
    guest.set_configuration(1)
    guest.close()


def test_a_configuration_that_there_is_not(server: Server) -> None:
    guest = server.attach()
    reply = guest.wait(guest.request(Type.SET_CONFIGURATION, 9))
    assert reply.status is not Status.SUCCESS
    reply = guest.wait(guest.request(Type.SET_ALT_SETTING, 7, 3))
    assert reply.status is not Status.SUCCESS
    reply = guest.wait(guest.request(Type.GET_ALT_SETTING, 7))
    assert reply.status is not Status.SUCCESS
    assert guest.get_configuration() == 1
    guest.close()


def test_cancels_of_nothing(server: Server) -> None:
    guest = server.attach()
    done = guest.request(Type.GET_CONFIGURATION)
    guest.wait(done)
    for id_ in (0, 12345, done, (1 << 64) - 1):
        guest.cancel(id_)
    assert guest.get_configuration() == 1
    guest.close()


def test_cancel_twice_gets_one_reply(server: Server) -> None:
    guest = server.attach()
    id_ = guest.submit_bulk_in(512)
    guest.cancel(id_)
    guest.cancel(id_)
    assert guest.wait(id_).status is Status.CANCELLED
    assert guest.get_configuration() == 1
    guest.close()


UNSUPPORTED = {
    "iso start": (Type.START_ISO_STREAM, (0x81, 8, 4), 0x81),
    "iso stop": (Type.STOP_ISO_STREAM, (0x81,), 0x81),
    "streams": (Type.ALLOC_BULK_STREAMS, (1 << 17, 4), 0),
    "no streams": (Type.FREE_BULK_STREAMS, (1 << 17,), 0),
    "bulk receiving": (Type.START_BULK_RECEIVING, (0, 512, 0x81, 4), 0x81),
    "no bulk receiving": (Type.STOP_BULK_RECEIVING, (0, 0x81), 0x81),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_there_is_not_is_invalid(server: Server, name: str) -> None:
    kind, values, endpoint = UNSUPPORTED[name]
    guest = server.attach()
    assert guest.wait(guest.request(kind, *values, endpoint=endpoint)).status is Status.INVAL
    assert guest.get_configuration() == 1
    guest.close()


def test_interrupt_receiving_on_another_endpoint(server: Server) -> None:
    guest = server.attach()
    bulk_in = guest.endpoint(2, 0x80)
    for endpoint in (bulk_in, 0x8E):
        request = guest.request(Type.START_INTERRUPT_RECEIVING, endpoint, endpoint=endpoint)
        assert guest.wait(request).status is Status.INVAL
    assert guest.get_configuration() == 1
    guest.close()


COMMANDS = {
    "empty": b"",
    "short": b"\x0c\0\0\0\1\0",
    "length zero": struct.pack("<IHHI", 0, 1, 0x1001, 0),
    "length too long": struct.pack("<IHHI", 4000, 1, 0x1001, 0),
    "length odd": struct.pack("<IHHIB", 13, 1, 0x1001, 0, 0),
    "not a type": struct.pack("<IHHI", 12, 9, 0x1001, 0),
    "a response": struct.pack("<IHHI", 12, 3, 0x2001, 0),
    "data first": struct.pack("<IHHI", 12, 2, 0x1001, 0),
    "a long packet": b"\xff" * 100_000,
}


@pytest.mark.parametrize("name", COMMANDS)
def test_garbage_on_the_bulk_pipe_is_cleared_by_a_reset(server: Server, name: str) -> None:
    """Whatever the answer (none, an error, a stall), Device Reset Request brings the device back."""
    guest = server.attach()
    guest.wait(guest.submit_bulk_out(COMMANDS[name]))
    mtp = Initiator(guest)
    mtp.device_reset()
    for endpoint in (guest.endpoint(2, 0x80), guest.endpoint(2, 0)):
        guest.control_out(0x02, 1, 0, endpoint)
    mtp.open_session()
    assert mtp.get_object(mtp.names()["small"]) == b"small"
    guest.close()


def test_a_guest_that_goes_away_at_once(server: Server) -> None:
    server.socket().close()


@pytest.mark.parametrize("abrupt", [False, True])
def test_a_guest_that_vanishes_in_mid_get(server: Server, abrupt: bool) -> None:
    connection = server.socket()
    guest = Guest(connection)
    guest.attach()
    guest.set_configuration(1)
    mtp = Initiator(guest)
    mtp.open_session()
    mtp.send_command(Op.GET_OBJECT, mtp.names()["big"])
    for _ in range(16):
        guest.submit_bulk_in(MIB)
    if abrupt:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    guest.close()


def test_a_guest_that_does_not_read_holds_nobody_up(server: Server) -> None:
    mtp = server.initiator()
    mtp.send_command(Op.GET_OBJECT, mtp.names()["big"])
    ids = [mtp.guest.submit_bulk_in(MIB) for _ in range(16)]
    other = server.initiator()
    assert other.get_object(other.names()["small"]) == b"small"
    assert sum(len(mtp.guest.wait(id_).data) for id_ in ids) == 16 * MIB
    for one in (mtp, other):
        one.guest.close()


def test_many_guests_at_once(server: Server) -> None:
    guests = [server.initiator() for _ in range(20)]
    for mtp in guests:
        assert mtp.get_object(mtp.names()["small"]) == b"small"
    for mtp in guests:
        mtp.guest.close()
