"""What there is to decode, each with right input to begin with and the errors that are documented."""

from __future__ import annotations

import functools
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import construct

from tests.reliability import captures
from tests.support import mtp
from tests.support.codes import Prop
from usbredir_mtp.device.device import VirtualDevice
from usbredir_mtp.device.identity import Identity
from usbredir_mtp.device.requests import SetupPacket
from usbredir_mtp.device.usb import Speed
from usbredir_mtp.mtp import datatypes
from usbredir_mtp.mtp.codes import DataType
from usbredir_mtp.mtp.containers import ContainerAssembler, ContainerError
from usbredir_mtp.mtp.datasets import ObjectInfo
from usbredir_mtp.mtp.errors import DatasetError
from usbredir_mtp.mtp.object_properties import decode_rows
from usbredir_mtp.protocol import packets as p
from usbredir_mtp.protocol.constants import HOST_CAPABILITIES, Capability, Side
from usbredir_mtp.protocol.errors import FilterError, RemoteProtocolError
from usbredir_mtp.protocol.filters import explain_reject, parse_filter
from usbredir_mtp.protocol.reader import PacketReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from usbredir_mtp.device.usb import Buffer, TransferStatus

ALL = frozenset(Capability)
_HELLO = 80
"""Bytes of a hello with one word of capabilities."""


class Target(NamedTuple):
    """Something that takes bytes from a peer.

    Attributes:
        corpus: Makes examples of right input.
        run: Gives it some input; raises what is not documented.
    """

    corpus: Callable[[], Sequence[bytes]]
    run: Callable[[bytes], object]


# -- usbredir


def packets(stream: bytes) -> list[bytes]:
    """A direction of a recorded session, hello and then one packet each."""
    found, used = [stream[:_HELLO]], _HELLO
    while used < len(stream):
        end = used + 16 + int.from_bytes(stream[used + 4 : used + 8], "little")
        found.append(stream[used:end])
        used = end
    return found


def _parts(*, from_guest: bool) -> list[bytes]:
    """Hello and a few packets, from all of all recorded sessions."""
    parts = []
    for name in captures.names():
        hello, *rest = packets(captures.stream(name, from_guest=from_guest))
        parts += [b"".join([hello, *rest[start : start + 8]]) for start in range(0, len(rest), 4)]
    return parts


def _read(sender: Side, ours: frozenset[Capability], data: bytes) -> None:
    reader = PacketReader(sender, ours)
    with suppress(RemoteProtocolError):
        step = 1 if data[-1:] < b"\x40" else 1 + data[-1]
        for start in range(0, len(data), step):
            reader.feed(data[start : start + step])


# -- filters

_FILTERS = ["0x06,-1,-1,-1,1|-1,-1,-1,-1,0", "-1,0x1d6b,0x0104,0x0100,1|0xef,-1,07,+12,0|", "8,-1,-1,-1,1"]
_DEVICE = p.DeviceConnect(2, 0, 0, 0, 0x1D6B, 0x0104, 0x0100)
_INTERFACES = p.InterfaceInfo((0,), (6,), (1,), (1,))


def _explain(data: bytes) -> None:
    with suppress(FilterError):
        explain_reject(parse_filter(data.decode("latin-1")), _DEVICE, _INTERFACES)


# -- containers

_TRANSFER = struct.Struct("<BH")
"""Whether it is short, and how long: a transfer's head in the input of this target."""


@functools.cache
def transfers() -> list[bytes]:
    """The bulk OUT transfers of all recorded sessions."""
    found: list[bytes] = []
    for name in captures.names():
        reader = PacketReader(Side.GUEST, HOST_CAPABILITIES)
        sent = reader.feed(captures.stream(name))
        found += [bytes(packet.data) for packet in sent if isinstance(packet, p.BulkPacket) and packet.data]
    return found


def _transfer_runs() -> list[bytes]:
    heads = [_TRANSFER.pack(len(data) % 512 != 0, len(data)) + data for data in transfers()]
    return [b"".join(heads[start : start + 4]) for start in range(0, len(heads), 2)]


def _assemble(data: bytes) -> None:
    assembler = ContainerAssembler()
    while len(data) >= _TRANSFER.size:
        short, size = _TRANSFER.unpack_from(data)
        with suppress(ContainerError):
            assembler.receive(memoryview(data)[_TRANSFER.size : _TRANSFER.size + size], bool(short))
        data = data[_TRANSFER.size + size :]


# -- datasets

DATASETS: list[bytes] = [
    mtp.ObjectInfo(name="name.txt", size=5, created="20200102T030405", modified="20200102T030405.0+0100").encode(),
    mtp.ObjectInfo(format=0x3001, association=1, name="ordner 日本").encode(),
    mtp.encode_prop_list(
        mtp.Row(1, Prop.FILE_NAME, 0xFFFF, "new name"),
        mtp.Row(2, Prop.SIZE, 8, 1 << 40),
        mtp.Row(2, 0xDC41, 10, 1 << 100),
        mtp.Row(3, 0xDC86, 0x4002, [1, 2, 3]),
        mtp.Row(4, Prop.MODIFIED, 0xFFFF, "20200102T030405"),
    ),
    mtp.encode(0x4006, [1, 2, 3, 0xFFFFFFFF]),
    mtp.encode(0x4002, list(b"some bytes")),
    mtp.string("20200702T030405.5Z"),
    mtp.string("n" * 254),
]
"""What an initiator sends in data phases; those that were recorded come on top."""


def datasets() -> list[bytes]:
    """The recorded ones too: all that follows the header of a data container, in both directions."""
    recorded = [data[12:] for data in transfers() if data[4:6] == b"\2\0"]
    for name in captures.names():
        answers = PacketReader(Side.HOST, ALL).feed(captures.stream(name, from_guest=False))
        read = [bytes(packet.data) for packet in answers if isinstance(packet, p.BulkPacket)]
        recorded += [data[12:] for data in read if data[4:6] == b"\2\0"]
    return [*DATASETS, *dict.fromkeys(data for data in recorded if data)]


def _values(data: bytes) -> None:
    for kind in DataType:
        with suppress(DatasetError):
            datatypes.decode_leading_value(kind, data)
        with suppress(DatasetError):
            datatypes.decode_value(kind, data)


def _strings(data: bytes) -> None:
    with suppress(DatasetError):
        text, _ = datatypes.decode_string(data, 0)
        datatypes.decode_datetime(text)
    with suppress(DatasetError, construct.ConstructError):
        datatypes.MtpString().parse(data)
    datatypes.decode_datetime(data[:30].decode("latin-1"))


DECODERS: dict[str, Callable[[bytes], object]] = {
    "ObjectInfo": ObjectInfo.decode,
    "property list": lambda data: list(decode_rows(data)),
    "array": datatypes.decode_uint32_array,
    "values": _values,
    "strings": _strings,
}
"""Decoders of datasets, or of what these consist of; each raises nothing but DatasetError."""


def _decode(data: bytes) -> None:
    for decode in DECODERS.values():
        with suppress(DatasetError):
            decode(data)


# -- control requests


class _Function:
    """What is behind the pipes: nothing."""

    def receive(self, data: Buffer, short: bool) -> None: ...
    def cancel(self, transaction: int) -> None: ...
    def reset(self) -> None: ...
    def status(self) -> int:
        return 0x2001


_SETUP = struct.Struct("<BBHHH")


def _setups() -> list[bytes]:
    """Those of recorded sessions, each with its data, and others."""
    found = [
        b"\x21\x64\0\0\0\0\6\0\1\x40\1\0\0\0",
        b"\xa1\x67\0\0\0\0\x24\0",
        b"\2\1\0\0\x81\0\0\0",
        b"\x80\0\0\0\0\0\2\0",
    ]
    for name in captures.names():
        for packet in PacketReader(Side.GUEST, HOST_CAPABILITIES).feed(captures.stream(name)):
            if isinstance(packet, p.ControlPacket):
                fields = (packet.requesttype, packet.request, packet.value, packet.index, packet.length)
                found.append(_SETUP.pack(*fields) + packet.data)
    return found


@functools.cache
def _device() -> VirtualDevice:
    def complete(_endpoint: int, _id: int, _status: TransferStatus, _length: int, _data: Buffer) -> None: ...

    return VirtualDevice(Identity(), Speed.HIGH, _Function(), complete, lambda _endpoint, _data: None)


def _control(data: bytes) -> None:
    device = _device()
    device.reset()
    if data and data[-1] & 1:
        device.set_configuration(1)
    while len(data) >= _SETUP.size:
        setup = SetupPacket(*_SETUP.unpack_from(data))
        size = 0 if setup.request_type & 0x80 else min(setup.length, len(data) - _SETUP.size)
        reply = device.control(setup, data[_SETUP.size : _SETUP.size + size])
        assert len(reply.data) <= setup.length
        data = data[_SETUP.size + size :]


TARGETS = {
    "usbredir from guests": Target(
        lambda: _parts(from_guest=True), lambda data: _read(Side.GUEST, HOST_CAPABILITIES, data)
    ),
    "usbredir from hosts": Target(lambda: _parts(from_guest=False), lambda data: _read(Side.HOST, ALL, data)),
    "usbredir filters": Target(lambda: [text.encode() for text in _FILTERS], _explain),
    "USB control requests": Target(_setups, _control),
    "MTP containers": Target(_transfer_runs, _assemble),
    "MTP datasets": Target(datasets, _decode),
}
"""Name -> what to fuzz."""
