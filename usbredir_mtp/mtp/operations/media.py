"""What the content of objects tells: GetThumb (MTP 1.1, D.2.10), and media properties."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import ObjectFormat, OperationCode, ResponseCode
from usbredir_mtp.mtp.codes import ObjectProperty as P
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.media.jpeg import jpeg_size
from usbredir_mtp.mtp.media.model import MediaKey, MediaType
from usbredir_mtp.mtp.nodes import locate
from usbredir_mtp.mtp.object_properties import CONTENT_PROPERTIES, SAMPLE_PROPERTIES
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply, data_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from usbredir_mtp.mtp.datatypes import Value
    from usbredir_mtp.mtp.media.media import Media
    from usbredir_mtp.mtp.nodes import ObjectView
    from usbredir_mtp.mtp.responder import Responder

READ_SECONDS = 1.0
"""For how long one request may have files read; of the rest it gets what is known already. Initiators wait for two
seconds and more."""

NOMINAL_THUMBNAIL = (ObjectFormat.EXIF_JPEG, 4096, 160, 160)
"""What ObjectInfo says of a thumbnail that has not been made yet: some initiators ask for it only if it has a size."""


def get_thumb(responder: Responder, parameters: Parameters) -> Reply:
    """GetThumb(handle)."""
    media = responder.device.media
    view = responder.objects.view(responder.objects.get(parameters[0]), responder)
    if media is None or view.node.folder:
        raise MtpError(ResponseCode.NO_THUMBNAIL_PRESENT)
    return data_reply(media.thumbnail(_key(view), view.node.name, _opener(view)))


def thumbnail_info(responder: Responder, view: ObjectView) -> tuple[int, int, int, int]:
    """Format, bytes, width and height as ObjectInfo gives them; reads nothing."""
    media = responder.device.media
    if media is None or view.node.folder or media.handles(view.node.name) is not MediaType.IMAGE:
        return 0, 0, 0, 0
    known = media.known_thumbnail(_key(view))
    return NOMINAL_THUMBNAIL if known is None else (ObjectFormat.EXIF_JPEG, *known)


def with_media(responder: Responder, views: Iterable[ObjectView], codes: Iterable[int]) -> Iterator[ObjectView]:
    """The views, with what their contents tell, if some of the properties ask for that."""
    media = responder.device.media
    wanted = CONTENT_PROPERTIES.keys() & set(codes)
    if media is None or not wanted:
        yield from views
        return
    until = time.monotonic() + READ_SECONDS
    for view in views:
        responder.checkpoint()
        yield view._replace(media=_told(media, view, wanted, lambda: time.monotonic() < until))


def _told(media: Media, view: ObjectView, wanted: set[int], in_time: Callable[[], bool]) -> dict[int, Value]:
    values: dict[int, Value] = {}
    if view.node.folder or media.handles(view.node.name) is None:
        return values
    key = _key(view)
    if wanted - SAMPLE_PROPERTIES.keys():
        read = in_time()
        found = media.properties(key, view.node.name, _opener(view)) if read else media.known_properties(key)
        values |= found or {}
    if wanted & SAMPLE_PROPERTIES.keys() and in_time():
        with suppress(OSError, MtpError):
            values |= _sample(media.thumbnail(key, view.node.name, _opener(view)))
    return values


def _sample(data: bytes) -> dict[int, Value]:
    width, height = jpeg_size(data) or (0, 0)
    return {
        P.REPRESENTATIVE_SAMPLE_FORMAT: ObjectFormat.EXIF_JPEG,
        P.REPRESENTATIVE_SAMPLE_SIZE: len(data),
        P.REPRESENTATIVE_SAMPLE_HEIGHT: height,
        P.REPRESENTATIVE_SAMPLE_WIDTH: width,
        P.REPRESENTATIVE_SAMPLE_DATA: data,
    }


def _key(view: ObjectView) -> MediaKey:
    _, storage, _ = locate(view.root)
    return MediaKey(storage.volume, view.stat.identity, view.stat.size, view.stat.modified)


def _opener(view: ObjectView) -> Callable[[], int]:
    _, storage, path = locate(view.node)
    return lambda: storage.descriptor(path)


OPERATIONS: dict[int, Operation] = {
    OperationCode.GET_THUMB: Operation(get_thumb),
}
