"""What image files say, and thumbnails of them (Pillow). Runs in the process that parses, nowhere else."""

from __future__ import annotations

import io
import warnings
from datetime import datetime
from typing import TYPE_CHECKING

from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    IptcImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from usbredir_mtp.mtp.codes import ObjectProperty
from usbredir_mtp.mtp.media.properties import DATE_FORM

if TYPE_CHECKING:
    from typing import BinaryIO

    from usbredir_mtp.mtp.media.model import Limits

_PLUGINS: tuple[type[ImageFile.ImageFile], ...] = (
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    GifImagePlugin.GifImageFile,
    BmpImagePlugin.BmpImageFile,
    TiffImagePlugin.TiffImageFile,
    WebPImagePlugin.WebPImageFile,
    MpoImagePlugin.MpoImageFile,  # two JPEGs in one: what some phones write; it has no signature of its own
)
_FORMATS = [str(plugin.format) for plugin in _PLUGINS[:-1]]
_JPEG_FORMATS = {"JPEG", "MPO"}

_QUALITY = 80
_DRAFT = 2  # decode a JPEG at no less than twice the thumbnail's size: the rest is scaled well
_JPEG_SCALE = 64  # an eighth of width and height

_PNG_EXIF = {"exif", "Raw profile type exif"}
_EXIF_HEADER = len(b"Exif\0\0")  # what the offsets in it do not count (EXIF 2.32, 4.7.2)
_THUMBNAIL_OFFSET, _THUMBNAIL_SIZE = 0x0201, 0x0202  # of the IFD of the thumbnail (EXIF 2.32, 4.6.4)
_RATING, _RATING_PERCENT, _KEYWORDS = 0x4746, 0x4749, 0x9C9E  # Microsoft's tags; the last is UTF-16
_IPTC_KEYWORDS = (2, 25)
_ASPECT_SLACK = 2  # pixels by which a picture of the same shape may be off, having been rounded

_T = Image.Transpose
_UPRIGHT = {
    2: _T.FLIP_LEFT_RIGHT,
    3: _T.ROTATE_180,
    4: _T.FLIP_TOP_BOTTOM,
    5: _T.TRANSPOSE,
    6: _T.ROTATE_270,
    7: _T.TRANSVERSE,
    8: _T.ROTATE_90,
}
"""How to show an image of each EXIF orientation but the normal one (EXIF 2.32, 4.6.4)."""


def prepare(pixels: int) -> None:
    """Make Pillow refuse headers that announce more than we might decode, for the whole process."""
    Image.MAX_IMAGE_PIXELS = pixels * _JPEG_SCALE
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def properties(file: BinaryIO) -> dict[int, int | str]:
    """Property code to value, as found; no pixel is decoded.

    Raises:
        Exception: Pillow's, of all kinds.
    """
    with Image.open(file, formats=_FORMATS) as image:
        found: dict[int, int | str | None] = {
            ObjectProperty.WIDTH: image.width,
            ObjectProperty.HEIGHT: image.height,
        }
        for read in (_from_exif, _from_iptc):
            try:
                found |= read(image)
            except Exception:  # noqa: BLE001, S112  (broken metadata: the picture's size is known all the same)
                continue
        return {code: value for code, value in found.items() if value is not None}


def _from_exif(image: ImageFile.ImageFile) -> dict[int, int | str | None]:
    if image.format == "PNG" and not _PNG_EXIF & image.info.keys():
        return {}  # Pillow would decode all pixels to see whether some EXIF data follow them
    exif = image.getexif()
    details = exif.get_ifd(ExifTags.IFD.Exif)
    keywords = exif.get(_KEYWORDS)
    return {
        ObjectProperty.ARTIST: _text(exif.get(ExifTags.Base.Artist)),
        ObjectProperty.DATE_AUTHORED: _date(
            details.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
        ),
        ObjectProperty.RATING: _rating(exif.get(_RATING_PERCENT), exif.get(_RATING)),
        ObjectProperty.KEYWORDS: keywords.decode("utf-16-le", "replace") if isinstance(keywords, bytes) else None,
    }


def _from_iptc(image: ImageFile.ImageFile) -> dict[int, int | str | None]:
    words = (IptcImagePlugin.getiptcinfo(image) or {}).get(_IPTC_KEYWORDS)
    if words is None:
        return {}
    words = words if isinstance(words, list) else [words]
    return {ObjectProperty.KEYWORDS: "; ".join(word.decode("utf-8", "replace") for word in words)}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _date(value: object) -> str | None:
    """EXIF's `YYYY:MM:DD hh:mm:ss` in MTP's form."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.strptime(value.rstrip("\0 "), "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007  (the camera's own)
    except ValueError:  # blanks or zeros stand for "not known"
        return None
    return moment.strftime(DATE_FORM).rjust(15, "0")


def _rating(percent: object, stars: object) -> int | None:
    if isinstance(percent, int):
        return percent
    return 20 * stars if isinstance(stars, int) else None


def thumbnail(file: BinaryIO, limits: Limits) -> bytes:
    """A JPEG that fits `limits.side`: the one that the image brings along, else one made of it.

    Raises:
        Exception: ours for too many pixels, Pillow's of all kinds.
    """
    with Image.open(file, formats=_FORMATS) as image:
        return _embedded(image, limits.side) or _made(image, limits)


def _embedded(image: ImageFile.ImageFile, side: int) -> bytes | None:
    """The thumbnail in the EXIF data, if it decodes, shows the same section, and is upright and of a good size."""
    if image.format not in _JPEG_FORMATS:
        return None
    try:
        exif = image.getexif()
        place = exif.get_ifd(ExifTags.IFD.IFD1)
        if exif.get(ExifTags.Base.Orientation, 1) != 1 or _THUMBNAIL_OFFSET not in place:
            return None
        start = _EXIF_HEADER + place[_THUMBNAIL_OFFSET]
        data: bytes = image.info["exif"][start : start + place[_THUMBNAIL_SIZE]]
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as small:
            fits = side // 2 <= max(small.size) <= side and _same_shape(image.size, small.size)
            if not fits:
                return None
            small.load()
    except Exception:  # noqa: BLE001  (a broken one: a new one will be made)
        return None
    return data


def _same_shape(size: tuple[int, int], small: tuple[int, int]) -> bool:
    """Whether `small` is `size` made smaller: not an older section, and without black bars."""
    scale = max(small) / max(size)
    return all(abs(length * scale - other) <= _ASPECT_SLACK for length, other in zip(size, small, strict=True))


def _made(image: ImageFile.ImageFile, limits: Limits) -> bytes:
    image.draft(None, (_DRAFT * limits.side, _DRAFT * limits.side))
    if image.width * image.height > limits.pixels:
        raise ValueError(f"image of {image.width} by {image.height} pixels")
    image.load()
    small = _plain(image)
    small.thumbnail((limits.side, limits.side), Image.Resampling.LANCZOS)
    if small.mode == "RGBA":
        white = Image.new("RGB", small.size, "white")
        white.paste(small, mask=small.getchannel("A"))
        small = white
    method = _UPRIGHT.get(_orientation(image))
    if method is not None:
        small = small.transpose(method)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _plain(image: Image.Image) -> Image.Image:
    """The image in one of the modes L, RGB and RGBA."""
    if image.mode.startswith("I;16"):
        return image.point(lambda value: value * (1 / 256)).convert("L")
    mode = "RGBA" if image.has_transparency_data else "L" if image.mode == "L" else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _orientation(image: ImageFile.ImageFile) -> int:
    """The EXIF orientation of a loaded image (Pillow turns a TIFF itself, and has then forgotten it)."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  (broken metadata: shown as it is stored)
        return 1
