"""The fast paths give what the others give, in every case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.guest import BULK_IN, BULK_OUT, INTERRUPT_OUT, bulk, connected, control, hello, interrupt_out, raw
from usbredir_mtp.protocol import packets as p
from usbredir_mtp.protocol.connection import HostConnection
from usbredir_mtp.protocol.constants import HOST_CAPABILITIES, MAX_BULK_TRANSFER, Capability, Side, Status
from usbredir_mtp.protocol.errors import LocalProtocolError, RemoteProtocolError
from usbredir_mtp.protocol.reader import PacketReader

if TYPE_CHECKING:
    from collections.abc import Callable

NARROW = frozenset({Capability.IDS_64BITS})
WORDS = memoryview(bytes(64)).cast("I")

COMPLETIONS = [
    (BULK_IN, 1, Status.SUCCESS, 5, b"12345"),
    (BULK_IN, 1, Status.SUCCESS, 512, bytes(512)),
    (BULK_IN, 1, Status.SUCCESS, 0, b""),
    (BULK_IN, 1, Status.STALL, 0, b""),
    (BULK_IN, 1, Status.SUCCESS, 70_000, bytes(70_000)),  # more than was asked for
    (BULK_IN, 1, Status.SUCCESS, 5, b"1234"),
    (BULK_IN, 1, Status.SUCCESS, 16, WORDS),
    (BULK_IN, 1, 256, 0, b""),
    (BULK_IN, 1, -1, 0, b""),
    (BULK_IN, 2, Status.SUCCESS, 0, b""),  # of another endpoint
    (BULK_IN, 3, Status.SUCCESS, 0, b""),  # of another type
    (BULK_IN, 4, Status.CANCELLED, 0, b""),  # cancelled
    (INTERRUPT_OUT, 5, Status.SUCCESS, 3, b""),  # likewise
    (BULK_IN, 9, Status.SUCCESS, 0, b""),  # never asked for
    (BULK_OUT, 2, Status.SUCCESS, 3, b""),
    (BULK_OUT, 2, Status.SUCCESS, 4, b""),
    (BULK_OUT, 2, Status.SUCCESS, 3, b"abc"),
]


def asked(caps: frozenset[Capability]) -> HostConnection:
    """A connection on which a guest waits for five replies, one of which it has given up."""
    connection = connected(ours=caps)
    wide = Capability.BULK_LENGTH_32BITS in connection.capabilities
    cut = slice(None) if wide else slice(None, -2)
    for packet_id, endpoint, length in ((1, BULK_IN, 512), (4, BULK_IN, 512)):
        body = bulk(packet_id, length, endpoint=endpoint)[16:][cut]
        connection.receive_data(raw(101, body, packet_id))
    connection.receive_data(raw(101, bulk(2, 3, b"abc")[16:26][cut] + b"abc", 2))
    connection.receive_data(control(3, 4) + raw(21, b"", 4) + interrupt_out(5, b"abc"))
    return connection


def outcome(connection: HostConnection, send: Callable[[HostConnection], list[p.Buffer]]) -> tuple[bytes | str, int]:
    """The bytes or the error, and how many requests are left."""
    try:
        return b"".join(send(connection)), connection.outstanding
    except LocalProtocolError as error:
        return str(error), connection.outstanding


@pytest.mark.parametrize("caps", [HOST_CAPABILITIES, NARROW])
@pytest.mark.parametrize("completion", COMPLETIONS)
def test_completions(caps: frozenset[Capability], completion: tuple[int, int, int, int, p.Buffer]) -> None:
    endpoint, packet_id, status, length, data = completion
    packet = p.BulkPacket(endpoint, status, length, 0, data, id=packet_id)
    by_packet = outcome(asked(caps), lambda connection: connection.send(packet))
    assert outcome(asked(caps), lambda connection: connection.complete_bulk(*completion)) == by_packet


def test_a_completion_before_hello() -> None:
    with pytest.raises(LocalProtocolError, match="before hello"):
        HostConnection().complete_bulk(BULK_IN, 1, 0, 0, b"")


def test_no_second_completion() -> None:
    connection = asked(HOST_CAPABILITIES)
    connection.complete_bulk(BULK_IN, 1, 0, 0, b"")
    with pytest.raises(LocalProtocolError, match="no request 1"):
        connection.complete_bulk(BULK_IN, 1, 0, 0, b"")


PIECES = st.lists(
    st.one_of(
        st.builds(bulk, st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 512, MAX_BULK_TRANSFER])),
        st.builds(bulk, st.integers(0, 9), st.just(3), st.just(b"abc")),
        st.builds(control, st.integers(0, 9), st.integers(0, 100)),
        st.sampled_from(
            [
                bulk(1, MAX_BULK_TRANSFER + 1),
                bulk(1, 3, endpoint=BULK_OUT),
                bulk(1, 3, b"abc", endpoint=BULK_IN),
                raw(101, bytes(9)),
                raw(99, b""),
            ]
        ),
    ),
    max_size=12,
)


def read(chunks: list[bytes], *, fast: bool) -> list[p.Packet | str]:
    """The packets, and the error that ended them."""
    reader = PacketReader(Side.GUEST, HOST_CAPABILITIES)
    found: list[p.Packet | str] = [*reader.feed(hello())]
    assert reader._reads_asks
    reader._reads_asks = fast
    for chunk in chunks:
        try:
            found += reader.feed(chunk)
        except RemoteProtocolError as error:
            return [*found, str(error)]
    return found


@given(pieces=PIECES, size=st.integers(1, 300))
def test_asks(pieces: list[bytes], size: int) -> None:
    stream = b"".join(pieces)
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert read(chunks, fast=True) == read(chunks, fast=False)


def test_asks_are_read_fast() -> None:
    reader = PacketReader(Side.GUEST, HOST_CAPABILITIES)
    reader.feed(hello())
    reader._table = {}  # the other path would find nothing
    assert reader.feed(bulk(1, 512) + bulk(2, 16384)) == [
        p.BulkPacket(BULK_IN, 0, 512, 0, id=1),
        p.BulkPacket(BULK_IN, 0, 16384, 0, id=2),
    ]
