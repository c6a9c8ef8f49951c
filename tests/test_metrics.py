"""What is told to Prometheus, read by its own parser; and what is said of a device's health."""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.mtp.memory_storage import MemoryStorage
from usbredir_mtp import __version__
from usbredir_mtp.exposition import page_of
from usbredir_mtp.metrics import ROWS, health
from usbredir_mtp.mtp.codes import ResponseCode
from usbredir_mtp.mtp.device import MtpDevice
from usbredir_mtp.mtp.objects import ObjectTable
from usbredir_mtp.mtp.storage import WatchState
from usbredir_mtp.session import Phone, Queues
from usbredir_mtp.tally import End

if TYPE_CHECKING:
    from usbredir_mtp.session import Session

ROOT = Path(__file__).parents[1]


@dataclass
class Watching:
    """A watch that is in whatever state a test wants."""

    state: WatchState = WatchState.WATCHING
    losses: int = 0

    def stop(self) -> None:
        pass


class Shared(MemoryStorage):
    def __init__(self, name: str, watch: Watching | None = None) -> None:
        super().__init__("file", volume=name)
        self.description = name
        self.watching = watch


@dataclass
class Connected:
    """A session."""

    queues: Queues


@dataclass
class Device:
    """What serves a device."""

    phone: Phone
    trouble: list[str] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)

    def connect(self, *queues: int) -> None:
        self.sessions.append(cast("Session", Connected(Queues(*queues))))


def device(*storages: Shared, name: str = "phone") -> Device:
    mtp = MtpDevice(ObjectTable())
    for storage in storages:
        mtp._watches[mtp.add_storage(storage)] = storage.watching
    return Device(Phone(mtp, name=name))


Page = dict[tuple[str, ...], float]


def read(*devices: Device) -> Page:
    """(Name, labels' values in the order of their names) -> value; no two of these are the same."""
    text = page_of(lambda: devices)().decode("utf-8")
    page: Page = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name.removeprefix("usbredir_mtp_"), *(value for _, value in sorted(sample.labels.items())))
            assert key not in page
            page[key] = sample.value
    return page


def test_a_device_that_nobody_has_used() -> None:
    page = read(device(Shared("share", Watching())))
    assert page["info", __version__] == 1
    assert page["healthy", "phone"] == 1
    assert page["guests", "phone"] == page["connections_total", "phone"] == page["sent_bytes_total", "phone"] == 0
    assert {key[2] for key in page if key[0] == "connections_ended_total"} == set(End)
    assert page["transaction_seconds_count", "phone", "read"] == 0
    assert not [key for key in page if key[0] in {"transactions_total", "storage_errors_total"}]
    assert page["process_open_fds",] > 0


def test_transactions() -> None:
    phone = device()
    errors: Counter[int] = Counter({errno.ENOSPC: 2, 100_000: 1})
    tally = phone.phone.tallies.begin(errors)
    tally.ended(0x1009, ResponseCode.OK, 0.005)
    tally.ended(0x1009, ResponseCode.OK, 5)
    tally.ended(0x1009, ResponseCode.TRANSACTION_CANCELLED, 500)
    tally.ended(0x9999, ResponseCode.OPERATION_NOT_SUPPORTED, 0)
    tally.sent, tally.received = 2**53, 5
    page = read(phone)
    assert {key[2:]: value for key, value in page.items() if key[0] == "transactions_total"} == {
        ("GET_OBJECT", "OK"): 2,
        ("GET_OBJECT", "TRANSACTION_CANCELLED"): 1,
        ("UNKNOWN", "OPERATION_NOT_SUPPORTED"): 1,
    }
    buckets = {
        key[3]: value for key, value in page.items() if key[:3] == ("transaction_seconds_bucket", "phone", "read")
    }
    assert buckets == {"0.001": 0, "0.01": 1, "0.1": 1, "1.0": 1, "10.0": 2, "60.0": 2, "+Inf": 3}
    assert page["transaction_seconds_count", "phone", "read"] == 3
    assert page["transaction_seconds_sum", "phone", "read"] == 505.005
    assert page["transaction_seconds_count", "phone", "device"] == 1
    assert (page["sent_bytes_total", "phone"], page["received_bytes_total", "phone"]) == (2**53, 5)
    assert page["storage_errors_total", "phone", "ENOSPC"] == 2
    assert page["storage_errors_total", "phone", "UNKNOWN"] == 1


def test_connections_and_what_waits_in_them() -> None:
    phone = device()
    phone.connect(1, 20, 300, 4000)
    phone.connect(5, 50, 500, 5000)
    connections = phone.phone.tallies.connections
    connections.begun, connections.refused = 9, 4
    connections.ended[End.PROTOCOL] += 7
    page = read(phone)
    assert page["guests", "phone"] == 2
    assert page["connections_total", "phone"] == 9
    assert page["connections_refused_total", "phone"] == 4
    assert page["connections_ended_total", "phone", "protocol"] == 7
    assert page["connections_ended_total", "phone", "guest"] == 0
    assert [page["queued_bytes", "phone", queue] for queue in ("uploads", "answers")] == [6, 70]
    assert [page["pending_transfers", "phone", direction] for direction in ("in", "out")] == [800, 9000]


def test_exports() -> None:
    watching = Watching(WatchState.POLLING, losses=3)
    phone = device(Shared("one", watching), Shared("other"))
    stores = phone.phone.mtp.objects.stores
    stores.begin_upload(next(iter(stores)))
    page = read(phone)
    assert (page["uploads", "phone", "one"], page["uploads", "phone", "other"]) == (1, 0)
    assert page["watch_losses_total", "phone", "one"] == 3
    states = {key[2:]: value for key, value in page.items() if key[0] == "watch_state"}
    assert {key for key, value in states.items() if value} == {("one", "polling"), ("other", "off")}
    assert {state for name, state in states if name == "one"} == {*WatchState, "off"}
    assert set(states.values()) == {0, 1}


def test_names_are_told_apart_and_are_text() -> None:
    names = ["share", "share", "share (2)", 'a"\\\n{}', "\udcff", "\udcff"]
    page = read(device(*map(Shared, names), name="\udcfe"))
    assert [key[1:] for key in page if key[0] == "uploads"] == [
        ("\\udcfe", name) for name in ("share", "share (2)", "share (2) (2)", 'a"\\\n{}', "\\udcff", "\\udcff (2)")
    ]


def test_devices_come_and_go() -> None:
    devices = [device(name="one"), device(name="other")]
    make = page_of(lambda: devices)
    assert b'guests{device="one"} 0.0' in make()
    del devices[0]
    page = make()
    assert b'device="one"' not in page
    assert b'guests{device="other"} 0.0' in page
    devices.clear()
    assert b"device=" not in make()


@pytest.mark.parametrize(
    ("state", "trouble"),
    [
        (WatchState.STARTING, None),
        (WatchState.WATCHING, None),
        (WatchState.POLLING, None),
        (WatchState.GONE, "the folder is not there"),
        (WatchState.FAILED, "changes on the host are not noticed"),
    ],
)
def test_health(state: WatchState, trouble: str | None) -> None:
    well, other = (
        device(Shared("share", Watching())),
        device(Shared("some"), Shared("share", Watching(state)), name="x"),
    )
    assert health([]) == []
    assert health([well, other]) == ([] if trouble is None else [f"x: share: {trouble}"])
    assert read(well, other)["healthy", "x"] == (trouble is None)
    well.trouble.append("tcp:127.0.0.1:4000: closed")
    assert health([well, other])[0] == "phone: tcp:127.0.0.1:4000: closed"
    assert read(well)["healthy", "phone"] == 0


def test_the_page_has_every_metric() -> None:
    text = (ROOT / "docs/metrics.md").read_text("utf-8")
    for row in ROWS:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        assert f"| `{row.full_name}` | {row.kind} | {labels} | {row.help} |" in text
    for value in End:
        assert f"`{value}`: " in text
    for state in WatchState:
        assert f"`{state}`: " in text
