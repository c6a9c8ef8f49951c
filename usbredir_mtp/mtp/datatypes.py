"""MTP's simple and compound data types as bytes (MTP 1.1, chapter 3).

Strings, dates and arrays have plain functions (property lists and object infos are made of thousands of them) and,
for the datasets that construct lays out, a construct of the same meaning.
"""

from __future__ import annotations

import struct
import time
from array import array
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import construct as c

from usbredir_mtp.mtp.codes import DataType
from usbredir_mtp.mtp.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import tzinfo

Buffer = bytes | bytearray | memoryview
Value = int | str | bytes

MAX_STRING_UNITS = 254
"""UTF-16 units of a string without its NUL: the count that precedes them has 8 bits (MTP 1.1, 3.2.3)."""

_NS = 1_000_000_000
_DATE = "%Y%m%dT%H%M%S"
_DATE_LENGTH = 15


def encode_string(text: str) -> bytes:
    """Count of UTF-16 units with the NUL (0 for the empty string), the units, the NUL (MTP 1.1, 3.2.3).

    Raises:
        ValueError: `text` has more than 254 units, or a lone surrogate.
    """
    if not text:
        return b"\0"
    units = text.encode("utf-16-le")
    count = len(units) // 2 + 1
    if count > MAX_STRING_UNITS + 1:
        raise ValueError(f"string of {count - 1} UTF-16 units: MTP's limit is {MAX_STRING_UNITS}")
    return b"%c%b\0\0" % (count, units)


def decode_string(data: Buffer, offset: int) -> tuple[str, int]:
    """The string at `offset` and where the next field begins.

    Raises:
        DatasetError: the string runs past the data, is not UTF-16, or does not end in its one NUL.
    """
    if offset >= len(data):
        raise DatasetError(f"string expected at byte {offset} of {len(data)}")
    start, end = offset + 1, offset + 1 + 2 * data[offset]
    if end > len(data):
        raise DatasetError(f"string at byte {offset} runs {end - len(data)} bytes past the end")
    return _decode_units(bytes(data[start:end])), end


def _decode_units(units: bytes) -> str:
    try:
        text = units.decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise DatasetError(f"string is not UTF-16: {error.reason}") from error
    if text and text.find("\0") != len(text) - 1:
        raise DatasetError("string does not end in its one NUL")
    return text[:-1]


if TYPE_CHECKING:
    _StringConstruct = c.Construct[str, str]
else:
    _StringConstruct = c.Construct  # generic for type checkers only


class MtpString(_StringConstruct):
    """A construct of `encode_string` and `decode_string`."""

    def _parse(self, stream: Any, _context: Any, path: str) -> str:
        count = c.stream_read(stream, 1, path)[0]
        return _decode_units(c.stream_read(stream, 2 * count, path))

    def _build(self, obj: Any, stream: Any, _context: Any, path: str) -> Any:
        data = encode_string(obj)
        c.stream_write(stream, data, len(data), path)
        return obj


def encode_datetime(moment: int | None, zone: tzinfo | None = None) -> str:
    """Nanoseconds since the epoch as MTP's `YYYYMMDDThhmmss` (MTP 1.1, 3.2.5), in local time; "" for None.

    Which zone is local is not said: libmtp reads a date as the initiator's local time and ignores a zone in it.

    Args:
        moment: The time.
        zone: The initiator's zone; None for that of this host.
    """
    return "" if moment is None else _date(moment // _NS, zone)


@lru_cache(maxsize=1 << 12)  # files that were made together have times that repeat
def _date(seconds: int, zone: tzinfo | None) -> str:
    try:
        if zone is not None:
            text = datetime.fromtimestamp(seconds, zone).strftime(_DATE)
        else:
            text = time.strftime(_DATE, time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return ""
    text = text.rjust(_DATE_LENGTH, "0")  # years before 1000
    return text if len(text) == _DATE_LENGTH and "-" not in text and not text.startswith("0000") else ""


def decode_datetime(text: str, zone: tzinfo | None = None) -> int | None:
    """MTP's date as nanoseconds since the epoch; None if it is empty or says nothing usable.

    Forms: `YYYYMMDDThhmmss`, with optional tenths `.s` and zone `Z` or `±hhmm`.

    Args:
        text: The date.
        zone: Whose local time it is if it does not say; None for this host's.
    """
    body, said = text[:_DATE_LENGTH], text[_DATE_LENGTH:].lstrip(".0123456789")
    try:
        moment = datetime.strptime(body, _DATE)  # noqa: DTZ007  (the zone is handled below)
        if said:
            zone = datetime.strptime(said, "%z").tzinfo
        if zone is not None:
            return int(moment.replace(tzinfo=zone).timestamp()) * _NS
        return int(time.mktime((*moment.timetuple()[:8], -1))) * _NS
    except (ValueError, OverflowError):
        return None


def encode_uint16_array(values: Iterable[int]) -> bytes:
    """Count as u32, then the values (MTP 1.1, 3.2.2)."""
    return _encode_array("H", values)


def encode_uint32_array(values: Iterable[int]) -> bytes:
    """Count as u32, then the values (MTP 1.1, 3.2.2)."""
    return _encode_array("I", values)


def decode_uint32_array(data: Buffer) -> list[int]:
    """The one array that `data` consists of.

    Raises:
        DatasetError: it is shorter or longer than its count says.
    """
    count = int.from_bytes(data[:4], "little")
    if len(data) < 4 or len(data) != 4 + 4 * count:  # noqa: PLR2004  (the count's own size)
        raise DatasetError(f"array of {len(data)} bytes that says it has {count} elements")
    return list(struct.unpack_from(f"<{count}I", data, 4))


def _encode_array(typecode: str, values: Iterable[int]) -> bytes:
    items = array(typecode, values)
    if struct.pack("=H", 1) != b"\x01\x00":
        items.byteswap()
    return struct.pack("<I", len(items)) + items.tobytes()


def _integer(form: str) -> tuple[Callable[[Value], bytes], Callable[[Buffer], tuple[Value, int]]]:
    layout = struct.Struct(form)

    def decode(data: Buffer) -> tuple[Value, int]:
        if len(data) < layout.size:
            raise DatasetError(f"value of {len(data)} bytes where {layout.size} are needed")
        value: int = layout.unpack_from(data)[0]
        return value, layout.size

    return layout.pack, decode


def _encode_uint128(value: Value) -> bytes:
    return int(value).to_bytes(16, "little")


def _decode_uint128(data: Buffer) -> tuple[Value, int]:
    if len(data) < 16:  # noqa: PLR2004  (128 bits)
        raise DatasetError(f"value of {len(data)} bytes where 16 are needed")
    return int.from_bytes(data[:16], "little"), 16


def _encode_bytes(value: Value) -> bytes:
    data = value if isinstance(value, bytes) else b""
    return struct.pack("<I", len(data)) + data


def _decode_bytes(data: Buffer) -> tuple[Value, int]:
    if len(data) < 4 or (count := int.from_bytes(data[:4], "little")) > len(data) - 4:  # noqa: PLR2004  (its count)
        raise DatasetError(f"array runs past its {len(data)} bytes")
    return bytes(data[4 : 4 + count]), 4 + count


_CODECS: dict[DataType, tuple[Callable[[Any], bytes], Callable[[Buffer], tuple[Value, int]]]] = {
    DataType.INT8: _integer("<b"),
    DataType.UINT8: _integer("<B"),
    DataType.INT16: _integer("<h"),
    DataType.UINT16: _integer("<H"),
    DataType.INT32: _integer("<i"),
    DataType.UINT32: _integer("<I"),
    DataType.INT64: _integer("<q"),
    DataType.UINT64: _integer("<Q"),
    DataType.UINT128: (_encode_uint128, _decode_uint128),
    DataType.ARRAY_UINT8: (_encode_bytes, _decode_bytes),
    DataType.STRING: (encode_string, lambda data: decode_string(data, 0)),
}

ENCODERS: dict[DataType, Callable[[Any], bytes]] = {kind: codec[0] for kind, codec in _CODECS.items()}
"""Value to bytes for each data type."""


def decode_leading_value(kind: DataType, data: Buffer) -> tuple[Value, int]:
    """The value that `data` begins with, and how many bytes it takes.

    Raises:
        DatasetError: too few bytes, or not text.
    """
    return _CODECS[kind][1](data)


def decode_value(kind: DataType, data: Buffer) -> Value:
    """The one value that `data` consists of.

    Raises:
        DatasetError: too few or too many bytes, or not text.
    """
    value, used = decode_leading_value(kind, data)
    if used != len(data):
        raise DatasetError(f"{len(data) - used} bytes follow a {kind.name} value")
    return value
