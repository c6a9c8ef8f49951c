"""Media files of a few bytes, made by hand where no library writes them."""

from __future__ import annotations

import base64
import io
import struct
import uuid
import wave
import zlib
from typing import TYPE_CHECKING, Any

import mutagen.flac
import mutagen.id3
import mutagen.mp4
import mutagen.ogg
from PIL import ExifTags, Image

if TYPE_CHECKING:
    from collections.abc import Mapping

ID3: Any = mutagen.id3
RED = (255, 0, 0)
BLUE = (0, 0, 255)


def image(kind: str, size: tuple[int, int] = (320, 200), mode: str = "RGB", color: Any = RED, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, color).save(out, kind, **options)
    return out.getvalue()


def split_image(size: tuple[int, int], orientation: int | None = None) -> bytes:
    """A JPEG that is red on the left and blue on the right."""
    picture = Image.new("RGB", size, RED)
    picture.paste(BLUE, (size[0] // 2, 0, *size))
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    out = io.BytesIO()
    picture.save(out, "JPEG", exif=exif, quality=95)
    return out.getvalue()


def png_that_says(width: int, height: int) -> bytes:
    """A PNG of a few bytes with a header that announces any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def with_embedded(size: tuple[int, int], thumbnail: bytes, orientation: int = 1) -> bytes:
    """A JPEG with EXIF data by hand: the orientation, and a thumbnail in IFD1."""
    after = 8 + 2 + 12 + 4
    first = struct.pack("<HHHII", 1, ExifTags.Base.Orientation, 3, 1, orientation) + struct.pack("<I", after)
    data_at = after + 2 + 2 * 12 + 4
    second = (
        struct.pack("<H", 2)
        + struct.pack("<HHII", 0x0201, 4, 1, data_at)
        + struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail))
        + struct.pack("<I", 0)
    )
    exif = b"Exif\0\0" + struct.pack("<2sHI", b"II", 42, 8) + first + second + thumbnail
    return image("JPEG", size, exif=exif)


def wav(seconds: int = 1) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(4 * 8000 * seconds))
    return out.getvalue()


def mp3(*frames: Any, count: int = 50) -> bytes:
    """MPEG 1, layer 3, 128 kbit/s, 44.1 kHz, stereo: frames of 417 bytes after an ID3 tag."""
    tag = ID3.ID3()
    for frame in frames:
        tag.add(frame)
    out = io.BytesIO()
    if frames:
        tag.save(out)
    return out.getvalue() + (b"\xff\xfb\x90\x00" + bytes(413)) * count


def flac(tags: Mapping[str, str], cover: bytes | None = None) -> bytes:
    """48 kHz, 2 channels, 16 bits, 96,000 samples, and no sound."""
    info = (48000 << 44) | (1 << 41) | (15 << 36) | 96000
    stream = struct.pack(">HH", 4096, 4096) + bytes(6) + info.to_bytes(8, "big") + bytes(16)
    out = io.BytesIO(b"fLaC" + b"\x80" + len(stream).to_bytes(3, "big") + stream)
    parse: Any = mutagen.flac.FLAC
    file = parse(out)
    for name, value in tags.items():
        file[name] = value
    if cover is not None:
        file.add_picture(picture(cover))
    out.seek(0)
    file.save(out)
    return out.getvalue()


def picture(data: bytes) -> Any:
    made: Any = mutagen.flac.Picture
    block = made()
    block.type = 3
    block.mime = "image/png"
    block.data = data
    return block


def box(kind: bytes, *content: bytes, wide: bool = False) -> bytes:
    data = b"".join(content)
    if wide:
        return struct.pack(">I4sQ", 1, kind, 16 + len(data)) + data
    return struct.pack(">I4s", 8 + len(data), kind) + data


def mp4(tags: Mapping[str, Any] | None = None, *, wide: bool = False) -> bytes:
    """A film of 3 seconds: 1280 by 720 pixels, no sound."""
    mvhd = box(b"mvhd", bytes(12), struct.pack(">II", 1000, 3000), bytes(80))
    tkhd = box(b"tkhd", bytes(76), struct.pack(">II", 1280 << 16, 720 << 16))
    hdlr = box(b"hdlr", bytes(8), b"vide", bytes(13))
    sound = box(b"tkhd", bytes(84))
    trak = box(b"trak", tkhd, box(b"mdia", hdlr)) + box(b"trak", sound, box(b"mdia", hdlr))
    out = io.BytesIO(box(b"ftyp", b"isom", bytes(4)) + box(b"moov", mvhd, trak, wide=wide))
    if tags:
        parse: Any = mutagen.mp4.MP4
        file = parse(out)
        for name, value in tags.items():
            file[name] = value
        out.seek(0)
        file.save(out)
    return out.getvalue()


def comments(tags: Mapping[str, str]) -> bytes:
    """A Vorbis comment."""
    rows = [f"{name}={value}".encode() for name, value in tags.items()]
    parts = [struct.pack("<I", len(row)) + row for row in rows]
    return struct.pack("<I", 4) + b"test" + struct.pack("<I", len(rows)) + b"".join(parts)


def ogg(*packets: bytes, position: int) -> bytes:
    """One page a packet; the last page's position is the stream's length in samples."""
    out = b""
    make: Any = mutagen.ogg.OggPage
    for sequence, packet in enumerate(packets):
        page = make()
        page.packets = [packet]
        page.first, page.last = sequence == 0, sequence == len(packets) - 1
        page.sequence, page.serial, page.position = sequence, 1, position if page.last else 0
        out += page.write()
    return out


def opus(tags: Mapping[str, str], cover: bytes | None = None) -> bytes:
    if cover is not None:
        tags = {**tags, "metadata_block_picture": base64.b64encode(picture(cover).write()).decode()}
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 2, 0, 48000, 0, 0)
    return ogg(head, b"OpusTags" + comments(tags), bytes(50), position=96000)


def vorbis(tags: Mapping[str, str]) -> bytes:
    head = b"\x01vorbis" + struct.pack("<IBIiiiBB", 0, 2, 44100, 0, 160000, 0, 0xB8, 1)
    return ogg(head, b"\x03vorbis" + comments(tags) + b"\x01", b"\x05vorbis" + bytes(20), position=88200)


def asf(title: str, author: str) -> bytes:
    texts = [f"{text}\0".encode("utf-16-le") for text in (title, author)]
    content = struct.pack("<5H", *map(len, texts), 0, 0, 0) + b"".join(texts)
    identifier = uuid.UUID("75B22633-668E-11CF-A6D9-00AA0062CE6C").bytes_le
    described = identifier + struct.pack("<Q", 24 + len(content)) + content
    header = uuid.UUID("75B22630-668E-11CF-A6D9-00AA0062CE6C").bytes_le
    return header + struct.pack("<QIBB", 30 + len(described), 1, 1, 2) + described
