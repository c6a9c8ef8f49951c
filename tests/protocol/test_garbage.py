"""Whatever a guest sends, nothing but RemoteProtocolError comes of it."""

from __future__ import annotations

import struct
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol import guest
from tests.protocol.test_reader import SESSION
from usbredir_mtp.protocol import packets as p
from usbredir_mtp.protocol.connection import HostConnection
from usbredir_mtp.protocol.constants import PacketType
from usbredir_mtp.protocol.errors import FilterError, RemoteProtocolError
from usbredir_mtp.protocol.filters import parse_filter

kinds = st.one_of(st.sampled_from(PacketType).map(int), st.integers(0, 0xFFFFFFFF))
bodies = st.one_of(st.binary(max_size=40), st.sampled_from([0, 1, 2, 4, 8, 10, 132, 160]).map(bytes))
some_ids = st.integers(0, 3)


@st.composite
def wrong_packets(draw: st.DrawFn) -> bytes:
    body = draw(bodies)
    length = draw(st.one_of(st.just(len(body)), st.integers(0, 0xFFFFFFFF)))
    return struct.pack("<IIQ", draw(kinds), length, draw(some_ids)) + body


@settings(max_examples=200)
@given(st.lists(wrong_packets(), max_size=6), st.booleans())
def test_wrong_packets(stream: list[bytes], connected: bool) -> None:
    connection = guest.connected() if connected else guest.greeted(0x7E)
    with suppress(RemoteProtocolError):
        for piece in stream:
            connection.receive_data(piece)


@settings(max_examples=300)
@given(st.integers(0, len(SESSION) - 1), st.integers(0, 255), st.integers(1, 40))
def test_one_byte_wrong(position: int, value: int, step: int) -> None:
    stream = bytearray(SESSION)
    stream[position % 400 if value & 1 else position] = value
    connection = HostConnection()
    connection.hello()
    with suppress(RemoteProtocolError):
        for start in range(0, len(stream), step * 50):
            connection.receive_data(stream[start : start + step * 50])


@given(st.binary(max_size=200))
def test_noise(data: bytes) -> None:
    connection = HostConnection()
    with suppress(RemoteProtocolError):
        connection.receive_data(data)


@given(st.text(max_size=40))
def test_filters(text: str) -> None:
    with suppress(FilterError):
        parse_filter(text)


def test_a_filter_that_is_none_is_only_a_text() -> None:
    [packet] = guest.greeted().receive_data(guest.raw(23, b"\xff,,|\n\0"))
    assert packet == p.FilterFilter("\\xff,,|\n")
