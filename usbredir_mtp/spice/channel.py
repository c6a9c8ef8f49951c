"""What is alike on all channels once they are open: messages, acknowledgements, pings, notices.

Headers are `spice/protocol.h`'s SpiceMiniDataHeader and SpiceDataHeader, bodies those of the SPICE protocol's common
messages (spice-common, spice.proto, channel BaseChannel); all numbers are little-endian.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING

from usbredir_mtp.spice.constants import (
    MAX_MESSAGE,
    MAX_NOTICE,
    MAX_NOTICES,
    LinkError,
    Message,
    MigrateFlag,
    NotifySeverity,
    Reply,
)
from usbredir_mtp.spice.errors import SpiceProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

_MINI = Struct("<HI")
"""Type and size."""

_FULL = Struct("<QHII")
"""Serial number, type, size, offset of a list of sub-messages."""

_SET_ACK = Struct("<II")
_PING = Struct("<IQ")
_DISCONNECTING = Struct("<QI")
_NOTIFY = Struct("<QIIII")
_WORD = Struct("<I")

_LEVELS = {NotifySeverity.WARN: logging.WARNING, NotifySeverity.ERROR: logging.ERROR}


@dataclass(slots=True, frozen=True)
class Rule:
    """What is done with messages of a type.

    Attributes:
        least: Bytes that such a message has at least.
        keep: Bytes of it that `handle` gets; the rest is skipped.
        handle: Takes it.
    """

    least: int = 0
    keep: int = 0
    handle: Callable[[bytes], None] = lambda _body: None


_SKIP = Rule()


class Channel:
    """One open channel: cuts what arrives into messages, and answers those that every client answers.

    Args:
        mini_header: Whether messages have the short header, see `Handshake`.
        name: The server, for the log.
        through: The type of the messages that the channel is there for, whose bodies `receive` hands on as they come.
    """

    def __init__(self, name: str, *, mini_header: bool, through: int | None = None) -> None:
        self.name = name
        self.rules: dict[int, Rule] = {
            Message.MIGRATE: Rule(_WORD.size, _WORD.size, self._migrate),
            Message.SET_ACK: Rule(_SET_ACK.size, _SET_ACK.size, self._set_ack),
            Message.PING: Rule(_PING.size, _PING.size, self._ping),
            Message.DISCONNECTING: Rule(_DISCONNECTING.size, _DISCONNECTING.size, self._disconnecting),
            Message.NOTIFY: Rule(_NOTIFY.size, _NOTIFY.size + MAX_NOTICE, self._notify),
        }
        self._through = through
        self._is_mini = mini_header
        self._layout = _MINI if mini_header else _FULL
        self._serial = 0
        self._replies: list[bytes] = []
        self._head = bytearray()
        self._inside = False
        self._left = 0
        self._passes = False
        self._rule = _SKIP
        self._kept = bytearray()
        self._notices = 0
        self._window = 0
        self._unacknowledged = 0

    def receive(self, data: memoryview) -> list[memoryview]:
        """Take what arrived; returns the parts of it that are bodies to hand on.

        Nothing of such a body is kept here, and of others no more than their rule says.

        Raises:
            SpiceProtocolError: It breaks the protocol.
        """
        passed: list[memoryview] = []
        while data:
            if not self._inside:
                data = self._begin(data)
            else:
                part, data = data[: self._left], data[self._left :]
                self._left -= len(part)
                if self._passes:
                    passed.append(part)
                else:
                    self._kept += part[: self._rule.keep - len(self._kept)]
            if self._inside and not self._left:
                self._end()
        return passed

    def replies(self) -> list[bytes]:
        """The messages to send in answer to what `receive` took; each is told once."""
        replies, self._replies = self._replies, []
        return replies

    def header(self, kind: int, size: int) -> bytes:
        """The header of a message of ours, which is the next one to be sent."""
        if self._is_mini:
            return _MINI.pack(kind, size)
        self._serial += 1
        return _FULL.pack(self._serial, kind, size, 0)

    def reply(self, kind: int, body: bytes = b"") -> None:
        """Leave a message for `replies`."""
        self._replies.append(self.header(kind, len(body)) + body)

    # -- the stream --------------------------------------------------------------------------------------------------

    def _begin(self, data: memoryview) -> memoryview:
        """Take a header, or what there is of it; returns what is after it."""
        layout = self._layout
        missing = layout.size - len(self._head)
        if self._head or len(data) < layout.size:
            self._head += data[:missing]
            if len(self._head) < layout.size:
                return data[missing:]
            fields = layout.unpack(self._head)
            self._head.clear()
        else:
            fields = layout.unpack_from(data)
        if self._is_mini:
            kind, size = fields
        else:
            _serial, kind, size, sub_messages = fields
            if sub_messages:
                raise SpiceProtocolError("a message with sub-messages, which this channel has not")
        self._open(kind, size)
        return data[missing:]

    def _open(self, kind: int, size: int) -> None:
        self._inside, self._left = True, size
        self._passes = kind == self._through
        if self._passes:
            return
        if size > MAX_MESSAGE:
            raise SpiceProtocolError(f"a message of type {kind} with {size} bytes; {MAX_MESSAGE} are the most")
        self._rule = self.rules.get(kind, _SKIP)
        if size < self._rule.least:
            raise SpiceProtocolError(f"a message of type {kind} with {size} of at least {self._rule.least} bytes")

    def _end(self) -> None:
        self._inside = False
        if self._window:
            self._unacknowledged += 1
            if self._unacknowledged == self._window:
                self._unacknowledged = 0
                self.reply(Reply.ACK)
        if not self._passes:
            body = bytes(self._kept)
            self._kept.clear()
            self._rule.handle(body)

    # -- messages ----------------------------------------------------------------------------------------------------

    def _set_ack(self, body: bytes) -> None:
        generation, self._window = _SET_ACK.unpack(body)
        self._unacknowledged = 0
        self.reply(Reply.ACK_SYNC, _WORD.pack(generation))

    def _ping(self, body: bytes) -> None:
        self.reply(Reply.PONG, body)

    def _migrate(self, body: bytes) -> None:
        # The VM is moving: the server closes the channel soon, and state for the next one is of no use to us.
        if _WORD.unpack(body)[0] & MigrateFlag.NEED_FLUSH:
            self.reply(Reply.MIGRATE_FLUSH_MARK)

    def _disconnecting(self, body: bytes) -> None:
        _time, reason = _DISCONNECTING.unpack(body)
        text = LinkError(reason).name.lower().replace("_", " ") if reason <= max(LinkError) else f"reason {reason}"
        logger.info("%s: the SPICE server is about to disconnect: %s", self.name, text)

    def _notify(self, body: bytes) -> None:
        self._notices += 1
        if self._notices > MAX_NOTICES:
            return
        _time, severity, _visibility, _what, size = _NOTIFY.unpack_from(body)
        text = body[_NOTIFY.size :][:size].rstrip(b"\0").decode(errors="replace")
        shown = "".join(character if character.isprintable() else "?" for character in text)
        level = _LEVELS.get(severity, logging.INFO)
        logger.log(level, "%s: the SPICE server says: %s", self.name, shown)
