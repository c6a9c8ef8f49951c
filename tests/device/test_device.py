from __future__ import annotations

import pytest

from tests.device.host import (
    BULK_IN,
    BULK_OUT,
    CANCELLED,
    INTERRUPT_IN,
    INVAL,
    STALL,
    SUCCESS,
    Bench,
    Completion,
    configured,
)


def test_a_new_device_is_not_configured() -> None:
    bench = Bench()
    assert bench.device.configuration == 0
    bench.device.submit_in(BULK_IN, 1, 512)
    bench.device.submit_out(BULK_OUT, 2, b"data")
    assert bench.recorder.completions == [
        Completion(BULK_IN, 1, INVAL, 0, b""),
        Completion(BULK_OUT, 2, INVAL, 0, b""),
    ]
    assert bench.function.calls == []


@pytest.mark.parametrize("endpoint", [0x00, 0x80, BULK_OUT, 0x82, INTERRUPT_IN, 0x8F, 0x01])
def test_in_transfers_where_there_is_no_such_endpoint(endpoint: int) -> None:
    bench = configured()
    bench.device.bulk_in.push(b"data")
    bench.device.submit_in(endpoint, 5, 4)
    assert bench.recorder.completions == [Completion(endpoint, 5, INVAL, 0, b"")]


@pytest.mark.parametrize("endpoint", [0x00, 0x80, BULK_IN, 0x01, 0x03, INTERRUPT_IN, 0x0F])
def test_out_transfers_where_there_is_no_such_endpoint(endpoint: int) -> None:
    bench = configured()
    bench.device.submit_out(endpoint, 5, b"data")
    assert bench.recorder.completions == [Completion(endpoint, 5, INVAL, 0, b"")]
    assert bench.function.calls == []


def test_transfers_reach_their_endpoints() -> None:
    bench = configured()
    bench.device.submit_out(BULK_OUT, 1, b"hello")
    bench.device.bulk_in.push(b"world")
    bench.device.bulk_in.end_message()
    bench.device.submit_in(BULK_IN, 2, 512)
    assert bench.function.calls == [("receive", b"hello", True)]
    assert bench.recorder.completions == [
        Completion(BULK_OUT, 1, SUCCESS, 5, b""),
        Completion(BULK_IN, 2, SUCCESS, 5, b"world"),
    ]


def test_halted_endpoints_stall() -> None:
    bench = configured()
    bench.control(0x02, 3, 0, BULK_IN)
    bench.control(0x02, 3, 0, BULK_OUT)
    bench.device.submit_in(BULK_IN, 1, 512)
    bench.device.submit_out(BULK_OUT, 2, b"data")
    assert [(row.id, row.status) for row in bench.recorder.completions] == [(1, STALL), (2, STALL)]
    assert bench.function.calls == []


def test_cancel_finds_the_endpoint() -> None:
    bench = configured()
    bench.device.bulk_out.hold()
    bench.device.submit_in(BULK_IN, 1, 512)
    bench.device.submit_out(BULK_OUT, 2, b"data")
    assert bench.device.cancel(2)
    assert bench.device.cancel(1)
    assert not bench.device.cancel(1)
    assert not bench.device.cancel(99)
    assert bench.recorder.completions == [
        Completion(BULK_OUT, 2, CANCELLED, 0, b""),
        Completion(BULK_IN, 1, CANCELLED, 0, b""),
    ]


def test_a_bus_reset_begins_anew() -> None:
    bench = configured()
    device = bench.device
    device.bulk_out.hold()
    device.bulk_out.submit(1, b"data")
    for id_ in (2, 3):
        device.submit_in(BULK_IN, id_, 512)
    device.bulk_in.push(b"queued")
    device.interrupt.push(b"event")
    device.reset()
    assert sorted(bench.recorder.take()) == [
        Completion(BULK_OUT, 1, CANCELLED, 0, b""),
        Completion(BULK_IN, 2, CANCELLED, 0, b""),
        Completion(BULK_IN, 3, CANCELLED, 0, b""),
    ]
    assert (device.configuration, device.bulk_in.queued, device.bulk_out.pending_bytes) == (0, 0, 0)
    assert bench.function.calls == [("reset",)]
    device.set_configuration(1)
    device.interrupt.start()
    assert bench.recorder.events == []
    device.submit_in(BULK_IN, 4, 512)
    assert bench.recorder.completions == []


def test_a_bus_reset_clears_halts() -> None:
    bench = configured()
    for address in (BULK_IN, BULK_OUT, INTERRUPT_IN):
        bench.control(0x02, 3, 0, address)
    bench.device.reset()
    assert not any(endpoint.halted for endpoint in bench.device.endpoints)


def test_resets_in_a_row() -> None:
    """A guest's boot has 3 to 8 of them."""
    bench = configured()
    for _ in range(8):
        bench.device.reset()
    assert bench.function.calls == [("reset",)] * 8
    assert bench.device.set_configuration(1) is SUCCESS
    bench.device.submit_out(BULK_OUT, 1, b"x")
    assert bench.recorder.completions == [Completion(BULK_OUT, 1, SUCCESS, 1, b"")]


def test_the_host_still_polls_after_a_reset() -> None:
    """QEMU does not ask again after a reset alone."""
    bench = configured()
    bench.device.interrupt.start()
    bench.device.reset()
    bench.device.set_configuration(1)
    bench.device.interrupt.push(b"event")
    assert bench.recorder.events == [(INTERRUPT_IN, b"event")]


def test_pause_holds_back_everything_that_leaves() -> None:
    bench = configured()
    device = bench.device
    device.interrupt.start()
    device.pause()
    device.submit_in(BULK_IN, 1, 16)
    device.bulk_in.push(b"data")
    device.bulk_in.end_message()
    device.interrupt.push(b"event")
    assert (bench.recorder.completions, bench.recorder.events) == ([], [])
    device.resume()
    assert bench.recorder.completions == [Completion(BULK_IN, 1, SUCCESS, 4, b"data")]
    assert bench.recorder.events == [(INTERRUPT_IN, b"event")]
