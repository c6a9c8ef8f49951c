"""Object properties: one table, from which descriptions, values and property lists are made."""

from __future__ import annotations

import functools
import hashlib
import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from usbredir_mtp.mtp.codes import (
    AssociationType,
    DataType,
    ObjectFormat,
    ObjectProperty,
    ProtectionStatus,
    ResponseCode,
)
from usbredir_mtp.mtp.datasets import DateTimeForm, EnumerationForm, Form, NoForm, ObjectPropDesc
from usbredir_mtp.mtp.datatypes import ENCODERS, Value, decode_leading_value
from usbredir_mtp.mtp.errors import DatasetError, MtpError
from usbredir_mtp.mtp.formats import suffixes
from usbredir_mtp.mtp.media.model import MediaType, media_type
from usbredir_mtp.mtp.media.properties import MEDIA_PROPERTIES, property_codes
from usbredir_mtp.mtp.nodes import storage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from usbredir_mtp.mtp.datatypes import Buffer
    from usbredir_mtp.mtp.nodes import ObjectView

GROUP_PLACE = 1
GROUP_NAME = 2
GROUP_FILE = 3
"""Group codes (MTP 1.1, 5.3.2.2): where an object is, what it is called, what its file is like."""

GROUP_SLOW = 0xFFFFFFFF
"""What takes long to find out: "all properties" leaves these out (MTP 1.1, D.2.34)."""


@dataclass(slots=True, frozen=True)
class ObjectPropertySpec:
    """One row; `read` takes the value from an object's view, None where it has none."""

    kind: DataType
    group: int
    read: Callable[[ObjectView], Value | None]
    settable: bool = False
    default: Value = 0
    form: Form = field(default_factory=NoForm)


def protection(view: ObjectView) -> ProtectionStatus:
    """Whether the object can be changed (MTP 1.1, B.1.3)."""
    return ProtectionStatus.READ_ONLY if view.read_only else ProtectionStatus.NONE


def created(view: ObjectView) -> int:
    """When the object was made; its modification time where the medium does not know."""
    return view.stat.modified if view.stat.created is None else view.stat.created


def association_type(view: ObjectView) -> AssociationType:
    """The kind of association, NONE for a file."""
    return AssociationType.GENERIC_FOLDER if view.node.folder else AssociationType.NONE


def _name(view: ObjectView) -> str:
    return view.name


@functools.lru_cache(64)
def _volume_id(volume: str) -> int:
    return int.from_bytes(hashlib.blake2s(volume.encode("utf-8", "surrogatepass"), digest_size=4).digest()) or 1


def _unique_id(view: ObjectView) -> int:
    """The storage above, its own identity of the object below: 128 bits, never 0 (MTP 1.1, B.2.8)."""
    return _volume_id(storage_of(view.root).volume) << 96 | view.stat.identity & (1 << 96) - 1


_P = ObjectProperty
_T = DataType
_PROTECTIONS = EnumerationForm(list(ProtectionStatus))
_FLAG = EnumerationForm([0, 1])

OBJECT_PROPERTIES: dict[int, ObjectPropertySpec] = {
    _P.STORAGE_ID: ObjectPropertySpec(_T.UINT32, GROUP_PLACE, lambda view: view.root.storage_id),
    _P.OBJECT_FORMAT: ObjectPropertySpec(
        _T.UINT16, GROUP_FILE, lambda view: view.node.format, default=ObjectFormat.UNDEFINED
    ),
    _P.PROTECTION_STATUS: ObjectPropertySpec(_T.UINT16, GROUP_FILE, protection, form=_PROTECTIONS),
    _P.OBJECT_SIZE: ObjectPropertySpec(_T.UINT64, GROUP_FILE, lambda view: view.stat.size),
    _P.ASSOCIATION_TYPE: ObjectPropertySpec(
        _T.UINT16, GROUP_FILE, association_type, form=EnumerationForm(list(AssociationType))
    ),
    _P.OBJECT_FILE_NAME: ObjectPropertySpec(_T.STRING, GROUP_NAME, _name, settable=True, default=""),
    _P.DATE_CREATED: ObjectPropertySpec(
        _T.STRING,
        GROUP_FILE,
        lambda view: view.root.presentation.encode_time(created(view)),
        default="",
        form=DateTimeForm(),
    ),
    _P.DATE_MODIFIED: ObjectPropertySpec(
        _T.STRING,
        GROUP_FILE,
        lambda view: view.root.presentation.encode_time(view.stat.modified),
        settable=True,
        default="",
        form=DateTimeForm(),
    ),
    _P.PARENT_OBJECT: ObjectPropertySpec(_T.UINT32, GROUP_PLACE, lambda view: view.node.parent_handle),
    _P.HIDDEN: ObjectPropertySpec(_T.UINT16, GROUP_FILE, lambda view: int(view.node.name.startswith(".")), form=_FLAG),
    _P.PERSISTENT_UNIQUE_ID: ObjectPropertySpec(_T.UINT128, GROUP_PLACE, _unique_id),
    _P.NAME: ObjectPropertySpec(_T.STRING, GROUP_NAME, _name, default=""),
    _P.NON_CONSUMABLE: ObjectPropertySpec(_T.UINT8, GROUP_FILE, lambda _view: 0, form=_FLAG),
    _P.DISPLAY_NAME: ObjectPropertySpec(_T.STRING, GROUP_NAME, _name, default=""),
}
"""The object properties by code that every object has."""

SAMPLE_PROPERTIES: dict[int, DataType] = {
    _P.REPRESENTATIVE_SAMPLE_FORMAT: _T.UINT16,
    _P.REPRESENTATIVE_SAMPLE_SIZE: _T.UINT32,
    _P.REPRESENTATIVE_SAMPLE_HEIGHT: _T.UINT32,
    _P.REPRESENTATIVE_SAMPLE_WIDTH: _T.UINT32,
    _P.REPRESENTATIVE_SAMPLE_DATA: _T.ARRAY_UINT8,
}
"""Those that a thumbnail gives, with their types."""


_EMPTY: dict[DataType, Value] = {_T.STRING: "", _T.ARRAY_UINT8: b""}


def _told(code: int, kind: DataType, form: Form) -> ObjectPropertySpec:
    default = _EMPTY.get(kind, 0)
    return ObjectPropertySpec(kind, GROUP_SLOW, lambda view: view.media.get(code), default=default, form=form)


CONTENT_PROPERTIES: dict[int, ObjectPropertySpec] = {
    **{
        code: _told(code, spec.kind, DateTimeForm() if spec.date else NoForm())
        for code, spec in MEDIA_PROPERTIES.items()
        if code not in OBJECT_PROPERTIES
    },
    **{code: _told(code, kind, NoForm()) for code, kind in SAMPLE_PROPERTIES.items()},
}
"""Those that the content of some objects tells, where media are read."""

_ALL = {**OBJECT_PROPERTIES, **CONTENT_PROPERTIES}


def supported(format_: int, *, media: bool) -> list[int]:
    """The properties that objects of a format may have."""
    codes = dict.fromkeys(OBJECT_PROPERTIES)
    kinds = {kind for suffix in suffixes(format_) if (kind := media_type(f".{suffix}"))} if media else set()
    for kind in MediaType:
        if kind in kinds:
            codes |= dict.fromkeys([*property_codes(kind), *SAMPLE_PROPERTIES])
    return list(codes)


def row(code: int) -> ObjectPropertySpec:
    """The row of a property.

    Raises:
        MtpError: OBJECT_PROP_NOT_SUPPORTED.
    """
    try:
        return _ALL[code]
    except KeyError:
        raise MtpError(ResponseCode.OBJECT_PROP_NOT_SUPPORTED, f"object property {code:#06x}") from None


def describe(code: int, format_: int) -> bytes:
    """The ObjectPropDesc dataset of a property, for objects of a format: that is its own default.

    Raises:
        MtpError: OBJECT_PROP_NOT_SUPPORTED.
    """
    spec = row(code)
    if code == ObjectProperty.OBJECT_FORMAT and format_:
        spec = replace(spec, default=format_, form=EnumerationForm([format_]))
    return ObjectPropDesc(code, spec.kind, spec.settable, spec.default, spec.group, spec.form).encode()


def encode_value(code: int, view: ObjectView) -> bytes:
    """An object's value as bytes.

    Raises:
        MtpError: OBJECT_PROP_NOT_SUPPORTED.
    """
    spec = row(code)
    value = spec.read(view)
    return ENCODERS[spec.kind](spec.default if value is None else value)


class _Column:
    """Properties of one type that are read alike: what each object has of them is found and encoded once."""

    __slots__ = ("_bodies", "_encode", "_heads", "_read")

    def __init__(self, spec: ObjectPropertySpec, codes: Sequence[int]) -> None:
        self._heads = [struct.pack("<HH", code, spec.kind) for code in codes]
        self._encode = ENCODERS[spec.kind]
        self._read = spec.read
        self._bodies: dict[Value, list[bytes]] = {}

    def bodies(self, view: ObjectView) -> list[bytes]:
        """Code, type and value of each, in bytes; none if the object has no such value."""
        value = self._read(view)
        if value is None:
            return []
        found = self._bodies.get(value)
        if found is None:
            encoded = self._encode(value)
            found = [head + encoded for head in self._heads]
            if len(self._bodies) < MAX_REPEATED:
                self._bodies[value] = found
        return found


MAX_REPEATED = 64
"""Values of a column that are kept as bytes: those that repeat, such as a folder's or a format's, are few."""


class PropertyList:
    """Collects the rows of a GetObjectPropList (MTP 1.1, 5.3.2.3)."""

    def __init__(self, codes: Sequence[int]) -> None:
        alike: dict[object, list[int]] = {}
        for code in codes:
            alike.setdefault(_ALL[code].read, []).append(code)
        self._columns = [_Column(_ALL[same[0]], same) for same in alike.values()]
        self._objects: list[bytes] = [b""]
        self._rows = 0

    def extend(self, views: Iterable[ObjectView]) -> None:
        """Add the rows of some objects."""
        columns = [column.bodies for column in self._columns]
        pack = _HANDLE.pack
        for view in views:
            bodies = [b""]
            for column in columns:
                bodies += column(view)
            self._rows += len(bodies) - 1
            self._objects.append(pack(view.handle).join(bodies))

    def encode(self) -> bytes:
        """The dataset."""
        self._objects[0] = struct.pack("<I", self._rows)
        return b"".join(self._objects)


_HANDLE = struct.Struct("<I")


class PropertyRow(NamedTuple):
    """One row of a property list that an initiator sends."""

    handle: int
    code: int
    kind: int
    value: Value


_ROW = struct.Struct("<IHH")


def decode_rows(data: Buffer) -> Iterator[PropertyRow]:
    """The rows of a property list (MTP 1.1, 5.3.2.3), one by one.

    Raises:
        DatasetError: it ends early, goes on after its end, or has a value of a type that no property has.
    """
    if len(data) < 4:  # noqa: PLR2004  (the count)
        raise DatasetError(f"property list of {len(data)} bytes")
    view = memoryview(data)
    offset = 4
    for _ in range(int.from_bytes(view[:4], "little")):
        if len(view) - offset < _ROW.size:
            raise DatasetError(f"property list ends in a row at byte {offset}")
        handle, code, kind = _ROW.unpack_from(view, offset)
        offset += _ROW.size
        try:
            value, used = decode_leading_value(DataType(kind), view[offset:])
        except ValueError:
            raise DatasetError(f"property list with a value of type {kind:#06x}") from None
        offset += used
        yield PropertyRow(handle, code, kind, value)
    if offset != len(view):
        raise DatasetError(f"{len(view) - offset} bytes follow a property list")
