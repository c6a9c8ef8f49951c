"""What is told to Prometheus, as a table, and whether all is well. No I/O: numbers are read where they are kept."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from usbredir_mtp.logs import printable
from usbredir_mtp.mtp.codes import OperationCode, ResponseCode
from usbredir_mtp.mtp.nodes import storage_of
from usbredir_mtp.mtp.storage import WatchState
from usbredir_mtp.session import Queues
from usbredir_mtp.tally import BUCKETS, UNKNOWN, End, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from usbredir_mtp.mtp.storage import Watch
    from usbredir_mtp.session import Phone, Session

PREFIX: Final = "usbredir_mtp"

_OFF: Final = "off"
"""The state of a watch that nobody wants."""
_OPERATIONS: Final = {UNKNOWN: "UNKNOWN", **{int(code): code.name for code in OperationCode}}


class Served(Protocol):
    """A device with what serves it; may be asked by any thread."""

    phone: Phone

    @property
    def sessions(self) -> Sequence[Session]:
        """Those of the guests that there are."""

    @property
    def trouble(self) -> Sequence[str]:
        """Why guests cannot get to it, by a way that they should."""


class Share(NamedTuple):
    """A storage of a device: its name, of which a device has no other, uploads to it, and its watch."""

    name: str
    uploads: int
    watch: Watch | None

    @property
    def state(self) -> str:
        """How the watch is getting on."""
        return _OFF if self.watch is None else self.watch.state

    @property
    def trouble(self) -> str | None:
        """What is wrong, if anything is."""
        return _TROUBLE.get(self.state)


_TROUBLE: Final = {
    str(WatchState.GONE): "the folder is not there",
    str(WatchState.FAILED): "changes on the host are not noticed",
}


@dataclass(frozen=True)
class View:
    """A device at one moment."""

    served: Served

    @property
    def name(self) -> str:
        """What it is called."""
        return printable(self.served.phone.name)

    @cached_property
    def tally(self) -> Tally:
        """What its guests' transactions come to."""
        return self.served.phone.tallies.total()

    @cached_property
    def queues(self) -> Queues:
        """What waits, of all guests."""
        return Queues(*map(sum, zip(Queues(0, 0, 0, 0), *(each.queues for each in self.served.sessions), strict=True)))

    @cached_property
    def shares(self) -> list[Share]:
        """What it shares."""
        mtp = self.served.phone.mtp
        watches = list(mtp.watches())
        names = _distinct(printable(storage_of(root).description) for root, _ in watches)
        rows = zip(names, watches, strict=True)
        return [Share(name, mtp.objects.stores.uploads(root), watch) for name, (root, watch) in rows]

    @property
    def trouble(self) -> list[str]:
        """Why not all of it is served."""
        shares = [f"{share.name}: {share.trouble}" for share in self.shares if share.trouble]
        return [*self.served.trouble, *shares]


def _distinct(names: Iterable[str]) -> list[str]:
    """The names, with numbers behind those that were there before: a label's value stands for one thing."""
    found: dict[str, None] = {}
    for name in names:
        number, distinct = 1, name
        while distinct in found:
            number += 1
            distinct = f"{name} ({number})"
        found[distinct] = None
    return list(found)


def health(devices: Iterable[Served]) -> list[str]:
    """Why not all devices are served, with their names; empty if they are."""
    return [f"{view.name}: {trouble}" for view in map(View, devices) for trouble in view.trouble]


class Histogram(NamedTuple):
    """How many took how long: counts up to each upper end, the last of which is none; seconds in all."""

    buckets: list[tuple[str, float]]
    seconds: float


Sample = tuple[tuple[str, ...], tuple[float] | Histogram]
"""The labels' values, behind the device's, and what they stand before."""


@dataclass(slots=True, frozen=True)
class Row:
    """A metric.

    Attributes:
        name: Without what Prometheus wants before and behind.
        kind: "counter", "gauge" or "histogram".
        help: What it is, in one line.
        labels: Behind the device.
        source: Where its values come from.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    source: Callable[[View], Iterable[Sample]]

    @property
    def full_name(self) -> str:
        """As it appears in a query; histograms have `_bucket`, `_sum` and `_count` behind it."""
        return f"{PREFIX}_{self.name}{'_total' if self.kind == 'counter' else ''}"


def _one(value: float) -> list[Sample]:
    return [((), (value,))]


def _each(values: Mapping[str, float]) -> list[Sample]:
    return [((label,), (value,)) for label, value in values.items()]


def _transactions(view: View) -> Iterator[Sample]:
    for (operation, response), count in view.tally.transactions.items():
        yield (_OPERATIONS[operation], ResponseCode(response).name), (count,)


def _times(view: View) -> Iterator[Sample]:
    ends = [*map(str, BUCKETS), "+Inf"]
    for kind, times in view.tally.times.items():
        yield (kind,), Histogram(list(zip(ends, accumulate(times.counts), strict=True)), times.seconds)


def _watch_states(view: View) -> Iterator[Sample]:
    for share in view.shares:
        for state in (*WatchState, _OFF):
            yield (share.name, state), (share.state == state,)


ROWS: Final = (
    Row(
        "healthy",
        "gauge",
        "1 while the device is served and its watches are well, as /healthz says.",
        (),
        lambda v: _one(not v.trouble),
    ),
    Row("guests", "gauge", "Connections that there are.", (), lambda v: _one(len(v.served.sessions))),
    Row(
        "connections",
        "counter",
        "Connections that there have been.",
        (),
        lambda v: _one(v.served.phone.tallies.connections.begun),
    ),
    Row(
        "connections_refused",
        "counter",
        "Connections to unix sockets by users who may not.",
        (),
        lambda v: _one(v.served.phone.tallies.connections.refused),
    ),
    Row(
        "connections_ended",
        "counter",
        "Connections that are over, by why.",
        ("reason",),
        lambda v: _each({end: v.served.phone.tallies.connections.ended[end] for end in End}),
    ),
    Row("transactions", "counter", "MTP transactions, by their response.", ("operation", "result"), _transactions),
    Row(
        "transaction_seconds",
        "histogram",
        "Time from a transaction's turn to the end of its response, which waits for the guest to take the data.",
        ("kind",),
        _times,
    ),
    Row(
        "received_bytes",
        "counter",
        "Bytes that guests have sent in data phases: files, and what describes them.",
        (),
        lambda v: _one(v.tally.received),
    ),
    Row("sent_bytes", "counter", "Bytes for guests: data phases and responses.", (), lambda v: _one(v.tally.sent)),
    Row(
        "queued_bytes",
        "gauge",
        "Bytes that wait: of uploads for the storage, of answers for the guests.",
        ("queue",),
        lambda v: _each({"uploads": v.queues.uploads, "answers": v.queues.answers}),
    ),
    Row(
        "pending_transfers",
        "gauge",
        "USB bulk transfers that wait, by direction as the guest sees it.",
        ("direction",),
        lambda v: _each({"in": v.queues.transfers_in, "out": v.queues.transfers_out}),
    ),
    Row(
        "uploads",
        "gauge",
        "Uploads of files that are running.",
        ("export",),
        lambda v: _each({share.name: share.uploads for share in v.shares}),
    ),
    Row(
        "watch_state",
        "gauge",
        "1 for the state that an export's watch is in, 0 for the others.",
        ("export", "state"),
        _watch_states,
    ),
    Row(
        "watch_losses",
        "counter",
        "How many times changes on the host came too fast, and all was looked at instead.",
        ("export",),
        lambda v: _each({share.name: share.watch.losses if share.watch else 0 for share in v.shares}),
    ),
    Row(
        "storage_errors",
        "counter",
        "Transactions that an error of the host's has ended, by errno.",
        ("errno",),
        lambda v: _each({errno.errorcode.get(number, "UNKNOWN"): count for number, count in v.tally.errors.items()}),
    ),
)
"""What there is to tell of each device."""
