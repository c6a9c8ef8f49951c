from __future__ import annotations

from tests.device.host import INTERRUPT_IN, Recorder
from usbredir_mtp.device.endpoints import MAX_EVENTS, InterruptIn


class Pipe(InterruptIn):
    """An interrupt IN endpoint that writes down what it emits."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        super().__init__(INTERRUPT_IN, 28, self.recorder.emit)

    def emitted(self) -> list[bytes]:
        events, self.recorder.events = self.recorder.events, []
        assert all(endpoint == INTERRUPT_IN for endpoint, _ in events)
        return [data for _, data in events]


def test_events_go_out_while_the_host_polls() -> None:
    pipe = Pipe()
    pipe.start()
    assert pipe.push(b"one")
    assert pipe.push(b"two")
    assert pipe.emitted() == [b"one", b"two"]


def test_events_are_kept_while_it_does_not() -> None:
    pipe = Pipe()
    assert pipe.push(b"one")
    pipe.start()
    assert pipe.emitted() == [b"one"]
    pipe.stop()
    pipe.push(b"two")
    assert pipe.emitted() == []
    pipe.start()
    assert pipe.emitted() == [b"two"]


def test_pause() -> None:
    pipe = Pipe()
    pipe.start()
    pipe.pause()
    pipe.push(b"one")
    pipe.stop()
    pipe.resume()
    assert pipe.emitted() == []
    pipe.start()
    assert pipe.emitted() == [b"one"]


def test_halt() -> None:
    pipe = Pipe()
    pipe.start()
    pipe.halt()
    pipe.push(b"one")
    assert pipe.emitted() == []
    pipe.clear_halt()
    assert pipe.emitted() == [b"one"]


def test_clear() -> None:
    pipe = Pipe()
    pipe.push(b"one")
    pipe.clear()
    pipe.start()
    pipe.push(b"two")
    assert pipe.emitted() == [b"two"]


def test_the_oldest_is_dropped_when_too_many_are_kept() -> None:
    pipe = Pipe()
    events = [number.to_bytes(2, "little") for number in range(MAX_EVENTS + 2)]
    assert all(pipe.push(event) for event in events[:MAX_EVENTS])
    assert pipe.overflowed is False
    assert not pipe.push(events[-2])
    assert not pipe.push(events[-1])
    pipe.start()
    assert pipe.emitted() == events[2:]


def test_the_host_of_a_cleared_endpoint_has_missed_nothing() -> None:
    pipe = Pipe()
    for _ in range(MAX_EVENTS + 1):
        pipe.push(b"event")
    overflowed = [pipe.overflowed]
    pipe.clear()
    overflowed.append(pipe.overflowed)
    assert overflowed == [True, False]
