"""USB's words that every module of this layer uses (USB 2.0, chapter 9; USB 3.2, chapter 9)."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

Buffer = bytes | bytearray | memoryview

DIR_IN = 0x80
"""The direction bit of endpoint addresses and of bmRequestType: from the device."""


class Speed(IntEnum):
    """Bus speeds, numbered as operating systems and usbredir do."""

    FULL = 1
    HIGH = 2
    SUPER = 3


class TransferStatus(IntEnum):
    """How a transfer ended."""

    SUCCESS = 0
    CANCELLED = 1
    INVAL = 2
    IOERROR = 3
    STALL = 4
    TIMEOUT = 5
    BABBLE = 6


class TransferType(IntEnum):
    """Kinds of endpoint, as bmAttributes numbers them (USB 2.0, table 9-13)."""

    CONTROL = 0
    ISOCHRONOUS = 1
    BULK = 2
    INTERRUPT = 3


Complete = Callable[[int, int, TransferStatus, int, Buffer], None]
"""Takes a transfer's completion: endpoint address, id, status, bytes moved, and for IN endpoints the data."""
