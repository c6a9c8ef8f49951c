"""Bulk IN framing against a plain model: whole messages, whole transfers, and no thought for speed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.device.host import BULK_IN, CANCELLED, STALL, SUCCESS, Completion, Recorder
from usbredir_mtp.device.endpoints import BulkIn

if TYPE_CHECKING:
    from usbredir_mtp.device.usb import TransferStatus

NOISE = random.Random(1).randbytes(1 << 16)
"""Bytes that a wrong order cannot resemble."""


@dataclass(slots=True)
class Message:
    data: bytes = b""
    told: int = 0
    ended: bool = False

    @property
    def rest(self) -> bytes:
        return self.data[self.told :]


@dataclass(slots=True)
class Model:
    """What a guest may see, worked out the slow way."""

    max_packet: int
    messages: list[Message] = field(default_factory=list)
    pending: list[tuple[int, int]] = field(default_factory=list)
    paused: bool = False
    halted: bool = False
    completions: list[Completion] = field(default_factory=list)

    def say(self, id_: int, data: bytes) -> None:
        self.completions.append(Completion(BULK_IN, id_, SUCCESS, len(data), data))

    def end(self, id_: int, status: TransferStatus) -> None:
        self.completions.append(Completion(BULK_IN, id_, status, 0, b""))

    def current(self) -> Message:
        if not self.messages or self.messages[-1].ended:
            self.messages.append(Message())
        return self.messages[-1]

    def forget_told(self) -> None:
        """A message is over when all is told and its last packet, if not a short one, has a zero-length one behind."""
        first = self.messages[0]
        if first.ended and not first.rest and len(first.data) % self.max_packet:
            del self.messages[0]

    def step(self) -> bool:
        """Complete the first transfer if it can be."""
        if self.paused or not self.pending:
            return False
        id_, length = self.pending[0]
        first = self.messages[0] if self.messages else None
        due = first is not None and first.ended and not first.rest  # a zero-length packet
        if length == 0 or due:
            data = b""
            if due:
                del self.messages[0]
        elif first is None or (len(first.rest) < length and not first.ended):
            return False
        else:
            data = first.rest[:length]
            first.told += len(data)
            if len(data) < length:
                del self.messages[0]
            else:
                self.forget_told()
        del self.pending[0]
        self.say(id_, data)
        return True

    def run(self) -> None:
        while self.step():
            pass


class BulkInMachine(RuleBasedStateMachine):
    """Drives the endpoint and the model alike."""

    def __init__(self) -> None:
        super().__init__()
        self.recorder = Recorder()
        self.used = 0
        self.next_id = 0
        self.lengths: dict[int, int] = {}

    @initialize(max_packet=st.sampled_from([64, 512, 1024]))
    def begin(self, max_packet: int) -> None:
        self.max_packet = max_packet
        self.pipe = BulkIn(BULK_IN, max_packet, self.recorder.complete)
        self.model = Model(max_packet)

    def size(self, packets: int, extra: int) -> int:
        return max(0, packets * self.max_packet + extra)

    @rule(
        packets=st.integers(0, 3),
        extra=st.sampled_from([0, 0, -1, 1, 12, 40]),
        kind=st.sampled_from([bytes, bytearray, memoryview]),
        end=st.booleans(),
    )
    def push(self, packets: int, extra: int, kind: type[bytes | bytearray | memoryview], end: bool) -> None:
        size = self.size(packets, extra)
        start = self.used % (len(NOISE) // 2)
        piece = NOISE[start : start + size]
        self.used += size
        self.pipe.push(kind(piece))
        if piece:
            self.model.current().data += piece
        self.model.run()
        if end:
            self.end_message()

    @rule()
    def end_message(self) -> None:
        self.pipe.end_message()
        self.model.current().ended = True
        self.drop_if_told()
        self.model.run()

    def drop_if_told(self) -> None:
        if len(self.model.messages) == 1:
            self.model.forget_told()

    @rule(packets=st.integers(0, 4), extra=st.sampled_from([0, 0, 0, -1, 1, 100]))
    def submit(self, packets: int, extra: int) -> None:
        self.submit_length(self.size(packets, extra))

    @precondition(lambda self: self.model.messages)
    @rule(extra=st.sampled_from([0, 0, -1, 1]))
    def submit_for_the_rest(self, extra: int) -> None:
        self.submit_length(max(0, len(self.model.messages[0].rest) + extra))

    def submit_length(self, length: int) -> None:
        id_, self.next_id = self.next_id, self.next_id + 1
        self.lengths[id_] = length
        self.pipe.submit(id_, length)
        if self.model.halted:
            self.model.end(id_, STALL)
        else:
            self.model.pending.append((id_, length))
            self.model.run()

    @precondition(lambda self: self.next_id)
    @rule(back=st.integers(0, 6))
    def cancel(self, back: int) -> None:
        id_ = self.next_id - 1 - back
        found = [entry for entry in self.model.pending if entry[0] == id_]
        assert self.pipe.cancel(id_) == bool(found)
        for entry in found:
            self.model.pending.remove(entry)
            self.model.end(id_, CANCELLED)
        self.model.run()

    @rule(paused=st.sampled_from([False, False, True]))
    def pause_or_resume(self, paused: bool) -> None:
        self.model.paused = paused
        if paused:
            self.pipe.pause()
        else:
            self.pipe.resume()
            self.model.run()

    # Seldom: they end what the rules above have built up.
    @rule(action=st.sampled_from([None] * 7 + ["cancel_all", "flush", "halt"]), submits=st.integers(0, 1))
    def disturb(self, action: str | None, submits: int) -> None:
        if action == "cancel_all":
            self.pipe.cancel_all()
            self.end_pending(CANCELLED)
        elif action == "flush":
            self.pipe.flush()
            self.model.messages.clear()
        elif action == "halt":
            self.pipe.halt()
            self.model.halted = True
            self.end_pending(STALL)
            for _ in range(submits):
                self.submit_length(self.max_packet)
            self.pipe.clear_halt()
            self.model.halted = False

    def end_pending(self, status: TransferStatus) -> None:
        for id_, _ in self.model.pending:
            self.model.end(id_, status)
        self.model.pending.clear()

    @invariant()
    def the_same_completions(self) -> None:
        assert self.recorder.completions == self.model.completions

    @invariant()
    def the_same_is_queued(self) -> None:
        assert self.pipe.queued == sum(len(message.rest) for message in self.model.messages)

    @invariant()
    def every_transfer_ends_once_or_waits(self) -> None:
        ended = [row.id for row in self.recorder.completions]
        waiting = [id_ for id_, _ in self.pipe._pending]
        assert sorted(ended + waiting) == list(range(self.next_id))

    @invariant()
    def in_order_and_never_more_than_asked(self) -> None:
        moved = [row for row in self.recorder.completions if row.status is SUCCESS]
        assert [row.id for row in moved] == sorted(row.id for row in moved)
        assert all(row.length == len(row.data) <= self.lengths[row.id] for row in moved)


TestBulkInModel = BulkInMachine.TestCase
TestBulkInModel.settings = settings(deadline=None, max_examples=200, stateful_step_count=50)
