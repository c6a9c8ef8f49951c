"""MTP's datasets (MTP 1.1, chapter 5): dataclasses, and their layouts.

ObjectInfo, of which a listing needs thousands, is laid out by hand; the rest, sent once a session, by construct.
"""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import construct as c

from usbredir_mtp.mtp.codes import (
    MAX_UINT32,
    AccessCapability,
    AssociationType,
    DataType,
    FilesystemType,
    FunctionalMode,
    ProtectionStatus,
    StorageType,
)
from usbredir_mtp.mtp.datatypes import (
    ENCODERS,
    Buffer,
    MtpString,
    Value,
    decode_datetime,
    decode_string,
    encode_datetime,
    encode_string,
)
from usbredir_mtp.mtp.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

_Uint16Array = c.PrefixedArray(c.Int32ul, c.Int16ul)

_DEVICE_INFO = c.Struct(
    "standard_version" / c.Int16ul,
    "vendor_extension_id" / c.Int32ul,
    "vendor_extension_version" / c.Int16ul,
    "vendor_extensions" / MtpString(),
    "functional_mode" / c.Int16ul,
    "operations" / _Uint16Array,
    "events" / _Uint16Array,
    "device_properties" / _Uint16Array,
    "capture_formats" / _Uint16Array,
    "playback_formats" / _Uint16Array,
    "manufacturer" / MtpString(),
    "model" / MtpString(),
    "device_version" / MtpString(),
    "serial_number" / MtpString(),
)

_STORAGE_INFO = c.Struct(
    "storage_type" / c.Int16ul,
    "filesystem_type" / c.Int16ul,
    "access_capability" / c.Int16ul,
    "capacity" / c.Int64ul,
    "free" / c.Int64ul,
    "free_objects" / c.Int32ul,
    "description" / MtpString(),
    "volume" / MtpString(),
)


@dataclass(slots=True)
class DeviceInfo:
    """DeviceInfo (MTP 1.1, 5.1.1); the code lists hold operations, events, device properties and formats."""

    operations: Sequence[int]
    events: Sequence[int]
    device_properties: Sequence[int]
    playback_formats: Sequence[int]
    manufacturer: str
    model: str
    device_version: str
    serial_number: str
    vendor_extensions: str
    capture_formats: Sequence[int] = ()
    standard_version: int = 100
    vendor_extension_id: int = 6
    vendor_extension_version: int = 100
    functional_mode: FunctionalMode = FunctionalMode.STANDARD

    def encode(self) -> bytes:
        """The dataset."""
        return _DEVICE_INFO.build(asdict(self))


@dataclass(slots=True)
class StorageInfo:
    """StorageInfo (MTP 1.1, 5.2.2); sizes in bytes."""

    access_capability: AccessCapability
    capacity: int
    free: int
    description: str
    volume: str
    storage_type: StorageType = StorageType.FIXED_RAM
    filesystem_type: FilesystemType = FilesystemType.GENERIC_HIERARCHICAL
    free_objects: int = MAX_UINT32

    def encode(self) -> bytes:
        """The dataset."""
        return _STORAGE_INFO.build(asdict(self))


# Storage, format, protection, size, thumbnail's format and size, width, height, image's width, height, bit depth,
# parent, association type and description, sequence number (MTP 1.1, 5.3.1).
_OBJECT_INFO = struct.Struct("<IHHIHIIIIIIIHII")


@dataclass(slots=True)
class ObjectInfo:
    """ObjectInfo (MTP 1.1, 5.3.1), without the fields that only cameras fill.

    Attributes:
        size: Bytes; sizes that 32 bits cannot hold travel as 0xFFFFFFFF.
        thumbnail: Format, bytes, width and height in pixels of what GetThumb gives.
        created: "CaptureDate" on the wire; nanoseconds since the epoch, None if not known.
        modified: The same, "ModificationDate".
    """

    format: int
    size: int
    filename: str
    storage_id: int = 0
    parent: int = 0
    protection: int = ProtectionStatus.NONE
    association_type: int = AssociationType.NONE
    created: int | None = None
    modified: int | None = None
    thumbnail: tuple[int, int, int, int] = (0, 0, 0, 0)

    def encode(self, zone: tzinfo | None = None) -> bytes:
        """The dataset; `zone` as in `encode_datetime`."""
        head = _OBJECT_INFO.pack(
            self.storage_id,
            self.format,
            self.protection,
            min(self.size, MAX_UINT32),
            *self.thumbnail,
            *(0, 0, 0),
            self.parent,
            self.association_type,
            *(0, 0),
        )
        created, modified = encode_datetime(self.created, zone), encode_datetime(self.modified, zone)
        strings = (self.filename, created, modified, "")
        return head + b"".join(map(encode_string, strings))

    @classmethod
    def decode(cls, data: Buffer, zone: tzinfo | None = None) -> ObjectInfo:
        """The dataset of a SendObjectInfo; initiators leave trailing strings out. `zone` as in `decode_datetime`.

        Raises:
            DatasetError: it ends before the file name does, or a string is broken.
        """
        if len(data) < _OBJECT_INFO.size:
            raise DatasetError(f"ObjectInfo of {len(data)} bytes: at least {_OBJECT_INFO.size} are needed")
        storage_id, format_, protection, size, *_image, parent, association, _, _ = _OBJECT_INFO.unpack_from(data)
        filename, offset = decode_string(data, _OBJECT_INFO.size)
        dates = []
        for _ in range(2):
            text, offset = decode_string(data, offset) if offset < len(data) else ("", offset)
            dates.append(decode_datetime(text, zone))
        return cls(
            format=format_,
            size=size,
            filename=filename,
            storage_id=storage_id,
            parent=parent,
            protection=protection,
            association_type=association,
            created=dates[0],
            modified=dates[1],
        )


@dataclass(slots=True)
class NoForm:
    """Any value of the type."""

    FLAG = 0

    def encode(self, _kind: DataType) -> bytes:
        """Nothing follows the flag."""
        return b""


@dataclass(slots=True)
class RangeForm:
    """Values from `minimum` to `maximum` in steps."""

    FLAG = 1
    minimum: int
    maximum: int
    step: int

    def encode(self, kind: DataType) -> bytes:
        """Minimum, maximum, step."""
        return b"".join(map(ENCODERS[kind], (self.minimum, self.maximum, self.step)))


@dataclass(slots=True)
class EnumerationForm:
    """One of `values`."""

    FLAG = 2
    values: Sequence[Value]

    def encode(self, kind: DataType) -> bytes:
        """Count as u16, then the values."""
        return struct.pack("<H", len(self.values)) + b"".join(map(ENCODERS[kind], self.values))


@dataclass(slots=True)
class DateTimeForm:
    """A string that is a date."""

    FLAG = 3

    def encode(self, _kind: DataType) -> bytes:
        """Nothing follows the flag."""
        return b""


@dataclass(slots=True)
class RegularExpressionForm:
    """A string that matches `pattern`."""

    FLAG = 5
    pattern: str

    def encode(self, _kind: DataType) -> bytes:
        """The expression."""
        return encode_string(self.pattern)


Form = NoForm | RangeForm | EnumerationForm | DateTimeForm | RegularExpressionForm


@dataclass(slots=True)
class ObjectPropDesc:
    """Description of an object property (MTP 1.1, 5.3.2.2)."""

    code: int
    kind: DataType
    settable: bool
    default: Value
    group: int
    form: Form = field(default_factory=NoForm)

    def encode(self) -> bytes:
        """The dataset."""
        head = struct.pack("<HHB", self.code, self.kind, self.settable)
        default = ENCODERS[self.kind](self.default)
        tail = struct.pack("<IB", self.group, self.form.FLAG)
        return head + default + tail + self.form.encode(self.kind)


@dataclass(slots=True)
class DevicePropDesc:
    """Description of a device property (MTP 1.1, 5.1.2.1)."""

    code: int
    kind: DataType
    settable: bool
    default: Value
    current: Value
    form: Form = field(default_factory=NoForm)

    def encode(self) -> bytes:
        """The dataset."""
        encode = ENCODERS[self.kind]
        head = struct.pack("<HHB", self.code, self.kind, self.settable)
        return (
            head + encode(self.default) + encode(self.current) + bytes([self.form.FLAG]) + self.form.encode(self.kind)
        )
