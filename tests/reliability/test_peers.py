"""A peer that resets, closes or stops reading, wherever the conversation is: nobody else notices, nothing stays."""

from __future__ import annotations

import itertools
import os
import random
import select
import socket
import struct
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from tests.reliability.figures import figure
from tests.reliability.seen import PATIENCE, Seen, seen_server, wait_until
from tests.support.codes import ALL, Op
from tests.support.initiator import Initiator
from tests.support.mtp import ObjectInfo
from tests.support.usbredir import Guest, Type
from tests.support.wire import hello

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIB = 1 << 20
CONNECTS = 1000
GLANCE = 0.005
LARGE = random.Random(13).randbytes(16 * MIB)
FILES = 3


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("share")
    (folder / "large").write_bytes(LARGE)
    (folder / "small").write_bytes(b"small")
    (folder / "folder").mkdir()
    return folder


@pytest.fixture(scope="module")
def server(share: Path) -> Iterator[Seen]:
    with seen_server(share, "--watch", "off") as server:
        check(server)
        yield server


def check(server: Seen) -> None:
    """Another guest is served."""
    mtp = server.guests.initiator()
    assert mtp.get_object(mtp.names()["small"]) == b"small"
    mtp.guest.close()


# Where a conversation can be


def attached(guest: Guest) -> None:
    guest.attach()
    guest.reset()
    guest.set_configuration(1)
    guest.start_interrupt()


def in_session(guest: Guest) -> Initiator:
    attached(guest)
    mtp = Initiator(guest)
    mtp.open_session()
    return mtp


def half_a_hello(guest: Guest) -> None:
    guest.send_raw(hello(guest.caps)[:30])


def half_a_header(guest: Guest) -> None:
    guest.attach()
    guest.send_raw(b"\x65\0\0")


def half_a_packet(guest: Guest) -> None:
    in_session(guest)
    guest.send_raw(guest.codec.encode(Type.BULK, 7, 2, 0, 512, 0, 0, data=bytes(512))[:100])


def a_request(guest: Guest) -> None:
    guest.attach()
    guest.request(Type.GET_CONFIGURATION)


def a_command(guest: Guest) -> None:
    in_session(guest).send_command(Op.GET_OBJECT_HANDLES, ALL, 0, ALL)


def waiting_transfers(guest: Guest) -> None:
    in_session(guest)
    for _ in range(8):
        guest.submit_bulk_in(16384)


def a_download(guest: Guest) -> None:
    mtp = in_session(guest)
    mtp.send_command(Op.GET_OBJECT, mtp.names()["large"])
    mtp.read_transfer()


def a_download_nobody_reads(guest: Guest) -> None:
    mtp = in_session(guest)
    mtp.send_command(Op.GET_OBJECT, mtp.names()["large"])
    for _ in range(64):
        guest.submit_bulk_in(MIB)


def an_upload_announced(guest: Guest) -> None:
    mtp = in_session(guest)
    mtp.send_object_info(mtp.storage, ALL, ObjectInfo(size=5, name="torn"))


def an_upload(guest: Guest) -> None:
    in_session(guest).begin_upload("torn", MIB, bytes(16372))


def an_upload_to_replace(guest: Guest) -> None:
    in_session(guest).begin_upload("small", MIB, bytes(16372))


def an_edit(guest: Guest) -> None:
    mtp = in_session(guest)
    mtp.begin_edit(mtp.names()["small"])


def a_cancel(guest: Guest) -> None:
    mtp = in_session(guest)
    number = mtp.begin_upload("torn", MIB, bytes(16372))
    data = struct.pack("<HI", 0x4001, number)
    guest.request(Type.CONTROL, 0, 0x64, 0x21, 0, 0, 0, len(data), data=data)


STATES: dict[str, Callable[[Guest], object]] = {
    "nothing said": lambda _guest: None,
    "half a hello": half_a_hello,
    "hello": Guest.greet,
    "plugged in": Guest.attach,
    "half a header": half_a_header,
    "a request": a_request,
    "configured": attached,
    "in session": in_session,
    "half a packet": half_a_packet,
    "a command": a_command,
    "waiting transfers": waiting_transfers,
    "a download": a_download,
    "a download nobody reads": a_download_nobody_reads,
    "an upload announced": an_upload_announced,
    "an upload": an_upload,
    "an upload to replace": an_upload_to_replace,
    "an edit": an_edit,
    "a cancel": a_cancel,
}


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def says_no_more(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


ENDS: dict[str, Callable[[socket.socket], None]] = {
    "resets": reset,
    "closes": socket.socket.close,
    "says no more": says_no_more,
}


def whole(share: Path) -> bool:
    return (share / "small").read_bytes() == b"small" and len(os.listdir(share)) == FILES  # noqa: PTH208  (just how many)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("state", STATES)
def test_the_peer_is_gone_at_every_state(server: Seen, share: Path, state: str, end: str) -> None:
    before = server.settled()
    with socket.create_connection(("127.0.0.1", server.guests.port), PATIENCE) as connection:
        STATES[state](Guest(connection))
        ENDS[end](connection)
        check(server)
        wait_until(lambda: whole(share))
        if state != "a download nobody reads":  # that it says no more is heard when it has read what was before
            wait_until(lambda: not server.inside._links)
    server.wait_for(before)


def test_a_thousand_connections_leave_nothing(server: Seen, share: Path) -> None:
    before, longest = server.settled(), 0.0
    states, ends = list(STATES.values()), list(ENDS.values())
    early = [STATES[name] for name in ("nothing said", "half a hello", "hello", "plugged in", "half a header")]
    for number in range(CONNECTS):
        # Mostly those that take little time; each of the others in its turn.
        state = states[number // 8 % len(states)] if number % 8 == 0 else early[number % len(early)]
        with socket.create_connection(("127.0.0.1", server.guests.port), PATIENCE) as connection:
            state(Guest(connection))
            ends[number % len(ends)](connection)
        if number % 100 == 0:
            begun = time.perf_counter()
            check(server)
            longest = max(longest, time.perf_counter() - begun)
    server.wait_for(before)
    assert whole(share)
    figure("connections that ended badly", CONNECTS)
    figure("states in which they did", len(states))
    figure("ms until another guest had its file, at most", longest * 1000)


# A peer that no longer reads


def keep_little(server: Seen) -> None:
    """Let the kernel keep little of what is sent to the only guest: the rest is ours."""
    wait_until(lambda: len(server.inside._links) == 1)
    [link] = server.inside._links
    link._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)


def floods(server: Seen, guest: Guest, packets: Callable[[int], bytes]) -> None:
    """Send packets, numbered on, until the server takes no more of them, or hangs up."""
    assert isinstance(guest.stream, socket.socket)
    [link] = server.inside._links
    guest.stream.setblocking(False)
    numbers = itertools.count(1000, 10)
    rest = memoryview(b"")
    while True:
        rest = rest or memoryview(b"".join(packets(next(numbers)) for _ in range(256)))
        try:
            rest = rest[guest.stream.send(rest) :]
        except BlockingIOError:
            if not link._reading:
                return
            select.select([], [guest.stream], [], GLANCE)
        except ConnectionError:  # it asked for more than anybody may at a time
            return


def asks_for_descriptors(server: Seen, guest: Guest) -> None:
    in_session(guest)
    floods(server, guest, lambda number: guest.codec.encode(Type.CONTROL, number, 0x80, 6, 0x80, 0, 0x0200, 0, 255))


def gives_commands(server: Seen, guest: Guest) -> None:
    in_session(guest)
    out, back = guest.endpoint(2, 0), guest.endpoint(2, 0x80)

    def command(number: int) -> bytes:
        data = struct.pack("<IHHIIII", 24, 1, Op.GET_OBJECT_HANDLES, number, ALL, 0, ALL)
        sent = guest.codec.encode(Type.BULK, number, *guest._bulk_fields(out, len(data)), data=data)
        asked = [guest.codec.encode(Type.BULK, number + each, *guest._bulk_fields(back, 512)) for each in (1, 2)]
        return b"".join((sent, *asked))

    floods(server, guest, command)


def gives_commands_alone(server: Seen, guest: Guest) -> None:
    in_session(guest)
    out = guest.endpoint(2, 0)

    def command(number: int) -> bytes:
        data = struct.pack("<IHHI", 12, 1, Op.GET_STORAGE_IDS, number)
        return guest.codec.encode(Type.BULK, number, *guest._bulk_fields(out, len(data)), data=data)

    floods(server, guest, command)


def sends_a_file(server: Seen, guest: Guest) -> None:
    in_session(guest).begin_upload("torn", 1 << 30, bytes(500))
    fields, block = guest._bulk_fields(guest.endpoint(2, 0), 512), bytes(512)
    floods(server, guest, lambda number: guest.codec.encode(Type.BULK, number, *fields, data=block))


def asks_for_a_file(_server: Seen, guest: Guest) -> None:
    a_download_nobody_reads(guest)


DEAF: dict[str, Callable[[Seen, Guest], None]] = {
    "in a download": asks_for_a_file,
    "in an upload": sends_a_file,
    "while it asks for descriptors": asks_for_descriptors,
    "while it asks for listings": gives_commands,
    "while it only asks": gives_commands_alone,
}


@pytest.mark.parametrize("what", DEAF)
def test_a_peer_that_does_not_read_costs_little(server: Seen, share: Path, what: str) -> None:
    before = server.settled()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.settimeout(PATIENCE)
        tracemalloc.start()
        try:
            connection.connect(("127.0.0.1", server.guests.port))
            guest = Guest(connection)
            guest.log = NoLog()
            keep_little(server)
            DEAF[what](server, guest)
            check(server)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    server.wait_for(before)
    wait_until(lambda: whole(share))
    figure(f"MiB that it costs {what}", peak / MIB)
    assert peak <= 8 * MIB


class NoLog(list[tuple[bool, bytes]]):
    """A conversation of which nothing is kept."""

    def append(self, _piece: tuple[bool, bytes]) -> None:
        """Forget it."""


def test_who_reads_again_misses_nothing(server: Seen) -> None:
    mtp = server.guests.initiator(transfer=MIB)
    handle = mtp.names()["large"]
    number = mtp.send_command(Op.GET_OBJECT, handle)
    waiting = [mtp.guest.submit_bulk_in(MIB) for _ in range(17)]
    check(server)
    message = b"".join(mtp.guest.wait(each).data for each in waiting)
    assert message[12:] == LARGE
    assert mtp.read_container(3, number)[1] == 0x2001
    mtp.guest.close()
