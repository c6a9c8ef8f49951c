"""What belongs to the device rather than to a session: properties, protection, references, formatting, power."""

from __future__ import annotations

import stat
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.codes import ALL, Ev, Op, Prop, Rc
from tests.support.initiator import Initiator, refused
from tests.support.mtp import Row, encode, string
from tests.support.server import Export, phone, running_server
from tests.support.usbredir import UnpluggedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = 0xFFFF


@pytest.fixture
def mtp(share: Path) -> Iterator[Initiator]:
    with phone(share) as mtp:
        yield mtp


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    (share / "box").mkdir(parents=True)
    for name in ("one", "two", "box/three"):
        (share / name).write_text(name)
    return share


def rows(*items: tuple[int, int, int, int | str]) -> bytes:
    """A property list dataset."""
    body = b"".join(struct.pack("<IHH", *item[:3]) + encode(item[2], item[3]) for item in items)
    return struct.pack("<I", len(items)) + body


def references(mtp: Initiator, handle: int) -> list[int]:
    data = mtp.command(Op.GET_OBJECT_REFERENCES, handle).data
    count = struct.unpack_from("<I", data)[0]
    return list(struct.unpack(f"<{count}I", data[4:]))


def refer(mtp: Initiator, handle: int, *others: int) -> None:
    mtp.command(Op.SET_OBJECT_REFERENCES, handle, data=struct.pack(f"<{len(others) + 1}I", len(others), *others))


def test_the_friendly_name_is_one_and_is_kept(share: Path, tmp_path: Path) -> None:
    state = ("--state-dir", str(tmp_path / "state"))
    with running_server([share], *state) as server:
        one, other = server.initiator(), server.initiator()
        one.set_device_prop_value(Prop.FRIENDLY_NAME, "Büro 🖨")
        event = other.wait_event()
        assert (event.code, event.params) == (Ev.DEVICE_PROP_CHANGED, (Prop.FRIENDLY_NAME,))
        assert other.device_prop_value(Prop.FRIENDLY_NAME) == "Büro 🖨"
        with pytest.raises(TimeoutError):
            one.wait_event(0.1)
    with running_server([share], *state) as server:
        one = server.initiator()
        assert one.device_prop_value(Prop.FRIENDLY_NAME) == "Büro 🖨"
        one.command(Op.RESET_DEVICE_PROP_VALUE, Prop.FRIENDLY_NAME)
        assert one.device_prop_value(Prop.FRIENDLY_NAME) == one.device_prop_desc(Prop.FRIENDLY_NAME).default
    with running_server([share], *state) as server:
        assert server.initiator().device_prop_value(Prop.FRIENDLY_NAME) != "Büro 🖨"


def test_all_device_properties_are_reset_at_once(mtp: Initiator) -> None:
    before = mtp.device_prop_value(Prop.FRIENDLY_NAME)
    mtp.set_device_prop_value(Prop.FRIENDLY_NAME, "other")
    mtp.set_device_prop_value(0xD401, "partner")
    mtp.command(Op.RESET_DEVICE_PROP_VALUE, ALL)
    assert mtp.device_prop_value(Prop.FRIENDLY_NAME) == before
    assert mtp.device_prop_value(0xD401) == ""


def test_what_cannot_be_reset(mtp: Initiator) -> None:
    with refused(Rc.ACCESS_DENIED):
        mtp.command(Op.RESET_DEVICE_PROP_VALUE, 0x5001)
    with refused(Rc.DEVICE_PROP_NOT_SUPPORTED):
        mtp.command(Op.RESET_DEVICE_PROP_VALUE, 0xD4FF)


def test_the_icon_is_one(mtp: Initiator) -> None:
    icon = mtp.command(Op.GET_DEVICE_PROP_VALUE, 0xD405).data
    count = struct.unpack_from("<I", icon)[0]
    assert len(icon) == 4 + count
    assert icon[4:8] == b"\0\0\1\0"  # an .ico


def test_a_broken_state_file_is_begun_anew(share: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = tmp_path / "state"
    state.mkdir()
    options = ("--state-dir", str(state), "--serial", "S1")
    for text in ("", "[]", "{", '{"device-property-d402": 7, "references": 9}', '{"device-property-d402": "\\ud800"}'):
        (state / "S1.json").write_text(text)
        with running_server([share], *options) as server:
            mtp = server.initiator()
            assert mtp.device_prop_value(Prop.FRIENDLY_NAME) == mtp.device_prop_desc(Prop.FRIENDLY_NAME).default
            assert references(mtp, mtp.names()["one"]) == []
            mtp.set_device_prop_value(Prop.FRIENDLY_NAME, "new")
        assert '"new"' in (state / "S1.json").read_text()


def test_a_state_folder_that_cannot_be(share: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with running_server([share], "--state-dir", str(tmp_path / "file" / "state")) as server:
        mtp = server.initiator()
        mtp.set_device_prop_value(Prop.FRIENDLY_NAME, "new")
        assert mtp.device_prop_value(Prop.FRIENDLY_NAME) == "new"
        mtp.set_device_prop_value(Prop.FRIENDLY_NAME, "newer")
    assert sum("will be forgotten" in text for text in caplog.messages) == 1


def test_references(mtp: Initiator, share: Path) -> None:
    names = mtp.names()
    one, two, box = names["one"], names["two"], names["box"]
    assert references(mtp, one) == []
    refer(mtp, one, two, box, two)
    assert references(mtp, one) == [two, box, two]
    mtp.rename(two, "second")
    assert references(mtp, one) == [two, box, two]
    mtp.delete(two)
    assert references(mtp, one) == [box]
    refer(mtp, one)
    assert references(mtp, one) == []


def test_references_are_kept(share: Path, tmp_path: Path) -> None:
    state = ("--state-dir", str(tmp_path / "state"))
    with running_server([share], *state) as server:
        mtp = server.initiator()
        three = mtp.find("box/three")
        refer(mtp, mtp.find("one"), three, mtp.find("two"))
        mtp.rename(mtp.find("box"), "crate")
    with running_server([share], *state) as server:
        mtp = server.initiator()
        mtp.send_file("fresh", b"other handles than before")
        assert references(mtp, mtp.find("one")) == [mtp.find("crate/three"), mtp.find("two")]
    (share / "two").unlink()
    with running_server([share], *state) as server:
        mtp = server.initiator()
        assert references(mtp, mtp.find("one")) == [mtp.find("crate/three")]


def test_references_to_nothing(mtp: Initiator) -> None:
    one = mtp.names()["one"]
    with refused(Rc.INVALID_OBJECT_HANDLE):
        references(mtp, 999)
    with refused(Rc.INVALID_OBJECT_REFERENCE):
        refer(mtp, one, one, 999)
    for data in (b"", b"\1\0\0", struct.pack("<I", 2), struct.pack("<III", 1, one, one), b"\xff" * 8):
        with refused(Rc.INVALID_DATASET):
            mtp.command(Op.SET_OBJECT_REFERENCES, one, data=data)
    assert references(mtp, one) == []


def test_references_of_a_read_only_storage(share: Path) -> None:
    with phone(Export(share, read_only=True)) as mtp:
        one = mtp.names()["one"]
        with refused(Rc.STORE_READ_ONLY):
            refer(mtp, one, one)


def test_protection_is_the_host_s_permission(mtp: Initiator, share: Path) -> None:
    one = mtp.names()["one"]
    mtp.command(Op.SET_OBJECT_PROTECTION, one, 1)
    assert stat.S_IMODE((share / "one").stat().st_mode) & 0o222 == 0
    assert mtp.object_info(one).protection == 1
    assert mtp.prop_value(one, Prop.PROTECTION, 4) == 1
    for change in (
        lambda: mtp.delete(one),
        lambda: mtp.rename(one, "other"),
        lambda: mtp.move(one, mtp.names()["box"]),
        lambda: mtp.begin_edit(one),
        lambda: mtp.send_file("one", b"new"),
    ):
        with refused(Rc.OBJECT_WRITE_PROTECTED):
            change()
    assert (share / "one").read_text() == "one"
    mtp.command(Op.SET_OBJECT_PROTECTION, one, 0)
    assert mtp.object_info(one).protection == 0
    mtp.delete(one)
    assert not (share / "one").exists()


def test_protection_that_there_is_not(mtp: Initiator) -> None:
    one = mtp.names()["one"]
    with refused(Rc.INVALID_PARAMETER):
        mtp.command(Op.SET_OBJECT_PROTECTION, one, 0x8002)
    with refused(Rc.INVALID_OBJECT_HANDLE):
        mtp.command(Op.SET_OBJECT_PROTECTION, 999, 1)


def test_others_hear_of_protection(share: Path) -> None:
    with running_server([share]) as server:
        one, other = server.initiator(), server.initiator()
        handle = one.names()["one"]
        one.command(Op.SET_OBJECT_PROTECTION, handle, 1)
        event = other.wait_event()
        assert (event.code, event.params) == (Ev.OBJECT_INFO_CHANGED, (handle,))


def test_a_property_list_is_set(mtp: Initiator, share: Path) -> None:
    one, two = mtp.names()["one"], mtp.names()["two"]
    data = rows((one, Prop.FILE_NAME, TEXT, "first"), (two, Prop.MODIFIED, TEXT, "20200102T030405Z"))
    mtp.command(Op.SET_OBJECT_PROP_LIST, data=data)
    assert (share / "first").read_text() == "one"
    assert (share / "two").stat().st_mtime == 1577934245


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ((999, Prop.FILE_NAME, TEXT, "x"), Rc.INVALID_OBJECT_HANDLE),
        ((2, 0xDCFF, TEXT, "x"), Rc.OBJECT_PROP_NOT_SUPPORTED),
        ((2, Prop.SIZE, 8, 7), Rc.ACCESS_DENIED),
        ((2, Prop.FILE_NAME, 6, 7), Rc.INVALID_OBJECT_PROP_FORMAT),
        ((2, Prop.FILE_NAME, TEXT, "../up"), Rc.INVALID_OBJECT_PROP_VALUE),
    ],
)
def test_the_first_property_that_cannot_be_set_is_named(
    mtp: Initiator, share: Path, bad: tuple[int, int, int, int | str], code: int
) -> None:
    one, two = mtp.names()["one"], mtp.names()["two"]
    bad = (two if bad[0] == 2 else bad[0], *bad[1:])
    data = rows((one, Prop.FILE_NAME, TEXT, "first"), bad, (two, Prop.FILE_NAME, TEXT, "never"))
    response = mtp.transact(Op.SET_OBJECT_PROP_LIST, data=data)
    assert (response.code, response.params) == (code, (1,))
    assert {path.name for path in share.iterdir()} == {"first", "two", "box"}


def test_a_property_list_that_is_none(mtp: Initiator) -> None:
    one = mtp.names()["one"]
    whole = rows((one, Prop.FILE_NAME, TEXT, "one"))
    for data in [whole[:size] for size in range(len(whole))] + [whole + b"\0", b"\xff" * 40]:
        with refused(Rc.INVALID_DATASET):
            mtp.command(Op.SET_OBJECT_PROP_LIST, data=data)


def test_no_property_depends_on_another(mtp: Initiator) -> None:
    assert mtp.command(Op.GET_INTERDEPENDENT_PROP_DESC, 0x3001).data == bytes(4)


def announce(mtp: Initiator, data: bytes, size: int = 0, parent: int = ALL, format_: int = 0x3000) -> tuple[int, ...]:
    high, low = divmod(size, 1 << 32)
    return mtp.command(Op.SEND_OBJECT_PROP_LIST, mtp.storage, parent, format_, high, low, data=data).params


def test_an_upload_by_property_list(mtp: Initiator, share: Path) -> None:
    box = mtp.names()["box"]
    data = rows(
        (0, Prop.FILE_NAME, TEXT, "Füße.bin"),
        (0, Prop.MODIFIED, TEXT, "20200102T030405Z"),
        (0, Prop.NAME, TEXT, "another name"),
        (0, Prop.NON_CONSUMABLE, 2, 0),
    )
    storage, parent, handle, failed = announce(mtp, data, 5, box)
    assert (storage, parent, failed) == (mtp.storage, box, 0)
    mtp.send_object(b"hello")
    assert (share / "box/Füße.bin").read_bytes() == b"hello"
    assert (share / "box/Füße.bin").stat().st_mtime == 1577934245
    assert mtp.object_info(handle).name == "Füße.bin"


def test_a_folder_by_property_list(mtp: Initiator, share: Path) -> None:
    announce(mtp, rows((0, Prop.FILE_NAME, TEXT, "new")), format_=0x3001)
    assert (share / "new").is_dir()


def test_the_size_of_an_upload_by_property_list_counts(mtp: Initiator, share: Path) -> None:
    announce(mtp, rows((0, Prop.FILE_NAME, TEXT, "short")), 10)
    with refused(Rc.INCOMPLETE_TRANSFER):
        mtp.send_object(b"hello")
    with refused(Rc.STORE_FULL):
        announce(mtp, rows((0, Prop.FILE_NAME, TEXT, "huge")), 1 << 60)
    announce(mtp, rows((0, Prop.FILE_NAME, TEXT, "unknown")), (1 << 64) - 1)
    mtp.send_object(b"hello")
    assert {path.name for path in share.iterdir()} == {"one", "two", "box", "unknown"}


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ((0, 0xDCFF, TEXT, "x"), Rc.INVALID_OBJECT_PROP_CODE),
        ((0, Prop.SIZE, 6, 7), Rc.INVALID_OBJECT_PROP_FORMAT),
    ],
)
def test_a_property_that_no_object_has(mtp: Initiator, item: tuple[int, int, int, int | str], code: int) -> None:
    data = rows((0, Prop.FILE_NAME, TEXT, "x"), item)
    response = mtp.transact(Op.SEND_OBJECT_PROP_LIST, mtp.storage, ALL, 0x3000, 0, 0, data=data)
    assert (response.code, response.params[3]) == (code, 1)
    with refused(Rc.NO_VALID_OBJECT_INFO):
        mtp.send_object(b"")


def test_an_upload_without_a_name(mtp: Initiator) -> None:
    with refused(Rc.INVALID_OBJECT_PROP_VALUE):
        announce(mtp, rows((0, Prop.MODIFIED, TEXT, "20200102T030405Z")))


def test_formatting_is_refused(mtp: Initiator, share: Path) -> None:
    with refused(Rc.ACCESS_DENIED):
        mtp.command(Op.FORMAT_STORE, mtp.storage)
    with refused(Rc.INVALID_STORAGE_ID):
        mtp.command(Op.FORMAT_STORE, 7)
    assert (share / "box/three").exists()


def test_formatting_that_is_allowed(share: Path) -> None:
    with phone(share, options=["--allow-format"]) as mtp:
        mtp.command(Op.FORMAT_STORE, mtp.storage)
        assert mtp.object_handles(parent=0) == []
    assert list(share.iterdir()) == []


def test_formatting_what_is_read_only(share: Path) -> None:
    with phone(Export(share, read_only=True), options=["--allow-format"]) as mtp, refused(Rc.STORE_READ_ONLY):
        mtp.command(Op.FORMAT_STORE, mtp.storage)
    assert (share / "box/three").exists()


def test_self_test(mtp: Initiator) -> None:
    mtp.command(Op.SELF_TEST, 0)


def test_reset_device_ends_the_session(mtp: Initiator) -> None:
    mtp.command(Op.RESET_DEVICE)
    with refused(Rc.SESSION_NOT_OPEN):
        mtp.names()
    mtp.open_session()
    assert "one" in mtp.names()


def test_power_down_unplugs_when_it_is_answered(share: Path) -> None:
    with running_server([share]) as server:
        mtp = server.initiator()
        mtp.command(Op.POWER_DOWN)
        waiting = mtp.guest.submit_bulk_in(512)
        with pytest.raises(UnpluggedError):
            mtp.guest.wait(waiting)
        mtp.guest.expect_close()
        assert "one" in server.initiator().names()


def test_rows_of_a_list_are_what_the_values_are(mtp: Initiator) -> None:
    one = mtp.names()["one"]
    assert Row(one, Prop.FILE_NAME, TEXT, "one") in mtp.prop_list(one)
    assert string("one") == mtp.command(Op.GET_OBJECT_PROP_VALUE, one, Prop.FILE_NAME).data
