from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import mtp as support
from usbredir_mtp.mtp.codes import AccessCapability, DataType
from usbredir_mtp.mtp.datasets import (
    DateTimeForm,
    DeviceInfo,
    DevicePropDesc,
    EnumerationForm,
    Form,
    NoForm,
    ObjectInfo,
    ObjectPropDesc,
    RangeForm,
    RegularExpressionForm,
    StorageInfo,
)
from usbredir_mtp.mtp.errors import DatasetError

if TYPE_CHECKING:
    from datetime import tzinfo

    from usbredir_mtp.mtp.datatypes import Value

SECOND = 1_000_000_000
BERLIN = ZoneInfo("Europe/Berlin")
FIXED = 52
"""Bytes of an ObjectInfo before its strings."""

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=127)
codes = st.lists(st.integers(0, 0xFFFF), max_size=5)
uint16, uint32, uint64 = (st.integers(0, (1 << bits) - 1) for bits in (16, 32, 64))
moments = st.none() | st.integers(0, 4_000_000_000).map(lambda seconds: seconds * SECOND)


def string(text: str) -> str:
    return support.string(text).hex()


# -- DeviceInfo, StorageInfo ----------------------------------------------------------------------------------------


def test_device_info_on_the_wire() -> None:
    info = DeviceInfo(
        operations=[0x1001, 0x1002],
        events=[0x4002],
        device_properties=[],
        playback_formats=[0x3000],
        manufacturer="m",
        model="o",
        device_version="v",
        serial_number="s",
        vendor_extensions="e",
    )
    assert info.encode() == bytes.fromhex(
        "6400 06000000 6400" + string("e") + "0000"
        "02000000 0110 0210  01000000 0240  00000000  00000000  01000000 0030"
        + "".join(map(string, "movs"))
    )  # fmt: skip


@given(codes, codes, codes, codes, codes, st.lists(texts, min_size=5, max_size=5))
def test_device_info_is_what_an_initiator_reads(
    operations: list[int],
    events: list[int],
    properties: list[int],
    capture: list[int],
    playback: list[int],
    words: list[str],
) -> None:
    maker, model, version, serial, extensions = words
    info = DeviceInfo(
        operations, events, properties, playback, maker, model, version, serial, extensions, capture_formats=capture
    )
    read = support.DeviceInfo.decode(info.encode())
    assert (read.operations, read.events, read.device_props) == (operations, events, properties)
    assert (read.capture_formats, read.formats) == (capture, playback)
    assert [read.manufacturer, read.model, read.version, read.serial, read.extensions] == words
    assert (read.standard_version, read.extension_id, read.extension_version, read.mode) == (100, 6, 100, 0)


def test_storage_info_on_the_wire() -> None:
    info = StorageInfo(
        AccessCapability.READ_ONLY_WITHOUT_DELETION, capacity=1 << 40, free=258, description="d", volume=""
    )
    assert info.encode() == bytes.fromhex(
        "0300 0200 0100 0000000000010000 0201000000000000 ffffffff" + string("d") + "00"
    )


@given(st.sampled_from(AccessCapability), uint64, uint64, texts, texts)
def test_storage_info_is_what_an_initiator_reads(
    access: AccessCapability, capacity: int, free: int, description: str, volume: str
) -> None:
    read = support.StorageInfo.decode(StorageInfo(access, capacity, free, description, volume).encode())
    assert read == support.StorageInfo(3, 2, access, capacity, free, 0xFFFFFFFF, description, volume)


# -- ObjectInfo --------------------------------------------------------------------------------------------------------


def test_object_info_on_the_wire() -> None:
    info = ObjectInfo(
        format=0x3801,
        size=258,
        filename="n",
        storage_id=0x10001,
        parent=7,
        protection=1,
        association_type=1,
        created=0,
        modified=1_721_044_800 * SECOND,
        thumbnail=(0x3808, 1000, 160, 120),
    )
    assert info.encode(BERLIN) == bytes.fromhex(
        "01000100 0138 0100 02010000"
        "0838 e8030000 a0000000 78000000"
        "00000000 00000000 00000000"
        "07000000 0100 00000000 00000000"
        + "".join(map(string, ("n", "19700101T010000", "20240715T140000", "")))
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "said"), [(0xFFFFFFFE, 0xFFFFFFFE), (0xFFFFFFFF, 0xFFFFFFFF), (1 << 32, 0xFFFFFFFF), (1 << 60, 0xFFFFFFFF)]
)
def test_sizes_beyond_32_bits(size: int, said: int) -> None:
    assert support.ObjectInfo.decode(ObjectInfo(0x3000, size, "n").encode()).size == said


object_infos = st.builds(
    ObjectInfo,
    format=uint16,
    size=uint32,
    filename=texts,
    storage_id=uint32,
    parent=uint32,
    protection=uint16,
    association_type=uint16,
    created=moments,
    modified=moments,
)


@given(object_infos)
def test_object_info_comes_back(info: ObjectInfo) -> None:
    assert ObjectInfo.decode(info.encode(UTC), UTC) == info


@given(object_infos)
def test_object_info_is_what_an_initiator_reads(info: ObjectInfo) -> None:
    read = support.ObjectInfo.decode(info.encode(UTC))
    assert (read.storage, read.format, read.protection, read.size) == (
        info.storage_id,
        info.format,
        info.protection,
        info.size,
    )
    assert (read.parent, read.association, read.name) == (info.parent, info.association_type, info.filename)
    for said, moment in ((read.created, info.created), (read.modified, info.modified)):
        if moment is None:
            assert said == ""
        else:
            assert support.parse_date(said + "Z") == datetime.fromtimestamp(0, UTC) + timedelta(
                seconds=moment // SECOND
            )


def test_an_initiator_s_object_info() -> None:
    sent = support.ObjectInfo(
        storage=1, format=2, protection=1, size=4, parent=5, association=6, name="n", modified="20240715T140000"
    )
    assert ObjectInfo.decode(sent.encode(), BERLIN) == ObjectInfo(2, 4, "n", 1, 5, 1, 6, None, 1_721_044_800 * SECOND)


@pytest.mark.parametrize(("said", "zone"), [("20240715T120000Z", BERLIN), ("20240715T140000", BERLIN)])
def test_an_initiator_s_dates(said: str, zone: tzinfo) -> None:
    sent = support.ObjectInfo(name="n", created=said, modified="yesterday")
    info = ObjectInfo.decode(sent.encode(), zone)
    assert (info.created, info.modified) == (1_721_044_800 * SECOND, None)


def test_trailing_strings_may_be_missing() -> None:
    sent = support.ObjectInfo(name="n", created="19700101T000000", modified="19700101T000001").encode()
    name, created, modified = (FIXED + len(support.string("n")) + 33 * count for count in range(3))
    assert len(sent) == modified + 1
    times = []
    for end in (name, created, modified):
        info = ObjectInfo.decode(sent[:end], UTC)
        assert info.filename == "n"
        times.append((info.created, info.modified))
    assert times == [(None, None), (0, None), (0, SECOND)]
    for end in set(range(len(sent))) - {name, created, modified}:
        with pytest.raises(DatasetError):
            ObjectInfo.decode(sent[:end])


@given(st.binary(max_size=FIXED + 20) | st.binary(max_size=20).map(lambda tail: bytes(FIXED) + tail))
def test_object_info_of_any_bytes(data: bytes) -> None:
    try:
        info = ObjectInfo.decode(data)
    except DatasetError:
        return
    assert len(data) > FIXED
    assert "\0" not in info.filename


# -- property descriptions -------------------------------------------------------------------------------------------

VALUES: dict[DataType, tuple[Value, str]] = {
    DataType.UINT8: (7, "07"),
    DataType.INT16: (-2, "feff"),
    DataType.UINT16: (0x0102, "0201"),
    DataType.STRING: ("v", "02 7600 0000"),
}

FORMS: list[tuple[DataType, Form, str]] = [
    (DataType.UINT16, NoForm(), "00"),
    (DataType.INT16, RangeForm(-1, 258, 2), "01 ffff 0201 0200"),
    (DataType.UINT8, EnumerationForm([1, 2, 255]), "02 0300 01 02 ff"),
    (DataType.STRING, EnumerationForm(["a", ""]), "02 0200" + string("a") + "00"),
    (DataType.STRING, EnumerationForm([]), "02 0000"),
    (DataType.STRING, DateTimeForm(), "03"),
    (DataType.STRING, RegularExpressionForm("[a-z]*"), "05" + string("[a-z]*")),
]


@pytest.mark.parametrize(("kind", "form", "data"), FORMS)
def test_forms(kind: DataType, form: Form, data: str) -> None:
    value, encoded = VALUES[kind]
    code = kind.to_bytes(2, "little").hex()
    described = ObjectPropDesc(0xDC09, kind, settable=True, default=value, group=2, form=form)
    assert described.encode() == bytes.fromhex(f"09dc {code} 01 {encoded} 02000000 {data}")
    device = DevicePropDesc(0xD402, kind, settable=False, default=value, current=value, form=form)
    assert device.encode() == bytes.fromhex(f"02d4 {code} 00 {encoded} {encoded} {data}")


def test_descriptions_have_no_form_unless_told() -> None:
    assert ObjectPropDesc(1, DataType.UINT8, settable=False, default=0, group=0).encode()[-1] == 0
    assert DevicePropDesc(1, DataType.UINT8, settable=False, default=0, current=0).encode()[-1] == 0


def test_default_and_current_value_are_in_order() -> None:
    read = support.PropDesc.decode(
        DevicePropDesc(
            0x5001, DataType.UINT8, settable=False, default=100, current=50, form=RangeForm(0, 100, 1)
        ).encode(),
        device=True,
    )
    assert (read.default, read.current, read.form, read.choices) == (100, 50, 1, [0, 100, 1])
