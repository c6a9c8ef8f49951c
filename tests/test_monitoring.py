"""`--metrics` without the program around it; with it: tests/network/test_monitor.py."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from tests.test_metrics import Device, Shared, Watching, device
from usbredir_mtp.exposition import CONTENT_TYPE
from usbredir_mtp.monitor import PATHS, Monitor, MonitorError, check_monitor
from usbredir_mtp.mtp.storage import WatchState
from usbredir_mtp.network.addresses import Tcp, Unix
from usbredir_mtp.network.http import Page, Request
from usbredir_mtp.network.listening import ListenError

if TYPE_CHECKING:
    from pathlib import Path

ANY = Tcp("127.0.0.1", 0)
OPEN = Tcp("0.0.0.0", 0)


def monitor(address: Tcp | Unix | None, *, insecure: bool = False) -> Monitor:
    return Monitor(address, insecure=insecure, mode=0o600, users=[])


def pages(*devices: Device) -> list[Page]:
    """What the two pages are."""
    shown = monitor(ANY)
    try:
        server = shown.server(lambda: devices)
        assert server is not None

        async def ask() -> list[Page]:
            return [await server.answer(Request(path, with_body=True)) for path in PATHS]

        return asyncio.run(ask())
    finally:
        shown.close()


def test_the_pages() -> None:
    metrics, healthz = pages(device(Shared("share", Watching())))
    assert (metrics.status, metrics.type) == (200, CONTENT_TYPE)
    assert b'usbredir_mtp_healthy{device="phone"} 1.0\n' in metrics.body
    assert healthz == Page(b"ok: 1 device is served\n")
    assert pages()[1] == Page(b"ok: 0 devices are served\n")


def test_what_is_wrong() -> None:
    one, other = device(Shared("share", Watching(WatchState.GONE))), device(name="other")
    other.trouble.append("unplugging")
    _, healthz = pages(one, other)
    assert healthz.status == 503
    assert healthz.body == b"phone: share: the folder is not there\nother: unplugging\n"


def test_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usbredir_mtp.exposition", None)
    shown = monitor(None)
    assert (shown.files, shown.banner, shown.server(list)) == ([], [], None)
    shown.close()


def test_where(tmp_path: Path) -> None:
    path = tmp_path / "monitor"
    shown = monitor(Unix(path))
    assert shown.files == [path]
    assert shown.banner == [f"Metrics at unix:{path}: /metrics and /healthz"]
    shown.close()
    assert not path.exists()
    path.touch()
    with pytest.raises(ListenError, match=f"^--metrics: cannot listen on unix:{path}: there is something else"):
        monitor(Unix(path))


def test_who_may_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in (ANY, None):
        check_monitor(address, insecure=False)
    with pytest.raises(MonitorError, match="open to other machines"):
        monitor(OPEN)
    monitor(OPEN, insecure=True).close()
    monkeypatch.setitem(sys.modules, "usbredir_mtp.exposition", None)
    monkeypatch.delattr("usbredir_mtp.exposition")
    with pytest.raises(MonitorError, match=r"pip install 'usbredir-mtp\[metrics\]'"):
        check_monitor(ANY, insecure=False)
