"""What is counted while guests are served: plain numbers, each with one writer, which others may read at any time.

What is done for each transaction costs less than a microsecond; for a USB transfer nothing is done at all.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from usbredir_mtp.mtp.codes import OperationCode as Op

UNKNOWN: Final = 0
"""Stands for all operation codes that are not in `OperationCode`: a guest shall not be able to make up more."""


class Kind(StrEnum):
    """What an operation does: those of a kind take comparable times."""

    READ = "read"
    WRITE = "write"
    LIST = "list"
    CHANGE = "change"
    DEVICE = "device"


_KINDS: Final = {
    Kind.READ: (Op.GET_OBJECT, Op.GET_PARTIAL_OBJECT, Op.GET_PARTIAL_OBJECT_64, Op.GET_THUMB),
    Kind.WRITE: (Op.SEND_OBJECT, Op.SEND_PARTIAL_OBJECT, Op.COPY_OBJECT),
    Kind.LIST: (
        Op.GET_STORAGE_IDS,
        Op.GET_STORAGE_INFO,
        Op.GET_NUM_OBJECTS,
        Op.GET_OBJECT_HANDLES,
        Op.GET_OBJECT_INFO,
        Op.GET_OBJECT_PROP_VALUE,
        Op.GET_OBJECT_PROP_LIST,
        Op.GET_OBJECT_REFERENCES,
    ),
    Kind.CHANGE: (
        Op.DELETE_OBJECT,
        Op.SEND_OBJECT_INFO,
        Op.SEND_OBJECT_PROP_LIST,
        Op.FORMAT_STORE,
        Op.SET_OBJECT_PROTECTION,
        Op.MOVE_OBJECT,
        Op.TRUNCATE_OBJECT,
        Op.BEGIN_EDIT_OBJECT,
        Op.END_EDIT_OBJECT,
        Op.SET_OBJECT_PROP_VALUE,
        Op.SET_OBJECT_PROP_LIST,
        Op.SET_OBJECT_REFERENCES,
    ),
}
KIND_OF: Final[dict[int, Kind]] = {
    **dict.fromkeys(map(int, Op), Kind.DEVICE),
    **{int(code): kind for kind, codes in _KINDS.items() for code in codes},
}
"""Operation code -> its kind; `Kind.DEVICE` for those that touch no object, and for unknown ones."""

BUCKETS: Final = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0)
"""Seconds: the upper ends of the histograms' buckets, before the last one, which has none."""


@dataclass(slots=True)
class Times:
    """How long something took.

    Attributes:
        counts: For each of `BUCKETS`, and what took longer than the last.
        seconds: In all.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds


@dataclass(slots=True, eq=False)
class Tally:
    """What one guest's transactions come to, or those of all.

    Attributes:
        transactions: (Operation code, response code) -> how many.
        times: From the command's turn to the end of its response, which is not before the guest has taken most of it.
        received: Bytes of the data phases of initiators.
        sent: Bytes of data phases and responses to them.
        errors: Number of an error of the host's -> how many transactions it has brought to an end.
    """

    transactions: Counter[tuple[int, int]] = field(default_factory=Counter)
    times: dict[Kind, Times] = field(default_factory=lambda: {kind: Times() for kind in Kind})
    received: int = 0
    sent: int = 0
    errors: Counter[int] = field(default_factory=Counter)

    def ended(self, operation: int, response: int, seconds: float) -> None:
        """One transaction is over."""
        kind = KIND_OF.get(operation)
        if kind is None:
            kind, operation = Kind.DEVICE, UNKNOWN
        self.transactions[operation, response] += 1
        self.times[kind].add(seconds)

    def include(self, other: Tally) -> None:
        """Add another one's numbers, whose writer may be at work."""
        self.transactions.update(other.transactions.copy())
        self.errors.update(other.errors.copy())
        for kind, times in other.times.items():
            mine = self.times[kind]
            mine.counts = [a + b for a, b in zip(mine.counts, times.counts, strict=True)]
            mine.seconds += times.seconds
        self.received += other.received
        self.sent += other.sent


class End(StrEnum):
    """Why a connection is over."""

    GUEST = "guest"
    """The other end has closed it."""
    ERROR = "error"
    """The network has failed."""
    UNPLUGGED = "unplugged"
    """We have taken the device away: the guest has powered it down, or the program ends, or its table is gone."""
    PROTOCOL = "protocol"
    """The other end has broken the protocol."""
    NO_HELLO = "no_hello"
    """The other end has not said hello in time."""
    NO_ANSWER = "no_answer"
    """The other end has not acknowledged the unplugging in time."""
    FAULT = "fault"
    """A fault of ours."""


@dataclass(slots=True)
class Connections:
    """Written by the loop's thread.

    Attributes:
        begun: How many there have been.
        refused: How many were not let in.
        ended: How many are over, by why.
    """

    begun: int = 0
    refused: int = 0
    ended: Counter[End] = field(default_factory=Counter)


class Tallies:
    """A device's: those of the guests that there are, and what the others' came to. Thread-safe."""

    def __init__(self) -> None:
        self.connections = Connections()
        self._lock = threading.Lock()
        self._running: set[Tally] = set()
        self._past = Tally()

    def begin(self, errors: Counter[int]) -> Tally:
        """One more guest's; `errors` is where these are counted."""
        tally = Tally(errors=errors)
        with self._lock:
            self._running.add(tally)
        return tally

    def end(self, tally: Tally) -> None:
        """Nothing will be added to that one any more. May be called more than once."""
        with self._lock:
            if tally in self._running:
                self._running.discard(tally)
                self._past.include(tally)

    def total(self) -> Tally:
        """The sum of all, which never becomes less."""
        total = Tally()
        with self._lock:
            for tally in (self._past, *self._running):
                total.include(tally)
        return total
