"""What media metadata is about: keys of content, kinds of media, limits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

MIB = 1 << 20


class MediaType(StrEnum):
    """What a file shows or plays."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


_SUFFIXES = {
    MediaType.IMAGE: "jpg jpeg png gif bmp tif tiff webp",
    MediaType.AUDIO: "mp3 m4a aac flac ogg oga opus wav wma aif aiff",
    MediaType.VIDEO: "mp4 m4v mov wmv",
}
_BY_SUFFIX = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}


def suffix_of(name: str) -> str:
    """A file name's suffix in small letters, without the dot; "" for none."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def media_type(name: str) -> MediaType | None:
    """What a file of that name holds, if it is something that can be read here."""
    return _BY_SUFFIX.get(suffix_of(name))


class MediaKey(NamedTuple):
    """Which content: another key once the file has been changed.

    Attributes:
        volume: The storage's volume identifier.
        identity: The file's identity within the volume (`Stat.identity`).
        size: Bytes.
        modified: Nanoseconds since the epoch.
    """

    volume: str
    identity: int
    size: int
    modified: int


class ThumbnailInfo(NamedTuple):
    """A thumbnail's bytes and pixels, as ObjectInfo tells them (MTP 1.1, 5.3.1)."""

    size: int
    width: int
    height: int


@dataclass(slots=True, frozen=True)
class Limits:
    """What reading one file may cost.

    Attributes:
        pixels: Of an image once it is decoded; a JPEG is decoded at down to an eighth of its size.
        bytes: Of an image file; larger ones get no thumbnail. Of audio and video only the tags are read.
        seconds: From handing a file over until the answer.
        memory: Bytes of address space of the process that parses: two copies of an image at 4 bytes a pixel fit.
        cache_bytes: Thumbnails on disk.
        side: Pixels of a thumbnail's longer side; initiators expect what cameras have, 160 by 120.
        idle: Seconds after which the process ends if it has nothing to do.
    """

    pixels: int = 64_000_000
    bytes: int = 256 * MIB
    seconds: float = 5.0
    memory: int = 768 * MIB
    cache_bytes: int = 64 * MIB
    side: int = 160
    idle: float = 60.0
