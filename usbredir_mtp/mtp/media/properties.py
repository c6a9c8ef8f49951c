"""The object properties that media files have (MTP 1.1, appendix B), and values made fit for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from usbredir_mtp.mtp.codes import DataType, ObjectProperty
from usbredir_mtp.mtp.datatypes import MAX_STRING_UNITS
from usbredir_mtp.mtp.media.model import MediaType

if TYPE_CHECKING:
    from collections.abc import Mapping

Properties = dict[int, int | str]
"""Property code to value."""

DATE_FORM = "%Y%m%dT%H%M%S"
"""MTP's dates (MTP 1.1, 3.2.5), without tenths and zone: cameras and taggers mean their own local time."""

_MAXIMUM = {DataType.UINT16: 0xFFFF, DataType.UINT32: 0xFFFFFFFF}
_IMAGE, _AUDIO, _VIDEO = MediaType


@dataclass(slots=True, frozen=True)
class MediaProperty:
    """One row.

    Attributes:
        kind: The values' type: UINT16, UINT32 or STRING.
        media: What may have it.
        maximum: The largest value, where it is not the type's.
        date: A STRING that is a date.
    """

    kind: DataType
    media: tuple[MediaType, ...]
    maximum: int | None = None
    date: bool = False


_P = ObjectProperty
_T = DataType

MEDIA_PROPERTIES: dict[int, MediaProperty] = {
    _P.KEYWORDS: MediaProperty(_T.STRING, (_IMAGE,)),
    _P.NAME: MediaProperty(_T.STRING, (_AUDIO, _VIDEO)),
    _P.ARTIST: MediaProperty(_T.STRING, (_IMAGE, _AUDIO, _VIDEO)),
    _P.DATE_AUTHORED: MediaProperty(_T.STRING, (_IMAGE,), date=True),
    _P.WIDTH: MediaProperty(_T.UINT32, (_IMAGE, _VIDEO)),
    _P.HEIGHT: MediaProperty(_T.UINT32, (_IMAGE, _VIDEO)),
    _P.DURATION: MediaProperty(_T.UINT32, (_AUDIO, _VIDEO)),
    _P.RATING: MediaProperty(_T.UINT16, (_IMAGE, _AUDIO, _VIDEO), maximum=100),
    _P.TRACK: MediaProperty(_T.UINT16, (_AUDIO,)),
    _P.GENRE: MediaProperty(_T.STRING, (_AUDIO, _VIDEO)),
    _P.COMPOSER: MediaProperty(_T.STRING, (_AUDIO, _VIDEO)),
    _P.ORIGINAL_RELEASE_DATE: MediaProperty(_T.STRING, (_AUDIO, _VIDEO), date=True),
    _P.ALBUM_NAME: MediaProperty(_T.STRING, (_AUDIO, _VIDEO)),
    _P.ALBUM_ARTIST: MediaProperty(_T.STRING, (_AUDIO, _VIDEO)),
    _P.TOTAL_BIT_RATE: MediaProperty(_T.UINT32, (_AUDIO, _VIDEO)),
    _P.SAMPLE_RATE: MediaProperty(_T.UINT32, (_AUDIO, _VIDEO)),
    _P.NUMBER_OF_CHANNELS: MediaProperty(_T.UINT16, (_AUDIO, _VIDEO)),
    _P.AUDIO_BIT_DEPTH: MediaProperty(_T.UINT32, (_AUDIO, _VIDEO)),
    _P.AUDIO_BIT_RATE: MediaProperty(_T.UINT32, (_AUDIO, _VIDEO)),
}
"""The properties by code. NAME is a title from a tag: a file without one keeps its file name."""


def property_codes(kind: MediaType) -> list[int]:
    """The properties that files of a kind may have."""
    return [code for code, row in MEDIA_PROPERTIES.items() if kind in row.media]


def clean(found: Mapping[Any, object], kind: MediaType) -> Properties:
    """What of `found` (code in decimal or as a number, to value) is a property of such media, made to fit its type.

    Numbers are cut to the type's range, strings to MTP's length; what has the wrong type or says nothing is left out.
    """
    values: Properties = {}
    for code in property_codes(kind):
        value = _fitted(MEDIA_PROPERTIES[code], found.get(str(code), found.get(code)))
        if value is not None:
            values[code] = value
    return values


def _fitted(row: MediaProperty, value: object) -> int | str | None:
    if row.kind is DataType.STRING:
        text = fit_text(value) if isinstance(value, str) else ""
        return text if text and not (row.date and not _is_date(text)) else None
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    maximum = _MAXIMUM[row.kind] if row.maximum is None else row.maximum
    return min(max(value, 0), maximum)


def fit_text(text: str) -> str:
    """A string that MTP can say (MTP 1.1, 3.2.3): no NUL, no lone surrogate, at most 254 UTF-16 units."""
    units = text.replace("\0", " ").strip().encode("utf-16-le", "replace")
    return units[: 2 * MAX_STRING_UNITS].decode("utf-16-le", "ignore").strip()


def _is_date(text: str) -> bool:
    try:
        return datetime.strptime(text, DATE_FORM).strftime(DATE_FORM).rjust(15, "0") == text  # noqa: DTZ007  (no zone)
    except ValueError:
        return False
