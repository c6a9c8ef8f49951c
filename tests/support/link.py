"""Packets both ways for a usb-guest in tests: strict about everything that it is sent."""

from __future__ import annotations

import itertools
import struct
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tests.support.wire import (
    ALL_CAPS,
    Buffer,
    Cap,
    Codec,
    Endpoint,
    Interface,
    Packet,
    Speed,
    Status,
    Type,
    hello_caps,
    interfaces,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

REPLIES = {
    Type.SET_CONFIGURATION: Type.CONFIGURATION_STATUS,
    Type.GET_CONFIGURATION: Type.CONFIGURATION_STATUS,
    Type.SET_ALT_SETTING: Type.ALT_SETTING_STATUS,
    Type.GET_ALT_SETTING: Type.ALT_SETTING_STATUS,
    Type.START_ISO_STREAM: Type.ISO_STREAM_STATUS,
    Type.STOP_ISO_STREAM: Type.ISO_STREAM_STATUS,
    Type.START_INTERRUPT_RECEIVING: Type.INTERRUPT_RECEIVING_STATUS,
    Type.STOP_INTERRUPT_RECEIVING: Type.INTERRUPT_RECEIVING_STATUS,
    Type.ALLOC_BULK_STREAMS: Type.BULK_STREAMS_STATUS,
    Type.FREE_BULK_STREAMS: Type.BULK_STREAMS_STATUS,
    Type.START_BULK_RECEIVING: Type.BULK_RECEIVING_STATUS,
    Type.STOP_BULK_RECEIVING: Type.BULK_RECEIVING_STATUS,
    Type.CONTROL: Type.CONTROL,
    Type.BULK: Type.BULK,
    Type.INTERRUPT: Type.INTERRUPT,
}
"""The one reply that each request gets."""


class Stream(Protocol):
    """A connected socket, or what looks like one."""

    def settimeout(self, seconds: float | None, /) -> None:
        """Bound `recv`, which then raises TimeoutError."""

    def sendall(self, data: Buffer, /) -> None:
        """Send everything."""

    def recv(self, size: int, /) -> bytes:
        """What has come, at most `size` bytes; `b""` at the end."""

    def close(self) -> None:
        """Hang up."""


class TransferError(Exception):
    """A request ended with another status than success."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


class StallError(TransferError):
    """A request was stalled."""

    def __init__(self) -> None:
        super().__init__(Status.STALL)


class UnpluggedError(Exception):
    """The device was disconnected while a reply was awaited."""


class HungUpError(Exception):
    """The usb-host closed the connection."""


def check(status: Status) -> None:
    """Raise unless `status` is success."""
    if status is Status.STALL:
        raise StallError
    if status is not Status.SUCCESS:
        raise TransferError(status)


@dataclass(slots=True)
class Request:
    """A request that waits for its reply; `asked` is the length of IN or OUT data."""

    type: Type
    endpoint: int
    asked: int = 0


class Link:
    """Packets of one usb-guest on a connected stream, and the books on what was asked.

    Attributes:
        caps: What is announced in hello.
        codec: The layouts as negotiated, for hostile packets too.
        split: Send everything in pieces of that many bytes.
        timeout: Seconds to wait for anything.
        log: Every piece of the conversation: `(True, bytes)` if sent by us, else
            `(False, bytes)`.
        device: The fields of device_connect while a device is plugged in.
        connects: How often a device has been plugged in.
        filter: The text of a filter_filter packet, once one has come.
    """

    def __init__(
        self,
        stream: Stream,
        caps: Cap = ALL_CAPS,
        *,
        split: int | None = None,
        timeout: float = 10.0,
    ) -> None:
        self.stream = stream
        self.caps = caps
        self.split = split
        self.timeout = timeout
        self.codec = Codec()
        self.log: list[tuple[bool, bytes]] = []
        self.device: dict[str, int] | None = None
        self.connects = 0
        self.endpoints: dict[int, Endpoint] = {}
        self.interfaces: list[Interface] = []
        self.events: deque[bytes] = deque()
        self.filter: bytes | None = None
        self._order: list[Type] = []
        self._buffer = bytearray()
        self._greeted = False
        self._ids: Iterator[int] = itertools.count(1)
        self._live: dict[int, Request] = {}
        self._replies: dict[int, Packet] = {}
        self._receiving: dict[int, int] = {}
        stream.settimeout(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self.stream.close()

    # Bytes and packets

    def send_raw(self, data: Buffer) -> None:
        """Send these bytes, split as asked for."""
        self.log.append((True, bytes(data)))
        step = self.split or len(data) or 1
        for start in range(0, len(data), step):
            self.stream.sendall(data[start : start + step])

    def send(self, kind: int, id_: int, *values: int, data: Buffer = b"") -> None:
        """Encode a packet and send it."""
        self.send_raw(self.codec.encode(kind, id_, *values, data=data))

    def _receive(self) -> bool:
        """Take in more bytes; False at the end of the stream."""
        try:
            data = self.stream.recv(1 << 18)
        except ConnectionError:
            return False
        if data:
            self.log.append((False, data))
            self._buffer += data
        return bool(data)

    def _next(self) -> Packet | None:
        header = self.codec.header if self._greeted else "<III"
        size = struct.calcsize(header)
        if len(self._buffer) < size:
            return None
        kind, length, id_ = struct.unpack_from(header, self._buffer)
        assert length < 1 << 26, f"a packet of {length} bytes: {self._buffer[:size].hex()}"
        if len(self._buffer) < size + length:
            return None
        body = bytes(self._buffer[size : size + length])
        del self._buffer[: size + length]
        packet = self.codec.decode(kind, id_, body)
        assert self._greeted == (packet.type is not Type.HELLO), f"{packet.type.name} out of place"
        return packet

    def pump(self) -> None:
        """Take in one packet and file it.

        Raises:
            HungUpError: The usb-host has closed the connection.
            TimeoutError: Nothing came.
            AssertionError: The packet is not one that a usb-host may send now.
        """
        while (packet := self._next()) is None:
            if not self._receive():
                raise HungUpError
        self._file(packet)

    def expect_close(self) -> None:
        """Read to the end of the stream, which must come."""
        while self._receive():
            pass

    # What the usb-host says

    def _file(self, packet: Packet) -> None:
        match packet.type:
            case Type.HELLO:
                self.codec = Codec(self.caps & hello_caps(packet.data))
                self._greeted = True
            case Type.EP_INFO:
                self.endpoints = self.codec.endpoints(packet.data)
                self._order.append(packet.type)
            case Type.INTERFACE_INFO:
                self.interfaces = interfaces(packet.data)
                self._order.append(packet.type)
            case Type.DEVICE_CONNECT:
                self._connected(packet)
            case Type.DEVICE_DISCONNECT:
                self._disconnected()
            case Type.FILTER_FILTER:
                assert Cap.FILTER in self.codec.caps, "a filter that was not negotiated"
                assert packet.data.endswith(b"\0"), f"filter not terminated: {packet.data!r}"
                self.filter = packet.data[:-1]
            case Type.INTERRUPT if packet["endpoint"] & 0x80:
                self._event(packet)
            case _:
                self._reply(packet)

    def _connected(self, packet: Packet) -> None:
        assert self.device is None, "device_connect twice"
        assert self._order == [Type.EP_INFO, Type.INTERFACE_INFO], f"order: {self._order}"
        assert packet["speed"] in set(Speed), f"speed {packet['speed']}"
        self.device = packet.fields
        self.connects += 1

    def _disconnected(self) -> None:
        assert self.device is not None, "device_disconnect with no device"
        self.device = None
        self._order.clear()
        self._live.clear()
        self._receiving.clear()
        if Cap.DISCONNECT_ACK in self.codec.caps:
            self.send(Type.DEVICE_DISCONNECT_ACK, 0)

    def _event(self, packet: Packet) -> None:
        endpoint = packet["endpoint"]
        assert endpoint in self._receiving, f"an event nobody asked for: {packet}"
        assert packet.id == self._receiving[endpoint], f"event {packet.id} out of order"
        assert packet["length"] == len(packet.data), f"lengths differ: {packet}"
        assert len(packet.data) <= self.endpoints[endpoint].max_packet or not (self.endpoints[endpoint].max_packet), (
            f"longer than the endpoint's packets: {packet}"
        )
        self._receiving[endpoint] += 1
        self.events.append(packet.data)

    def _reply(self, packet: Packet) -> None:
        request = self._live.pop(packet.id, None)
        assert request is not None, f"a reply to nothing that waits: {packet}"
        assert packet.type is REPLIES[request.type], f"{packet} for {request}"
        if "endpoint" in packet.fields:
            assert packet["endpoint"] == request.endpoint, f"{packet} for {request}"
        if packet.type in {Type.CONTROL, Type.BULK, Type.INTERRUPT}:
            carried = packet["length"] if request.endpoint & 0x80 else 0
            assert len(packet.data) == carried, f"lengths differ: {packet}"
            assert packet["length"] <= request.asked, f"more than asked: {packet} {request}"
            if packet.status is Status.CANCELLED:
                assert packet["length"] == 0, f"cancelled with data: {packet}"
        started = request.type is Type.START_INTERRUPT_RECEIVING
        if started and packet.status is Status.SUCCESS:
            self._receiving[request.endpoint] = 0
        if request.type is Type.STOP_INTERRUPT_RECEIVING:
            self._receiving.pop(request.endpoint, None)
        self._replies[packet.id] = packet

    # What the guest asks

    @property
    def pending(self) -> list[int]:
        """Ids that have no reply yet."""
        return list(self._live)

    def request(
        self,
        kind: Type,
        *values: int,
        endpoint: int = 0,
        asked: int = 0,
        data: Buffer = b"",
        id_: int | None = None,
    ) -> int:
        """Send any request and return its id, which is used once unless the caller gives one."""
        chosen = next(self._ids) if id_ is None else id_
        if id_ is None and Cap.IDS_64BITS in self.codec.caps:
            chosen |= 0x7F00 << 32
        self._live[chosen] = Request(kind, endpoint, asked or len(data))
        self.send(kind, chosen, *values, data=data)
        return chosen

    def wait(self, id_: int) -> Packet:
        """The reply to a request."""
        plugs = self.connects, self.device is None
        while id_ not in self._replies:
            if plugs != (self.connects, self.device is None):
                raise UnpluggedError
            assert id_ in self._live, f"{id_:#x} is not under way"
            self.pump()
        return self._replies.pop(id_)
