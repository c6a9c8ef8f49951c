from __future__ import annotations

import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbredir_mtp.mtp.containers import (
    Command,
    ContainerAssembler,
    ContainerError,
    DataEnd,
    DataStart,
    Item,
    Payload,
    encode_command,
    encode_data_header,
    encode_event,
    encode_response,
)

PACKET = 64
"""wMaxPacketSize of these tests: the smallest that bulk endpoints of ours have."""

COMMAND = Command(0x1007, 9, (0x10001, 0, 0xFFFFFFFF))
COMMAND_BYTES = bytes.fromhex("18000000 0100 0710 09000000 01000100 00000000 ffffffff")

commands = st.builds(
    Command,
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.lists(st.integers(0, 0xFFFFFFFF), max_size=5).map(tuple),
)


@dataclass
class Bus:
    """Gives an assembler messages, and puts together what comes out of it."""

    assembler: ContainerAssembler = field(default_factory=ContainerAssembler)
    items: list[Item] = field(default_factory=list)

    def transfer(self, data: bytes) -> None:
        short = len(data) % PACKET != 0 or not data
        self.items += self.assembler.receive(data, short)

    def message(self, data: bytes, cuts: list[int] | None = None) -> None:
        """A whole message; `cuts` are counted in packets."""
        start = 0
        for end in [cut * PACKET for cut in sorted(set(cuts or [])) if 0 < cut * PACKET < len(data)]:
            self.transfer(data[start:end])
            start = end
        self.transfer(data[start:])
        if data and len(data) % PACKET == 0:
            self.transfer(b"")

    def take(self) -> list[Item]:
        """The items since the last call, with each run of payload as one."""
        joined: list[Item] = []
        for item in self.items:
            if isinstance(item, Payload) and joined and isinstance(joined[-1], Payload):
                joined[-1] = Payload(bytes(joined[-1].data) + bytes(item.data))
            else:
                joined.append(Payload(bytes(item.data)) if isinstance(item, Payload) else item)
        self.items = []
        return joined


def data_phase(payload: bytes, *, length: int | None = None, code: int = 0x100D, transaction: int = 9) -> bytes:
    """A data container; `length` is what its header says in place of the truth."""
    total = 12 + len(payload) if length is None else length
    return struct.pack("<IHHI", total, 2, code, transaction) + payload


def works(bus: Bus) -> bool:
    """Whether a command is understood now."""
    bus.take()
    bus.message(COMMAND_BYTES)
    return bus.take() == [COMMAND]


# -- what leaves ----------------------------------------------------------------------------------------------------


def test_containers_on_the_wire() -> None:
    assert encode_command(COMMAND) == COMMAND_BYTES
    assert encode_response(0x2001, 9) == bytes.fromhex("0c000000 0300 0120 09000000")
    assert encode_response(0x2001, 9, (1, 2)) == bytes.fromhex("14000000 0300 0120 09000000 01000000 02000000")
    assert encode_event(0x4002, 0xFFFFFFFF, (7,)) == bytes.fromhex("10000000 0400 0240 ffffffff 07000000")
    assert encode_data_header(0x1009, 9, 0x100) == bytes.fromhex("0c010000 0200 0910 09000000")


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (0, 12),
        (0xFFFFFFFE - 12, 0xFFFFFFFE),
        (0xFFFFFFFF - 12, 0xFFFFFFFF),
        (0xFFFFFFFF - 11, 0xFFFFFFFF),
        (1 << 32, 0xFFFFFFFF),
        (5 << 40, 0xFFFFFFFF),
    ],
)
def test_lengths_beyond_32_bits(length: int, said: int) -> None:
    assert struct.unpack_from("<I", encode_data_header(0x1009, 1, length)) == (said,)


# -- what arrives: commands -----------------------------------------------------------------------------------------


@given(commands)
def test_commands_come_back(command: Command) -> None:
    bus = Bus()
    bus.message(encode_command(command))
    assert bus.take() == [command]


@given(st.lists(st.integers(1, 31), max_size=5))
def test_a_header_in_pieces(cuts: list[int]) -> None:
    data = data_phase(b"payload of it")
    assembler, items, start = ContainerAssembler(), list[Item](), 0
    for end in sorted({*(cut for cut in cuts if cut < len(data)), len(data)}):
        items += assembler.receive(data[start:end], end == len(data))
        start = end
    bus = Bus(items=items)
    assert bus.take() == [DataStart(0x100D, 9, 13), Payload(b"payload of it"), DataEnd(complete=True)]


def test_bytes_after_a_command_are_nothing() -> None:
    bus = Bus()
    bus.message(COMMAND_BYTES + b"more")
    assert bus.take() == [COMMAND]
    assert works(bus)


def test_a_zero_length_packet_is_nothing() -> None:
    bus = Bus()
    bus.transfer(b"")
    assert bus.take() == []
    assert works(bus)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"x", "message of 1 bytes"),
        (COMMAND_BYTES[:11], "message of 11 bytes"),
        (COMMAND_BYTES[:12], "length 24 in a message of 12 bytes"),
        (COMMAND_BYTES[:-1], "length 24 in a message of 23 bytes"),
        (struct.pack("<IHHI", 11, 1, 0x1001, 0), "length 11"),
        (struct.pack("<IHHI", 13, 1, 0x1001, 0) + b"x", "length 13"),
        (struct.pack("<IHHI", 36, 1, 0x1001, 0) + bytes(24), "length 36"),
        (struct.pack("<IHHI", 0xFFFFFFFF, 1, 0x1001, 0), "length 4294967295"),
        (data_phase(b"", length=11), "type 2 and length 11"),
        (struct.pack("<IHHI", 12, 3, 0x2001, 0), "type 3"),
        (struct.pack("<IHHI", 12, 4, 0x4002, 0), "type 4"),
        (struct.pack("<IHHI", 12, 0, 0x1001, 0), "type 0"),
        (struct.pack("<IHHI", 12, 0x101, 0x1001, 0), "type 257"),
    ],
)
def test_what_is_no_container(message: bytes, said: str) -> None:
    bus = Bus()
    with pytest.raises(ContainerError, match=said):
        bus.message(message)
    assert works(bus)


# -- what arrives: data ---------------------------------------------------------------------------------------------


@given(
    st.binary(max_size=5 * PACKET) | st.integers(0, 5).map(lambda count: bytes(count * PACKET - 12) if count else b""),
    st.lists(st.integers(1, 6)),
    st.booleans(),
)
def test_data_from_any_transfers(payload: bytes, cuts: list[int], known: bool) -> None:
    bus = Bus()
    bus.message(data_phase(payload, length=None if known else 0xFFFFFFFF), cuts)
    expected: list[Item] = [DataStart(0x100D, 9, len(payload) if known else None)]
    expected += [Payload(payload)] if payload else []
    if payload or known:
        assert bus.take() == [*expected, DataEnd(complete=True)]
    else:  # a header alone promises more
        assert bus.take() == expected
        bus.transfer(b"")
        assert bus.take() == [DataEnd(complete=True)]
    assert works(bus)


@given(st.binary(min_size=1, max_size=5 * PACKET), st.lists(st.integers(1, 6)), st.booleans())
def test_the_header_may_be_a_message_of_its_own(payload: bytes, cuts: list[int], known: bool) -> None:
    bus = Bus()
    bus.message(data_phase(b"", length=12 + len(payload) if known else 0xFFFFFFFF))
    assert bus.take() == [DataStart(0x100D, 9, len(payload) if known else None)]
    bus.message(payload, cuts)
    assert bus.take() == [Payload(payload), DataEnd(complete=True)]
    assert works(bus)


def test_pieces_are_handed_on_as_they_come() -> None:
    bus = Bus()
    bus.transfer(data_phase(bytes(PACKET - 12), length=12 + 3 * PACKET))
    assert bus.take() == [DataStart(0x100D, 9, 3 * PACKET), Payload(bytes(PACKET - 12))]
    bus.transfer(b"a" * PACKET)
    assert bus.take() == [Payload(b"a" * PACKET)]
    bus.transfer(b"b" * PACKET)
    assert bus.take() == [Payload(b"b" * PACKET)]
    bus.transfer(b"c" * 12)
    assert bus.take() == [Payload(b"c" * 12), DataEnd(complete=True)]


@given(st.integers(1, 3 * PACKET), st.data())
def test_less_than_was_promised(size: int, draw: st.DataObject) -> None:
    promised = draw.draw(st.integers(size + 1, 5 * PACKET))
    bus = Bus()
    bus.message(data_phase(bytes(size), length=12 + promised))
    assert bus.take() == [DataStart(0x100D, 9, promised), Payload(bytes(size)), DataEnd(complete=False)]
    assert works(bus)


@given(st.integers(0, 2 * PACKET), st.integers(1, PACKET - 1))
def test_more_than_was_promised(promised: int, more: int) -> None:
    """What is too much in the last transfer is dropped; it cannot be told from the next message afterwards."""
    bus = Bus()
    bus.transfer(data_phase(bytes(promised) + b"x" * more, length=12 + promised))
    pieces: list[Item] = [Payload(bytes(promised))] if promised else []
    assert bus.take() == [DataStart(0x100D, 9, promised), *pieces, DataEnd(complete=True)]
    assert works(bus)


def test_a_zero_length_packet_before_the_payload_does_not_end_it() -> None:
    bus = Bus()
    bus.message(data_phase(b"", length=16))
    bus.transfer(b"")
    bus.message(b"abcd")
    assert bus.take() == [DataStart(0x100D, 9, 4), Payload(b"abcd"), DataEnd(complete=True)]


@pytest.mark.parametrize("begun", [b"xy", data_phase(b"", length=99), data_phase(bytes(PACKET - 12), length=999)])
def test_reset_forgets_what_has_begun(begun: bytes) -> None:
    bus = Bus()
    bus.items += bus.assembler.receive(begun, short=False)
    bus.assembler.reset()
    assert works(bus)


@given(st.lists(st.tuples(st.binary(max_size=2 * PACKET), st.booleans())))
def test_any_bytes(transfers: list[tuple[bytes, bool]]) -> None:
    """Nothing but the documented error, and data phases that begin before they end."""
    assembler = ContainerAssembler()
    inside = False
    for data, short in transfers:
        try:
            items = assembler.receive(data, short)
        except ContainerError:
            assert not inside
            continue
        for item in items:
            assert inside is isinstance(item, Payload | DataEnd)
            inside = isinstance(item, DataStart | Payload)
