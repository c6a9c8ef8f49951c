"""The process that parses media files: takes a file, answers with properties or a picture, and can do nothing else.

It is started by `process.WorkerProcess` with a socket as its standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.media import images, tags
from usbredir_mtp.mtp.media.client import Channel
from usbredir_mtp.mtp.media.model import Limits, MediaType
from usbredir_mtp.mtp.media.properties import clean

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from usbredir_mtp.mtp.media.client import Message

_DESCRIPTORS = 16  # the channel, the standard ones, a file; some for modules that are loaded late
_GRACE = 1.0  # seconds by which our own alarm comes later than the other side's patience ends


def _image_properties(file: BinaryIO, _suffix: str, _limits: Limits) -> dict[int, int | str]:
    return images.properties(file)


def _tag_properties(file: BinaryIO, suffix: str, _limits: Limits) -> dict[int, int | str]:
    return tags.properties(file, suffix)


def _image_thumbnail(file: BinaryIO, _suffix: str, limits: Limits) -> bytes:
    return images.thumbnail(file, limits)


def _cover_thumbnail(file: BinaryIO, suffix: str, limits: Limits) -> bytes:
    cover = tags.cover(file, suffix)
    return b"" if cover is None else images.thumbnail(cover, limits)


_PROPERTIES: dict[str, Callable[[BinaryIO, str, Limits], dict[int, int | str]]] = {
    MediaType.IMAGE: _image_properties,
    MediaType.AUDIO: _tag_properties,
    MediaType.VIDEO: _tag_properties,
}
_THUMBNAILS: dict[str, Callable[[BinaryIO, str, Limits], bytes]] = {
    MediaType.IMAGE: _image_thumbnail,
    MediaType.AUDIO: _cover_thumbnail,
    MediaType.VIDEO: _cover_thumbnail,
}


def perform(job: Message, limits: Limits) -> tuple[dict[str, object], bytes]:
    """Do a job: the answer's header and body. Whatever a library raises becomes a "fault" in the header."""
    if job.descriptor is None:
        return {"fault": "no file"}, b""
    kind, suffix = str(job.header.get("kind")), str(job.header.get("suffix"))
    try:
        with os.fdopen(job.descriptor, "rb") as file:
            file.seek(0)
            if job.header.get("job") == "properties":
                return {"properties": clean(_PROPERTIES[kind](file, suffix, limits), MediaType(kind))}, b""
            return {}, _THUMBNAILS[kind](file, suffix, limits)
    except Exception as error:  # noqa: BLE001  (parsers of hostile files raise everything there is)
        return {"fault": f"{type(error).__name__}: {error}"[:200]}, b""


def confine(limits: Limits) -> None:
    """Give up what a parser does not need: memory without end, written files, descriptors, core dumps."""
    for limit, value in {
        resource.RLIMIT_AS: limits.memory,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: _DESCRIPTORS,
        resource.RLIMIT_CORE: 0,
    }.items():
        with contextlib.suppress(OSError, ValueError):  # macOS does not have all of them
            resource.setrlimit(limit, (value, value))


def serve(channel: Channel, limits: Limits) -> None:
    """Do jobs until there is none for a while, or the other side hangs up."""
    channel.send({"ready": True})
    while True:
        try:
            job = channel.receive_job(limits.idle)
        except (TimeoutError, EOFError):
            return
        # Ends the process wherever it is, even if nobody is left who waits for the answer.
        signal.setitimer(signal.ITIMER_REAL, limits.seconds + _GRACE)
        header, body = perform(job, limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        channel.send(header, body)


def main(limits_text: str) -> None:
    """Run.

    Args:
        limits_text: `Limits` in JSON.
    """
    limits = Limits(**json.loads(limits_text))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    images.prepare(limits.pixels)
    confine(limits)
    serve(Channel.inherited(0), limits)
