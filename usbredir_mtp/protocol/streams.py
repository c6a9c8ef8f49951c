"""Which endpoints the guest has started receiving from, and the ids of what is sent from them unasked.

Source: usbredir protocol 0.7, "usb_redir_interrupt_packet" (and likewise for iso and buffered bulk
packets): ids count up from 0, and start again at 0 after a stall.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.protocol.constants import STREAMS, PacketType, Status
from usbredir_mtp.protocol.errors import LocalProtocolError

if TYPE_CHECKING:
    from usbredir_mtp.protocol.packets import (
        BufferedBulkPacket,
        BulkReceivingStatus,
        InterruptPacket,
        InterruptReceivingStatus,
        IsoPacket,
        IsoStreamStatus,
    )

    StreamStatus = IsoStreamStatus | InterruptReceivingStatus | BulkReceivingStatus
    StreamData = IsoPacket | InterruptPacket | BufferedBulkPacket

_DATA = {stream.status: stream.data for stream in STREAMS}
_STARTS = frozenset(stream.start for stream in STREAMS)


class Streams:
    """The running streams."""

    def __init__(self) -> None:
        self._next_id: dict[tuple[PacketType, int], int] = {}

    def is_running(self, status: StreamStatus) -> bool:
        """Whether the stream that a status packet is about is running."""
        return (_DATA[status.type], status.endpoint) in self._next_id

    def answered(self, request: PacketType, status: StreamStatus) -> None:
        """A reply to a start or stop request leaves: the stream runs from now on, or no longer."""
        key = (_DATA[status.type], status.endpoint)
        if request not in _STARTS:
            self._next_id.pop(key, None)
        elif status.status == Status.SUCCESS:
            self._next_id[key] = 0

    def broke(self, status: StreamStatus) -> None:
        """A status leaves unasked: the stream is over."""
        del self._next_id[_DATA[status.type], status.endpoint]

    def next_id(self, kind: PacketType, endpoint: int) -> int:
        """The id that the next packet of this endpoint must have.

        Raises:
            LocalProtocolError: The guest is not receiving from this endpoint.
        """
        try:
            return self._next_id[kind, endpoint]
        except KeyError:
            raise LocalProtocolError(f"the guest has not started {kind.name} from endpoint {endpoint:#04x}") from None

    def sent(self, packet: StreamData) -> None:
        """A packet leaves.

        Raises:
            LocalProtocolError: The guest is not receiving, or the id is out of turn.
        """
        expected = self.next_id(packet.type, packet.endpoint)
        if packet.id != expected:
            raise LocalProtocolError(f"{packet.type.name} has id {packet.id}, {expected} is next")
        self._next_id[packet.type, packet.endpoint] = expected + 1

    def clear(self) -> None:
        """The device is gone."""
        self._next_id.clear()
