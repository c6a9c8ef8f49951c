from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.device.host import BULK_OUT, CANCELLED, STALL, SUCCESS, Completion, Recorder
from usbredir_mtp.device.endpoints import BulkOut

if TYPE_CHECKING:
    from usbredir_mtp.device.usb import Buffer


class Pipe(BulkOut):
    """A bulk OUT endpoint that writes down deliveries and completions in one list."""

    def __init__(self, max_packet: int = 512) -> None:
        self.recorder = Recorder()
        self.delivered: list[tuple[bytes, bool]] = []
        super().__init__(BULK_OUT, max_packet, self.recorder.complete, self.receive)

    def receive(self, data: Buffer, short: bool) -> None:
        self.delivered.append((bytes(data), short))

    def ids(self) -> list[int]:
        """Ids of the transfers that succeeded since the last call."""
        taken = self.recorder.take()
        assert all(row.status is SUCCESS for row in taken)
        return [row.id for row in taken]


def test_delivered_and_completed_at_once() -> None:
    pipe = Pipe()
    pipe.submit(1, b"data")
    assert pipe.delivered == [(b"data", True)]
    assert pipe.recorder.completions == [Completion(BULK_OUT, 1, SUCCESS, 4, b"")]
    assert pipe.pending_bytes == 0


@pytest.mark.parametrize("max_packet", [64, 512, 1024])
def test_short(max_packet: int) -> None:
    pipe = Pipe(max_packet)
    sizes = [0, 1, max_packet - 1, max_packet, max_packet + 1, 2 * max_packet, 16384, 16383]
    for id_, size in enumerate(sizes):
        pipe.submit(id_, bytes(size))
    assert [short for _, short in pipe.delivered] == [True, True, True, False, True, False, False, True]


def test_held_transfers_wait_in_order() -> None:
    pipe = Pipe()
    pipe.hold()
    for id_, data in enumerate((b"one", b"", b"three")):
        pipe.submit(id_, data)
    assert (pipe.delivered, pipe.recorder.completions, pipe.pending_bytes) == ([], [], 8)
    pipe.release()
    assert [data for data, _ in pipe.delivered] == [b"one", b"", b"three"]
    assert (pipe.ids(), pipe.pending_bytes) == ([0, 1, 2], 0)


def test_a_delivery_may_hold_the_next() -> None:
    pipe = Pipe()
    events: list[str] = []

    def receive(data: Buffer, _short: bool) -> None:
        events.append(bytes(data).decode())
        pipe.hold()

    pipe._deliver = receive
    pipe.submit(1, b"a")
    pipe.submit(2, b"b")
    pipe.submit(3, b"c")
    assert (events, pipe.ids()) == (["a"], [1])
    pipe.release()
    assert (events, pipe.ids()) == (["a", "b"], [2])
    pipe.release()
    assert (events, pipe.ids()) == (["a", "b", "c"], [3])


def test_a_delivery_may_release() -> None:
    """The next is delivered when this one is complete, not in the middle of it."""
    pipe = Pipe()
    events: list[object] = []

    def receive(data: Buffer, _short: bool) -> None:
        pipe.hold()
        pipe.release()
        events.append((bytes(data), len(pipe.recorder.completions)))

    pipe._deliver = receive
    pipe.hold()
    for id_ in range(3):
        pipe.submit(id_, bytes([id_]))
    pipe.release()
    assert events == [(b"\0", 0), (b"\1", 1), (b"\2", 2)]


def test_cancel() -> None:
    pipe = Pipe()
    pipe.hold()
    for id_ in (1, 2, 3):
        pipe.submit(id_, bytes(id_))
    assert pipe.cancel(2)
    assert pipe.recorder.take() == [Completion(BULK_OUT, 2, CANCELLED, 0, b"")]
    assert pipe.pending_bytes == 4
    assert not pipe.cancel(2)
    pipe.release()
    assert [data for data, _ in pipe.delivered] == [bytes(1), bytes(3)]
    assert not pipe.cancel(1)


def test_cancel_all() -> None:
    pipe = Pipe()
    pipe.hold()
    for id_ in (1, 2, 3):
        pipe.submit(id_, b"x")
    pipe.cancel_all()
    assert pipe.recorder.take() == [Completion(BULK_OUT, id_, CANCELLED, 0, b"") for id_ in (1, 2, 3)]
    assert pipe.pending_bytes == 0
    pipe.release()
    assert (pipe.delivered, pipe.recorder.completions) == ([], [])


def test_halt() -> None:
    pipe = Pipe()
    pipe.hold()
    pipe.submit(1, b"x")
    pipe.halt()
    pipe.release()
    pipe.submit(2, b"y")
    assert pipe.recorder.take() == [Completion(BULK_OUT, id_, STALL, 0, b"") for id_ in (1, 2)]
    assert (pipe.delivered, pipe.pending_bytes) == ([], 0)
    pipe.clear_halt()
    pipe.submit(3, b"z")
    assert pipe.ids() == [3]


def test_a_delivery_may_halt() -> None:
    """It stalls with the rest, and in order: QEMU aborts when transfers complete in another."""
    pipe = Pipe()
    delivered: list[bytes] = []

    def receive(data: Buffer, _short: bool) -> None:
        delivered.append(bytes(data))
        pipe.halt()

    pipe._deliver = receive
    pipe.hold()
    for id_ in (1, 2, 3):
        pipe.submit(id_, bytes([id_]))
    pipe.release()
    assert delivered == [b"\1"]
    assert pipe.recorder.completions == [Completion(BULK_OUT, id_, STALL, 0, b"") for id_ in (1, 2, 3)]
    assert pipe.pending_bytes == 0


ACTIONS = st.lists(
    st.tuples(st.just("submit"), st.integers(0, 1025))
    | st.tuples(st.sampled_from(["hold", "release", "halt", "clear_halt", "cancel_all"]), st.just(0))
    | st.tuples(st.just("cancel"), st.integers(0, 20)),
    max_size=40,
)


@given(ACTIONS)
def test_every_transfer_ends_once_and_what_is_delivered_is_in_order(actions: list[tuple[str, int]]) -> None:
    pipe = Pipe()
    sent: dict[int, bytes] = {}
    for action, value in actions:
        if action == "submit":
            id_ = len(sent)
            sent[id_] = id_.to_bytes(2, "little") * value
            pipe.submit(id_, sent[id_])
        elif action == "cancel":
            pipe.cancel(value)
        else:
            getattr(pipe, action)()
        open_ids = sent.keys() - {row.id for row in pipe.recorder.completions}
        assert pipe.pending_bytes == sum(len(sent[id_]) for id_ in open_ids)
    pipe.release()
    ended = [row.id for row in pipe.recorder.completions]
    assert sorted(ended) == list(sent)
    done = [row for row in pipe.recorder.completions if row.status is SUCCESS]
    assert [row.id for row in done] == sorted(row.id for row in done)
    assert [data for data, _ in pipe.delivered] == [sent[row.id] for row in done]
    assert all(row.length == (len(sent[row.id]) if row in done else 0) for row in pipe.recorder.completions)
