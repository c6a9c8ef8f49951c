"""How large a JPEG is, from its markers alone (ITU-T T.81, annex B)."""

from __future__ import annotations

_START = b"\xff\xd8"
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start of frame; not tables (C4, CC) nor what is reserved (C8)
_FRAME_SIZE = 9  # marker, length, precision, height, width


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels; None if `data` is not a JPEG or none that says its size before its scans."""
    if data[:2] != _START:
        return None
    at = 2
    while at + _FRAME_SIZE <= len(data) and data[at] == 0xFF:  # noqa: PLR2004  (every marker's first byte)
        if data[at + 1] in _FRAMES:
            height, width = (int.from_bytes(data[at + n : at + n + 2], "big") for n in (5, 7))
            return (width, height) if width and height else None
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
