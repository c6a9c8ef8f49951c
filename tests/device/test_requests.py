from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    RecordingFunction,
    configured,
)
from usbredir_mtp.device.requests import REQUESTS, ControlReply, SetupPacket
from usbredir_mtp.device.usb import Speed

SPEEDS = list(Speed)
SUPER_ONLY = {Speed.SUPER}
CANCEL_DATA = struct.pack("<HI", 0x4001, 7)
HALT = 0


@dataclass(slots=True, frozen=True)
class Row:
    """A request that a configured device answers with `reply`, at these speeds; at others it stalls."""

    request_type: int
    request: int
    value: int = 0
    index: int = 0
    data: bytes = b""
    reply: bytes = b""
    speeds: frozenset[Speed] | set[Speed] = frozenset(SPEEDS)


ANSWERED = [
    Row(0x80, 0, reply=b"\0\0"),
    Row(0x81, 0, reply=b"\0\0"),
    Row(0x82, 0, index=0x00, reply=b"\0\0"),
    Row(0x82, 0, index=0x80, reply=b"\0\0"),
    Row(0x82, 0, index=BULK_IN, reply=b"\0\0"),
    Row(0x82, 0, index=BULK_OUT, reply=b"\0\0"),
    Row(0x82, 0, index=INTERRUPT_IN, reply=b"\0\0"),
    Row(0x00, 1, value=48, speeds=SUPER_ONLY),
    Row(0x00, 3, value=48, speeds=SUPER_ONLY),
    Row(0x00, 1, value=49, speeds=SUPER_ONLY),
    Row(0x00, 3, value=49, speeds=SUPER_ONLY),
    Row(0x02, 1, value=HALT, index=0x00),
    Row(0x02, 1, value=HALT, index=BULK_IN),
    Row(0x02, 1, value=HALT, index=BULK_OUT),
    Row(0x02, 1, value=HALT, index=INTERRUPT_IN),
    Row(0x02, 3, value=HALT, index=BULK_IN),
    Row(0x02, 3, value=HALT, index=BULK_OUT),
    Row(0x02, 3, value=HALT, index=INTERRUPT_IN),
    Row(0x80, 6, value=0x0300, reply=bytes.fromhex("04030904")),
    Row(0x80, 8, reply=b"\1"),
    Row(0x00, 9, value=0),
    Row(0x00, 9, value=1),
    Row(0x81, 10, reply=b"\0"),
    Row(0x01, 11),
    Row(0x00, 48, data=bytes(6), speeds=SUPER_ONLY),
    Row(0x00, 49, value=40, speeds=SUPER_ONLY),
    Row(0x21, 0x64, data=CANCEL_DATA),
    Row(0x21, 0x66),
    Row(0xA1, 0x67, reply=bytes.fromhex("04000120")),
    Row(0xC0, 0x01, index=4, reply=b"\x28\0\0\0\0\x01\x04\0\x01" + bytes(8) + b"\x01MTP" + bytes(19)),
    Row(0xC1, 0x01, index=4, reply=b"\x28\0\0\0\0\x01\x04\0\x01" + bytes(8) + b"\x01MTP" + bytes(19)),
]

STALLED = [
    pytest.param(Row(0x81, 0, index=1), id="status of no interface"),
    pytest.param(Row(0x82, 0, index=0x84), id="status of no endpoint"),
    pytest.param(Row(0x82, 0, index=0x01), id="status of the wrong direction"),
    pytest.param(Row(0x82, 0, index=0x0100), id="status of an address too large"),
    pytest.param(Row(0x00, 3, value=1), id="set remote wake-up"),
    pytest.param(Row(0x00, 1, value=1), id="clear remote wake-up"),
    pytest.param(Row(0x00, 3, value=2), id="test mode"),
    pytest.param(Row(0x02, 3, value=HALT, index=0x00), id="halt the control pipe"),
    pytest.param(Row(0x02, 3, value=HALT, index=0x84), id="halt no endpoint"),
    pytest.param(Row(0x02, 1, value=HALT, index=0x84), id="clear no endpoint's halt"),
    pytest.param(Row(0x02, 1, value=1, index=BULK_IN), id="clear another feature"),
    pytest.param(Row(0x02, 3, value=1, index=BULK_IN), id="set another feature"),
    pytest.param(Row(0x01, 3, value=0), id="interface feature"),
    pytest.param(Row(0x00, 5, value=3), id="set address"),
    pytest.param(Row(0x80, 6, value=0x0101), id="second device descriptor"),
    pytest.param(Row(0x80, 6, value=0x0201), id="second configuration"),
    pytest.param(Row(0x80, 6, value=0x2200), id="report descriptor"),
    pytest.param(Row(0x00, 7, value=0x0100, data=bytes(18)), id="set descriptor"),
    pytest.param(Row(0x00, 9, value=2), id="no such configuration"),
    pytest.param(Row(0x00, 9, value=0x0101), id="configuration with a high byte"),
    pytest.param(Row(0x81, 10, index=1), id="setting of no interface"),
    pytest.param(Row(0x01, 11, value=1), id="no such setting"),
    pytest.param(Row(0x01, 11, index=1), id="set on no interface"),
    pytest.param(Row(0x82, 12, index=BULK_IN), id="synch frame"),
    pytest.param(Row(0x21, 0x64, index=1, data=CANCEL_DATA), id="cancel on another interface"),
    pytest.param(Row(0x21, 0x64), id="cancel without data"),
    pytest.param(Row(0x21, 0x64, data=CANCEL_DATA[:5]), id="cancel cut short"),
    pytest.param(Row(0x21, 0x64, data=CANCEL_DATA + b"\0"), id="cancel too long"),
    pytest.param(Row(0x21, 0x64, data=struct.pack("<HI", 0x4002, 7)), id="cancel with another code"),
    pytest.param(Row(0xA1, 0x64), id="cancel the other way"),
    pytest.param(Row(0xA1, 0x65), id="extended event data"),
    pytest.param(Row(0x21, 0x66, index=1), id="reset another interface"),
    pytest.param(Row(0xA1, 0x67, index=1), id="status of another interface"),
    pytest.param(Row(0x20, 0x66), id="reset to the device"),
    pytest.param(Row(0xC0, 0x01, index=5), id="extended properties"),
    pytest.param(Row(0xC0, 0x02, index=4), id="another vendor code"),
    pytest.param(Row(0x40, 0x01, index=4), id="vendor request out"),
]


def ask(bench: Bench, row: Row) -> ControlReply:
    length = 255 if row.request_type & 0x80 else len(row.data)
    return bench.control(row.request_type, row.request, row.value, row.index, length, row.data)


def test_no_row_of_the_table_is_left_out() -> None:
    assert {(row.request_type, row.request) for row in ANSWERED} == set(REQUESTS)


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("row", ANSWERED)
def test_answered(row: Row, speed: Speed) -> None:
    reply = ask(configured(speed), row)
    assert reply == (ControlReply(SUCCESS, row.reply) if speed in row.speeds else ControlReply(STALL))


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("row", STALLED)
def test_stalled(row: Row, speed: Speed) -> None:
    bench = configured(speed)
    assert ask(bench, row) == ControlReply(STALL)
    assert bench.function.calls == []


@pytest.mark.parametrize("speed", SPEEDS)
def test_every_other_code_stalls(speed: Speed) -> None:
    bench = configured(speed)
    others = [(kind, code) for kind in range(256) for code in range(256) if (kind, code) not in REQUESTS]
    assert all(bench.control(kind, code) == ControlReply(STALL) for kind, code in others)
    assert bench.function.calls == []


@pytest.mark.parametrize(
    "row",
    [
        Row(0x81, 0),
        Row(0x82, 0, index=BULK_IN),
        Row(0x02, 1, index=BULK_IN),
        Row(0x02, 3, index=BULK_IN),
        Row(0x81, 10),
        Row(0x01, 11),
        Row(0x21, 0x64, data=CANCEL_DATA),
        Row(0x21, 0x66),
        Row(0xA1, 0x67),
    ],
)
def test_without_a_configuration_there_is_no_interface_and_no_endpoint(row: Row) -> None:
    bench = Bench()
    assert ask(bench, row) == ControlReply(STALL)
    assert bench.function.calls == []


@pytest.mark.parametrize("row", [Row(0x80, 0, reply=b"\0\0"), Row(0x82, 0, reply=b"\0\0"), Row(0x80, 8, reply=b"\0")])
def test_what_needs_no_configuration(row: Row) -> None:
    assert ask(Bench(), row) == ControlReply(SUCCESS, row.reply)


@pytest.mark.parametrize("length", [0, 1, 8, 9, 38, 39, 40, 0xFFFF])
def test_no_reply_is_longer_than_was_asked(length: int) -> None:
    whole = Bench().descriptor(2)
    assert len(whole) == 39
    assert Bench().descriptor(2, length=length) == whole[:length]


@pytest.mark.parametrize("speed", SPEEDS)
@given(
    setup=st.builds(
        SetupPacket,
        request_type=st.sampled_from(sorted({kind for kind, _ in REQUESTS})),
        request=st.sampled_from(sorted({code for _, code in REQUESTS})),
        value=st.integers(0, 0xFFFF) | st.sampled_from([0, 1, 48, 49]),
        index=st.integers(0, 0xFFFF) | st.sampled_from([0, 4, BULK_IN, BULK_OUT, INTERRUPT_IN]),
        length=st.integers(0, 0xFFFF),
    ),
    data=st.binary(max_size=16),
    configuration=st.sampled_from([0, 1]),
)
def test_whatever_is_asked_is_answered(speed: Speed, setup: SetupPacket, data: bytes, configuration: int) -> None:
    bench = Bench(speed)
    bench.device.set_configuration(configuration)
    reply = bench.device.control(setup, data)
    assert reply.status in {SUCCESS, STALL}
    assert len(reply.data) <= setup.length
    assert reply.status is SUCCESS or not reply.data


def test_a_fault_of_the_function_is_no_stall() -> None:
    """It is ours, and must be seen."""

    class Broken(RecordingFunction):
        def status(self) -> int:
            raise KeyError

    bench = Bench(function=Broken())
    bench.device.set_configuration(1)
    with pytest.raises(KeyError):
        bench.control(0xA1, 0x67)


# -- what requests do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [BULK_IN, BULK_OUT, INTERRUPT_IN])
def test_a_halt_is_set_reported_and_cleared(address: int) -> None:
    bench = configured()
    bench.control(0x02, 3, HALT, address)
    for other in (BULK_IN, BULK_OUT, INTERRUPT_IN):
        assert bench.control(0x82, 0, index=other).data == bytes([other == address, 0])
    assert bench.control(0xA1, 0x67).data == struct.pack("<HHI", 8, 0x2001, address)
    bench.control(0x02, 1, HALT, address)
    assert bench.control(0x82, 0, index=address).data == b"\0\0"
    assert bench.control(0xA1, 0x67).data == struct.pack("<HH", 4, 0x2001)


@pytest.mark.parametrize("code", [0x2001, 0x2019, 0x201F])
def test_device_status_is_the_functions(code: int) -> None:
    bench = configured()
    bench.function.code = code
    assert bench.control(0xA1, 0x67, length=36).data == struct.pack("<HH", 4, code)
    for address in (BULK_IN, BULK_OUT, INTERRUPT_IN):
        bench.control(0x02, 3, HALT, address)
    reply = bench.control(0xA1, 0x67, length=36)
    assert reply.data == struct.pack("<HH3I", 16, code, BULK_IN, BULK_OUT, INTERRUPT_IN)


def test_class_cancel_reaches_the_function_and_touches_no_transfer() -> None:
    bench = configured()
    bench.device.submit_in(BULK_IN, 1, 512)
    bench.control(0x21, 0x64, data=struct.pack("<HI", 0x4001, 0xDEADBEEF))
    assert bench.function.calls == [("cancel", 0xDEADBEEF)]
    assert bench.recorder.completions == []


def test_class_reset_clears_halts_and_touches_no_transfer() -> None:
    bench = configured()
    for address in (BULK_IN, BULK_OUT, INTERRUPT_IN):
        bench.control(0x02, 3, HALT, address)
    assert bench.control(0x21, 0x66).status is SUCCESS
    assert [bench.control(0x82, 0, index=address).data for address in (BULK_IN, BULK_OUT)] == [b"\0\0"] * 2
    assert bench.function.calls == [("reset",)]
    bench.device.submit_in(BULK_IN, 1, 512)
    bench.control(0x21, 0x66)
    assert bench.recorder.completions == []


@pytest.mark.parametrize("value", [0, 1])
def test_configuration_by_either_way(value: int) -> None:
    """As a control request, and as the call that usbredir's own packet makes."""
    for way in ("request", "call"):
        bench = configured()
        bench.device.submit_in(BULK_IN, 1, 512)
        bench.device.bulk_in.halted = way == "call"
        if way == "request":
            assert bench.control(0x00, 9, value).status is SUCCESS
        else:
            assert bench.device.set_configuration(value) is SUCCESS
        assert bench.device.configuration == value
        assert bench.control(0x80, 8).data == bytes([value])
        assert bench.recorder.take() == [Completion(BULK_IN, 1, CANCELLED, 0, b"")]
        assert bench.function.calls == [("reset",)]
        assert not bench.device.bulk_in.halted
        bench.device.submit_in(BULK_IN, 2, 512)
        assert [row.status for row in bench.recorder.completions] == ([] if value else [INVAL])


def test_a_configuration_that_is_not_there_changes_nothing() -> None:
    bench = configured()
    bench.device.submit_in(BULK_IN, 1, 512)
    assert bench.device.set_configuration(2) is STALL
    assert bench.device.configuration == 1
    assert bench.recorder.completions == []
    assert bench.function.calls == []


def test_alternate_settings() -> None:
    bench = configured()
    assert bench.device.get_alternate(0) == (SUCCESS, 0)
    assert bench.device.get_alternate(1)[0] is STALL
    bench.device.submit_in(BULK_IN, 1, 512)
    assert bench.device.set_alternate(0, 1) is STALL
    assert bench.device.set_alternate(1, 0) is STALL
    assert bench.recorder.completions == []
    assert bench.device.set_alternate(0, 0) is SUCCESS
    assert bench.recorder.completions == [Completion(BULK_IN, 1, CANCELLED, 0, b"")]
    assert bench.function.calls == [("reset",)]
