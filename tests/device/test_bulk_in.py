from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.device.host import BULK_IN, CANCELLED, MAX_PACKET, STALL, SUCCESS, Completion, Recorder
from usbredir_mtp.device.endpoints import BulkIn

if TYPE_CHECKING:
    from usbredir_mtp.device.usb import Buffer, TransferStatus

PACKET = 512


class Pipe(BulkIn):
    """A bulk IN endpoint with a short way to say what is expected of it."""

    def __init__(self, max_packet: int = PACKET) -> None:
        self.recorder = Recorder()
        super().__init__(BULK_IN, max_packet, self.recorder.complete)

    def message(self, *pieces: Buffer) -> None:
        for piece in pieces:
            self.push(piece)
        self.end_message()

    def moved(self) -> list[tuple[int, bytes]]:
        """Ids and data of the transfers that succeeded since the last call."""
        taken = self.recorder.take()
        assert all((row.endpoint, row.status, row.length) == (BULK_IN, SUCCESS, len(row.data)) for row in taken), taken
        return [(row.id, row.data) for row in taken]

    def statuses(self) -> list[tuple[int, TransferStatus]]:
        taken = self.recorder.take()
        assert all((row.length, row.data) == (0, b"") for row in taken if row.status is not SUCCESS)
        return [(row.id, row.status) for row in taken]


def test_a_transfer_waits_for_data() -> None:
    pipe = Pipe()
    pipe.submit(1, 512)
    assert pipe.moved() == []
    pipe.push(b"ab")
    assert pipe.moved() == []
    pipe.end_message()
    assert pipe.moved() == [(1, b"ab")]


def test_data_waits_for_a_transfer() -> None:
    pipe = Pipe()
    pipe.message(b"ab", b"cd")
    assert pipe.queued == 4
    pipe.submit(1, 512)
    assert pipe.moved() == [(1, b"abcd")]
    assert pipe.queued == 0


def test_a_full_transfer_need_not_wait_for_the_end() -> None:
    pipe = Pipe()
    pipe.submit(1, 1024)
    pipe.push(bytes(1023))
    assert pipe.moved() == []
    pipe.push(b"xy")
    assert pipe.moved() == [(1, bytes(1023) + b"x")]
    assert pipe.queued == 1


def test_a_transfer_takes_nothing_while_it_cannot_be_filled() -> None:
    pipe = Pipe()
    pipe.submit(1, 1024)
    pipe.push(bytes(600))
    assert pipe.queued == 600
    assert pipe.cancel(1)
    pipe.recorder.take()
    pipe.submit(2, 600)
    assert pipe.moved() == [(2, bytes(600))]


def test_no_transfer_spans_messages() -> None:
    pipe = Pipe()
    pipe.message(b"data")
    pipe.message(b"response")
    for id_ in range(3):
        pipe.submit(id_, 512)
    assert pipe.moved() == [(0, b"data"), (1, b"response")]


@pytest.mark.parametrize("max_packet", MAX_PACKET.values())
@pytest.mark.parametrize("packets", [1, 2, 7])
class TestZeroLengthPacket:
    def test_owed_when_the_last_packet_is_a_full_one(self, max_packet: int, packets: int) -> None:
        pipe = Pipe(max_packet)
        data = bytes(packets * max_packet)
        pipe.message(data)
        pipe.message(b"next")
        for id_ in range(3):
            pipe.submit(id_, len(data))
        assert pipe.moved() == [(0, data), (1, b""), (2, b"next")]

    def test_owed_also_when_the_end_comes_later(self, max_packet: int, packets: int) -> None:
        pipe = Pipe(max_packet)
        data = bytes(packets * max_packet)
        pipe.submit(1, len(data))
        pipe.submit(2, len(data))
        pipe.push(data)
        assert pipe.moved() == [(1, data)]
        pipe.end_message()
        assert pipe.moved() == [(2, b"")]

    def test_owed_once(self, max_packet: int, packets: int) -> None:
        pipe = Pipe(max_packet)
        pipe.message(bytes(packets * max_packet))
        for id_ in range(4):
            pipe.submit(id_, packets * max_packet)
        assert [id_ for id_, _ in pipe.moved()] == [0, 1]

    def test_not_owed_when_the_transfer_is_not_filled(self, max_packet: int, packets: int) -> None:
        pipe = Pipe(max_packet)
        data = bytes(packets * max_packet)
        pipe.message(data)
        pipe.message(b"next")
        pipe.submit(1, len(data) + max_packet)
        pipe.submit(2, 512)
        assert pipe.moved() == [(1, data), (2, b"next")]

    @pytest.mark.parametrize("extra", [-1, 1])
    def test_not_owed_when_the_last_packet_is_short(self, max_packet: int, packets: int, extra: int) -> None:
        pipe = Pipe(max_packet)
        data = bytes(packets * max_packet + extra)
        pipe.submit(1, len(data))
        pipe.message(data)
        pipe.message(b"next")
        pipe.submit(2, 512)
        assert pipe.moved() == [(1, data), (2, b"next")]

    def test_paid_to_a_transfer_of_no_length(self, max_packet: int, packets: int) -> None:
        pipe = Pipe(max_packet)
        pipe.message(bytes(packets * max_packet))
        pipe.message(b"next")
        pipe.submit(1, packets * max_packet)
        pipe.submit(2, 0)
        pipe.submit(3, 512)
        assert pipe.moved()[1:] == [(2, b""), (3, b"next")]


def test_the_whole_message_counts_for_the_last_packet_not_the_last_transfer() -> None:
    pipe = Pipe()
    pipe.message(bytes(1024))
    for id_, length in enumerate((24, 1000, 512)):
        pipe.submit(id_, length)
    assert [len(data) for _, data in pipe.moved()] == [24, 1000, 0]


def test_a_message_of_no_bytes_is_a_zero_length_packet() -> None:
    pipe = Pipe()
    pipe.message()
    pipe.message(b"", memoryview(b""))
    pipe.submit(1, 512)
    pipe.submit(2, 0)
    pipe.submit(3, 512)
    assert pipe.moved() == [(1, b""), (2, b"")]


class TestTransferOfNoLength:
    def test_completes_when_nothing_is_there(self) -> None:
        pipe = Pipe()
        pipe.submit(1, 0)
        assert pipe.moved() == [(1, b"")]

    def test_takes_no_data(self) -> None:
        pipe = Pipe()
        pipe.message(b"data")
        pipe.submit(1, 0)
        pipe.submit(2, 512)
        assert pipe.moved() == [(1, b""), (2, b"data")]

    def test_is_no_end_of_a_message(self) -> None:
        pipe = Pipe()
        pipe.push(bytes(100))
        pipe.submit(1, 100)
        pipe.submit(2, 0)
        pipe.message(bytes(412))
        for id_ in (3, 4, 5):
            pipe.submit(id_, 412)
        assert [len(data) for _, data in pipe.moved()] == [100, 0, 412, 0]

    def test_keeps_its_place(self) -> None:
        """QEMU aborts when transfers of an endpoint complete in another order."""
        pipe = Pipe()
        pipe.submit(1, 512)
        pipe.submit(2, 0)
        assert pipe.moved() == []
        pipe.message(b"data")
        assert pipe.moved() == [(1, b"data"), (2, b"")]

    def test_goes_on_when_the_one_before_it_is_cancelled(self) -> None:
        pipe = Pipe()
        pipe.submit(1, 512)
        pipe.submit(2, 0)
        assert pipe.cancel(1)
        assert pipe.statuses() == [(1, CANCELLED), (2, SUCCESS)]


class TestPieces:
    """What is queued is neither copied nor touched, but where a transfer spans pieces."""

    def test_one_piece_is_passed_on_by_reference(self) -> None:
        got: list[Buffer] = []
        pipe = BulkIn(BULK_IN, PACKET, lambda *row: got.append(row[-1]))
        block = bytearray(b"abcdefgh")
        pipe.push(block)
        for id_, length in enumerate((3, 3, 2)):
            pipe.submit(id_, length)
        block[:] = b"ABCDEFGH"
        assert [bytes(data) for data in got] == [b"ABC", b"DEF", b"GH"]

    def test_transfers_across_pieces(self) -> None:
        pipe = Pipe()
        pipe.message(b"ab", bytearray(b"c"), memoryview(b"defg"), b"hi")
        for id_, length in enumerate((1, 4, 2, 9)):
            pipe.submit(id_, length)
        assert [data for _, data in pipe.moved()] == [b"a", b"bcde", b"fg", b"hi"]

    def test_many_pieces_in_one_transfer(self) -> None:
        pipe = Pipe()
        pipe.submit(1, 1 << 20)
        pieces = [bytes([number % 251]) * 333 for number in range(1000)]
        pipe.message(*pieces)
        assert pipe.moved() == [(1, b"".join(pieces))]


def test_flush_drops_data_and_keeps_transfers() -> None:
    pipe = Pipe()
    pipe.submit(1, 2048)
    pipe.push(bytes(1000))
    pipe.flush()
    assert (pipe.queued, pipe.recorder.completions) == (0, [])
    pipe.message(b"next")
    assert pipe.moved() == [(1, b"next")]


def test_flush_forgets_an_owed_packet_and_every_message() -> None:
    pipe = Pipe()
    pipe.message(bytes(PACKET))
    pipe.message(b"more")
    pipe.submit(1, PACKET)
    pipe.recorder.take()
    pipe.flush()
    pipe.submit(2, PACKET)
    assert pipe.moved() == []


def test_flush_begins_a_new_message() -> None:
    """What was told of the old one does not count for the new one's last packet."""
    pipe = Pipe()
    pipe.push(bytes(500))
    pipe.flush()
    pipe.message(bytes(PACKET))
    pipe.submit(1, PACKET)
    pipe.submit(2, PACKET)
    assert [len(data) for _, data in pipe.moved()] == [PACKET, 0]


def test_pause_and_resume() -> None:
    pipe = Pipe()
    pipe.pause()
    pipe.submit(1, 512)
    pipe.submit(2, 0)
    pipe.message(b"data")
    pipe.submit(3, 512)
    assert pipe.moved() == []
    pipe.resume()
    assert pipe.moved() == [(1, b"data"), (2, b"")]
    pipe.message(b"more")
    assert pipe.moved() == [(3, b"more")]


def test_a_transfer_can_be_cancelled_while_paused() -> None:
    pipe = Pipe()
    pipe.pause()
    pipe.message(b"data")
    pipe.submit(1, 512)
    pipe.submit(2, 512)
    assert pipe.cancel(1)
    assert pipe.statuses() == [(1, CANCELLED)]
    pipe.resume()
    assert pipe.moved() == [(2, b"data")]


def test_cancel() -> None:
    pipe = Pipe()
    for id_ in (1, 2, 3):
        pipe.submit(id_, 512)
    assert pipe.cancel(2)
    assert pipe.recorder.take() == [Completion(BULK_IN, 2, CANCELLED, 0, b"")]
    assert not pipe.cancel(2)
    assert not pipe.cancel(4)
    pipe.message(b"a")
    pipe.message(b"b")
    assert pipe.moved() == [(1, b"a"), (3, b"b")]
    assert not pipe.cancel(1)


def test_cancel_all() -> None:
    pipe = Pipe()
    for id_ in (1, 2, 3):
        pipe.submit(id_, 512)
    pipe.cancel_all()
    assert pipe.statuses() == [(1, CANCELLED), (2, CANCELLED), (3, CANCELLED)]
    pipe.message(b"a")
    assert pipe.recorder.completions == []


def test_halt() -> None:
    pipe = Pipe()
    pipe.submit(1, 512)
    pipe.submit(2, 512)
    pipe.halt()
    pipe.submit(3, 512)
    pipe.submit(4, 0)
    assert pipe.statuses() == [(1, STALL), (2, STALL), (3, STALL), (4, STALL)]
    pipe.message(b"data")
    pipe.clear_halt()
    pipe.submit(5, 512)
    assert pipe.moved() == [(5, b"data")]


def test_halt_keeps_what_is_queued() -> None:
    pipe = Pipe()
    pipe.message(bytes(1000))
    pipe.submit(1, 512)
    pipe.recorder.take()
    pipe.halt()
    pipe.clear_halt()
    pipe.submit(2, 512)
    assert pipe.moved() == [(2, bytes(488))]


class TestDrain:
    def pipe(self) -> tuple[Pipe, list[int]]:
        """A pipe, and what is left each time that something has left it."""
        pipe = Pipe()
        left: list[int] = []
        pipe.on_drain = lambda: left.append(pipe.queued)
        return pipe, left

    def test_is_told_when_a_piece_has_left(self) -> None:
        pipe, left = self.pipe()
        pipe.push(bytes(2000))
        pipe.push(bytes(1000))
        for id_ in range(3):
            pipe.submit(id_, 512)
        assert left == []
        pipe.submit(4, 512)
        assert left == [952]
        pipe.end_message()
        pipe.submit(5, 4096)
        assert left == [952, 0]

    def test_is_not_told_of_transfers_without_data(self) -> None:
        pipe, left = self.pipe()
        pipe.submit(1, 0)
        pipe.message()
        pipe.submit(2, 512)
        pipe.submit(3, 512)
        pipe.cancel(3)
        pipe.push(b"x")
        pipe.flush()
        assert left == []

    def test_may_push_more(self) -> None:
        pipe = Pipe()
        rest = [bytes(512)] * 5
        pipe.on_drain = lambda: pipe.push(rest.pop()) if rest else pipe.end_message()
        for id_ in range(8):
            pipe.submit(id_, 512)
        pipe.push(bytes(512))
        assert [len(data) for _, data in pipe.moved()] == [512] * 6 + [0]


def test_a_completion_may_submit_the_next_transfer() -> None:
    got: list[tuple[int, bytes]] = []

    def complete(_endpoint: int, id_: int, _status: TransferStatus, _length: int, data: Buffer) -> None:
        got.append((id_, bytes(data)))
        if id_ < 5:
            pipe.submit(id_ + 1, 2)

    pipe = BulkIn(BULK_IN, PACKET, complete)
    pipe.push(b"aabbccdde")
    pipe.submit(1, 2)
    assert got == [(1, b"aa"), (2, b"bb"), (3, b"cc"), (4, b"dd")]
    pipe.end_message()
    assert got[4:] == [(5, b"e")]


def test_a_completion_may_cancel_the_rest() -> None:
    got: list[tuple[int, TransferStatus]] = []

    def complete(_endpoint: int, id_: int, status: TransferStatus, _length: int, _data: Buffer) -> None:
        got.append((id_, status))
        if status is SUCCESS:
            pipe.cancel_all()

    pipe = BulkIn(BULK_IN, PACKET, complete)
    for id_ in (1, 2, 3):
        pipe.submit(id_, 2)
    pipe.push(b"aabbcc")
    assert got == [(1, SUCCESS), (2, CANCELLED), (3, CANCELLED)]
    assert pipe.queued == 4
