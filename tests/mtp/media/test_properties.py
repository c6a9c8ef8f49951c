from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.mtp.media import samples
from usbredir_mtp.mtp.codes import DataType, ObjectProperty
from usbredir_mtp.mtp.datatypes import ENCODERS, MAX_STRING_UNITS
from usbredir_mtp.mtp.media.jpeg import jpeg_size
from usbredir_mtp.mtp.media.model import MediaType, media_type
from usbredir_mtp.mtp.media.properties import MEDIA_PROPERTIES, clean, fit_text, property_codes

P = ObjectProperty


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", MediaType.IMAGE),
        ("A.B.JPEG", MediaType.IMAGE),
        ("song.Mp3", MediaType.AUDIO),
        ("film.mov", MediaType.VIDEO),
        ("film.mkv", None),
        ("jpg", None),
        ("", None),
        ("a.jpg.txt", None),
    ],
)
def test_what_a_name_says(name: str, kind: MediaType | None) -> None:
    assert media_type(name) is kind


def test_every_value_of_the_table_can_be_sent() -> None:
    for code, row in MEDIA_PROPERTIES.items():
        text = "20240229T120000" if row.date else "x" * 1000 + "\ud800\0"
        value: int | str = text if row.kind is DataType.STRING else 1 << 70
        for kind in row.media:
            assert ENCODERS[row.kind](clean({str(code): value}, kind)[code])


def test_numbers_are_cut_to_their_type() -> None:
    found = {str(P.TRACK): 70000, str(P.RATING): 101, str(P.DURATION): -1, str(P.SAMPLE_RATE): 1 << 40}
    assert clean(found, MediaType.AUDIO) == {P.DURATION: 0, P.RATING: 100, P.TRACK: 65535, P.SAMPLE_RATE: 0xFFFFFFFF}


@pytest.mark.parametrize("value", ["12", 1.5, True, None, [], {}])
def test_a_number_of_another_type_is_left_out(value: object) -> None:
    assert clean({str(P.TRACK): value}, MediaType.AUDIO) == {}


@pytest.mark.parametrize("value", [12, None, [], b"x", "", "\0\0", " "])
def test_a_text_that_says_nothing_is_left_out(value: object) -> None:
    assert clean({str(P.ARTIST): value}, MediaType.AUDIO) == {}


@pytest.mark.parametrize("value", ["2024", "20240230T000000", "2024-01-01", "20240101T000000Z", "x" * 15])
def test_a_date_of_another_form_is_left_out(value: str) -> None:
    assert clean({str(P.DATE_AUTHORED): value}, MediaType.IMAGE) == {}


def test_a_property_of_other_media_or_none_is_left_out() -> None:
    found = {str(P.TRACK): 1, str(P.WIDTH): 2, str(P.STORAGE_ID): 3, "x": 4, P.HEIGHT: 5}
    assert clean(found, MediaType.IMAGE) == {P.WIDTH: 2, P.HEIGHT: 5}
    assert set(property_codes(MediaType.IMAGE)) >= {P.WIDTH, P.HEIGHT}
    assert P.TRACK not in property_codes(MediaType.IMAGE)


@pytest.mark.parametrize(
    ("text", "fitted"),
    [
        ("  a\0b ", "a b"),
        ("a\ud800b", "a?b"),
        ("x" * 300, "x" * MAX_STRING_UNITS),
        ("x" * 253 + "\U0001f600", "x" * 253),
        ("x" * 252 + "\U0001f600", "x" * 252 + "\U0001f600"),
    ],
)
def test_texts_are_made_to_fit(text: str, fitted: str) -> None:
    assert fit_text(text) == fitted


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": b"Exif\0\0" + bytes(60000)}])
def test_the_size_of_a_jpeg(options: dict[str, Any]) -> None:
    data = samples.image("JPEG", (31, 17), **options)
    assert jpeg_size(data) == (31, 17)


def test_the_size_of_what_is_no_jpeg() -> None:
    data = samples.image("JPEG", (31, 17))
    at = data.index(b"\xff\xc0")
    assert all(jpeg_size(data[:end]) is None for end in range(at + 9))
    assert jpeg_size(samples.image("PNG")) is None
    assert jpeg_size(data[: at + 5] + bytes(4) + data[at + 9 :]) is None
    assert jpeg_size(b"\xff\xd8\xff\xc4\0\2x" + bytes(20)) is None


def test_only_the_parsing_process_loads_the_libraries() -> None:
    package = Path(__file__).parents[3] / "usbredir_mtp"
    users = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "import images" in path.read_text("utf-8") or "import tags" in path.read_text("utf-8")
    }
    assert users == {"mtp/media/worker.py"}
