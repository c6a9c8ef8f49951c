from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.device.host import BULK_IN, BULK_OUT, CANCELLED, STALL, SUCCESS, Completion, Recorder
from tests.mtp.memory_storage import MemoryStorage
from usbredir_mtp import function as module
from usbredir_mtp.device.device import VirtualDevice
from usbredir_mtp.device.identity import Identity
from usbredir_mtp.device.usb import Speed
from usbredir_mtp.function import EVENT_PAUSE, MtpFunction
from usbredir_mtp.mtp.codes import EventCode, ResponseCode
from usbredir_mtp.mtp.containers import Command, encode_command, encode_data_header, encode_event, encode_response
from usbredir_mtp.mtp.device import MtpDevice
from usbredir_mtp.mtp.events import Event
from usbredir_mtp.mtp.objects import ObjectTable
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply, data_reply, takes_stream
from usbredir_mtp.worker import MAX_UPLOAD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Loop
    from usbredir_mtp.mtp.responder import Responder
    from usbredir_mtp.mtp.storage import Buffer

PATIENCE = 20.0
EMPTY, DATA, WAITS, UPLOAD, POWER_DOWN = range(0x9F01, 0x9F06)
OK = encode_response(ResponseCode.OK, 1)


@dataclass
class Sink:
    """Swallows what it is given, once the gate is open."""

    gate: threading.Event
    opened: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)
    taken: int = 0
    aborted: int = 0

    def write(self, data: Buffer, /) -> None:
        self.reached.set()
        assert self.gate.wait(PATIENCE)
        self.taken += len(data)

    def abort(self) -> None:
        self.aborted += 1


class Bench:
    """A function behind a device with both ends recorded, a loop that the test runs, and few operations."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.flushed = self.unplugged = 0
        self.gate, self.reached = threading.Event(), threading.Event()
        self.sink = Sink(self.gate)
        self.recorder = Recorder()
        self.mtp = MtpDevice(ObjectTable())
        self.root = self.mtp.objects.add_storage(MemoryStorage("a"))
        self.function = MtpFunction(self.mtp, loop.post, lambda *row: self.later.append(row), "peer")
        recorder = self.recorder
        self.device = VirtualDevice(Identity(), Speed.HIGH, self.function, recorder.complete, recorder.emit)
        self.function.attach(self.device, self._flush, self._unplug)
        self.responder = self.function._responder
        self.responder.operations = {
            EMPTY: Operation(lambda _responder, _parameters: Reply()),
            DATA: Operation(lambda _responder, _parameters: data_reply(bytes(700))),
            WAITS: Operation(self._wait),
            UPLOAD: takes_stream(lambda _responder, _parameters: self._open(), lambda *_: Reply()),
            POWER_DOWN: Operation(self._power_down),
        }
        self.device.set_configuration(1)
        loop.run_until(lambda: self.function.status() == ResponseCode.OK)
        self.responder.open_session(1)

    def _open(self) -> Sink:
        self.sink.opened.set()
        return self.sink

    def _flush(self) -> None:
        self.flushed += 1

    def _unplug(self) -> None:
        self.unplugged += 1

    def _wait(self, _responder: Responder, _parameters: Parameters) -> Reply:
        self.reached.set()
        assert self.gate.wait(PATIENCE)
        return Reply()

    def _power_down(self, responder: Responder, _parameters: Parameters) -> Reply:
        responder.power_off = True
        return Reply()

    def out(self, data: Buffer, id_: int = 100) -> None:
        self.device.submit_out(BULK_OUT, id_, data)

    def command(self, code: int, transaction: int = 1) -> None:
        self.out(encode_command(Command(code, transaction, ())))

    def read(self, id_: int = 200, length: int = 512) -> Completion:
        """One IN transfer, and what came of it."""
        self.device.submit_in(BULK_IN, id_, length)
        self.loop.run_until(lambda: any(row.id == id_ for row in self.recorder.completions))
        [row] = [row for row in self.recorder.completions if row.id == id_]
        self.recorder.completions.remove(row)
        return row

    def status(self) -> int:
        return self.function.status()

    def works(self) -> bool:
        self.recorder.completions.clear()
        self.command(EMPTY)
        return self.read().data == OK and self.recorder.take() == [Completion(BULK_OUT, 100, SUCCESS, 12, b"")]

    def events(self) -> list[bytes]:
        return [data for _, data in self.recorder.events]


@pytest.fixture
def bench(loop: Loop) -> Iterator[Bench]:
    made = Bench(loop)
    yield made
    made.gate.set()
    made.function.close()
    assert made.function.join(PATIENCE)


# -- transactions ----------------------------------------------------------------------------------------------------


def test_a_command_and_its_answer(bench: Bench) -> None:
    bench.command(EMPTY)
    flushed = bench.flushed
    assert bench.read() == Completion(BULK_IN, 200, SUCCESS, 12, OK)
    assert bench.flushed > flushed, "nobody else lets the answer go"
    assert not bench.function.busy


def test_data_and_response_are_two_messages(bench: Bench) -> None:
    bench.command(DATA)
    assert bench.read().data == encode_data_header(DATA, 1, 700) + bytes(500)
    assert bench.function.busy
    assert bench.read().data == bytes(200)
    assert bench.read().data == OK
    bench.loop.run_until(lambda: not bench.function.busy)


def test_busy_until_the_answer_is_taken(bench: Bench) -> None:
    bench.command(EMPTY)
    bench.loop.run_until(lambda: bench.device.bulk_in.queued > 0 and not bench.function._worker.busy)
    assert bench.function.busy
    bench.read()
    bench.loop.run_until(lambda: not bench.function.busy)


def test_what_the_guest_takes_makes_room_for_more(bench: Bench) -> None:
    for _ in range(3):
        bench.command(DATA)
        for _ in range(3):
            bench.read()
    worker = bench.function._worker
    assert worker._produced == worker._sent == 3 * (12 + 700 + 12)


# -- what is no container --------------------------------------------------------------------------------------------


def test_garbage_stalls_both_endpoints(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.device.submit_in(BULK_IN, 1, 512)
    bench.out(b"garbage", 2)
    bench.out(b"more", 3)
    assert {(row.id, row.status) for row in bench.recorder.take()} == {(1, STALL), (2, STALL), (3, STALL)}
    assert "peer: message of 7 bytes" in caplog.text
    for endpoint in (bench.device.bulk_in, bench.device.bulk_out):
        endpoint.clear_halt()
    assert bench.works()


def test_garbage_gives_up_what_runs(bench: Bench) -> None:
    bench.command(WAITS)
    assert bench.reached.wait(PATIENCE)
    bench.out(b"garbage")
    assert bench.status() == ResponseCode.DEVICE_BUSY
    bench.gate.set()
    bench.loop.run_until(lambda: bench.status() == ResponseCode.OK)
    for endpoint in (bench.device.bulk_in, bench.device.bulk_out):
        endpoint.clear_halt()
    assert bench.works(), "the answer of the old transaction is gone"


# -- uploads ---------------------------------------------------------------------------------------------------------


def begin_upload(bench: Bench, size: int) -> None:
    bench.command(UPLOAD)
    bench.out(encode_data_header(UPLOAD, 1, size))
    bench.recorder.take()
    assert bench.sink.opened.wait(PATIENCE)


def test_uploads_wait_while_the_storage_is_slow(bench: Bench) -> None:
    block, count = bytes(1 << 20), MAX_UPLOAD // (1 << 20) + 4
    begin_upload(bench, len(block) * count)
    for number in range(count):
        bench.out(block, number)
    assert bench.sink.reached.wait(PATIENCE)
    bench.loop.run_posted()
    done = len(bench.recorder.completions)
    assert done < count, "nothing waits"
    assert bench.device.bulk_out.pending_bytes == (count - done) << 20
    flushed = bench.flushed
    bench.gate.set()
    bench.loop.run_until(lambda: len(bench.recorder.completions) == count)
    assert bench.flushed > flushed
    assert [row.id for row in bench.recorder.take()] == list(range(count))
    assert bench.read().data == OK
    assert bench.sink.taken == count << 20


def test_cancel_in_mid_upload(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    begin_upload(bench, 1 << 20)
    bench.out(bytes(1024))
    bench.function.cancel(1)
    assert "peer: cancels transaction 1" in caplog.text
    bench.loop.run_until(lambda: bench.status() == ResponseCode.OK)
    assert bench.sink.aborted
    assert bench.responder.session is not None
    assert bench.works()


def test_cancel_lets_held_transfers_go(bench: Bench) -> None:
    block, count = bytes(1 << 20), MAX_UPLOAD // (1 << 20) + 4
    begin_upload(bench, len(block) * count)
    for number in range(count - 1):
        bench.out(block, number)
    bench.function.cancel(1)
    assert len(bench.recorder.completions) < count
    bench.gate.set()
    bench.loop.run_until(lambda: bench.status() == ResponseCode.OK)
    bench.loop.run_until(lambda: bench.device.bulk_out.pending_bytes == 0)


def test_cancel_drops_what_is_queued(bench: Bench) -> None:
    bench.command(DATA)
    bench.read()
    bench.function.cancel(1)
    assert bench.device.bulk_in.queued == 0
    bench.loop.run_until(lambda: bench.status() == ResponseCode.OK)
    assert bench.function._worker._produced == bench.function._worker._sent
    assert bench.works()


@pytest.mark.parametrize("how", ["request", "bus"])
def test_reset_ends_the_session(bench: Bench, how: str) -> None:
    begin_upload(bench, 1 << 20)
    if how == "bus":
        bench.device.submit_in(BULK_IN, 7, 512)
        bench.device.reset()
        assert [row[1:3] for row in bench.recorder.take()] == [(7, CANCELLED)]
        bench.device.set_configuration(1)
    else:
        bench.function.reset()
    bench.loop.run_until(lambda: bench.status() == ResponseCode.OK)
    bench.command(EMPTY)
    assert bench.read().data == encode_response(ResponseCode.SESSION_NOT_OPEN, 1)


# -- power down ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waiting", [False, True])
def test_power_down_lets_the_answer_go_first(bench: Bench, waiting: bool) -> None:
    if waiting:
        bench.device.submit_in(BULK_IN, 200, 512)
    bench.command(POWER_DOWN)
    if not waiting:
        bench.loop.run_until(lambda: bench.device.bulk_in.queued > 0)
        bench.loop.run_posted()
        assert bench.unplugged == 0
        bench.device.submit_in(BULK_IN, 200, 512)
    bench.loop.run_until(lambda: bench.unplugged > 0)
    assert bench.recorder.take()[-1] == Completion(BULK_IN, 200, SUCCESS, 12, OK)
    bench.command(EMPTY)
    bench.read()
    bench.loop.run_posted()
    assert bench.unplugged == 1


# -- the end ----------------------------------------------------------------------------------------------------------


def test_closing_ends_the_worker(bench: Bench) -> None:
    bench.command(WAITS)
    assert bench.reached.wait(PATIENCE)
    bench.function.close()
    bench.function.close()
    assert not bench.function.join(0)
    bench.gate.set()
    assert bench.function.join(PATIENCE)
    bench.loop.run_posted()
    assert [row for row in bench.recorder.completions if row.endpoint == BULK_IN] == []


def test_room_that_comes_too_late(bench: Bench) -> None:
    begin_upload(bench, 1 << 30)
    bench.out(bytes(MAX_UPLOAD + (2 << 20)), 7)
    bench.out(bytes(512), 8)
    assert [row.id for row in bench.recorder.take()] == [7]
    bench.function.close()
    bench.gate.set()
    assert bench.function.join(PATIENCE)
    flushed = bench.flushed
    bench.loop.run_posted()
    assert bench.recorder.take() == []
    assert bench.flushed == flushed


def test_after_the_end_there_are_no_events(bench: Bench) -> None:
    bench.device.interrupt.start()
    bench.function.close()
    bench.mtp.objects.publisher.publish([Event(EventCode.OBJECT_ADDED, 7)])
    bench.loop.run_posted()
    assert bench.events() == []


# -- events -----------------------------------------------------------------------------------------------------------


def publish(bench: Bench, *handles: int) -> None:
    bench.mtp.objects.publisher.publish([Event(EventCode.OBJECT_ADDED, handle) for handle in handles])
    bench.loop.run_posted()


def added(*handles: int) -> list[bytes]:
    return [encode_event(EventCode.OBJECT_ADDED, 0xFFFFFFFF, (handle,)) for handle in handles]


def test_events_wait_until_the_guest_polls(bench: Bench) -> None:
    publish(bench, 7, 8)
    assert bench.events() == []
    bench.device.interrupt.start()
    assert bench.events() == added(7, 8)
    flushed = bench.flushed
    publish(bench, 9)
    assert bench.events() == added(7, 8, 9)
    assert bench.flushed > flushed


def test_many_events_wake_once(bench: Bench) -> None:
    bench.device.interrupt.start()
    flushed = bench.flushed
    publish(bench, *range(100))
    assert bench.events() == added(*range(100))
    assert bench.flushed == flushed + 1


def test_events_leave_no_faster_than_they_can(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    monkeypatch.setattr(module, "EVENT_RATE", 20.0)
    monkeypatch.setattr(module, "EVENT_BURST", 3)
    bench.function._allowance, bench.function._allowed_at = 3.0, now
    bench.device.interrupt.start()
    publish(bench, *range(12))
    assert bench.events() == added(0, 1, 2)
    publish(bench, 12)
    assert bench.events() == added(0, 1, 2), "they are told to wait for the timer"
    [(seconds, go_on)] = bench.later
    assert seconds == EVENT_PAUSE
    now += EVENT_PAUSE
    go_on()
    assert bench.events() == added(*range(5))
    now += 1e6
    bench.later[1][1]()
    assert bench.events() == added(*range(8)), "no more than a burst is saved up"
    now += 1e6
    bench.later[2][1]()
    now += 1e6
    bench.later[3][1]()
    assert bench.events() == added(*range(13))


def test_a_timer_that_comes_too_late(bench: Bench) -> None:
    bench.function._allowance, bench.function._allowed_at = 0.0, float("inf")
    bench.device.interrupt.start()
    publish(bench, 7)
    [(_, go_on)] = bench.later
    bench.function.close()
    go_on()
    assert bench.events() == []


def test_a_storage_that_goes_is_tidied_up_after(bench: Bench) -> None:
    bench.mtp.remove_storage(bench.root)
    assert bench.responder.untidy
    bench.loop.run_until(lambda: not bench.responder.untidy)
    bench.device.interrupt.start()
    assert bench.events() == [encode_event(EventCode.STORE_REMOVED, 0xFFFFFFFF, (bench.root.storage_id,))]
