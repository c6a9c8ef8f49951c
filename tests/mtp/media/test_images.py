from __future__ import annotations

import io
import random
from typing import Any

import pytest
from PIL import ExifTags, Image

from tests.mtp.media import samples
from usbredir_mtp.mtp.codes import ObjectProperty
from usbredir_mtp.mtp.media import images
from usbredir_mtp.mtp.media.model import Limits

P = ObjectProperty
LIMITS = Limits()


@pytest.fixture(autouse=True)
def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    images.prepare(LIMITS.pixels)


def made(data: bytes, limits: Limits = LIMITS) -> Image.Image:
    thumbnail = Image.open(io.BytesIO(images.thumbnail(io.BytesIO(data), limits)))
    assert thumbnail.format == "JPEG"
    thumbnail.load()
    return thumbnail


def near(picture: Image.Image, place: tuple[float, float], color: tuple[int, int, int]) -> bool:
    x, y = int(place[0] * (picture.width - 1)), int(place[1] * (picture.height - 1))
    found: Any = picture.convert("RGB").getpixel((x, y))
    return all(abs(one - other) < 40 for one, other in zip(found, color, strict=True))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_every_format(kind: str) -> None:
    data = samples.image(kind)
    assert images.properties(io.BytesIO(data)) == {P.WIDTH: 320, P.HEIGHT: 200}
    thumbnail = made(data)
    assert thumbnail.size == (160, 100)
    assert near(thumbnail, (0.5, 0.5), samples.RED)


@pytest.mark.parametrize(
    ("kind", "mode", "color", "shown"),
    [
        ("PNG", "1", 1, (255, 255, 255)),
        ("PNG", "L", 100, (100, 100, 100)),
        ("PNG", "LA", (0, 0), (255, 255, 255)),
        ("PNG", "I;16", 100 * 256, (100, 100, 100)),
        ("PNG", "P", 0, (0, 0, 0)),
        ("PNG", "RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("PNG", "RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("WEBP", "RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("JPEG", "CMYK", (0, 0, 0, 0), (255, 255, 255)),
        ("TIFF", "F", 0.0, (0, 0, 0)),
    ],
)
def test_every_mode(kind: str, mode: str, color: Any, shown: tuple[int, int, int]) -> None:
    assert near(made(samples.image(kind, mode=mode, color=color)), (0.5, 0.5), shown)


def test_a_palette_with_a_transparent_colour() -> None:
    assert near(made(samples.image("GIF", mode="P", color=0, transparency=0)), (0.5, 0.5), (255, 255, 255))


def test_the_first_frame_of_an_animation() -> None:
    out = io.BytesIO()
    frames = [Image.new("RGB", (300, 300), color) for color in (samples.RED, samples.BLUE)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    assert near(made(out.getvalue()), (0.5, 0.5), samples.RED)


def test_a_small_image_is_not_made_larger() -> None:
    assert made(samples.image("PNG", (20, 10))).size == (20, 10)


@pytest.mark.parametrize(
    ("orientation", "size", "red"),
    [
        (1, (160, 80), (0.1, 0.5)),
        (2, (160, 80), (0.9, 0.5)),
        (3, (160, 80), (0.9, 0.5)),
        (6, (80, 160), (0.5, 0.1)),
        (8, (80, 160), (0.5, 0.9)),
        (99, (160, 80), (0.1, 0.5)),
    ],
)
def test_it_is_shown_upright(orientation: int, size: tuple[int, int], red: tuple[float, float]) -> None:
    thumbnail = made(samples.split_image((640, 320), orientation))
    assert thumbnail.size == size
    assert near(thumbnail, red, samples.RED)
    assert near(thumbnail, (1 - red[0], 1 - red[1]), samples.BLUE)
    assert not thumbnail.getexif()


def test_the_thumbnail_that_a_camera_made() -> None:
    embedded = samples.image("JPEG", (160, 120), color=samples.BLUE)
    assert images.thumbnail(io.BytesIO(samples.with_embedded((640, 480), embedded)), LIMITS) == embedded


@pytest.mark.parametrize(
    ("embedded", "orientation"),
    [
        (samples.image("JPEG", (160, 120), color=samples.BLUE), 3),  # upside down
        (samples.image("JPEG", (160, 90), color=samples.BLUE), 1),  # of another section
        (samples.image("JPEG", (320, 240), color=samples.BLUE), 1),  # too large
        (samples.image("JPEG", (40, 30), color=samples.BLUE), 1),  # too small
        (samples.image("JPEG", (160, 120), color=samples.BLUE)[:400], 1),  # cut off
        (samples.image("PNG", (160, 120), color=samples.BLUE), 1),  # no JPEG
        (b"", 1),
    ],
)
def test_a_bad_thumbnail_of_a_camera_is_made_anew(embedded: bytes, orientation: int) -> None:
    thumbnail = made(samples.with_embedded((640, 480), embedded, orientation))
    assert thumbnail.size == (160, 120)
    assert near(thumbnail, (0.5, 0.5), samples.RED)


def test_what_exif_data_say() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Ansel"
    exif[ExifTags.Base.DateTime] = "2020:01:02 03:04:05"
    exif[0x4746] = 4
    exif[0x9C9E] = "tree; lake".encode("utf-16-le")
    told = images.properties(io.BytesIO(samples.image("JPEG", (8, 8), exif=exif)))
    assert told == {
        P.WIDTH: 8,
        P.HEIGHT: 8,
        P.ARTIST: "Ansel",
        P.DATE_AUTHORED: "20200102T030405",
        P.RATING: 80,
        P.KEYWORDS: "tree; lake",
    }
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2019:12:31 23:59:59"
    exif[0x4749] = 75
    told = images.properties(io.BytesIO(samples.image("PNG", (8, 8), exif=exif)))
    assert (told[P.DATE_AUTHORED], told[P.RATING]) == ("20191231T235959", 75)


@pytest.mark.parametrize("date", ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", ""])
def test_a_date_that_is_not_known(date: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.DateTime] = date
    assert P.DATE_AUTHORED not in images.properties(io.BytesIO(samples.image("JPEG", exif=exif)))


def test_iptc_keywords() -> None:
    words = b"".join(b"\x1c\x02\x19" + len(word).to_bytes(2, "big") + word for word in (b"tree", b"lake"))
    resource = b"8BIM\x04\x04\0\0" + len(words).to_bytes(4, "big") + words + bytes(len(words) % 2)
    app13 = b"Photoshop 3.0\0" + resource
    data = samples.image("JPEG", (8, 8))
    data = data[:2] + b"\xff\xed" + (len(app13) + 2).to_bytes(2, "big") + app13 + data[2:]
    assert images.properties(io.BytesIO(data))[P.KEYWORDS] == "tree; lake"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_data_leave_the_size() -> None:
    exif = b"Exif\0\0II*\0" + random.Random(1).randbytes(200)
    data = samples.image("JPEG", (320, 200), exif=exif)
    told = images.properties(io.BytesIO(data))
    assert (told[P.WIDTH], told[P.HEIGHT]) == (320, 200)
    assert made(data).size == (160, 100)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"this is no picture",
        samples.image("JPEG")[:300],
        samples.image("PNG")[:60],
        samples.png_that_says(50_000, 50_000),
        samples.png_that_says(1000, 1000),
        samples.image("PPM"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    ],
)
def test_what_gets_no_thumbnail(data: bytes) -> None:
    with pytest.raises((OSError, ValueError, SyntaxError, Image.DecompressionBombError)):
        images.thumbnail(io.BytesIO(data), LIMITS)


def test_pixels_are_counted_before_they_are_decoded() -> None:
    limits = Limits(pixels=200 * 300 - 1)
    with pytest.raises(ValueError, match="300 by 200"):
        images.thumbnail(io.BytesIO(samples.image("PNG", (300, 200))), limits)
    large = samples.image("JPEG", (2400, 1600))  # of which a JPEG decoder makes a small one
    assert made(large, Limits(pixels=600 * 400)).size == (160, 107)


def test_the_size_of_a_png_is_told_without_its_pixels() -> None:
    assert images.properties(io.BytesIO(samples.png_that_says(50_000, 50_000))) == {P.WIDTH: 50_000, P.HEIGHT: 50_000}


def test_pillow_is_told_the_limit() -> None:
    images.prepare(1000)
    with pytest.raises(Image.DecompressionBombWarning):
        images.properties(io.BytesIO(samples.image("PNG", (300, 300))))
    with pytest.raises(Image.DecompressionBombError):
        images.properties(io.BytesIO(samples.image("PNG", (400, 400))))
