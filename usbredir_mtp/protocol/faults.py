"""What makes a packet invalid by itself, whatever the state: the direction and the length of its data.

The same rules hold for what we receive and for what we send; QEMU aborts its whole VM on some breaches.
Source: usbredir protocol 0.7, the sections of the data packets and of the streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from usbredir_mtp.protocol.constants import ENDPOINT_IN, MAX_BULK_TRANSFER, PacketType, Side

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbredir_mtp.protocol.packets import ControlPacket, Packet, TransferPacket


class _WithEndpoint(Protocol):
    endpoint: int


def find_fault(packet: Packet, sender: Side) -> str | None:
    """What is wrong with a packet from this side, as a phrase for an error; None if nothing is."""
    find = _FINDERS.get(packet.type)
    return find(packet, sender) if find else None


def _transfer_fault(packet: TransferPacket, sender: Side) -> str | None:
    """Data goes one way: from the host for IN endpoints, from the guest for the others."""
    size = len(packet.data)
    if (packet.endpoint & ENDPOINT_IN != 0) is (sender is Side.HOST):
        if size != packet.length:
            return f"has {size} bytes of data and gives its length as {packet.length}"
    elif size:
        return f"has data against the direction of endpoint {packet.endpoint:#04x}"
    if packet.length > MAX_BULK_TRANSFER:
        return f"is {packet.length} bytes long, at most {MAX_BULK_TRANSFER} are taken"
    if type(packet.data) is memoryview and packet.data.nbytes != size:
        return "has data that is not a buffer of bytes"
    return None


def _control_fault(packet: ControlPacket, sender: Side) -> str | None:
    if (packet.endpoint ^ packet.requesttype) & ENDPOINT_IN:
        return f"disagrees with itself: {packet.endpoint=:#04x}, {packet.requesttype=:#04x}"
    return _transfer_fault(packet, sender)


def _one_way_fault(packet: TransferPacket, sender: Side) -> str | None:
    """Iso and buffered bulk packets get no completion: they only go where the data goes."""
    if (packet.endpoint & ENDPOINT_IN != 0) is not (sender is Side.HOST):
        return f"is for the other side, by its endpoint {packet.endpoint:#04x}"
    return _transfer_fault(packet, sender)


def _interrupt_fault(packet: TransferPacket, sender: Side) -> str | None:
    """IN endpoints are polled by the host: the guest has nothing to ask for."""
    if sender is Side.GUEST:
        return _one_way_fault(packet, sender)
    return _transfer_fault(packet, sender)


def _endpoint_fault(packet: _WithEndpoint, _sender: Side) -> str | None:
    if not packet.endpoint & ENDPOINT_IN:
        return f"is about endpoint {packet.endpoint:#04x}, which is no IN endpoint"
    return None


_FINDERS: dict[PacketType, Callable[[Any, Side], str | None]] = {
    PacketType.CONTROL_PACKET: _control_fault,
    PacketType.BULK_PACKET: _transfer_fault,
    PacketType.ISO_PACKET: _one_way_fault,
    PacketType.INTERRUPT_PACKET: _interrupt_fault,
    PacketType.BUFFERED_BULK_PACKET: _one_way_fault,
    PacketType.START_INTERRUPT_RECEIVING: _endpoint_fault,
    PacketType.STOP_INTERRUPT_RECEIVING: _endpoint_fault,
    PacketType.INTERRUPT_RECEIVING_STATUS: _endpoint_fault,
    PacketType.START_BULK_RECEIVING: _endpoint_fault,
    PacketType.STOP_BULK_RECEIVING: _endpoint_fault,
    PacketType.BULK_RECEIVING_STATUS: _endpoint_fault,
}
