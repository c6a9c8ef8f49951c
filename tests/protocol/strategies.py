"""Packets at random, valid for a direction and for what was negotiated."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hypothesis import strategies as st

from usbredir_mtp.protocol import packets as p
from usbredir_mtp.protocol.constants import SENDERS, Capability, PacketType, Side

DATA_TYPES = {
    PacketType.CONTROL_PACKET,
    PacketType.BULK_PACKET,
    PacketType.ISO_PACKET,
    PacketType.INTERRUPT_PACKET,
    PacketType.BUFFERED_BULK_PACKET,
}
ONLY_WITH_DATA = {PacketType.ISO_PACKET, PacketType.BUFFERED_BULK_PACKET}
IN_ONLY = {
    PacketType.START_INTERRUPT_RECEIVING,
    PacketType.STOP_INTERRUPT_RECEIVING,
    PacketType.INTERRUPT_RECEIVING_STATUS,
    PacketType.START_BULK_RECEIVING,
    PacketType.STOP_BULK_RECEIVING,
    PacketType.BULK_RECEIVING_STATUS,
}
BITS = {
    "vendor_id": 16,
    "product_id": 16,
    "device_version_bcd": 16,
    "value": 16,
    "index": 16,
    "endpoints": 32,
    "no_streams": 32,
    "stream_id": 32,
    "bytes_per_transfer": 32,
}


def unsigned(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


capability_sets = st.sets(st.sampled_from(Capability)).map(frozenset)


def ids(negotiated: frozenset[Capability]) -> st.SearchStrategy[int]:
    return unsigned(64 if Capability.IDS_64BITS in negotiated else 32)


def packets(sender: Side, negotiated: frozenset[Capability]) -> st.SearchStrategy[p.Packet]:
    """All but hello that this side may send."""
    kinds = [kind for kind in PacketType if sender in SENDERS[kind] and kind != PacketType.HELLO]
    return st.sampled_from(kinds).flatmap(lambda kind: packets_of(kind, sender, negotiated))


def packets_of(kind: PacketType, sender: Side, negotiated: frozenset[Capability]) -> st.SearchStrategy[p.Packet]:
    if kind in DATA_TYPES:
        return _transfers(kind, sender, negotiated)
    if kind is PacketType.EP_INFO:
        return _ep_infos(negotiated)
    if kind is PacketType.INTERFACE_INFO:
        return st.lists(st.tuples(*[unsigned(8)] * 4), max_size=32).map(_interface_info)
    if kind is PacketType.FILTER_FILTER:
        text = st.text(st.characters(min_codepoint=1, max_codepoint=126), max_size=80)
        return st.builds(p.FilterFilter, text, id=ids(negotiated))
    values = _values(kind)
    if kind in IN_ONLY:
        values["endpoint"] = st.integers(0x80, 0xFF)
    if Capability.CONNECT_DEVICE_VERSION not in negotiated:
        values.pop("device_version_bcd", None)
    return st.builds(p.CLASSES[kind], **values, id=ids(negotiated))


def _values(kind: PacketType) -> dict[str, st.SearchStrategy[Any]]:
    names = [field.name for field in fields(p.CLASSES[kind]) if field.name != "id"]
    return {name: unsigned(BITS.get(name, 8)) for name in names}


@st.composite
def _transfers(draw: st.DrawFn, kind: PacketType, sender: Side, negotiated: frozenset[Capability]) -> p.Packet:
    values = {name: draw(value) for name, value in _values(kind).items()}
    one_way = kind in ONLY_WITH_DATA or (kind is PacketType.INTERRUPT_PACKET and sender is Side.GUEST)
    with_data = one_way or draw(st.booleans())
    inward = with_data == (sender is Side.HOST)
    values["endpoint"] = values["endpoint"] & 0x7F | (0x80 if inward else 0)
    values["data"] = draw(st.binary(max_size=300)) if with_data else b""
    wide = kind is PacketType.BULK_PACKET and Capability.BULK_LENGTH_32BITS in negotiated
    limit = 32 << 20 if wide else 0xFFFF
    values["length"] = len(values["data"]) if with_data else draw(st.integers(0, limit))
    if kind is PacketType.CONTROL_PACKET:
        values["requesttype"] = values["requesttype"] & 0x7F | values["endpoint"] & 0x80
    return p.CLASSES[kind](**values, id=draw(ids(negotiated)))


def _row(bits: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[unsigned(bits)] * 32)


def _ep_infos(negotiated: frozenset[Capability]) -> st.SearchStrategy[p.Packet]:
    rows = [_row(8)] * 3
    if Capability.EP_INFO_MAX_PACKET_SIZE in negotiated:
        rows.append(_row(16))
    if Capability.BULK_STREAMS in negotiated:
        rows.append(_row(32))
    return st.builds(p.EpInfo, *rows)


def _interface_info(rows: list[tuple[int, ...]]) -> p.InterfaceInfo:
    columns = tuple(zip(*rows, strict=True)) or ((), (), (), ())
    return p.InterfaceInfo(*columns)
