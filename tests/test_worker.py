from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from usbredir_mtp.mtp.codes import ResponseCode
from usbredir_mtp.mtp.containers import Command, DataEnd, DataStart, Item, Payload
from usbredir_mtp.mtp.errors import MtpError, TransactionCancelled
from usbredir_mtp.worker import BLOCK, ITEM, MAX_READ_AHEAD, MAX_UPLOAD, REST, SMALL, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Loop
    from usbredir_mtp.mtp.responder import Channel, Responder
    from usbredir_mtp.worker import Output

PATIENCE = 20.0


@dataclass
class Scripted:
    """A responder that does what a test tells it; transactions are told apart by their numbers."""

    scripts: dict[int, Callable[[Channel], None]] = field(default_factory=dict)
    begun: list[int] = field(default_factory=list)
    ends: list[Exception | None] = field(default_factory=list)
    closed: int = 0
    tidied: int = 0
    errors: Counter[int] = field(default_factory=Counter)

    def execute(self, command: Command, channel: Channel) -> ResponseCode:
        self.begun.append(command.transaction)
        try:
            self.scripts.get(command.transaction, answer)(channel)
        except Exception as error:
            self.ends.append(error)
            raise
        self.ends.append(None)
        return ResponseCode.OK

    def close_session(self) -> None:
        self.closed += 1

    def tidy(self) -> None:
        self.tidied += 1


def answer(channel: Channel) -> None:
    channel.send(b"done")
    channel.end()


@dataclass
class Gate:
    """A place in a script where it waits for the test."""

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> None:
        self.reached.set()
        assert self.opened.wait(PATIENCE)

    def __call__(self, channel: Channel) -> None:
        self.wait()
        answer(channel)


@dataclass
class Receiver:
    """Takes a data phase to its end."""

    pieces: list[bytes] = field(default_factory=list)
    reached: threading.Event = field(default_factory=threading.Event)

    def __call__(self, channel: Channel) -> None:
        self.reached.set()
        while (data := channel.receive()) is not None:
            self.pieces.append(bytes(data))


class Bench:
    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.responder = Scripted()
        self.outputs: list[Output] = []
        self.released = 0
        self.worker = Worker(cast("Responder", self.responder), self.outputs.append, self._release, loop.post)

    def _release(self) -> None:
        self.released += 1

    def command(self, transaction: int, *items: Item) -> None:
        self.worker.accept([Command(0x1001, transaction, ()), *items])

    def data(self, *items: Item) -> None:
        self.worker.accept(list(items))

    def idle(self) -> None:
        """Wait until nothing runs, then run what is posted."""
        self.loop.run_until(lambda: not self.worker.busy)
        self.loop.run_posted()

    def busy(self) -> bool:
        return self.worker.busy

    def cancelling(self) -> bool:
        return self.worker.cancelling

    def delivered(self) -> Output:
        return [piece for output in self.outputs for piece in output]

    def works(self) -> bool:
        self.outputs.clear()
        self.command(99)
        self.idle()
        return self.delivered() == [b"done", None]


@pytest.fixture
def bench(loop: Loop) -> Iterator[Bench]:
    made = Bench(loop)
    yield made
    made.worker.close()
    assert made.worker.join(PATIENCE), "the thread does not end"


def start(transaction: int, code: int = 0x1001) -> DataStart:
    return DataStart(code, transaction, None)


# -- commands and answers -------------------------------------------------------------------------------------------


def test_a_transaction(bench: Bench) -> None:
    gate = Gate()
    bench.responder.scripts[1] = gate
    assert not bench.busy()
    bench.command(1)
    assert bench.busy()
    gate.opened.set()
    bench.idle()
    assert bench.delivered() == [b"done", None]
    assert bench.responder.ends == [None]


def test_one_after_the_other(bench: Bench) -> None:
    for number in range(1, 6):
        bench.command(number)
    bench.idle()
    assert bench.responder.begun == [1, 2, 3, 4, 5]
    assert bench.delivered() == [b"done", None] * 5


def test_small_pieces_are_handed_over_together(bench: Bench) -> None:
    def script(channel: Channel) -> None:
        for piece in (b"a", b"b"):
            channel.send(piece)
        channel.end()
        channel.send(bytes(SMALL))
        channel.send(b"c")
        channel.end()

    bench.responder.scripts[1] = script
    bench.command(1)
    bench.idle()
    assert bench.outputs == [[b"a", b"b", None, bytes(SMALL)], [b"c", None]]


def test_no_answer(bench: Bench) -> None:
    bench.responder.scripts[1] = lambda _channel: None
    bench.command(1)
    bench.idle()
    assert bench.outputs == []
    assert bench.works()


def test_a_fault_ends_one_transaction_only(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def script(channel: Channel) -> None:
        channel.send(b"half")
        raise RuntimeError("a fault")

    bench.responder.scripts[1] = script
    bench.command(1)
    bench.idle()
    assert bench.outputs == []
    assert "please report it: operation 0x1001" in caplog.text
    assert bench.works()


# -- data from the initiator ---------------------------------------------------------------------------------------


def test_data_is_gathered_into_blocks(bench: Bench) -> None:
    receiver = bench.responder.scripts[1] = Receiver()
    pieces = [b"a", b"b", bytes(BLOCK), b"c", b"d"]
    bench.command(1, start(1), *map(Payload, pieces), DataEnd(complete=True))
    bench.idle()
    assert receiver.pieces == [b"ab" + bytes(BLOCK), b"cd"]
    assert bench.responder.ends == [None]


def test_a_whole_block_is_not_copied(bench: Bench) -> None:
    taken: list[object] = []
    bench.responder.scripts[1] = lambda channel: taken.append(channel.receive())
    data = bytes(BLOCK)
    bench.command(1, start(1), Payload(data), DataEnd(complete=True))
    bench.idle()
    assert taken[0] is data


@pytest.mark.parametrize(
    ("items", "code"),
    [
        ([start(1), Payload(b"a"), DataEnd(complete=False)], ResponseCode.INCOMPLETE_TRANSFER),
        ([start(1), DataEnd(complete=False)], ResponseCode.INCOMPLETE_TRANSFER),
        ([start(2), Payload(b"a"), DataEnd(complete=True)], ResponseCode.INVALID_TRANSACTION_ID),
        ([start(1, 0x1002), Payload(b"a"), DataEnd(complete=True)], ResponseCode.INVALID_TRANSACTION_ID),
    ],
)
def test_wrong_data(bench: Bench, items: list[Item], code: ResponseCode) -> None:
    bench.responder.scripts[1] = Receiver()
    bench.command(1, *items)
    bench.idle()
    [error] = bench.responder.ends
    assert isinstance(error, MtpError)
    assert error.code is code
    assert bench.works()


def test_missing_data(bench: Bench) -> None:
    bench.responder.scripts[1] = Receiver()
    bench.command(1)
    bench.command(2)
    bench.idle()
    assert isinstance(bench.responder.ends[0], TransactionCancelled)
    assert bench.responder.begun == [1, 2]
    assert bench.delivered() == [b"done", None]


def test_data_that_nobody_wants(bench: Bench) -> None:
    items: list[Item] = [start(1), *[Payload(bytes(BLOCK))] * 9, DataEnd(complete=True)]
    bench.command(1, *items)
    bench.data(*items)
    bench.loop.run_until(lambda: not bench.worker.full)
    bench.idle()
    assert bench.works()
    assert bench.responder.begun == [1, 99]


def test_full_and_released(bench: Bench) -> None:
    gate = bench.responder.scripts[1] = Gate()
    bench.command(1, start(1))
    assert gate.reached.wait(PATIENCE)
    for _ in range(MAX_UPLOAD // BLOCK - 1):
        bench.data(Payload(bytes(BLOCK)))
        assert not bench.worker.full
    bench.data(Payload(bytes(BLOCK)))
    assert bench.worker.full, "with what is counted for the data's start"
    assert bench.released == 0
    gate.opened.set()
    bench.loop.run_until(lambda: bench.released > 0)
    bench.data(DataEnd(complete=True))
    bench.idle()
    assert bench.released == 1
    assert not bench.worker.full


def test_commands_are_not_taken_without_end(bench: Bench) -> None:
    gate = bench.responder.scripts[1] = Gate()
    bench.command(1)
    assert gate.reached.wait(PATIENCE)
    for number in range(2, MAX_UPLOAD // ITEM + 2):
        assert not bench.worker.full
        bench.command(number)
    bench.command(number + 1)
    assert bench.worker.full
    gate.opened.set()
    bench.loop.run_until(lambda: bench.released > 0)
    bench.idle()
    assert not bench.worker.full


# -- answers that nobody takes --------------------------------------------------------------------------------------


def test_the_next_command_waits_for_the_last_answer(bench: Bench) -> None:
    def script(channel: Channel) -> None:
        channel.send(bytes(REST + 1))
        channel.end()

    bench.responder.scripts[1] = script
    bench.command(1)
    bench.command(2)
    bench.loop.run_until(lambda: size_of(bench.delivered()) > REST)
    assert bench.responder.begun == [1]
    bench.worker.sent(REST + 1)
    bench.idle()
    assert bench.responder.begun == [1, 2]


def test_a_command_that_waits_can_be_given_up(bench: Bench) -> None:
    def script(channel: Channel) -> None:
        channel.send(bytes(REST + 1))
        channel.end()

    bench.responder.scripts[1] = script
    bench.command(1)
    bench.command(2)
    bench.loop.run_until(lambda: size_of(bench.delivered()) > REST)
    bench.worker.cancel()
    bench.worker.sent(REST + 1)
    bench.idle()
    assert bench.works()
    assert bench.responder.begun == [1, 99]


PIECES = 64
PIECE = MAX_READ_AHEAD // 16
BOUND = MAX_READ_AHEAD + 2 * PIECE


def send_much(channel: Channel) -> None:
    for _ in range(PIECES):
        channel.send(bytes(PIECE))
    channel.end()


def size_of(output: Output) -> int:
    return sum(len(piece) for piece in output if piece is not None)


def test_reading_ahead_has_a_bound(bench: Bench) -> None:
    bench.responder.scripts[1] = send_much
    bench.command(1)
    bench.loop.run_until(lambda: size_of(bench.delivered()) > MAX_READ_AHEAD)
    bench.loop.run_posted(0.2)  # a worker without bound would go on
    assert size_of(bench.delivered()) <= BOUND
    assert bench.busy()
    most = 0
    while size_of(bench.delivered()) < PIECES * PIECE:
        waiting = bench.worker._produced - bench.worker._sent
        most = max(most, waiting)
        bench.worker.sent(min(waiting, 3 * PIECE))
        bench.loop.run_posted(0.01)
    assert most <= BOUND
    bench.idle()


# -- giving up ---------------------------------------------------------------------------------------------------------


def test_cancelled_while_it_waits_for_data(bench: Bench) -> None:
    receiver = bench.responder.scripts[1] = Receiver()
    bench.command(1, start(1), Payload(b"a"))
    assert receiver.reached.wait(PATIENCE)
    bench.worker.cancel()
    bench.idle()
    assert isinstance(bench.responder.ends[0], TransactionCancelled)
    assert bench.responder.closed == 0
    assert bench.works()


def test_cancelled_while_it_waits_for_room(bench: Bench) -> None:
    bench.responder.scripts[1] = send_much
    bench.command(1)
    bench.loop.run_until(lambda: size_of(bench.delivered()) > MAX_READ_AHEAD)
    bench.worker.cancel()
    bench.idle()
    bench.worker.sent(size_of(bench.delivered()))
    assert isinstance(bench.responder.ends[0], TransactionCancelled)
    assert bench.works()


def test_output_of_a_cancelled_transaction_is_dropped(bench: Bench) -> None:
    """It was on its way to the loop when the transaction was given up."""
    gate = bench.responder.scripts[2] = Gate()
    bench.command(1)
    bench.command(2)
    assert gate.reached.wait(PATIENCE)
    bench.worker.cancel()
    gate.opened.set()
    bench.idle()
    assert bench.outputs == []
    assert bench.worker._produced == bench.worker._sent == len(b"done")
    assert bench.works()


def test_a_handler_notices(bench: Bench) -> None:
    gate = Gate()

    def script(channel: Channel) -> None:
        channel.check()
        gate.wait()
        channel.check()

    bench.responder.scripts[1] = script
    bench.command(1)
    assert gate.reached.wait(PATIENCE)
    bench.worker.cancel()
    gate.opened.set()
    bench.idle()
    assert isinstance(bench.responder.ends[0], TransactionCancelled)


def test_what_is_queued_is_given_up_too(bench: Bench) -> None:
    gate = bench.responder.scripts[1] = Gate()
    bench.command(1)
    assert gate.reached.wait(PATIENCE)
    bench.command(2, start(2), Payload(bytes(BLOCK)), DataEnd(complete=True))
    bench.worker.cancel()
    bench.command(3)
    gate.opened.set()
    bench.idle()
    assert bench.responder.begun == [1, 3]
    assert bench.delivered() == [b"done", None]


def test_gathered_data_is_given_up_too(bench: Bench) -> None:
    bench.responder.scripts[1] = Receiver()
    bench.command(1, start(1), Payload(b"old"))
    bench.worker.cancel()
    receiver = bench.responder.scripts[2] = Receiver()
    bench.command(2, start(2), Payload(b"new"), DataEnd(complete=True))
    bench.idle()
    assert receiver.pieces == [b"new"]
    assert bench.worker._handed_over == 5 * ITEM + len(b"new")


def test_room_is_counted_for_what_is_given_up(bench: Bench) -> None:
    gate = bench.responder.scripts[1] = Gate()
    bench.command(1, start(1))
    assert gate.reached.wait(PATIENCE)
    bench.data(Payload(bytes(MAX_UPLOAD + BLOCK)))
    assert bench.worker.full
    bench.worker.cancel()
    gate.opened.set()
    bench.idle()
    bench.loop.run_until(lambda: not bench.worker.full)


def test_cancelling_lasts_until_all_is_undone(bench: Bench) -> None:
    gate = bench.responder.scripts[1] = Gate()
    bench.command(1)
    assert gate.reached.wait(PATIENCE)
    assert not bench.cancelling()
    bench.worker.cancel()
    assert bench.cancelling()
    gate.opened.set()
    bench.loop.run_until(lambda: not bench.cancelling())
    assert not bench.busy()


def test_reset_ends_the_session(bench: Bench) -> None:
    bench.worker.reset()
    bench.loop.run_until(lambda: not bench.cancelling())
    bench.loop.run_until(lambda: bench.responder.closed == 1)
    assert bench.works()


def test_a_reset_is_not_lost_when_it_is_overtaken(bench: Bench) -> None:
    gate = bench.responder.scripts[1] = Gate()
    bench.command(1)
    assert gate.reached.wait(PATIENCE)
    bench.worker.reset()
    bench.worker.cancel()
    gate.opened.set()
    bench.loop.run_until(lambda: not bench.cancelling())
    assert bench.responder.closed == 1
    assert bench.works()


@pytest.mark.parametrize("waiting", [Receiver, Gate])
def test_the_end(bench: Bench, waiting: Callable[[], Receiver | Gate]) -> None:
    script = bench.responder.scripts[1] = waiting()
    bench.command(1)
    assert script.reached.wait(PATIENCE)
    assert not bench.worker.join(0)
    bench.worker.close()
    if isinstance(script, Gate):
        script.opened.set()
    assert bench.worker.join(PATIENCE)
    assert bench.responder.closed == 1
    bench.loop.run_posted()
    assert bench.outputs == []


# -- tidying up -------------------------------------------------------------------------------------------------------


def test_tidying_up(bench: Bench) -> None:
    bench.worker.tidy()
    bench.loop.run_until(lambda: bench.responder.tidied == 1)


def test_tidying_up_does_not_disturb_a_data_phase(bench: Bench) -> None:
    receiver = bench.responder.scripts[1] = Receiver()
    bench.command(1, start(1))
    bench.worker.tidy()
    bench.data(Payload(b"a"))
    bench.worker.tidy()
    bench.data(DataEnd(complete=True))
    bench.idle()
    assert receiver.pieces == [b"a"]
    assert bench.responder.ends == [None]
    assert bench.responder.tidied == 2
