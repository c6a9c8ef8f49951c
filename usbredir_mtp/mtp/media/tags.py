"""What audio and video files say (mutagen). Runs in the process that parses, nowhere else."""

from __future__ import annotations

import base64
import io
import os
import re
import struct
from typing import TYPE_CHECKING, Any

from mutagen import MutagenError
from mutagen.aac import AAC
from mutagen.aiff import AIFF
from mutagen.asf import ASF
from mutagen.flac import FLAC, Picture
from mutagen.mp3 import MP3
from mutagen.mp4 import MP4
from mutagen.oggflac import OggFLAC
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

from usbredir_mtp.mtp.codes import ObjectProperty
from usbredir_mtp.mtp.media.model import MediaType, media_type

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

Found = dict[int, int | str]

_OGG: tuple[Any, ...] = (OggVorbis, OggOpus, OggFLAC)
_CLASSES: dict[str, tuple[Any, ...]] = {
    "mp3": (MP3,),
    "aac": (AAC,),
    "flac": (FLAC,),
    "ogg": _OGG,
    "oga": _OGG,
    "opus": _OGG,
    "wav": (WAVE,),
    "aif": (AIFF,),
    "aiff": (AIFF,),
    "wma": (ASF,),
    "wmv": (ASF,),
    **dict.fromkeys(("m4a", "mp4", "m4v", "mov"), (MP4,)),
}

_P = ObjectProperty
_TEXTS: dict[int, tuple[str, ...]] = {
    # ID3v2, MP4, Vorbis comments, ASF
    _P.NAME: ("TIT2", "\xa9nam", "title", "Title"),
    _P.ARTIST: ("TPE1", "\xa9ART", "artist", "Author"),
    _P.ALBUM_ARTIST: ("TPE2", "aART", "albumartist", "album artist", "WM/AlbumArtist"),
    _P.ALBUM_NAME: ("TALB", "\xa9alb", "album", "WM/AlbumTitle"),
    _P.GENRE: ("TCON", "\xa9gen", "genre", "WM/Genre"),
    _P.COMPOSER: ("TCOM", "\xa9wrt", "composer", "WM/Composer"),
}
"""Names of a property in the tags; no name means one thing in one kind of tag and another in another."""
_TRACKS = ("TRCK", "trkn", "tracknumber", "WM/TrackNumber")
_DATES = ("TDOR", "originaldate", "WM/OriginalReleaseYear", "TDRC", "\xa9day", "date", "WM/Year")

_INFO = {
    _P.SAMPLE_RATE: "sample_rate",
    _P.NUMBER_OF_CHANNELS: "channels",
    _P.AUDIO_BIT_DEPTH: "bits_per_sample",
    _P.AUDIO_BIT_RATE: "bitrate",
}

_FRONT_COVER = 3
_BOX = struct.Struct(">I4s")
_PICTURE_SIZE = struct.Struct(">II")  # the end of a track header
_FIXED_POINT = 16  # bits behind the point in it


def properties(file: BinaryIO, suffix: str) -> Found:
    """Property code to value, as found.

    Raises:
        Exception: mutagen's, of all kinds.
    """
    parsed = _parse(file, suffix)
    size = os.fstat(file.fileno()).st_size
    found = _from_info(parsed.info, size, video=media_type(f".{suffix}") is MediaType.VIDEO)
    if isinstance(parsed, MP4):
        found |= _picture_size(file, size)
    return found | _from_tags(parsed.tags if parsed.tags is not None else {})


def _parse(file: BinaryIO, suffix: str) -> Any:
    problem: MutagenError | None = None
    for each in _CLASSES[suffix]:
        try:
            file.seek(0)
            return each(file)
        except MutagenError as error:
            problem = error
    raise problem or MutagenError(suffix)


def _from_info(info: Any, size: int, *, video: bool) -> Found:
    found: Found = {code: int(value) for code, name in _INFO.items() if (value := getattr(info, name, 0))}
    length = getattr(info, "length", 0)
    if length > 0:
        found[_P.DURATION] = round(length * 1000)
        average = round(size * 8 / length)
        found[_P.TOTAL_BIT_RATE] = average if video else found.setdefault(_P.AUDIO_BIT_RATE, average)
    return found


def _picture_size(file: BinaryIO, size: int) -> Found:
    """Width and height from the track headers of an MP4 (ISO/IEC 14496-12, 8.3.2): sound has none."""
    for start, end in _boxes(file, (b"moov", b"trak", b"tkhd"), 0, size):
        file.seek(max(start, end - _PICTURE_SIZE.size))
        width, height = (length >> _FIXED_POINT for length in _PICTURE_SIZE.unpack(file.read(_PICTURE_SIZE.size)))
        if width and height:
            return {_P.WIDTH: width, _P.HEIGHT: height}
    return {}


def _boxes(file: BinaryIO, path: tuple[bytes, ...], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the contents of the boxes on that path begin and end (ISO/IEC 14496-12, 4.2)."""
    while start + _BOX.size <= end:
        file.seek(start)
        head = _BOX.size
        length, kind = _BOX.unpack(file.read(head))
        if length == 1:  # 64 bits of length follow
            length, head = int.from_bytes(file.read(8), "big"), head + 8
        elif length == 0:
            length = end - start
        if length < head or start + length > end:
            return
        inside = start + head, start + length
        if kind == path[0]:
            yield from _boxes(file, path[1:], *inside) if path[1:] else [inside]
        start += length


def _from_tags(tags: Any) -> Found:
    found: Found = {}
    for code, names in _TEXTS.items():
        if text := _first(tags, names):
            found[code] = text
    number = re.match(r"\d{1,9}", _first(tags, _TRACKS))
    if number:
        found[_P.TRACK] = int(number[0])
    date = _release_date(_first(tags, _DATES))
    if date:
        found[_P.ORIGINAL_RELEASE_DATE] = date
    rating = _rating(tags)
    if rating is not None:
        found[_P.RATING] = rating
    return found


def _first(tags: Any, names: tuple[str, ...]) -> str:
    """The first value of the first of those tags, whatever the kind of tag wraps it in; "" if there is none."""
    for name in names:
        try:
            value = tags[name]
        except (KeyError, ValueError):  # the latter where a kind of tags cannot have such a name
            continue
        value = getattr(value, "genres", None) or getattr(value, "text", value)  # ID3 frames
        while isinstance(value, list | tuple):
            value = value[0] if value else None
        if value is not None and str(value):
            return str(value)
    return ""


def _release_date(text: str) -> str:
    """`YYYY`, `YYYY-MM` or `YYYY-MM-DD`, with more behind it, as MTP's date; what is not said is the first."""
    match = re.match(r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?", text)
    if not match or match[1] == "0000":
        return ""
    return f"{match[1]}{match[2] or '01'}{match[3] or '01'}T000000"


def _rating(tags: Any) -> int | None:
    """The popularimeter's 1 to 255 (ID3v2.4, 4.17) in a hundred; 0 there is "not rated", as is 0 here."""
    meters = tags.getall("POPM") if hasattr(tags, "getall") else []
    return round(meters[0].rating / 2.55) if meters else None


def cover(file: BinaryIO, suffix: str) -> BinaryIO | None:
    """The picture that a file brings along, the front cover first; None if it has none.

    Raises:
        Exception: mutagen's, of all kinds.
    """
    parsed = _parse(file, suffix)
    pictures = sorted(_pictures(parsed, parsed.tags or {}), key=lambda row: row[0] != _FRONT_COVER)
    return io.BytesIO(pictures[0][1]) if pictures else None


def _pictures(parsed: Any, tags: Any) -> list[tuple[int, bytes]]:
    """Kind (ID3v2.4, 4.14) and data of each picture."""
    if hasattr(tags, "getall"):
        return [(frame.type, frame.data) for frame in tags.getall("APIC")]
    if "covr" in tags:
        return [(_FRONT_COVER, bytes(data)) for data in tags["covr"]]
    blocks: list[Any] = list(getattr(parsed, "pictures", []))
    if "metadata_block_picture" in tags:
        decode: Any = Picture
        blocks += [decode(base64.b64decode(text)) for text in tags["metadata_block_picture"]]
    return [(block.type, block.data) for block in blocks]
