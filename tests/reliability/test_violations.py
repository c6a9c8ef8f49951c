"""Guests that break the protocol, each in its own way, while another guest is in the middle of a download.

The list is that of what a usb-host has to reckon with: some of it costs the connection, some is only answered.
"""

from __future__ import annotations

import logging
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.reliability.figures import figure
from tests.support.codes import Op, Rc
from tests.support.initiator import Initiator
from tests.support.server import running_server
from tests.support.usbredir import ALL_CAPS, Guest, Status, Type
from tests.support.wire import hello

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.server import Server

BIG = bytes(range(256)) * 1024
MIB = 1 << 20
BULK_IN, BULK_OUT = 0x81, 0x02


class Violation(NamedTuple):
    """What a guest sends, and what the log says of it."""

    send: Callable[[Guest], bytes]
    reason: str


def raw(kind: int, length: int, body: bytes = b"") -> Callable[[Guest], bytes]:
    """A packet with 32-bit ids, as before hellos are exchanged."""
    return lambda _guest: struct.pack("<III", kind, length, 0) + body


def packet(
    kind: int, *values: int, data: bytes = b"", length: int | None = None, id_: int = 5
) -> Callable[[Guest], bytes]:
    return lambda guest: guest.codec.encode(kind, id_, *values, data=data, length=length)


def bulk(endpoint: int, length: int, data: bytes = b"", count: int = 1) -> Callable[[Guest], bytes]:
    fields = (endpoint, 0, length & 0xFFFF, 0, length >> 16)
    return lambda guest: guest.codec.encode(Type.BULK, 5, *fields, data=data) * count


BEFORE_HELLO = {
    "a request before hello": Violation(raw(Type.GET_CONFIGURATION, 0), "GET_CONFIGURATION before hello"),
    "data before hello": Violation(
        raw(Type.BULK, 8, struct.pack("<BBHI", BULK_IN, 0, 512, 0)), "BULK_PACKET before hello"
    ),
    "another protocol": Violation(lambda _guest: b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "unknown packet type"),
    "zeros": Violation(lambda _guest: bytes(4096), "HELLO has an impossible length 0"),
    "a hello too short": Violation(raw(Type.HELLO, 63, bytes(63)), "HELLO has an impossible length 63"),
    "a hello of 4 GiB": Violation(raw(Type.HELLO, 0xFFFFFFFF, bytes(100)), "HELLO has an impossible length 4294967295"),
    "a hello that ends within a word": Violation(raw(Type.HELLO, 66, bytes(66)), "ends within a word"),
    "a version that is not terminated": Violation(raw(Type.HELLO, 68, b"v" * 64 + bytes(4)), "without its closing NUL"),
}
AFTER_HELLO = {
    "a second hello": Violation(lambda guest: guest.codec.encode(Type.HELLO, 0, data=hello(ALL_CAPS)[12:]), "a second"),
    "an unknown type": Violation(packet(99), "unknown packet type 99"),
    "a length of 4 GiB": Violation(packet(Type.BULK, BULK_OUT, 0, 0, 0, 0, length=0xFFFFFFFF), "impossible length"),
    "a control packet of 64 MiB": Violation(
        packet(Type.CONTROL, 0, 9, 0x21, 0, 0, 0, 0, length=64 * MIB), "impossible length"
    ),
    "a body that is too short": Violation(packet(Type.SET_CONFIGURATION, 1, length=0), "impossible length 0"),
    "a body that is too long": Violation(packet(Type.GET_CONFIGURATION, data=b"x"), "impossible length 1"),
    "a device of its own": Violation(packet(Type.DEVICE_CONNECT, 2, 0, 0, 0, 1, 1, 1), "from the usb-guest"),
    "a device's end": Violation(packet(Type.DEVICE_DISCONNECT), "from the usb-guest"),
    "endpoints of its own": Violation(packet(Type.EP_INFO, data=bytes(160)), "EP_INFO from the usb-guest"),
    "a reply": Violation(packet(Type.CONFIGURATION_STATUS, 0, 1), "CONFIGURATION_STATUS from the usb-guest"),
    "a stream's data": Violation(packet(Type.BUFFERED_BULK, 0, 0, BULK_IN, 0), "from the usb-guest"),
    "a filter that is not terminated": Violation(packet(Type.FILTER_FILTER, data=b"-1,-1,-1,-1,1"), "closing NUL"),
    "IN with data": Violation(bulk(BULK_IN, 4, b"data"), "against the direction"),
    "IN of more than can be": Violation(bulk(BULK_IN, 64 * MIB), "at most"),
    "OUT with less data than it says": Violation(bulk(BULK_OUT, 100, b"data"), "gives its length as 100"),
    "OUT with more data than it says": Violation(bulk(BULK_OUT, 1, b"data"), "gives its length as 1"),
    "OUT with no data at all": Violation(bulk(BULK_OUT, 100), "gives its length as 100"),
    "control IN with data": Violation(packet(Type.CONTROL, 0x80, 6, 0x80, 0, 0, 0, 1, data=b"x"), "against the direct"),
    "control OUT that lies": Violation(packet(Type.CONTROL, 0, 9, 0x21, 0, 0, 0, 4), "gives its length as 4"),
    "control in two directions": Violation(packet(Type.CONTROL, 0x80, 9, 0, 0, 0, 0, 0), "disagrees with itself"),
    "interrupt OUT that lies": Violation(packet(Type.INTERRUPT, 4, 0, 8), "gives its length as 8"),
    "interrupt IN": Violation(packet(Type.INTERRUPT, 0x83, 0, 8), "is for the other side"),
    "receiving from an OUT endpoint": Violation(packet(Type.START_INTERRUPT_RECEIVING, BULK_OUT), "no IN endpoint"),
    "a live id twice": Violation(bulk(BULK_IN, 64, count=2), "has the id 5 of a live request"),
    "requests without end": Violation(
        lambda guest: b"".join(packet(Type.BULK, BULK_IN, 0, 64, 0, 0, id_=id_)(guest) for id_ in range(5000)),
        "more than 4096 requests",
    ),
    "an answer to nothing": Violation(packet(Type.DEVICE_DISCONNECT_ACK), "nothing to acknowledge"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    share = tmp_path_factory.mktemp("share")
    (share / "big").write_bytes(BIG)
    (share / "huge").write_bytes(bytes(32 * MIB))
    with running_server([share], "--watch", "off") as running:
        yield running


@pytest.fixture
def other(server: Server) -> Iterator[Initiator]:
    """A guest that does nothing wrong."""
    other = server.initiator()
    yield other
    other.guest.close()


@contextmanager
def downloading(other: Initiator) -> Iterator[None]:
    """A download by the other guest, of which the block is in the middle: not a byte goes astray."""
    number = other.send_command(Op.GET_OBJECT, other.names()["big"])
    pieces = [other.read_transfer()]
    yield
    while len(pieces[-1]) == other.transfer:
        pieces.append(other.read_transfer())
    assert b"".join(pieces)[12:] == BIG
    assert other.finish(Op.GET_OBJECT, number).code == Rc.OK
    assert other.guest.connects == 1


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Lines of the program's log that an administrator would look at."""
    records = [record for record in caplog.records if record.name.startswith("usbredir_mtp")]
    assert not [record for record in records if record.exc_info]
    return [record.getMessage() for record in records if record.levelno >= logging.WARNING]


def break_off(guest: Guest, violation: Violation, other: Initiator, caplog: pytest.LogCaptureFixture) -> None:
    """The guest does it: it loses the connection, with one line in the log, which names it and says why."""
    with downloading(other):
        guest.send_raw(violation.send(guest))
        guest.expect_close()
        guest.close()
    [line] = warnings(caplog)
    assert line.startswith("127.0.0.1:")
    assert "breaks the protocol and is disconnected" in line
    assert violation.reason in line
    assert "\n" not in line


@pytest.mark.parametrize("name", BEFORE_HELLO)
def test_instead_of_hello(server: Server, other: Initiator, caplog: pytest.LogCaptureFixture, name: str) -> None:
    break_off(server.connect(), BEFORE_HELLO[name], other, caplog)


@pytest.mark.parametrize("name", AFTER_HELLO)
def test_after_hello(server: Server, other: Initiator, caplog: pytest.LogCaptureFixture, name: str) -> None:
    break_off(server.attach(), AFTER_HELLO[name], other, caplog)


@pytest.mark.parametrize("name", ["IN with data", "a live id twice", "an unknown type"])
def test_in_the_middle_of_an_upload(
    server: Server, other: Initiator, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """What had begun is undone."""
    mtp = server.initiator()
    mtp.begin_upload("half", 1000, b"some")
    break_off(mtp.guest, AFTER_HELLO[name], other, caplog)
    assert set(other.names()) == {"big", "huge"}


# What is only answered, and the connection goes on


def no_such_endpoints(guest: Guest) -> None:
    for endpoint in (0x8F, 0x85, 0x84):
        assert guest.wait(guest.submit_bulk_in(512, endpoint)).status is Status.INVAL
    for endpoint in (0x0F, 0x05):
        assert guest.wait(guest.submit_bulk_out(b"data", endpoint)).status is Status.INVAL
    request = guest.request(Type.START_INTERRUPT_RECEIVING, 0x8E, endpoint=0x8E)
    assert guest.wait(request).status is Status.INVAL


def cancels_of_nothing(guest: Guest) -> None:
    done = guest.request(Type.GET_CONFIGURATION)
    guest.wait(done)
    for id_ in (0, 12345, done, (1 << 64) - 1):
        guest.cancel(id_)


def streams(guest: Guest) -> None:
    requests: list[tuple[Type, tuple[int, ...], int]] = [
        (Type.START_ISO_STREAM, (BULK_IN, 8, 4), BULK_IN),
        (Type.STOP_ISO_STREAM, (BULK_IN,), BULK_IN),
        (Type.ALLOC_BULK_STREAMS, (1 << 17, 4), 0),
        (Type.FREE_BULK_STREAMS, (1 << 17,), 0),
        (Type.START_BULK_RECEIVING, (0, 512, BULK_IN, 4), BULK_IN),
        (Type.STOP_BULK_RECEIVING, (0, BULK_IN), BULK_IN),
    ]
    for kind, values, endpoint in requests:
        assert guest.wait(guest.request(kind, *values, endpoint=endpoint)).status is Status.INVAL


def reset_in_mid_transfer(guest: Guest) -> None:
    mtp = Initiator(guest)
    mtp.open_session()
    mtp.send_command(Op.GET_OBJECT, mtp.names()["huge"])
    guest.submit_bulk_in(MIB)
    guest.submit_bulk_in(MIB)
    mtp.bus_reset()
    guest.set_configuration(1)


HELLOS = {words: b"a guest of the future".ljust(64, b"\0") + b"\xff" * 4 * words for words in (0, 1, 2, 200)}
ANSWERED = {
    "endpoints that do not exist": no_such_endpoints,
    "cancels of unknown ids": cancels_of_nothing,
    "streams": streams,
    "a reset in mid-transfer": reset_in_mid_transfer,
}


@pytest.mark.parametrize("name", ANSWERED)
def test_answered(server: Server, other: Initiator, caplog: pytest.LogCaptureFixture, name: str) -> None:
    guest = server.attach()
    with downloading(other):
        ANSWERED[name](guest)
        assert guest.get_configuration() == 1
    guest.close()
    assert warnings(caplog) == []


@pytest.mark.parametrize("words", HELLOS)
def test_hello_of_any_size(server: Server, other: Initiator, words: int) -> None:
    guest = server.connect(ALL_CAPS if words else ALL_CAPS & 0)
    with downloading(other):
        guest.send_raw(struct.pack("<III", Type.HELLO, len(HELLOS[words]), 0) + HELLOS[words])
        guest.wait_device()
        guest.set_configuration(1)
    guest.close()


def test_a_guest_that_stops_reading_while_data_is_queued(
    server: Server, other: Initiator, caplog: pytest.LogCaptureFixture
) -> None:
    mtp = server.initiator()
    mtp.send_command(Op.GET_OBJECT, mtp.names()["huge"])
    asked = [mtp.guest.submit_bulk_in(MIB) for _ in range(24)]
    for _ in range(3):
        with downloading(other):
            pass
    assert sum(len(mtp.guest.wait(id_).data) for id_ in asked) == 24 * MIB
    mtp.guest.close()
    assert warnings(caplog) == []


def test_figure() -> None:
    figure("ways to break the protocol", len(BEFORE_HELLO) + len(AFTER_HELLO))
