"""The log: lines for people, or an object a line for programs."""

from __future__ import annotations

import json
import logging
import sys
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT, JSON = FORMATS = ("text", "json")

_LEVELS: Final = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}

PEER: ContextVar[str] = ContextVar("peer", default="")
"""The peer that this thread works for, if it is one only."""

logger = logging.getLogger(__name__)


class Peer(str):
    """A peer's name, for messages; the log knows by it whose device a message is about.

    Args:
        name: The peer's name.
        device: The device's.
    """

    __slots__ = ("device",)
    device: str

    def __new__(cls, name: str, device: str = "") -> Self:
        """A peer's name."""
        peer = super().__new__(cls, name)
        peer.device = device
        return peer


def set_up(verbosity: int, style: str = TEXT) -> None:
    """Log to standard error from now on.

    Args:
        verbosity: -1 for errors only, 0 for warnings too, 1 for more, 2 for every operation.
        style: One of `FORMATS`.
    """
    level = _LEVELS[min(verbosity, 2)]
    if style == JSON:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        logging.basicConfig(level=level, handlers=[handler])
        logging.captureWarnings(capture=True)
        threading.excepthook = _complain
    else:
        detailed = "%(asctime)s %(levelname)s %(name)s: %(message)s"
        line = detailed if verbosity > 1 else "%(levelname)s: %(message)s"
        logging.basicConfig(level=level, format=line, stream=sys.stderr)
    logging.getLogger("watchdog").setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """One JSON object a line.

    Its keys: `time` (RFC 3339, UTC), `level`, `logger`, `message`; `device` and `peer` where it is known whom the
    message is about; `exception` where there is one, with the traceback. All is ASCII, and what is not UTF-8 in the
    name of a file is written as Python does.
    """

    def format(self, record: logging.LogRecord) -> str:
        """A record's line, without its end."""
        row = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **dict(_subject(record)),
        }
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        return json.dumps({key: printable(value) for key, value in row.items()})


def _subject(record: logging.LogRecord) -> Iterator[tuple[str, str]]:
    """Whom a record is about: as it says itself, or by a peer among its arguments, or by whose thread it comes from."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    named = next((argument for argument in arguments if isinstance(argument, Peer)), None)
    peer = named or PEER.get()
    device = getattr(record, "device", "") or getattr(peer, "device", "")
    if device:
        yield "device", device
    if peer:
        yield "peer", str(peer)


def printable(text: str) -> str:
    """A text that can be encoded as UTF-8, as any can that is not from the name of a file, or the like."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _complain(arguments: Any) -> None:
    """What `threading.excepthook` does otherwise, in the log."""
    error = arguments.exc_value or arguments.exc_type()
    name = arguments.thread.name if arguments.thread is not None else "?"
    if not isinstance(error, SystemExit):
        logger.error("a fault of usbredir-mtp's, please report it: in thread %s", name, exc_info=error)
