"""Thumbnails and the properties of pictures and music, as initiators ask for them."""

from __future__ import annotations

import io
import math
import struct
import wave
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.support.codes import ALL, Op, Prop, Rc
from tests.support.initiator import Initiator, refused
from tests.support.server import phone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WIDTH, HEIGHT, DURATION, SAMPLE_RATE, SAMPLE_DATA, SAMPLE_SIZE = 0xDC87, 0xDC88, 0xDC89, 0xDE93, 0xDC86, 0xDC82
SLOW = 0xFFFFFFFF
JPEG = 0x3801


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    share = tmp_path_factory.mktemp("share")
    (share / "box").mkdir()
    Image.linear_gradient("L").resize((640, 480)).convert("RGB").save(share / "picture.jpg", quality=90)
    Image.new("RGBA", (30, 40), (255, 0, 0, 128)).save(share / "small.png")
    (share / "broken.jpg").write_bytes(b"\xff\xd8 this is no picture")
    (share / "note.txt").write_text("nor is this")
    with wave.open(str(share / "tone.wav"), "wb") as tone:
        tone.setparams((1, 2, 8000, 0, "NONE", ""))
        tone.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(n / 9))) for n in range(16000)))
    return share


@pytest.fixture(scope="module")
def mtp(share: Path) -> Iterator[Initiator]:
    with phone(share) as mtp:
        yield mtp


def test_a_thumbnail(mtp: Initiator) -> None:
    handle = mtp.names()["picture.jpg"]
    data = mtp.command(Op.GET_THUMB, handle).data
    with Image.open(io.BytesIO(data)) as thumbnail:
        assert thumbnail.format == "JPEG"
        assert thumbnail.size == (160, 120)
    assert mtp.command(Op.GET_THUMB, handle).data == data


def test_object_info_tells_of_thumbnails(mtp: Initiator) -> None:
    def fields(name: str) -> tuple[int, ...]:
        data = mtp.command(Op.GET_OBJECT_INFO, mtp.names()[name]).data
        found: tuple[int, ...] = struct.unpack_from("<HIII", data, 12)
        return found

    assert fields("note.txt") == fields("tone.wav") == fields("box") == (0, 0, 0, 0)
    format_, size, *_ = fields("small.png")
    assert format_ == JPEG
    assert size > 0
    data = mtp.command(Op.GET_THUMB, mtp.names()["picture.jpg"]).data
    assert fields("picture.jpg") == (JPEG, len(data), 160, 120)


@pytest.mark.parametrize("name", ["broken.jpg", "note.txt", "tone.wav", "box"])
def test_no_thumbnail(mtp: Initiator, name: str) -> None:
    with refused(Rc.NO_THUMBNAIL_PRESENT):
        mtp.command(Op.GET_THUMB, mtp.names()[name])
    assert "box" in mtp.names()


def test_no_object(mtp: Initiator) -> None:
    with refused(Rc.INVALID_OBJECT_HANDLE):
        mtp.command(Op.GET_THUMB, 999)


def test_properties_one_by_one(mtp: Initiator) -> None:
    names = mtp.names()
    assert mtp.prop_value(names["picture.jpg"], WIDTH, 6) == 640
    assert mtp.prop_value(names["picture.jpg"], HEIGHT, 6) == 480
    assert mtp.prop_value(names["tone.wav"], DURATION, 6) == 2000
    assert mtp.prop_value(names["tone.wav"], SAMPLE_RATE, 6) == 8000
    assert mtp.prop_value(names["broken.jpg"], WIDTH, 6) == 0
    assert mtp.prop_value(names["note.txt"], WIDTH, 6) == 0


def test_a_listing_of_everything_leaves_them_out(mtp: Initiator) -> None:
    """They take long to find out, and have the group code that says so."""
    assert WIDTH not in {row.prop for row in mtp.prop_list(ALL, depth=ALL)}
    assert mtp.prop_desc(WIDTH, JPEG).group == SLOW


def test_a_listing_of_one_of_them(mtp: Initiator) -> None:
    names = mtp.names()
    rows = mtp.prop_list(0, prop=WIDTH, depth=1)
    assert {row.handle: row.value for row in rows} == {names["picture.jpg"]: 640, names["small.png"]: 30}


def test_the_slow_group(mtp: Initiator) -> None:
    handle = mtp.names()["small.png"]
    found = {row.prop: row.value for row in mtp.prop_list(handle, prop=0, group=SLOW)}
    assert (found[WIDTH], found[HEIGHT]) == (30, 40)
    assert found[SAMPLE_SIZE] == len(mtp.command(Op.GET_THUMB, handle).data)


def test_the_representative_sample_is_the_thumbnail(mtp: Initiator) -> None:
    handle = mtp.names()["picture.jpg"]
    data = mtp.command(Op.GET_OBJECT_PROP_VALUE, handle, SAMPLE_DATA).data
    assert data[4:] == mtp.command(Op.GET_THUMB, handle).data
    assert len(data) == 4 + struct.unpack_from("<I", data)[0]
    assert mtp.command(Op.GET_OBJECT_PROP_VALUE, mtp.names()["note.txt"], SAMPLE_DATA).data == bytes(4)


def test_properties_belong_to_formats(mtp: Initiator) -> None:
    pictures, texts = mtp.object_props_supported(JPEG), mtp.object_props_supported(0x3004)
    assert {WIDTH, HEIGHT, SAMPLE_DATA} <= set(pictures)
    assert WIDTH not in texts
    assert set(texts) < set(pictures)
    for code in pictures:
        assert mtp.prop_desc(code, JPEG).code == code


def test_a_changed_picture_has_another_thumbnail(tmp_path: Path) -> None:
    Image.new("RGB", (100, 100), "red").save(tmp_path / "a.png")
    with phone(tmp_path) as mtp:
        handle = mtp.names()["a.png"]
        before = mtp.command(Op.GET_THUMB, handle).data
        out = io.BytesIO()
        Image.new("RGB", (100, 50), "blue").save(out, "PNG")
        mtp.send_file("a.png", out.getvalue())
        assert mtp.command(Op.GET_THUMB, handle).data != before
        assert mtp.prop_value(handle, HEIGHT, 6) == 50


def test_without_media(share: Path) -> None:
    with phone(share, options=["--no-media"]) as mtp:
        names = mtp.names()
        with refused(Rc.NO_THUMBNAIL_PRESENT):
            mtp.command(Op.GET_THUMB, names["picture.jpg"])
        assert mtp.object_props_supported(JPEG) == mtp.object_props_supported(0x3004)
        assert mtp.prop_list(0, prop=WIDTH, depth=1) == []
        assert mtp.prop_value(names["picture.jpg"], Prop.SIZE, 8) == (share / "picture.jpg").stat().st_size
