"""usbredir's bytes inside a SPICE channel's messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.spice.channel import Channel, Rule
from usbredir_mtp.spice.constants import MAX_DATA, VmcMessage
from usbredir_mtp.spice.errors import SpiceProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

Buffer = bytes | bytearray | memoryview


class SpiceFraming(Channel):
    """An open usbredir channel: `receive` gives the guest's bytes, `frame` packs ours.

    Neither copies data or keeps any.
    """

    def __init__(self, name: str, *, mini_header: bool) -> None:
        super().__init__(name, mini_header=mini_header, through=VmcMessage.DATA)
        self.rules[VmcMessage.COMPRESSED_DATA] = Rule(handle=_refuse_compressed)

    def frame(self, buffers: Sequence[Buffer]) -> Sequence[Buffer]:
        """What to write so that the guest gets the buffers, in order: one message if it is not too large."""
        size = sum(map(len, buffers))
        if size > MAX_DATA:
            return self._split(buffers)
        return [self.header(VmcMessage.DATA, size), *buffers] if size else ()

    def _split(self, buffers: Sequence[Buffer]) -> Sequence[Buffer]:
        framed: list[Buffer] = []
        message: list[Buffer] = []
        room = MAX_DATA
        for buffer in buffers:
            rest = memoryview(buffer)
            while rest:
                message.append(rest[:room])
                rest, room = rest[room:], room - min(room, len(rest))
                if not room:
                    framed += (self.header(VmcMessage.DATA, MAX_DATA), *message)
                    message, room = [], MAX_DATA
        if message:
            framed += (self.header(VmcMessage.DATA, MAX_DATA - room), *message)
        return framed


def _refuse_compressed(_body: bytes) -> None:
    raise SpiceProtocolError("compressed data, which was not asked for")
