"""Object formats by file name (MTP 1.1, appendix A).

The list is short on purpose: libmtp asks for a property description once per playback format at every open.
"""

from __future__ import annotations

from usbredir_mtp.mtp.codes import ObjectFormat

_BY_SUFFIX: dict[str, ObjectFormat] = {
    "txt": ObjectFormat.TEXT,
    "wav": ObjectFormat.WAV,
    "mp3": ObjectFormat.MP3,
    "jpg": ObjectFormat.EXIF_JPEG,
    "jpeg": ObjectFormat.EXIF_JPEG,
    "bmp": ObjectFormat.BMP,
    "tif": ObjectFormat.TIFF,
    "tiff": ObjectFormat.TIFF,
    "ogg": ObjectFormat.OGG,
    "oga": ObjectFormat.OGG,
    "aac": ObjectFormat.AAC,
    "flac": ObjectFormat.FLAC,
    "gif": ObjectFormat.GIF,
    "png": ObjectFormat.PNG,
    "mp4": ObjectFormat.MP4_CONTAINER,
    "m4v": ObjectFormat.MP4_CONTAINER,
}

PLAYBACK_FORMATS: tuple[ObjectFormat, ...] = (
    ObjectFormat.UNDEFINED,
    ObjectFormat.ASSOCIATION,
    *dict.fromkeys(_BY_SUFFIX.values()),
)
"""What DeviceInfo lists; files of every other kind are UNDEFINED."""


def file_format(name: str) -> ObjectFormat:
    """The format of a file of this name."""
    return _BY_SUFFIX.get(name.rpartition(".")[2].lower(), ObjectFormat.UNDEFINED)


def suffixes(code: int) -> list[str]:
    """The suffixes by which files of a format are known."""
    return [suffix for suffix, each in _BY_SUFFIX.items() if each == code]
