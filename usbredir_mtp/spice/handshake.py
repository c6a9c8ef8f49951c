"""How a channel is opened: our link message, the server's reply, the ticket, the result.

The layouts are `spice/protocol.h`'s; all numbers are little-endian.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from usbredir_mtp.spice.constants import (
    AUTH_SPICE,
    MAGIC,
    MAX_LINK,
    PUBLIC_KEY_SIZE,
    VERSION_MAJOR,
    VERSION_MINOR,
    ChannelType,
    CommonCapability,
    LinkError,
)
from usbredir_mtp.spice.errors import LinkRefusedError, SpiceProtocolError
from usbredir_mtp.spice.ticket import encrypt_ticket

if TYPE_CHECKING:
    from collections.abc import Callable

Buffer = bytes | bytearray | memoryview

_WORD = Struct("<I")
_HEADER = Struct("<4sIII")
_MESSAGE = Struct("<IBBIII")
_REPLY = Struct(f"<I{PUBLIC_KEY_SIZE}sIII")

_OURS = CommonCapability.AUTH_SELECTION | CommonCapability.AUTH_SPICE | CommonCapability.MINI_HEADER
"""What we can do. The channels' own capabilities, such as LZ4 on usbredir's, are left out: nothing compressed comes."""


class Handshake:
    """The link of one channel, from our first byte to the server's result.

    Args:
        channel: The channel's type.
        number: Which of its type.
        connection_id: The session's, 0 for the main channel of a new one.
        password: From `ticket.check_password`.

    Attributes:
        linked: Whether the channel is open.
        mini_header: Whether its messages have the short header; told once it is linked.
    """

    def __init__(self, channel: ChannelType, number: int = 0, connection_id: int = 0, password: bytes = b"") -> None:
        self.linked = False
        self.mini_header = False
        self._channel = channel
        self._number = number
        self._connection_id = connection_id
        self._password = password
        self._unread = bytearray()
        self._size = _HEADER.size
        self._step: Callable[[bytes], bytes] = self._take_header

    def start(self) -> bytes:
        """The link message."""
        message = _MESSAGE.pack(self._connection_id, self._channel, self._number, 1, 0, _MESSAGE.size)
        capabilities = _WORD.pack(_OURS)
        header = _HEADER.pack(MAGIC, VERSION_MAJOR, VERSION_MINOR, len(message) + len(capabilities))
        return header + message + capabilities

    def receive(self, data: Buffer) -> bytes:
        """Take what the server sent; returns what to send.

        Raises:
            LinkRefusedError: The server does not open the channel.
            SpiceProtocolError: It does not follow the protocol, or asks for more than a password.
            MissingLibraryError: `cryptography` is not installed.
        """
        self._unread += data
        answer = b""
        while not self.linked and len(self._unread) >= self._size:
            part = bytes(self._unread[: self._size])
            del self._unread[: self._size]
            answer += self._step(part)
        return answer

    @property
    def rest(self) -> bytes:
        """What came after the link: the channel's first messages."""
        return bytes(self._unread) if self.linked else b""

    def _take_header(self, part: bytes) -> bytes:
        magic, major, _minor, size = _HEADER.unpack(part)
        if magic != MAGIC:
            raise SpiceProtocolError("this is no SPICE server")
        if major != VERSION_MAJOR:
            raise SpiceProtocolError(f"the server speaks version {major} of SPICE, not {VERSION_MAJOR}")
        if not _REPLY.size <= size <= MAX_LINK:
            raise SpiceProtocolError(f"a link reply of {size} bytes")
        self._size, self._step = size, self._take_reply
        return b""

    def _take_reply(self, part: bytes) -> bytes:
        error, key, commons, _channels, offset = _REPLY.unpack_from(part)
        _check(error)
        capabilities = _first_word(part, commons, offset)
        if capabilities & CommonCapability.AUTH_SASL and not capabilities & CommonCapability.AUTH_SPICE:
            raise SpiceProtocolError("the server asks for SASL, which is not supported: use a SPICE password")
        self.mini_header = bool(capabilities & CommonCapability.MINI_HEADER)
        self._size, self._step = _WORD.size, self._take_result
        # A server that knows no selection takes the ticket at once.
        selection = _WORD.pack(AUTH_SPICE) if capabilities & CommonCapability.AUTH_SELECTION else b""
        return selection + encrypt_ticket(key, self._password)

    def _take_result(self, part: bytes) -> bytes:
        _check(_WORD.unpack(part)[0])
        self.linked = True
        return b""


def _check(error: int) -> None:
    if error == LinkError.OK:
        return
    if error > max(LinkError):
        raise SpiceProtocolError(f"the server refuses the channel with the unknown error {error}")
    raise LinkRefusedError(LinkError(error))


def _first_word(reply: bytes, count: int, offset: int) -> int:
    """The capabilities 0 to 31 of a list of words."""
    if not count:
        return 0
    if offset < _REPLY.size or offset + _WORD.size * count > len(reply):
        raise SpiceProtocolError("capabilities outside of the link reply")
    word: int = _WORD.unpack_from(reply, offset)[0]
    return word
