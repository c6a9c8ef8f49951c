"""USB containers (Still Image Capture Device Definition 1.0, section 7.1; MTP 1.1, appendix H).

Every container starts a USB message of its own: a 12-byte header, then parameters or payload. `ContainerAssembler`
turns the initiator's transfers back into commands and data phases, whatever way they were cut.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from usbredir_mtp.mtp.codes import ContainerType

Buffer = bytes | bytearray | memoryview

HEADER = struct.Struct("<IHHI")
MAX_PARAMETERS = 5
MAX_COMMAND = HEADER.size + 4 * MAX_PARAMETERS

UNKNOWN_LENGTH = 0xFFFFFFFF
"""In a data header: 4 GiB - 1 or longer, the end is the message's short packet."""


class ContainerError(Exception):
    """The initiator's bytes are no container: the endpoints stall until it resets the device."""


class Command(NamedTuple):
    """An operation request."""

    code: int
    transaction: int
    parameters: tuple[int, ...]


class DataStart(NamedTuple):
    """A data phase from the initiator begins; `length` is its payload's, None if the header does not say."""

    code: int
    transaction: int
    length: int | None


class Payload(NamedTuple):
    """A piece of the data phase."""

    data: Buffer


class DataEnd(NamedTuple):
    """The data phase is over; not `complete` if fewer bytes came than its header promised."""

    complete: bool


Item = Command | DataStart | Payload | DataEnd


def encode_command(command: Command) -> bytes:
    """A command container."""
    return _encode(ContainerType.COMMAND, command.code, command.transaction, command.parameters)


def encode_response(code: int, transaction: int, parameters: tuple[int, ...] = ()) -> bytes:
    """A response container."""
    return _encode(ContainerType.RESPONSE, code, transaction, parameters)


def encode_event(code: int, transaction: int, parameters: tuple[int, ...] = ()) -> bytes:
    """An event container, as it goes over the interrupt endpoint (one that belongs to no transaction: 0xFFFFFFFF)."""
    return _encode(ContainerType.EVENT, code, transaction, parameters)


def encode_data_header(code: int, transaction: int, length: int) -> bytes:
    """The header of a data container with `length` bytes of payload."""
    total = min(HEADER.size + length, UNKNOWN_LENGTH)
    return HEADER.pack(total, ContainerType.DATA, code, transaction)


def _encode(kind: ContainerType, code: int, transaction: int, parameters: tuple[int, ...]) -> bytes:
    size = HEADER.size + 4 * len(parameters)
    return struct.pack(f"<IHHI{len(parameters)}I", size, kind, code, transaction, *parameters)


@dataclass(slots=True)
class ContainerAssembler:
    """Bulk-OUT transfers in, commands and data phases out; holds no more than one header."""

    _head: bytes = b""
    _in_data: bool = False
    _left: int | None = None
    _payload_begun: bool = False

    def receive(self, data: Buffer, short: bool) -> list[Item]:
        """Take one transfer; `short` says that it ends a USB message (its last packet is not a full one).

        Raises:
            ContainerError: what arrived is no container; the assembler starts anew with the next transfer.
        """
        if self._in_data:
            return self._continue_data(data, short)
        if not data:  # the zero-length packet that ends a message of whole packets
            return []
        head = self._head + data if self._head else data
        if len(head) < HEADER.size:
            if short:
                self.reset()
                raise ContainerError(f"message of {len(head)} bytes: a container header has {HEADER.size}")
            self._head = bytes(head)
            return []
        return self._begin(head, short)

    def reset(self) -> None:
        """Forget what has begun: the next transfer starts a container."""
        self._head = b""
        self._in_data = False
        self._payload_begun = False

    def _begin(self, head: Buffer, short: bool) -> list[Item]:
        length, kind, code, transaction = HEADER.unpack_from(head)
        self.reset()
        if kind == ContainerType.COMMAND:
            return [_command(head, length, code, transaction)]
        if kind != ContainerType.DATA or length < HEADER.size:
            raise ContainerError(f"container of type {kind} and length {length} on the bulk pipe")
        known = None if length == UNKNOWN_LENGTH else length - HEADER.size
        self._in_data, self._left = True, known
        items: list[Item] = [DataStart(code, transaction, known)]
        payload = memoryview(head)[HEADER.size :]
        # Initiators may send the header alone: its short packet then does not end the data.
        if payload or known == 0:
            items += self._continue_data(payload, short)
        return items

    def _continue_data(self, data: Buffer, short: bool) -> list[Item]:
        items: list[Item] = []
        if self._left is not None:
            data = data[: self._left]  # what exceeds the promised length is the initiator's mistake
            self._left -= len(data)
        if data:
            self._payload_begun = True
            items.append(Payload(data))
        if self._left == 0 or (short and (self._payload_begun or self._left is None)):
            items.append(DataEnd(complete=not self._left))
            self.reset()
        return items


def _command(head: Buffer, length: int, code: int, transaction: int) -> Command:
    if not HEADER.size <= length <= MAX_COMMAND or length > len(head) or length % 4:
        raise ContainerError(f"command container of length {length} in a message of {len(head)} bytes")
    count = (length - HEADER.size) // 4
    return Command(code, transaction, struct.unpack_from(f"<{count}I", head, HEADER.size))
