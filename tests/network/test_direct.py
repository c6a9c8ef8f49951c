from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from usbredir_mtp.network import direct
from usbredir_mtp.network.direct import IOV_MAX, ROUNDS, DirectSocket, Turns

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Line:
    """A direct socket and its peer, and who answers what was read."""

    own: DirectSocket
    peer: socket.socket
    got: list[bytes] = field(default_factory=list)
    answers: bool = True
    goes_on: bool = True
    room: memoryview = field(default_factory=lambda: memoryview(bytearray(100)))

    def receive(self, data: memoryview) -> bool:
        self.got.append(bytes(data))
        if self.answers:
            assert not self.own.write([b"answer"])
        return self.goes_on

    def converse(self, first: bytes = b"first") -> list[bytes]:
        self.room[: len(first)] = first
        self.own.converse(self.room[: len(first)], self.room, self.receive)
        got, self.got = self.got, []
        return got


@pytest.fixture
def line() -> Iterator[Line]:
    ours, peer = socket.socketpair()
    with ours, peer:
        ours.setblocking(False)
        peer.settimeout(20)
        own = DirectSocket(ours.fileno(), Turns())
        yield Line(own, peer)
        own.close()


@pytest.fixture
def quick(line: Line, monkeypatch: pytest.MonkeyPatch) -> Line:
    """A line on which the first answer is long given, and whatever comes is in time."""
    monkeypatch.setattr(direct, "PATIENCE", 0.2)
    line.converse()
    return line


def test_writes_all_in_order(line: Line) -> None:
    assert not line.own.write([b"one", bytearray(b"two"), memoryview(b"three")])
    assert line.peer.recv(100) == b"onetwothree"


def test_gives_back_what_does_not_fit(line: Line) -> None:
    pieces = [bytes([number]) * 100_000 for number in range(100)]
    rest = line.own.write(pieces)
    left = b"".join(rest)
    assert 0 < len(left) < 10_000_000
    assert line.own.write(rest) is rest, "not a byte more"
    taken = bytearray()
    while len(taken) < 10_000_000 - len(left):
        taken += line.peer.recv(1 << 20)
    assert bytes(taken) + left == b"".join(pieces)


def test_errors_are_the_transport_s_to_find(line: Line) -> None:
    line.peer.close()
    data = [b"data"]
    assert line.own.write(data) is data


def test_more_than_a_call_takes(line: Line) -> None:
    many = [b"x"] * (IOV_MAX + 1)
    assert line.own.write(many) is many
    assert not line.own.write(many[1:])


def test_after_close(line: Line) -> None:
    data = [b"data"]
    line.own.close()
    line.own.close()
    assert line.own.write(data) is data


def test_a_first_answer_is_not_followed_by_a_look(line: Line) -> None:
    line.peer.send(b"second")
    assert line.converse() == [b"first"]


def test_reads_on_while_requests_come_quickly(quick: Line) -> None:
    quick.peer.send(b"second")
    quick.room[:] = bytes(100)

    def receive(data: memoryview) -> bool:
        quick.goes_on = not quick.got  # the second is the last
        return quick.receive(data)

    quick.own.converse(memoryview(b"first"), quick.room, receive)
    assert quick.got == [b"first", b"second"]


def test_does_not_look_for_long(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """And once it was in vain not at all, until requests come quickly again."""
    times = iter([10.0, 10.001, 20.0, 20.002, 30.0, 40.0])
    monkeypatch.setattr(direct, "perf_counter", lambda: next(times))
    monkeypatch.setattr(direct, "PATIENCE", 0.0015)
    assert line.converse() == [b"first"]  # answered at 10.0
    assert line.converse() == [b"first"]  # comes at 10.001, answered at 20.0, looked until 20.002
    line.peer.send(b"second")
    assert line.converse() == [b"first"]  # comes at 30.0: too late
    with pytest.raises(StopIteration):
        next(times)


def test_looks_only_after_an_answer(quick: Line) -> None:
    quick.peer.send(b"second")
    quick.answers = False
    assert quick.converse() == [b"first"]


def test_looks_only_where_more_is_welcome(quick: Line) -> None:
    quick.peer.send(b"second")
    quick.goes_on = False
    assert quick.converse() == [b"first"]


def test_the_loop_gets_its_turn_and_nothing_is_lost(quick: Line) -> None:
    quick.room = quick.room[:1]
    quick.peer.send(bytes(range(1, ROUNDS + 10)))
    assert quick.converse(b"\0") == [bytes([number]) for number in range(ROUNDS)]
    quick.peer.settimeout(0)
    assert quick.peer.recv(10_000) == b"answer" * (ROUNDS + 1)


def test_nobody_is_waited_for_while_others_speak(quick: Line) -> None:
    quick.peer.send(b"second")
    quick.own._turns.last = None
    assert quick.converse() == [b"first"]
    assert quick.converse() == [b"first", b"second"]


def test_the_end_of_the_stream_is_the_transport_s_to_find(quick: Line) -> None:
    quick.peer.shutdown(socket.SHUT_WR)
    assert quick.converse() == [b"first"]


def test_closed_by_what_it_read(quick: Line) -> None:
    def receive(data: memoryview) -> bool:
        quick.receive(data)
        quick.own.close()
        return True

    quick.own.converse(memoryview(b"first"), quick.room, receive)
    assert quick.got == [b"first"]
