from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import construct
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.mtp import Reader, encode
from tests.support.zones import host_zone
from usbredir_mtp.mtp.codes import DataType
from usbredir_mtp.mtp.datatypes import (
    ENCODERS,
    MAX_STRING_UNITS,
    Buffer,
    MtpString,
    Value,
    decode_datetime,
    decode_leading_value,
    decode_string,
    decode_uint32_array,
    decode_value,
    encode_datetime,
    encode_string,
    encode_uint16_array,
    encode_uint32_array,
)
from usbredir_mtp.mtp.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import tzinfo

SECOND = 1_000_000_000
CLEF = "\U0001d11e"
"""One character, two UTF-16 units."""
BERLIN = ZoneInfo("Europe/Berlin")

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.text(characters, max_size=MAX_STRING_UNITS // 2)

INTEGERS = {
    DataType.INT8: (-(1 << 7), (1 << 7) - 1),
    DataType.UINT8: (0, (1 << 8) - 1),
    DataType.INT16: (-(1 << 15), (1 << 15) - 1),
    DataType.UINT16: (0, (1 << 16) - 1),
    DataType.INT32: (-(1 << 31), (1 << 31) - 1),
    DataType.UINT32: (0, (1 << 32) - 1),
    DataType.INT64: (-(1 << 63), (1 << 63) - 1),
    DataType.UINT64: (0, (1 << 64) - 1),
    DataType.UINT128: (0, (1 << 128) - 1),
}
"""The values that each type has."""


def values_of(kind: DataType) -> st.SearchStrategy[Value]:
    if kind in INTEGERS:
        return st.integers(*INTEGERS[kind])
    return texts if kind is DataType.STRING else st.binary()


typed_values = st.sampled_from(DataType).flatmap(lambda kind: st.tuples(st.just(kind), values_of(kind)))


# -- strings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", "00"),
        ("a", "02 6100 0000"),
        ("Zoë", "04 5a00 6f00 eb00 0000"),
        (CLEF, "03 34d8 1edd 0000"),
    ],
)
def test_strings_on_the_wire(text: str, data: str) -> None:
    assert encode_string(text) == bytes.fromhex(data)
    assert decode_string(bytes.fromhex(data), 0) == (text, len(bytes.fromhex(data)))


@pytest.mark.parametrize("text", ["x" * 254, CLEF * 127])
def test_the_longest_string(text: str) -> None:
    data = encode_string(text)
    assert data[0] == 255
    assert decode_string(data, 0) == (text, 511)


@pytest.mark.parametrize("text", ["x" * 255, CLEF * 127 + "x", "x" * 100_000, "\ud800", "a\udc80b"])
def test_texts_that_no_string_can_hold(text: str) -> None:
    with pytest.raises(ValueError, match=r"units|surrogates"):
        encode_string(text)


@given(texts, st.binary(max_size=9), st.binary(max_size=9), st.sampled_from([bytes, bytearray, memoryview]))
def test_strings_come_back(text: str, before: bytes, after: bytes, kind: Callable[[bytes], Buffer]) -> None:
    data = before + encode_string(text) + after
    assert decode_string(kind(data), len(before)) == (text, len(data) - len(after))


@given(texts)
def test_strings_agree_with_an_independent_reader(text: str) -> None:
    reader = Reader(encode_string(text))
    assert reader.string() == text
    reader.end()


@given(texts)
def test_a_string_cut_short(text: str) -> None:
    data = encode_string(text)
    for size in range(len(data)):
        with pytest.raises(DatasetError):
            decode_string(data[:size], 0)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "string expected at byte 0 of 0"),
        ("02 6100", "2 bytes past the end"),
        ("01 6100", "NUL"),
        ("02 6100 6200", "NUL"),
        ("03 6100 0000 0000", "NUL"),
        ("03 0000 6100 0000", "NUL"),
        ("02 34d8 0000", "UTF-16"),
        ("02 1edd 0000", "UTF-16"),
    ],
)
def test_broken_strings(data: str, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        decode_string(bytes.fromhex(data), 0)


def test_a_lone_nul_is_the_empty_string() -> None:
    assert decode_string(b"\x01\0\0", 0) == ("", 3)


@given(st.binary(max_size=40), st.integers(0, 50))
def test_a_string_of_any_bytes(data: bytes, offset: int) -> None:
    try:
        text, end = decode_string(data, offset)
    except DatasetError:
        return
    assert "\0" not in text
    assert offset < end <= len(data)


@given(texts)
def test_the_construct_is_the_same(text: str) -> None:
    data = encode_string(text)
    assert MtpString().build(text) == data
    assert MtpString().parse(data) == text


def test_the_construct_of_a_string_cut_short() -> None:
    with pytest.raises(construct.StreamError):
        MtpString().parse(b"\x02a\0")


# -- dates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "zone", "text"),
    [
        (None, UTC, ""),
        (0, UTC, "19700101T000000"),
        (0, BERLIN, "19700101T010000"),
        (1_721_044_800 * SECOND, BERLIN, "20240715T140000"),
        (1_705_320_000 * SECOND, BERLIN, "20240115T130000"),
        (1_999_999_999, UTC, "19700101T000001"),
        (-1, UTC, "19691231T235959"),
        (-62_135_596_800 * SECOND, UTC, "00010101T000000"),
        (253_402_300_799 * SECOND, UTC, "99991231T235959"),
        (253_402_300_800 * SECOND, UTC, ""),
        (-62_135_596_801 * SECOND, UTC, ""),
        (1 << 200, UTC, ""),
        (1 << 200, None, ""),
        (-(1 << 200), None, ""),
    ],
)
def test_dates_on_the_wire(moment: int | None, zone: tzinfo | None, text: str) -> None:
    assert encode_datetime(moment, zone) == text


@pytest.mark.parametrize(
    ("text", "zone", "seconds"),
    [
        ("19700101T000000", UTC, 0),
        ("19700101T010000", BERLIN, 0),
        ("20240715T140000", BERLIN, 1_721_044_800),
        ("19700101T000000Z", BERLIN, 0),
        ("19700101T000000.0Z", BERLIN, 0),
        ("19700101T000000.9", UTC, 0),
        ("19700101T000000+0100", UTC, -3600),
        ("19700101T000000-0230", UTC, 9000),
        ("19700101T000000.5+0530", BERLIN, -19800),
        ("20240229T000000", UTC, 1_709_164_800),
        ("00010101T000000", UTC, -62_135_596_800),
    ],
)
def test_dates_that_are_understood(text: str, zone: tzinfo, seconds: int) -> None:
    assert decode_datetime(text, zone) == seconds * SECOND


@pytest.mark.parametrize(
    "text",
    [
        "",
        "today",
        "20240101",
        "20240101T",
        "20240101 000000",
        "20240230T000000",
        "20241301T000000",
        "20240101T240000",
        "00000101T000000",
        "20240101T000000X",
        "20240101T000000+",
        "20240101T000000+9900",
        "\0" * 15,
    ],
)
@pytest.mark.parametrize("zone", [None, UTC])
def test_dates_that_say_nothing(text: str, zone: tzinfo | None) -> None:
    assert decode_datetime(text, zone) is None


@given(st.text() | st.from_regex(r"[0-9]{8}T[0-9]{6}(\.[0-9])?(Z|[+-][0-9]{4})?"), st.sampled_from([None, UTC, BERLIN]))
def test_no_date_is_an_error(text: str, zone: tzinfo | None) -> None:
    moment = decode_datetime(text, zone)
    assert moment is None or moment % SECOND == 0


zones = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001  (hypothesis wants them so)


@given(moments, zones)
def test_dates_come_back_in_any_zone(moment: datetime, zone: tzinfo) -> None:
    seconds = int((moment - datetime.fromtimestamp(0, UTC)) // timedelta(seconds=1))
    text = encode_datetime(seconds * SECOND + 123, zone)
    assert len(text) == 15
    assert decode_datetime(text, zone) == seconds * SECOND
    assert decode_datetime(text + moment.astimezone(zone).strftime("%z"), UTC) == seconds * SECOND


@pytest.fixture
def in_new_york() -> Iterator[None]:
    with host_zone("EST5EDT,M3.2.0,M11.1.0"):
        yield


@pytest.mark.usefixtures("in_new_york")
@pytest.mark.parametrize(("text", "seconds"), [("20240115T070000", 1_705_320_000), ("20240715T080000", 1_721_044_800)])
def test_without_a_zone_dates_are_this_host_s(text: str, seconds: int) -> None:
    assert encode_datetime(seconds * SECOND) == text
    assert decode_datetime(text) == seconds * SECOND


@pytest.mark.parametrize("year", [10_000, 12_345, 0, -5])
def test_local_dates_that_have_no_four_digits(year: int) -> None:
    seconds = 31_556_952 * (year - 1970) + 86_400 * 180
    assert encode_datetime(seconds * SECOND) == ""


# -- arrays -----------------------------------------------------------------------------------------------------------


def test_arrays_on_the_wire() -> None:
    assert encode_uint16_array([]) == bytes(4)
    assert encode_uint16_array([1, 0xFFFE]) == bytes.fromhex("02000000 0100 feff")
    assert encode_uint32_array(iter([1, 0xFFFFFFFE])) == bytes.fromhex("02000000 01000000 feffffff")


@given(st.lists(st.integers(0, 0xFFFFFFFF), max_size=50), st.sampled_from([bytes, bytearray, memoryview]))
def test_arrays_come_back(values: list[int], kind: Callable[[bytes], Buffer]) -> None:
    data = encode_uint32_array(values)
    assert decode_uint32_array(kind(data)) == values
    for size in range(len(data)):
        with pytest.raises(DatasetError):
            decode_uint32_array(kind(data[:size]))
    with pytest.raises(DatasetError, match=f"{len(values)} elements"):
        decode_uint32_array(kind(data + b"\0"))


def test_an_array_that_claims_too_much() -> None:
    with pytest.raises(DatasetError, match="4294967295 elements"):
        decode_uint32_array(b"\xff\xff\xff\xff")


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "data"),
    [
        (DataType.INT8, -2, "fe"),
        (DataType.UINT8, 0xFE, "fe"),
        (DataType.INT16, -2, "feff"),
        (DataType.UINT16, 0x0102, "0201"),
        (DataType.INT32, -2, "feffffff"),
        (DataType.UINT32, 0x01020304, "04030201"),
        (DataType.INT64, -2, "feffffffffffffff"),
        (DataType.UINT64, 0x0102030405060708, "0807060504030201"),
        (DataType.UINT128, 0x0102 << 112, "0000000000000000 0000000000000201"),
        (DataType.ARRAY_UINT8, b"\x01\xff", "02000000 01ff"),
        (DataType.STRING, "a", "02 6100 0000"),
    ],
)
def test_values_on_the_wire(kind: DataType, value: Value, data: str) -> None:
    assert ENCODERS[kind](value) == bytes.fromhex(data)
    assert decode_value(kind, bytes.fromhex(data)) == value


def test_every_type_has_an_encoder() -> None:
    assert set(ENCODERS) == set(DataType)


@pytest.mark.parametrize("value", [0, "", b""])
def test_an_array_s_default(value: Value) -> None:
    assert ENCODERS[DataType.ARRAY_UINT8](value) == bytes(4)


@given(typed_values, st.binary(min_size=1, max_size=9), st.sampled_from([bytes, bytearray, memoryview]))
def test_values_come_back(typed: tuple[DataType, Value], after: bytes, buffer: Callable[[bytes], Buffer]) -> None:
    kind, value = typed
    data = ENCODERS[kind](value)
    assert data == encode(kind, list(value) if isinstance(value, bytes) else value)
    assert decode_value(kind, buffer(data)) == value
    assert decode_leading_value(kind, buffer(data + after)) == (value, len(data))
    with pytest.raises(DatasetError, match=f"{len(after)} bytes follow a {kind.name} value"):
        decode_value(kind, buffer(data + after))
    for size in range(len(data)):
        with pytest.raises(DatasetError):
            decode_value(kind, buffer(data[:size]))


@given(st.sampled_from(DataType), st.binary(max_size=40))
def test_a_value_of_any_bytes(kind: DataType, data: bytes) -> None:
    try:
        value, used = decode_leading_value(kind, data)
    except DatasetError:
        return
    assert used <= len(data)
    assert isinstance(value, int if kind in INTEGERS else str if kind is DataType.STRING else bytes)
