"""Microsoft's requirements of MTP phones, item by item.

They stand in the Windows Hardware Compatibility Program, Device.Portable.Core: MTP, MTPFunctionality,
MTPObjectProperties and TransportUSB; the comment above each group of tests says where. What they want of players,
cameras, codecs, Bluetooth, networks, streams and device services is not for a phone that holds files.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.codes import ALL, Ev, Format, Op, Prop, Rc
from tests.support.initiator import Initiator, MtpFailure, refused
from tests.support.mtp import ObjectInfo, Row, parse_date
from tests.support.server import Server, phone, running_server
from tests.support.wire import Speed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.mtp import Value
    from tests.support.usbredir import Guest

GIB = 1 << 30
TEXT = 0xFFFF
SYNCHRONIZATION_PARTNER, DEVICE_ICON, PERCEIVED_DEVICE_TYPE, BATTERY_LEVEL = 0xD401, 0xD405, 0xD407, 0x5001
WIDTH, HEIGHT, SLOW = 0xDC87, 0xDC88, 0xFFFFFFFF


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    (share / "folder").mkdir(parents=True)
    (share / "file").write_bytes(b"content")
    (share / "folder" / "inner.txt").write_bytes(b"inner")
    return share


@pytest.fixture
def server(share: Path) -> Iterator[Server]:
    with running_server([share]) as running:
        yield running


@pytest.fixture
def mtp(server: Server) -> Initiator:
    return server.initiator()


# Device.Portable.Core.MTP, Device Information Dataset


def test_device_info_standard_version_is_100(mtp: Initiator) -> None:
    assert mtp.device_info().standard_version == 100


def test_device_info_vendor_extension_id_is_microsofts(mtp: Initiator) -> None:
    assert mtp.device_info().extension_id == 6


def test_device_info_mtp_version_is_100(mtp: Initiator) -> None:
    assert mtp.device_info().extension_version == 100


def test_device_info_mtp_extensions_name_microsoft_com(mtp: Initiator) -> None:
    extensions = [text.strip() for text in mtp.device_info().extensions.split(";")]
    assert extensions[0] == "microsoft.com: 1.0"


def test_device_info_functional_mode_is_the_only_one(mtp: Initiator) -> None:
    assert mtp.device_info().mode == 0


def test_device_info_operations_supported(mtp: Initiator) -> None:
    required = [*range(0x1001, 0x100A), *range(0x100B, 0x100E), *range(0x1014, 0x1017), 0x101B]
    required += [*range(0x9801, 0x9805), 0x9810, 0x9811]
    recommended = [0x100F, *range(0x9805, 0x9809)]
    assert set(required + recommended) <= set(mtp.device_info().operations)


def test_device_info_events_supported(mtp: Initiator) -> None:
    assert {0x4002, 0x4003, 0x4004, 0x4005} <= set(mtp.device_info().events)


def test_device_info_device_properties_supported(mtp: Initiator) -> None:
    assert {0xD402, 0xD401, 0xD405, 0x5001} <= set(mtp.device_info().device_props)


def test_device_info_playback_formats_have_undefined_for_all_other_files(mtp: Initiator) -> None:
    assert {0x3000, 0x3001} <= set(mtp.device_info().formats)


@pytest.mark.parametrize("field", ["manufacturer", "model", "version", "serial"])
def test_device_info_strings_are_there(mtp: Initiator, field: str) -> None:
    assert 0 < len(getattr(mtp.device_info(), field).strip()) < 255


def test_device_info_serial_number_is_unique_and_stays(share: Path) -> None:
    def serial(folder: Path) -> str:
        with phone(folder) as mtp:
            return mtp.device_info().serial

    assert serial(share) == serial(share) != serial(share / "folder")


# Device.Portable.Core.MTP, Control Requests; Device.Portable.Core.MTPFunctionality, Respond as expected


@pytest.mark.parametrize("length", [4, 8, 36])
def test_get_status(mtp: Initiator, length: int) -> None:
    mtp.wait_ready()
    assert mtp.guest.control_in(0xA1, 0x67, length=length) == bytes.fromhex("04000120")


def test_get_status_is_answered_while_a_transaction_runs(mtp: Initiator, share: Path) -> None:
    number = mtp.begin_upload("new", 30_000, bytes(10_228))
    assert mtp.device_status()[0] in {Rc.OK, Rc.DEVICE_BUSY}
    mtp.send_message(bytes(30_000 - 10_228))
    assert mtp.finish(Op.SEND_OBJECT, number).code == Rc.OK
    assert (share / "new").stat().st_size == 30_000


def test_cancel_request(mtp: Initiator, share: Path) -> None:
    (share / "large").write_bytes(bytes(1 << 20))
    handle = mtp.names()["large"]
    number = mtp.send_command(Op.GET_OBJECT, handle)
    assert len(mtp.read_transfer()) == mtp.transfer
    mtp.cancel(number)
    assert mtp.get_object(handle) == bytes(1 << 20)


def test_reset_device_request(mtp: Initiator) -> None:
    mtp.send_command(Op.GET_OBJECT, mtp.names()["file"])
    mtp.device_reset()
    with refused(Rc.SESSION_NOT_OPEN):
        mtp.storage_ids()
    mtp.open_session()
    assert "file" in mtp.names()


# Device.Portable.Core.MTP, Required Operations


def test_1001_get_device_info(server: Server) -> None:
    mtp = Initiator(server.attach())
    assert mtp.device_info().standard_version == 100  # no session is needed


def test_1002_open_session(server: Server) -> None:
    mtp = Initiator(server.attach())
    mtp.open_session(0x1234)
    with refused(Rc.SESSION_ALREADY_OPEN):
        mtp.open_session(0x1235)


def test_1003_close_session(mtp: Initiator) -> None:
    mtp.close_session()
    with refused(Rc.SESSION_NOT_OPEN):
        mtp.names()


def test_1004_get_storage_ids(mtp: Initiator) -> None:
    (storage,) = mtp.storage_ids()
    assert storage & 0xFFFF  # a lower half of 0 is a medium that is not there
    assert storage >> 16


def test_1005_get_storage_info(mtp: Initiator) -> None:
    info = mtp.storage_info(mtp.storage)
    assert 0 < info.free <= info.capacity
    assert info.access == 0
    assert info.description == "share"


def test_1006_get_num_objects(mtp: Initiator) -> None:
    assert mtp.num_objects() == 2
    assert mtp.num_objects(ALL, 0, 0) == 3


def test_1007_get_object_handles(mtp: Initiator) -> None:
    assert len(mtp.object_handles()) == 2
    assert len(mtp.object_handles(ALL, 0, 0)) == 3
    assert mtp.object_handles(ALL, Format.FOLDER, ALL) == [mtp.names()["folder"]]


def test_1008_get_object_info(mtp: Initiator) -> None:
    handle = mtp.names()["folder"]
    inner = mtp.object_info(mtp.names(handle)["inner.txt"])
    assert (inner.storage, inner.parent, inner.format, inner.size) == (mtp.storage, handle, Format.TEXT, 5)


def test_1009_get_object(mtp: Initiator) -> None:
    assert mtp.get_object(mtp.names()["file"]) == b"content"


def test_100b_delete_object(mtp: Initiator, share: Path) -> None:
    mtp.delete(mtp.names()["folder"])
    assert not (share / "folder").exists()


def test_100c_send_object_info(mtp: Initiator) -> None:
    folder = mtp.names()["folder"]
    params = mtp.command(Op.SEND_OBJECT_INFO, mtp.storage, folder, data=ObjectInfo(size=3, name="new").encode()).params
    assert params[:2] == (mtp.storage, folder)
    mtp.send_object(b"new")
    assert mtp.names(folder)["new"] == params[2]


def test_100d_send_object(mtp: Initiator, share: Path) -> None:
    mtp.send_file("new", b"new content")
    assert (share / "new").read_bytes() == b"new content"


def test_1014_get_device_prop_desc(mtp: Initiator) -> None:
    for code in mtp.device_info().device_props:
        assert mtp.device_prop_desc(code).code == code


def test_1015_get_device_prop_value(mtp: Initiator) -> None:
    for code in mtp.device_info().device_props:
        desc = mtp.device_prop_desc(code)
        assert mtp.device_prop_value(code, desc.datatype) == desc.current


def test_1016_set_device_prop_value(mtp: Initiator) -> None:
    mtp.set_device_prop_value(Prop.FRIENDLY_NAME, "Bürotelefon")
    assert mtp.device_prop_value(Prop.FRIENDLY_NAME) == "Bürotelefon"


def test_101b_get_partial_object(mtp: Initiator) -> None:
    assert mtp.get_partial(mtp.names()["file"], 3, 100) == b"tent"


def test_9801_get_object_props_supported(mtp: Initiator) -> None:
    for format_ in mtp.device_info().formats:
        props = mtp.object_props_supported(format_)
        assert len(props) == len(set(props))
        assert set(PROPERTIES) <= set(props)


def test_9802_get_object_prop_desc(mtp: Initiator) -> None:
    for format_ in mtp.device_info().formats:
        for code in mtp.object_props_supported(format_):
            assert mtp.prop_desc(code, format_).code == code


def test_9803_get_object_prop_value(mtp: Initiator) -> None:
    assert mtp.prop_value(mtp.names()["file"], Prop.SIZE, 8) == 7


def test_9804_set_object_prop_value(mtp: Initiator, share: Path) -> None:
    file = mtp.names()["file"]
    mtp.set_prop_value(file, Prop.FILE_NAME, TEXT, "renamed")
    assert mtp.names()["renamed"] == file
    assert (share / "renamed").exists()


def test_9810_and_9811_object_references(mtp: Initiator) -> None:
    names = mtp.names()
    assert mtp.references(names["file"]) == []
    mtp.set_references(names["file"], [names["folder"], names["file"]])
    assert mtp.references(names["file"]) == [names["folder"], names["file"]]
    mtp.delete(names["folder"])
    assert mtp.references(names["file"]) == [names["file"]]
    with refused(Rc.INVALID_OBJECT_REFERENCE):
        mtp.set_references(names["file"], [names["file"], 0x00ABCDEF])
    assert mtp.references(names["file"]) == [names["file"]]


def test_references_are_kept_for_the_next_run(share: Path, tmp_path: Path) -> None:
    state = ("--state-dir", str(tmp_path / "state"))
    with running_server([share], *state) as server:
        mtp = server.initiator()
        mtp.set_references(mtp.find("file"), [mtp.find("folder/inner.txt"), mtp.find("folder")])
    with running_server([share], *state) as server:
        mtp = server.initiator()
        mtp.find("folder")  # handles are given anew, in another order
        assert mtp.references(mtp.find("file")) == [mtp.find("folder/inner.txt"), mtp.find("folder")]


# Device.Portable.Core.MTP: recommended operations


def test_100f_format_store(mtp: Initiator, share: Path) -> None:
    before = sorted(share.rglob("*"))
    with refused(Rc.ACCESS_DENIED):
        mtp.command(Op.FORMAT_STORE, mtp.storage)
    assert sorted(share.rglob("*")) == before
    with phone(share, options=["--allow-format"]) as allowed:
        allowed.command(Op.FORMAT_STORE, allowed.storage)
    assert list(share.iterdir()) == []


def test_9805_get_object_prop_list(mtp: Initiator) -> None:
    rows = mtp.prop_list(ALL, depth=ALL)
    assert {str(row.value) for row in rows if row.prop == Prop.FILE_NAME} == {"file", "folder", "inner.txt"}
    for handle in mtp.object_handles(ALL, 0, 0):
        values = {row.prop: row.value for row in rows if row.handle == handle}
        assert set(PROPERTIES) <= set(values)
        assert values == {row.prop: row.value for row in mtp.prop_list(handle)}
        assert {prop: values[prop] for prop in PROPERTIES} == {
            prop: mtp.prop_value(handle, prop, kind) for prop, (kind, *_) in PROPERTIES.items()
        }


def test_9806_set_object_prop_list(mtp: Initiator, share: Path) -> None:
    file, folder = (mtp.names()[name] for name in ("file", "folder"))
    mtp.set_prop_list(Row(file, Prop.FILE_NAME, TEXT, "first"), Row(folder, Prop.MODIFIED, TEXT, "20200102T030405Z"))
    assert (share / "folder").stat().st_mtime == parse_date("20200102T030405Z").timestamp()
    with pytest.raises(MtpFailure) as caught:
        mtp.set_prop_list(
            Row(file, Prop.FILE_NAME, TEXT, "second"),
            Row(file, Prop.SIZE, 8, 1),
            Row(file, Prop.FILE_NAME, TEXT, "third"),
        )
    # The index of the first that cannot be set; what comes after it is left alone (MTP 1.1, E.2.2).
    assert (caught.value.code, caught.value.response.params) == (Rc.ACCESS_DENIED, (1,))
    assert mtp.names()["second"] == file


def test_9807_get_interdependent_prop_desc(mtp: Initiator) -> None:
    for format_ in mtp.device_info().formats:
        assert mtp.command(Op.GET_INTERDEPENDENT_PROP_DESC, format_).data == bytes(4)


def test_9808_send_object_prop_list_with_specification_of_destination(mtp: Initiator, share: Path) -> None:
    folder = mtp.names()["folder"]
    handle = mtp.send_prop_list(folder, Format.UNDEFINED, 3, Row(0, Prop.FILE_NAME, TEXT, "new"))
    mtp.send_object(b"new")
    assert mtp.object_info(handle).parent == folder
    assert (share / "folder" / "new").read_bytes() == b"new"


def test_9808_names_the_property_that_failed(mtp: Initiator) -> None:
    rows = [Row(0, Prop.FILE_NAME, TEXT, "new"), Row(0, 0xDCFF, TEXT, "?")]
    with pytest.raises(MtpFailure) as caught:
        mtp.send_prop_list(ALL, Format.UNDEFINED, 3, *rows)
    assert caught.value.response.params[3] == 1
    with refused(Rc.NO_VALID_OBJECT_INFO):
        mtp.send_object(b"new")


# Device.Portable.Core.MTP, Required Events


def test_4002_object_added(server: Server, mtp: Initiator) -> None:
    other = server.initiator()
    handle = other.send_file("new", b"")
    event = mtp.wait_event()
    assert (event.code, event.params[0]) == (Ev.OBJECT_ADDED, handle)


def test_4003_object_removed(server: Server, mtp: Initiator) -> None:
    handle = mtp.names()["file"]
    server.initiator().delete(handle)
    event = mtp.wait_event()
    assert (event.code, event.params[0]) == (Ev.OBJECT_REMOVED, handle)


def test_4004_and_4005_store_added_and_removed(share: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.touch()
    with running_server([share], "--config", str(config)) as server:
        mtp = server.initiator()
        before = mtp.storage_ids()
        config.write_text(f"[[export]]\npath = '{share / 'folder'}'\n")
        server.reload()
        event = mtp.wait_event()
        assert event.code == Ev.STORE_ADDED
        assert mtp.storage_ids() == [*before, event.params[0]]
        config.write_text("")
        server.reload()
        assert mtp.wait_event() == event.__class__(Ev.STORE_REMOVED, event.transaction, event.params)
        assert mtp.storage_ids() == before


# Device.Portable.Core.MTP, Operation Responses


def test_an_operation_that_there_is_not(mtp: Initiator) -> None:
    with refused(Rc.OPERATION_NOT_SUPPORTED):
        mtp.command(0x9999)
    assert "file" in mtp.names()


@pytest.mark.parametrize("code", [Op.GET_OBJECT_INFO, Op.GET_OBJECT, Op.DELETE_OBJECT, Op.GET_OBJECT_REFERENCES])
def test_an_error_has_its_response(mtp: Initiator, code: Op) -> None:
    with refused(Rc.INVALID_OBJECT_HANDLE):
        mtp.command(code, 0x00ABCDEF)


# Device.Portable.Core.MTP, Required Device Properties


def test_d402_device_friendly_name(share: Path, tmp_path: Path) -> None:
    state = ("--state-dir", str(tmp_path / "state"))
    with running_server([share], *state) as server:
        mtp = server.initiator()
        desc = mtp.device_prop_desc(Prop.FRIENDLY_NAME)
        assert (desc.datatype, desc.writable) == (TEXT, True)
        assert desc.current == desc.default != ""
        mtp.set_device_prop_value(Prop.FRIENDLY_NAME, "My phone 📱")
    with running_server([share], *state) as server:
        assert server.initiator().device_prop_value(Prop.FRIENDLY_NAME) == "My phone 📱"


def test_d401_synchronization_partner(mtp: Initiator) -> None:
    desc = mtp.device_prop_desc(SYNCHRONIZATION_PARTNER)
    assert (desc.datatype, desc.writable, desc.default) == (TEXT, True, "")
    mtp.set_device_prop_value(SYNCHRONIZATION_PARTNER, "{a partner}")
    assert mtp.device_prop_value(SYNCHRONIZATION_PARTNER) == "{a partner}"


def test_d405_device_icon(mtp: Initiator) -> None:
    desc = mtp.device_prop_desc(DEVICE_ICON)
    assert (desc.datatype, desc.writable) == (0x4002, False)
    assert isinstance(desc.current, list)
    assert struct.unpack_from("<HHH", bytes(desc.current)) > (0, 1, 0)  # an .ico with at least one image


def test_d407_perceived_device_type(mtp: Initiator) -> None:
    desc = mtp.device_prop_desc(PERCEIVED_DEVICE_TYPE)
    assert (desc.datatype, desc.writable, desc.current) == (6, False, 0)


def test_5001_battery_level(mtp: Initiator) -> None:
    desc = mtp.device_prop_desc(BATTERY_LEVEL)
    assert (desc.datatype, desc.writable, desc.form) == (2, False, 1)
    low, high, _step = desc.choices
    assert isinstance(low, int)
    assert isinstance(high, int)
    assert isinstance(desc.current, int)
    assert low <= desc.current <= high


# Device.Portable.Core.MTPObjectProperties: of every format that DeviceInfo lists (forms: MTP 1.1, 5.3.2 and appendix B)

NONE, ENUMERATION, DATE = 0, 2, 3
PROPERTIES: dict[int, tuple[int, bool, Value, int]] = {
    Prop.STORAGE_ID: (6, False, 0, NONE),
    Prop.FORMAT: (4, False, 0x3000, ENUMERATION),
    Prop.PROTECTION: (4, False, 0, ENUMERATION),
    Prop.SIZE: (8, False, 0, NONE),
    Prop.FILE_NAME: (TEXT, True, "", NONE),
    Prop.CREATED: (TEXT, False, "", DATE),
    Prop.MODIFIED: (TEXT, True, "", DATE),
    Prop.PARENT: (6, False, 0, NONE),
    Prop.UNIQUE_ID: (10, False, 0, NONE),
    Prop.NAME: (TEXT, False, "", NONE),
    Prop.NON_CONSUMABLE: (2, False, 0, ENUMERATION),
}
"""Data type, whether it can be set, default, form."""


@pytest.mark.parametrize("prop", PROPERTIES, ids=lambda prop: f"{prop:04x}")
def test_object_property(mtp: Initiator, prop: int) -> None:
    for format_ in mtp.device_info().formats:
        assert prop in mtp.object_props_supported(format_)
        desc = mtp.prop_desc(prop, format_)
        datatype, writable, default, form = PROPERTIES[prop]
        if prop == Prop.FORMAT:
            default = format_
        assert (desc.datatype, desc.writable, desc.default, desc.form) == (datatype, writable, default, form)
        assert desc.group != SLOW  # else GetObjectPropList leaves it out of "all"
        assert desc.choices == {ENUMERATION: [0, 1]}.get(form, []) or desc.choices == [default]


def test_object_property_values(mtp: Initiator, share: Path) -> None:
    folder = mtp.names()["folder"]
    inner = mtp.names(folder)["inner.txt"]
    values = {prop: mtp.prop_value(inner, prop, PROPERTIES[prop][0]) for prop in PROPERTIES}
    modified, created = (parse_date(str(values.pop(prop))).timestamp() for prop in (Prop.MODIFIED, Prop.CREATED))
    assert modified == int((share / "folder" / "inner.txt").stat().st_mtime)
    assert abs(created - modified) <= 1
    assert values.pop(Prop.UNIQUE_ID)
    assert values == {
        Prop.STORAGE_ID: mtp.storage,
        Prop.FORMAT: Format.TEXT,
        Prop.PROTECTION: 0,
        Prop.SIZE: 5,
        Prop.FILE_NAME: "inner.txt",
        Prop.PARENT: folder,
        Prop.NAME: "inner.txt",
        Prop.NON_CONSUMABLE: 0,
    }


@pytest.mark.parametrize("size", [4 * GIB - 1, 4 * GIB, 4 * GIB + 1, 40 * GIB])
def test_dc04_object_size_has_64_bits(share: Path, size: int) -> None:
    with (share / "large").open("wb") as file:
        file.truncate(size)
    with phone(share) as mtp:
        handle = mtp.names()["large"]
        assert mtp.prop_value(handle, Prop.SIZE, 8) == size
        assert mtp.object_info(handle).size == 0xFFFFFFFF


@pytest.mark.parametrize("name", ["ümläut.txt", "日本語.doc", "emoji 🎉.png", "x" * 254, "a b.c.d", "'quoted' & more"])
def test_dc07_object_file_name(mtp: Initiator, share: Path, name: str) -> None:
    handle = mtp.send_file(name, b"x")
    assert mtp.prop_value(handle, Prop.FILE_NAME, TEXT) == mtp.prop_value(handle, Prop.NAME, TEXT) == name
    assert (share / name).read_bytes() == b"x"


def test_dc41_persistent_unique_object_identifier(share: Path) -> None:
    def identifiers(mtp: Initiator) -> dict[str, Value]:
        handles = {mtp.object_info(handle).name: handle for handle in mtp.object_handles(ALL, 0, 0)}
        return {name: mtp.prop_value(handle, Prop.UNIQUE_ID, 10) for name, handle in handles.items()}

    with phone(share) as mtp:
        before = identifiers(mtp)
        assert len(set(before.values()) - {0}) == 3
        mtp.rename(mtp.find("file"), "renamed")
    with phone(share) as mtp:
        assert identifiers(mtp) == {("renamed" if name == "file" else name): each for name, each in before.items()}


@pytest.mark.parametrize("format_", [0x3801, 0x3804, 0x3807, 0x380B, 0x380D])
def test_dc87_width_and_dc88_height_of_pictures(mtp: Initiator, format_: int) -> None:
    assert format_ in mtp.device_info().formats
    assert {WIDTH, HEIGHT} <= set(mtp.object_props_supported(format_))


@pytest.mark.parametrize("format_", [0x3008, 0x3009, 0xB902, 0xB903, 0xB906])
def test_properties_of_sound(mtp: Initiator, format_: int) -> None:
    """Artist, track, album and its artist, sample rate, channels, bit rate; which codec it takes is not told."""
    assert format_ in mtp.device_info().formats
    assert {0xDC46, 0xDC8B, 0xDC9A, 0xDC9B, 0xDE93, 0xDE94, 0xDE9A} <= set(mtp.object_props_supported(format_))


# Device.Portable.Core.MTPFunctionality


def test_all_transferred_content_is_persisted_once_it_is_said_to_be(mtp: Initiator, share: Path) -> None:
    for size in (0, 1, 511, 512, 100_000):
        mtp.send_file("new", b"\xa5" * size)
        assert (share / "new").read_bytes() == b"\xa5" * size
    mtp.send_object_info(mtp.storage, ALL, ObjectInfo(size=100, name="torn"))
    with refused():
        mtp.send_object(bytes(99))
    assert not (share / "torn").exists()


@pytest.mark.parametrize("sent", [0, 500, 98_292])
def test_unexpected_device_disconnects(server: Server, mtp: Initiator, share: Path, sent: int) -> None:
    mtp.begin_upload("torn", 1 << 20, bytes(sent))
    mtp.guest.close()
    after = server.initiator()
    assert set(after.names()) == {"file", "folder"}
    after.send_file("new", b"whole")
    assert (share / "new").read_bytes() == b"whole"


# Device.Portable.Core.TransportUSB


def descriptor(guest: Guest, kind: int, index: int = 0) -> bytes:
    return guest.control_in(0x80, 6, kind << 8 | index, 0, 255)


@pytest.mark.parametrize(("name", "speed", "packet"), [("full", Speed.FULL, 64), ("high", Speed.HIGH, 512)])
def test_full_and_high_speed(share: Path, name: str, speed: int, packet: int) -> None:
    with running_server([share], "--speed", name) as server:
        guest = server.attach()
        assert guest.device is not None
        assert guest.device["speed"] == speed
        configuration, qualifier = descriptor(guest, 2), descriptor(guest, 6)
        assert struct.pack("<BBBBH", 7, 5, guest.endpoint(2, 0x80), 2, packet) in configuration
        assert struct.pack("<BBBBH", 7, 5, guest.endpoint(2, 0), 2, packet) in configuration
        assert (qualifier[0], qualifier[1]) == (10, 6)
        assert descriptor(guest, 7)[:2] == bytes([9, 7])  # the configuration at the other speed


# Device.Portable.Core.MTP: works with the drivers that Windows brings along (Microsoft OS 1.0 descriptors)


@pytest.mark.parametrize("speed", ["full", "high", "super"])
def test_microsoft_os_descriptors(share: Path, speed: str) -> None:
    """The OS string descriptor, and by its vendor code the extended compat id "MTP"."""
    with running_server([share], "--speed", speed) as server:
        guest = server.attach()
        text = descriptor(guest, 3, 0xEE)
        assert text[:16] == b"\x12\x03" + "MSFT100".encode("utf-16-le")
        compat = guest.control_in(0xC0, text[16], 0, 4, 40)
        assert struct.unpack_from("<IHHB", compat) == (40, 0x0100, 4, 1)
        assert compat[18:26] == b"MTP\0\0\0\0\0"
