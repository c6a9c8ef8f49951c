from __future__ import annotations

import logging
import struct
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.spice import wire
from tests.spice.wire import channels_list, init, message, messages
from usbredir_mtp.spice.channel import Channel
from usbredir_mtp.spice.constants import MAX_DATA, MAX_MESSAGE, MAX_NOTICES
from usbredir_mtp.spice.errors import SpiceProtocolError
from usbredir_mtp.spice.framing import SpiceFraming
from usbredir_mtp.spice.main_channel import MainChannel

if TYPE_CHECKING:
    from collections.abc import Callable

MAKERS = [Channel, MainChannel, SpiceFraming]
SERVER_DATA = 101


def feed(channel: Channel, data: bytes, cuts: list[int] | None = None) -> bytes:
    """All of what a channel hands on; each piece is taken out of the buffer before it is used again, as a link does."""
    out = bytearray()
    places = sorted({0, len(data), *(cut for cut in cuts or [] if cut < len(data))})
    for start, end in pairwise(places):
        buffer = bytearray(data[start:end])
        for part in channel.receive(memoryview(buffer)):
            out += part
    return bytes(out)


@pytest.mark.parametrize("mini", [True, False])
@pytest.mark.parametrize("step", [1, 5, 10_000])
def test_only_the_data_is_handed_on(mini: bool, step: int) -> None:
    data = b"".join(
        [
            message(SERVER_DATA, b"one", mini),
            message(4, struct.pack("<IQ", 7, 8) + bytes(300), mini),
            message(SERVER_DATA, b"", mini),
            message(222, b"what is this", mini),
            message(SERVER_DATA, b"two" * 1000, mini),
        ]
    )
    framing = SpiceFraming("vm", mini_header=mini)
    assert feed(framing, data, list(range(0, len(data), step))) == b"one" + b"two" * 1000
    assert messages(b"".join(framing.replies()), mini) == [(3, struct.pack("<IQ", 7, 8))]
    assert framing.replies() == []


def test_data_is_not_copied() -> None:
    buffer = bytearray(message(SERVER_DATA, b"abc") + message(SERVER_DATA, b"def"))
    first, second = SpiceFraming("vm", mini_header=True).receive(memoryview(buffer))
    assert first.obj is buffer
    assert second.obj is buffer


@pytest.mark.parametrize("make", MAKERS)
def test_acknowledgements(make: Callable[..., Channel]) -> None:
    channel = make("vm", mini_header=True)
    feed(channel, message(200) + message(3, struct.pack("<II", 5, 2)))
    assert messages(b"".join(channel.replies())) == [(1, struct.pack("<I", 5))]
    feed(channel, message(200))
    assert channel.replies() == []
    feed(channel, message(200) * 4)
    assert messages(b"".join(channel.replies())) == [(2, b""), (2, b"")]
    feed(channel, message(200) * 2 + message(3, struct.pack("<II", 6, 0)) + message(200) * 9)
    # what was due before the new window began, and is not any more, is no harm: it bears the old generation
    assert messages(b"".join(channel.replies())) == [(2, b""), (2, b""), (1, struct.pack("<I", 6))]


def test_data_is_acknowledged_when_it_has_ended() -> None:
    framing = SpiceFraming("vm", mini_header=True)
    feed(framing, message(3, struct.pack("<II", 1, 1)))
    framing.replies()
    data = message(SERVER_DATA, b"abc")
    feed(framing, data[:-1])
    assert framing.replies() == []
    feed(framing, data[-1:])
    assert messages(b"".join(framing.replies())) == [(2, b"")]


@pytest.mark.parametrize(("flags", "answer"), [(3, [(4, b"")]), (1, [(4, b"")]), (2, []), (0, [])])
def test_migration_of_a_channel_is_flushed_if_asked(flags: int, answer: list[tuple[int, bytes]]) -> None:
    channel = SpiceFraming("vm", mini_header=True)
    assert feed(channel, message(1, struct.pack("<I", flags)) + message(2, b"state")) == b""
    assert messages(b"".join(channel.replies())) == answer


@pytest.mark.parametrize(
    ("severity", "level"), [(0, logging.INFO), (1, logging.WARNING), (2, logging.ERROR), (9, logging.INFO)]
)
def test_notices_are_logged(severity: int, level: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    text = b"hello \x1b[31m w\xc3\xb6rld \xff\n"
    body = struct.pack("<QIIII", 1, severity, 2, 3, len(text)) + text + b"\0"
    feed(Channel("vm", mini_header=True), message(7, body) + message(7, body[:24] + b"x" * 5000))
    first, second = caplog.records
    assert first.levelno == level
    assert first.getMessage() == "vm: the SPICE server says: hello ?[31m wörld \ufffd?"
    assert len(second.getMessage()) < 1100


def test_a_log_is_not_filled_with_notices(caplog: pytest.LogCaptureFixture) -> None:
    body = struct.pack("<QIIII", 1, 1, 2, 3, 4) + b"spam"
    feed(Channel("vm", mini_header=True), message(7, body) * 1000)
    assert len(caplog.records) == MAX_NOTICES


@pytest.mark.parametrize(("reason", "text"), [(7, "permission denied"), (1000, "reason 1000")])
def test_a_farewell_is_logged(reason: int, text: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    feed(Channel("vm", mini_header=True), message(6, struct.pack("<QI", 0, reason)))
    assert text in caplog.text


@pytest.mark.parametrize("kind", [1, 3, 4, 6, 7])
def test_messages_that_are_too_short(kind: int) -> None:
    with pytest.raises(SpiceProtocolError, match=f"type {kind} with 3 of at least"):
        feed(Channel("vm", mini_header=True), message(kind, b"123"))


def test_a_message_may_be_large_but_not_huge() -> None:
    channel = MainChannel("vm", mini_header=True)
    feed(channel, message(4, struct.pack("<IQ", 1, 2) + bytes(MAX_MESSAGE - 12)))
    assert len(channel.replies()) == 1
    with pytest.raises(SpiceProtocolError, match=str(MAX_MESSAGE + 1)):
        feed(channel, struct.pack("<HI", 4, MAX_MESSAGE + 1))


def test_sub_messages_are_refused() -> None:
    with pytest.raises(SpiceProtocolError, match="sub-messages"):
        feed(Channel("vm", mini_header=False), message(4, bytes(12), mini=False, sub_messages=12))


def test_compressed_data_is_refused() -> None:
    with pytest.raises(SpiceProtocolError, match="compressed"):
        feed(SpiceFraming("vm", mini_header=True), message(102, b"\2\0\0\0\0abc"))


def test_the_main_channel_tells_the_session_and_its_channels() -> None:
    channel = MainChannel("vm", mini_header=True)
    assert (channel.session_id, channel.usbredir) == (None, None)
    feed(channel, init(0xFEDCBA98))
    assert channel.session_id == 0xFEDCBA98
    assert messages(b"".join(channel.replies())) == [(104, b"")]
    feed(channel, channels_list((2, 0), (9, 1), (3, 0), (9, 0)))
    assert channel.usbredir == [0, 1]
    feed(channel, init(5) + channels_list())
    assert channel.replies() == []
    assert (channel.session_id, channel.usbredir) == (5, [])


@pytest.mark.parametrize(
    "data",
    [
        message(103, bytes(32)),
        message(103, bytes(31)),
        message(104, b"\1\0\0"),
        message(104, struct.pack("<IBB", 2, 9, 0)),
        message(104, struct.pack("<I", 0xFFFFFFFF)),
        message(104, struct.pack("<I", 1025) + bytes(2050)),
    ],
)
def test_a_main_channel_that_lies(data: bytes) -> None:
    with pytest.raises(SpiceProtocolError):
        feed(MainChannel("vm", mini_header=True), data)


@pytest.mark.parametrize("kind", [101, 116])
def test_the_session_does_not_move_along(kind: int) -> None:
    channel = MainChannel("vm", mini_header=True)
    feed(channel, message(kind, b"port and host"))
    assert messages(b"".join(channel.replies())) == [(103, b"")]


def test_a_move_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    feed(MainChannel("vm", mini_header=True), message(111, bytes(20)))
    assert "vm: the VM has moved to another host" in caplog.text


@pytest.mark.parametrize("mini", [True, False])
@pytest.mark.parametrize("sizes", [[], [0], [1], [16, 0, 500], [MAX_DATA], [16, MAX_DATA], [5, 3 * MAX_DATA, 70]])
def test_what_is_framed_is_all_there_in_few_messages(mini: bool, sizes: list[int]) -> None:
    framing = SpiceFraming("vm", mini_header=mini)
    buffers = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    found = messages(b"".join(framing.frame(buffers)), mini)
    assert b"".join(body for _, body in found) == b"".join(buffers)
    assert {kind for kind, _ in found} <= {101}
    assert all(len(body) == MAX_DATA for _, body in found[:-1])
    assert all(0 < len(body) <= MAX_DATA for _, body in found)


def test_a_long_header_counts_messages() -> None:
    framing = SpiceFraming("vm", mini_header=False)
    sent = b"".join([*framing.frame([b"a"]), *framing.frame([b"b"])])
    assert [struct.unpack_from("<Q", sent, at)[0] for at in (0, 19)] == [1, 2]


def test_a_small_write_is_framed_without_a_copy() -> None:
    first, second = bytes(100), bytearray(200)
    _header, one, two = SpiceFraming("vm", mini_header=True).frame([first, second])
    assert one is first
    assert two is second


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.builds(message, st.sampled_from([1, 2, 3, 4, 6, 7, 101, 102, 103, 104, 111, 116]), st.binary(max_size=60)),
        st.builds(init, st.integers(0, 2**32 - 1)),
        st.builds(
            lambda kind, body: message(kind, body, mini=False),
            st.sampled_from([1, 3, 4, 7, 101, 104]),
            st.binary(max_size=60),
        ),
    ),
    max_size=8,
).map(b"".join)


@given(st.sampled_from(MAKERS), st.booleans(), PIECES, st.lists(st.integers(0, 400), max_size=6))
def test_garbage_raises_nothing_else_and_cuts_change_nothing(
    make: Callable[..., Channel], mini: bool, data: bytes, cuts: list[int]
) -> None:
    results = []
    for places in ([], cuts):
        channel = make("vm", mini_header=mini)
        logging.disable()
        try:
            passed: bytes | None = feed(channel, data, places)
        except SpiceProtocolError:
            passed = None
        finally:
            logging.disable(logging.NOTSET)
        results.append((passed, b"".join(channel.replies())))
        assert len(channel._kept) <= 4 + 2 * 1024
        assert len(channel._head) < 18
    assert results[0] == results[1]


@given(st.lists(st.binary(max_size=50)), st.lists(st.integers(0, 400), max_size=6), st.booleans())
def test_both_ways_nothing_is_lost(parts: list[bytes], cuts: list[int], mini: bool) -> None:
    sent = b"".join(b"".join(SpiceFraming("vm", mini_header=mini).frame([part])) for part in parts)
    assert feed(SpiceFraming("vm", mini_header=mini), sent, cuts) == b"".join(parts)


def test_wire_agrees_with_itself() -> None:
    assert wire.messages(message(4, b"abc") + message(5)) == [(4, b"abc"), (5, b"")]
