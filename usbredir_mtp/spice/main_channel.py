"""The main channel of a session: its id, and which channels the VM has.

Bodies are those of the SPICE protocol's main channel (spice-common, spice.proto, channel MainChannel).
"""

from __future__ import annotations

import logging
from struct import Struct

from usbredir_mtp.spice.channel import Channel, Rule
from usbredir_mtp.spice.constants import MAX_CHANNELS, ChannelType, MainMessage, MainReply
from usbredir_mtp.spice.errors import SpiceProtocolError

logger = logging.getLogger(__name__)

_INIT = Struct("<8I")
"""Session id, displays, mouse modes, mouse mode, agent, tokens, time, memory."""

_COUNT = Struct("<I")
_CHANNEL = Struct("<BB")
"""Type and number."""


class MainChannel(Channel):
    """The main channel, as far as a client needs it that shows and plays nothing.

    Attributes:
        session_id: What the session's other channels are opened with; None until the server has told.
        usbredir: Numbers of the VM's usbredir channels, taken or not; None until the server has told.
    """

    def __init__(self, name: str, *, mini_header: bool) -> None:
        super().__init__(name, mini_header=mini_header)
        self.session_id: int | None = None
        self.usbredir: list[int] | None = None
        self.rules |= {
            MainMessage.INIT: Rule(_INIT.size, _INIT.size, self._init),
            MainMessage.CHANNELS_LIST: Rule(
                _COUNT.size, _COUNT.size + MAX_CHANNELS * _CHANNEL.size, self._channels_list
            ),
            MainMessage.MIGRATE_BEGIN: Rule(handle=self._migrate_begin),
            MainMessage.MIGRATE_BEGIN_SEAMLESS: Rule(handle=self._migrate_begin),
            MainMessage.MIGRATE_SWITCH_HOST: Rule(handle=self._switch_host),
        }

    def _init(self, body: bytes) -> None:
        session_id = _INIT.unpack(body)[0]
        if not session_id:
            raise SpiceProtocolError("a session without an id")
        if self.session_id is None:
            self.reply(MainReply.ATTACH_CHANNELS)
        self.session_id = session_id

    def _channels_list(self, body: bytes) -> None:
        (count,) = _COUNT.unpack_from(body)
        listed = body[_COUNT.size :]
        if count > MAX_CHANNELS or count * _CHANNEL.size > len(listed):
            raise SpiceProtocolError(f"a list of {count} channels in {len(listed)} bytes; {MAX_CHANNELS} are the most")
        channels = _CHANNEL.iter_unpack(listed[: count * _CHANNEL.size])
        self.usbredir = sorted({number for kind, number in channels if kind == ChannelType.USBREDIR})

    def _migrate_begin(self, _body: bytes) -> None:
        # Nothing of a session is worth to be moved along; the server would wait for us to try.
        self.reply(MainReply.MIGRATE_CONNECT_ERROR)

    def _switch_host(self, _body: bytes) -> None:
        logger.info("%s: the VM has moved to another host", self.name)
