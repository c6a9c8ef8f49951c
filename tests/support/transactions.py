"""MTP containers and transactions over a usb-guest's bulk pipes, as hosts' drivers do them."""

from __future__ import annotations

import struct
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

import pytest

from tests.support import codes
from tests.support.codes import Ev, Rc
from tests.support.link import check

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from tests.support.usbredir import Guest
    from tests.support.wire import Buffer

COMMAND, DATA, RESPONSE, EVENT = 1, 2, 3, 4
HEADER = struct.Struct("<IHHI")
UNKNOWN_LENGTH = 0xFFFFFFFF


class OutStyle(Enum):
    """How a data phase to the responder is cut into transfers."""

    JOINED = auto()
    """Header and payload as one run of bytes."""
    FIRST_PACKET = auto()
    """A first transfer of one packet, then the rest: libmtp."""
    SPLIT_HEADER = auto()
    """The 12 bytes of the header alone, then the payload."""


@dataclass(slots=True)
class Response:
    """How a transaction ended."""

    code: int
    params: tuple[int, ...] = ()
    data: bytes = b""


@dataclass(slots=True, frozen=True)
class Event:
    """An event container."""

    code: int
    transaction: int
    params: tuple[int, ...]


class MtpFailure(Exception):  # noqa: N818  (the responder's refusal; rarely an error of a test)
    """A response other than OK."""

    def __init__(self, response: Response) -> None:
        super().__init__(codes.name(response.code))
        self.response = response
        self.code = response.code


@contextmanager
def refused(*expected: int) -> Iterator[None]:
    """The block must end in one of these response codes (any failure if none is given)."""
    with pytest.raises(MtpFailure) as caught:
        yield
    wanted = ", ".join(codes.name(code) for code in expected)
    assert not expected or caught.value.code in expected, f"{caught.value}, not {wanted}"


def container(kind: int, code: int, transaction: int, *params: int) -> bytes:
    """A container of parameters."""
    size = HEADER.size + 4 * len(params)
    return HEADER.pack(size, kind, code, transaction) + struct.pack(f"<{len(params)}I", *params)


class Transactions:
    """One initiator's bulk pipes.

    Attributes:
        guest: The usb-guest, its device attached and configured.
        transfer: Bytes a bulk transfer, either way; a multiple of the endpoints' packet size.
        depth: IN transfers kept in flight.
        exact: Ask for exactly what is left of a message, then for a zero-length packet: libmtp.
        style: How data phases go out.
        transaction: The id of the next transaction; 0 while no session is open.
    """

    def __init__(
        self,
        guest: Guest,
        *,
        transfer: int = 16384,
        depth: int = 1,
        exact: bool = False,
        style: OutStyle = OutStyle.JOINED,
    ) -> None:
        assert depth == 1 or not exact, "what is left of a message is not known ahead"
        self.guest = guest
        self.transfer = transfer
        self.depth = depth
        self.exact = exact
        self.style = style
        self.transaction = 0
        self._waiting: deque[int] = deque()
        self.packet = guest.endpoints[guest.endpoint(2, 0x80)].max_packet or 512

    # IN

    def read_transfer(self, length: int | None = None) -> bytes:
        """One IN transfer: the oldest of those in flight, or a new one."""
        asked = self.transfer if length is None else length
        while len(self._waiting) < self.depth:
            self._waiting.append(self.guest.submit_bulk_in(asked))
        reply = self.guest.wait(self._waiting.popleft())
        check(reply.status)
        return reply.data

    def read_message(self) -> bytes:
        """One USB message: all up to a short transfer."""
        if self.exact:
            return self._read_exact()
        pieces = [self.read_transfer()]
        while len(pieces[-1]) == self.transfer:
            pieces.append(self.read_transfer())
        return b"".join(pieces)

    def _read_exact(self) -> bytes:
        message = bytearray(self.read_transfer(self.packet))
        (length,) = struct.unpack_from("<I", message)
        while len(message) < length:
            message += self.read_transfer(min(self.transfer, length - len(message)))
        if length % self.packet == 0:
            assert self.read_transfer(0) == b"", "a zero-length packet was due"
        return bytes(message)

    def read_container(self, kind: int, transaction: int) -> tuple[int, int, bytes]:
        """A container checked for its own sake: its type (`kind` or a response), code, payload."""
        message = self.read_message()
        assert len(message) >= HEADER.size, f"no container: {message.hex()}"
        length, found, code, number = HEADER.unpack_from(message)
        assert found in {kind, RESPONSE}, f"container type {found}: {message[:64].hex()}"
        assert length == min(len(message), UNKNOWN_LENGTH), f"{length} is not {len(message)}"
        assert number == transaction, f"transaction {number}, not {transaction}"
        return found, code, message[HEADER.size :]

    # OUT

    def send_command(self, code: int, *params: int, transaction: int | None = None) -> int:
        """Send a command container and return its transaction's id."""
        number = self.transaction if transaction is None else transaction
        if self.transaction and transaction is None:
            self.transaction += 1
        self.guest.bulk_out(container(COMMAND, code, number, *params))
        return number

    def send_data(self, code: int, transaction: int, data: Buffer, *, length: int | None = None) -> None:
        """Send a data phase, ended as USB wants it; `length` overrides what its header says."""
        size = HEADER.size + len(data) if length is None else length
        header = HEADER.pack(min(size, UNKNOWN_LENGTH), DATA, code, transaction)
        if self.style is OutStyle.SPLIT_HEADER:
            self.guest.bulk_out(header)
            if data:
                self.send_message(data)
            return
        message = header + data
        first = self.packet if self.style is OutStyle.FIRST_PACKET else 0
        if first and len(message) > first:
            self.guest.bulk_out(message[:first])
            message = message[first:]
        self.send_message(message)

    def begin_data(self, code: int, transaction: int, announced: int, sent: bytes) -> None:
        """Send the first bytes of a data phase of `announced` bytes and leave it open."""
        message = HEADER.pack(announced + HEADER.size, DATA, code, transaction) + sent
        for start in range(0, len(message), self.transfer):
            self.guest.bulk_out(message[start : start + self.transfer])

    def send_message(self, message: Buffer) -> None:
        """One USB message: transfers, the last of them short."""
        view = memoryview(message)
        for start in range(0, len(view), self.transfer):
            self.guest.bulk_out(view[start : start + self.transfer])
        if len(view) % self.packet == 0:
            self.guest.bulk_out(b"")

    # Transactions

    def transact(self, code: int, *params: int, data: Buffer | None = None) -> Response:
        """A whole transaction, whatever its outcome."""
        number = self.send_command(code, *params)
        if data is not None:
            self.send_data(code, number, data)
        return self.finish(code, number)

    def finish(self, code: int, number: int) -> Response:
        """Read what the responder has to say to a transaction: data perhaps, and a response."""
        kind, found, payload = self.read_container(DATA, number)
        received = b""
        if kind == DATA:
            assert found == code, f"data of {found:#x}, not {code:#x}"
            received = payload
            kind, found, payload = self.read_container(RESPONSE, number)
        assert len(payload) in range(0, 24, 4), f"a response with {payload.hex()}"
        return Response(found, struct.unpack(f"<{len(payload) // 4}I", payload), received)

    def command(self, code: int, *params: int, data: Buffer | None = None) -> Response:
        """A transaction that has to end in OK.

        Raises:
            MtpFailure: It ended otherwise.
        """
        response = self.transact(code, *params, data=data)
        if response.code != Rc.OK:
            raise MtpFailure(response)
        return response

    # Class requests (Still Image Capture Device Definition 1.0, section 5)

    def device_status(self) -> tuple[int, tuple[int, ...]]:
        """Get Device Status: the code and its parameters."""
        reply = self.guest.control_in(0xA1, 0x67, length=36)
        length, code = struct.unpack_from("<HH", reply)
        assert length == len(reply), f"device status: {reply.hex()}"
        return code, struct.unpack(f"<{(length - 4) // 4}I", reply[4:])

    def wait_ready(self) -> None:
        """Poll the device's status until it says OK."""
        deadline = time.monotonic() + self.guest.timeout
        while (status := self.device_status()[0]) != Rc.OK:
            assert status in {Rc.DEVICE_BUSY, Rc.TRANSACTION_CANCELLED}, codes.name(status)
            assert time.monotonic() < deadline, "the device stays busy"
            time.sleep(0.005)

    def cancel(self, transaction: int) -> None:
        """Give a transaction up: cancel transfers, Cancel Request, and wait for the device."""
        self.forget_transfers()
        self.guest.control_out(0x21, 0x64, data=struct.pack("<HI", 0x4001, transaction))
        self.wait_ready()

    def forget_transfers(self) -> None:
        """Cancel what is in flight."""
        self.guest.cancel_all()
        self._waiting.clear()

    def device_reset(self) -> None:
        """Device Reset Request: the session is over."""
        self.forget_transfers()
        self.guest.control_out(0x21, 0x66)
        self.wait_ready()
        self.transaction = 0

    def bus_reset(self) -> None:
        """A USB reset with what host controller, QEMU and operating system do after it."""
        self.guest.reset()
        self.forget_transfers()
        self.guest.stop_interrupt()
        self.guest.set_configuration(1)
        self.guest.start_interrupt()
        self.transaction = 0

    def wait_event(self, timeout: float | None = None, unless: Container[int] = (Ev.STORAGE_INFO_CHANGED,)) -> Event:
        """The next event, but for those of some codes: the free space of a disk changes for many reasons.

        Raises:
            TimeoutError: None came.
        """
        while True:
            event = self._event(timeout)
            if event.code not in unless:
                return event

    def _event(self, timeout: float | None) -> Event:
        message = self.guest.wait_event(timeout)
        assert len(message) in range(12, 28, 4), f"an event of {message.hex()}"
        length, kind, code, number = HEADER.unpack_from(message)
        assert (length, kind) == (len(message), EVENT), f"an event of {message.hex()}"
        params = struct.unpack(f"<{(length - 12) // 4}I", message[12:])
        return Event(code, number, params)
