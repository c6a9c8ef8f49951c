"""Uploads: every size at which something could go wrong; whole or not at all."""

from __future__ import annotations

import struct
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.support.codes import ALL, Op, Rc
from tests.support.initiator import Initiator, OutStyle, refused
from tests.support.mtp import ObjectInfo, parse_date
from tests.support.server import Server, phone, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
SIZES = [0, 1, 52, 114, 116, 500, 511, 512, 513, 578, 1012, 1024, 4084, 16372, 16384, MIB - 1, MIB, MIB + 1]
STYLES = {
    "joined": (OutStyle.JOINED, 16384),
    "libmtp": (OutStyle.FIRST_PACKET, 16384),
    "header alone": (OutStyle.SPLIT_HEADER, 16384),
    "one packet": (OutStyle.JOINED, 512),
    "one transfer": (OutStyle.JOINED, 4 * MIB),
}


def pattern(size: int) -> bytes:
    return struct.pack(f"<{size // 4 + 1}I", *range(size // 4 + 1))[:size]


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("share")


@pytest.fixture(scope="module")
def server(share: Path) -> Iterator[Server]:
    with running_server([share]) as running:
        yield running


@pytest.mark.parametrize("style", STYLES)
def test_put(server: Server, share: Path, style: str) -> None:
    how, transfer = STYLES[style]
    mtp = server.initiator(style=how, transfer=transfer)
    for size in SIZES:
        if size > 65536 and style == "one packet":
            continue
        name = f"{style} {size}"
        handle = mtp.send_file(name, pattern(size))
        assert (share / name).read_bytes() == pattern(size), size
        assert mtp.object_info(handle).size == size
        assert mtp.get_object(handle) == pattern(size), size
    mtp.guest.close()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Initiator]:
    with phone(tmp_path) as mtp:
        yield mtp


def test_nothing_shows_before_the_end(alone: Initiator, tmp_path: Path) -> None:
    number = alone.begin_upload("late", 20000, bytes(16372))
    assert not (tmp_path / "late").exists()
    alone.send_message(bytes(20000 - 16372))
    assert alone.finish(Op.SEND_OBJECT, number).code == Rc.OK
    assert (tmp_path / "late").read_bytes() == bytes(20000)
    assert [path.name for path in tmp_path.iterdir()] == ["late"]


def test_cancel_leaves_nothing(alone: Initiator, tmp_path: Path) -> None:
    number = alone.begin_upload("torn", MIB, bytes(16372))
    alone.cancel(number)
    assert list(tmp_path.iterdir()) == []
    assert alone.names() == {}
    alone.send_file("torn", b"whole")
    assert (tmp_path / "torn").read_bytes() == b"whole"


def test_cancel_keeps_the_old_file(alone: Initiator, tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"old")
    alone.names()
    number = alone.begin_upload("kept", MIB, bytes(16372))
    alone.cancel(number)
    assert (tmp_path / "kept").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_guest_that_vanishes_in_mid_upload(tmp_path: Path, old: bytes | None) -> None:
    if old is not None:
        (tmp_path / "file").write_bytes(old)
    with running_server([tmp_path]) as server:
        mtp = server.initiator()
        mtp.begin_upload("file", MIB, bytes(16372))
        mtp.guest.close()
        before = [] if old is None else ["file"]
        deadline = time.monotonic() + 10
        while [path.name for path in tmp_path.iterdir()] != before:
            assert time.monotonic() < deadline, list(tmp_path.iterdir())
            time.sleep(0.01)
        after = server.initiator()
        assert list(after.names()) == before
        after.send_file("file", b"next")
        assert (tmp_path / "file").read_bytes() == b"next"


@pytest.mark.parametrize(("announced", "sent"), [(1000, 500), (1000, 0), (1, 0), (40000, 16372), (500, 1000)])
def test_another_length_than_announced(alone: Initiator, tmp_path: Path, announced: int, sent: int) -> None:
    """SendObjectInfo promised a size: an object of another one is torn, and worse than none."""
    alone.send_object_info(alone.storage, ALL, ObjectInfo(size=announced, name="file"))
    with refused():
        alone.send_object(bytes(sent))
    assert list(tmp_path.iterdir()) == []
    alone.send_file("file", b"good")
    assert (tmp_path / "file").read_bytes() == b"good"


def test_a_data_phase_that_ends_early(alone: Initiator, tmp_path: Path) -> None:
    """The container promises more than comes before a short packet."""
    alone.send_object_info(alone.storage, ALL, ObjectInfo(size=1000, name="file"))
    number = alone.send_command(Op.SEND_OBJECT)
    alone.send_data(Op.SEND_OBJECT, number, bytes(700), length=1012)
    assert alone.finish(Op.SEND_OBJECT, number).code == Rc.INCOMPLETE_TRANSFER
    assert list(tmp_path.iterdir()) == []


def test_a_length_that_is_not_known(alone: Initiator, tmp_path: Path) -> None:
    """0xFFFFFFFF in ObjectInfo and container: the data end with a short packet."""
    alone.send_object_info(alone.storage, ALL, ObjectInfo(size=ALL, name="stream"))
    number = alone.send_command(Op.SEND_OBJECT)
    alone.send_data(Op.SEND_OBJECT, number, pattern(100_000), length=ALL)
    assert alone.finish(Op.SEND_OBJECT, number).code == Rc.OK
    assert (tmp_path / "stream").read_bytes() == pattern(100_000)


def test_overwrite_with_less(alone: Initiator, tmp_path: Path) -> None:
    alone.send_file("file", bytes(100_000))
    handle = alone.send_file("file", b"short")
    assert (tmp_path / "file").read_bytes() == b"short"
    assert list(alone.names()) == ["file"]
    assert alone.object_info(handle).size == 5
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_not_overwritten(alone: Initiator, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").touch()
    with refused():
        alone.send_file("folder", b"file")
    assert (tmp_path / "folder" / "x").exists()


@pytest.mark.parametrize(
    "text", ["20200102T030405Z", "20200102T030405", "20200102T030405.0Z", "20200102T030405+0200", "19700102T000000Z"]
)
def test_the_modification_time_is_kept(alone: Initiator, tmp_path: Path, text: str) -> None:
    handle = alone.send_file("dated", b"x", modified=text)
    assert (tmp_path / "dated").stat().st_mtime == parse_date(text).timestamp()
    assert parse_date(alone.object_info(handle).modified) == parse_date(text)


@pytest.mark.parametrize("text", ["", "yesterday", "20201399T999999"])
def test_no_usable_time_is_now(alone: Initiator, tmp_path: Path, text: str) -> None:
    alone.send_file("dated", b"x", modified=text)
    age = datetime.now(UTC).timestamp() - (tmp_path / "dated").stat().st_mtime
    assert abs(age) < 60


def test_into_a_folder(alone: Initiator, tmp_path: Path) -> None:
    folder = alone.make_folder("a")
    deeper = alone.make_folder("b", folder)
    handle = alone.send_file("c", b"deep", deeper)
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"deep"
    assert alone.object_info(handle).parent == deeper


def test_parent_zero_is_left_to_the_responder(alone: Initiator, tmp_path: Path) -> None:
    """Parent 0 (MTP 1.1, D.2.12): the responder chooses; the root is the choice of all that we know."""
    alone.send_file("file", b"x", 0)
    assert (tmp_path / "file").exists()


def test_send_object_without_its_info(alone: Initiator, tmp_path: Path) -> None:
    with refused(Rc.NO_VALID_OBJECT_INFO):
        alone.send_object(bytes(50_000))
    assert list(tmp_path.iterdir()) == []


def test_another_operation_between_drops_nothing_on_the_host(alone: Initiator, tmp_path: Path) -> None:
    alone.send_object_info(alone.storage, ALL, ObjectInfo(size=3, name="file"))
    assert alone.device_info().standard_version == 100
    response = alone.transact(Op.SEND_OBJECT, data=b"abc")
    assert response.code in {Rc.OK, Rc.NO_VALID_OBJECT_INFO}
    expected = ["file"] if response.code == Rc.OK else []
    assert [path.name for path in tmp_path.iterdir()] == expected


def test_bad_places(alone: Initiator) -> None:
    file = alone.send_file("file", b"")
    with refused(Rc.INVALID_STORAGE_ID):
        alone.send_object_info(0x00990001, ALL, ObjectInfo(name="x"))
    for parent in (file, 0x00ABCDEF):
        with refused(Rc.INVALID_PARENT_OBJECT, Rc.INVALID_OBJECT_HANDLE):
            alone.send_object_info(alone.storage, parent, ObjectInfo(name="x"))


@pytest.mark.parametrize("size", [0, 1, 51, 53])
def test_garbage_for_an_object_info(alone: Initiator, size: int) -> None:
    with refused(Rc.INVALID_DATASET):
        alone.command(Op.SEND_OBJECT_INFO, alone.storage, ALL, data=b"\xff" * size)


def test_an_object_info_without_end(alone: Initiator) -> None:
    """A dataset has a bound: more than that is not kept in memory."""
    with refused():
        alone.command(Op.SEND_OBJECT_INFO, alone.storage, ALL, data=bytes(8 * MIB))
    assert alone.names() == {}
