"""Data types and datasets of MTP 1.1 as an initiator sees them, written apart from the package."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime

Value = int | str | list[int]
"""A property's value: number, string, or array of numbers."""

STRING = 0xFFFF
SIZES = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "q", 8: "Q"}
"""struct letters of integer data types (3.2.1); 9 and 10 have 128 bits, +0x4000 is an array."""


@dataclass(slots=True)
class Reader:
    """Takes values off the front of a dataset; a dataset cut short is an AssertionError."""

    data: bytes
    at: int = 0

    def take(self, size: int) -> bytes:
        """So many bytes."""
        piece = self.data[self.at : self.at + size]
        assert len(piece) == size, f"cut short at {self.at}: {self.data.hex()}"
        self.at += size
        return piece

    def number(self, letter: str) -> int:
        """One integer by its struct letter."""
        (value,) = struct.unpack("<" + letter, self.take(struct.calcsize("<" + letter)))
        return int(value)

    def array(self, letter: str) -> list[int]:
        """A counted array."""
        return [self.number(letter) for _ in range(self.number("I"))]

    def string(self) -> str:
        """A counted string (3.2.3), its end checked."""
        units = self.number("B")
        if not units:
            return ""
        text = self.take(2 * units)
        assert text.endswith(b"\0\0"), f"not terminated: {text.hex()}"
        decoded = text[:-2].decode("utf-16-le")
        assert "\0" not in decoded, f"NUL within: {decoded!r}"
        return decoded

    def value(self, datatype: int) -> Value:
        """One value of a data type (3.2)."""
        if datatype == STRING:
            return self.string()
        if datatype in {9, 10}:
            return int.from_bytes(self.take(16), "little", signed=datatype == 9)
        if datatype & 0x4000:
            return self.array(SIZES[datatype & 0xFF])
        return self.number(SIZES[datatype])

    def end(self) -> None:
        """Nothing may be left."""
        assert self.at == len(self.data), f"bytes left over: {self.data[self.at :].hex()}"


def string(text: str) -> bytes:
    """An MTP string; no check of its length beyond what fits its count."""
    if not text:
        return b"\0"
    units = (text + "\0").encode("utf-16-le", "surrogatepass")
    return bytes([len(units) // 2]) + units


def encode(datatype: int, value: Value) -> bytes:
    """A value of a data type."""
    if isinstance(value, str):
        assert datatype == STRING
        return string(value)
    if isinstance(value, list):
        letter = SIZES[datatype & 0xFF]
        return struct.pack(f"<I{len(value)}{letter}", len(value), *value)
    if datatype in {9, 10}:
        return value.to_bytes(16, "little", signed=datatype == 9)
    return struct.pack("<" + SIZES[datatype], value)


def parse_date(text: str) -> datetime:
    """An MTP date (3.2.5), which is local time unless it says otherwise."""
    base, zone = text[:15], text[15:]
    if zone.startswith("."):
        zone = zone.lstrip(".0123456789")
    moment = datetime.strptime(base, "%Y%m%dT%H%M%S")  # noqa: DTZ007  (the zone comes next)
    if zone == "Z":
        return moment.replace(tzinfo=UTC)
    if zone:
        return datetime.strptime(base + zone, "%Y%m%dT%H%M%S%z")
    return moment.astimezone()


@dataclass(slots=True)
class ObjectInfo:
    """The ObjectInfo dataset (5.3.1)."""

    storage: int = 0
    format: int = 0x3000
    protection: int = 0
    size: int = 0
    parent: int = 0
    association: int = 0
    name: str = ""
    created: str = ""
    modified: str = ""

    def encode(self) -> bytes:
        """The dataset's bytes."""
        head = struct.pack("<IHHI", self.storage, self.format, self.protection, self.size)
        thumb_and_image = bytes(26)
        tree = struct.pack("<IHII", self.parent, self.association, 0, 0)
        texts = b"".join(string(text) for text in (self.name, self.created, self.modified, ""))
        return head + thumb_and_image + tree + texts

    @classmethod
    def decode(cls, data: bytes) -> ObjectInfo:
        """Parse a dataset."""
        take = Reader(data)
        storage, format_, protection, size = (take.number(letter) for letter in "IHHI")
        take.take(26)
        parent, association, _description, _sequence = (take.number(letter) for letter in "IHII")
        name, created, modified, _keywords = (take.string() for _ in range(4))
        take.end()
        return cls(storage, format_, protection, size, parent, association, name, created, modified)


@dataclass(slots=True)
class DeviceInfo:
    """The DeviceInfo dataset (5.1.1)."""

    standard_version: int
    extension_id: int
    extension_version: int
    extensions: str
    mode: int
    operations: list[int]
    events: list[int]
    device_props: list[int]
    capture_formats: list[int]
    formats: list[int]
    manufacturer: str
    model: str
    version: str
    serial: str

    @classmethod
    def decode(cls, data: bytes) -> DeviceInfo:
        """Parse a dataset."""
        take = Reader(data)
        info = cls(
            take.number("H"),
            take.number("I"),
            take.number("H"),
            take.string(),
            take.number("H"),
            take.array("H"),
            take.array("H"),
            take.array("H"),
            take.array("H"),
            take.array("H"),
            take.string(),
            take.string(),
            take.string(),
            take.string(),
        )
        take.end()
        return info


@dataclass(slots=True)
class StorageInfo:
    """The StorageInfo dataset (5.2.2)."""

    type: int
    filesystem: int
    access: int
    capacity: int
    free: int
    free_objects: int
    description: str
    volume: str

    @classmethod
    def decode(cls, data: bytes) -> StorageInfo:
        """Parse a dataset."""
        take = Reader(data)
        type_, filesystem, access, capacity, free, objects = map(take.number, "HHHQQI")
        texts = take.string(), take.string()
        info = cls(type_, filesystem, access, capacity, free, objects, *texts)
        take.end()
        return info


@dataclass(slots=True)
class PropDesc:
    """A device (5.1.2) or object (5.3.2) property description; forms 0, 1, 2 and 3 are known."""

    code: int
    datatype: int
    writable: bool
    default: Value
    current: Value | None = None
    group: int = 0
    form: int = 0
    choices: list[Value] = field(default_factory=list)

    @classmethod
    def decode(cls, data: bytes, *, device: bool) -> PropDesc:
        """Parse a dataset."""
        take = Reader(data)
        code, datatype, access = take.number("H"), take.number("H"), take.number("B")
        assert access in {0, 1}, f"get/set is {access}"
        default = take.value(datatype)
        desc = cls(code, datatype, bool(access), default)
        if device:
            desc.current = take.value(datatype)
        else:
            desc.group = take.number("I")
        desc.form = take.number("B")
        count = {0: 0, 1: 3, 2: None, 3: 0}[desc.form]
        if count is None:
            count = take.number("H")
        desc.choices = [take.value(datatype) for _ in range(count)]
        if desc.form == 3 and take.at < len(data):
            take.string()
        take.end()
        return desc


@dataclass(slots=True, frozen=True)
class Row:
    """One element of the ObjectPropList dataset (operation 9805)."""

    handle: int
    prop: int
    datatype: int
    value: Value


def prop_list(data: bytes) -> list[Row]:
    """The elements of an ObjectPropList dataset."""
    take = Reader(data)
    rows = []
    for _ in range(take.number("I")):
        handle, prop, datatype = (take.number(letter) for letter in "IHH")
        rows.append(Row(handle, prop, datatype, take.value(datatype)))
    take.end()
    return rows


def encode_prop_list(*rows: Row) -> bytes:
    """An ObjectPropList dataset of these elements."""
    heads = (struct.pack("<IHH", row.handle, row.prop, row.datatype) for row in rows)
    body = b"".join(head + encode(row.datatype, row.value) for head, row in zip(heads, rows, strict=True))
    return struct.pack("<I", len(rows)) + body
