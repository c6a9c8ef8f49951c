"""What the program tells systemd: a socket of ours stands in for systemd's."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.network.program import connection, initiator, program, refusal
from tests.support.usbredir import Guest
from usbredir_mtp.notify import MAX_STATUS, Notifier, notifier, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 20.0


class Supervisor:
    """The receiving end."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.bind(f"\0{where[1:]}" if where.startswith("@") else where)

    def read(self) -> dict[str, str]:
        message = self.socket.recv(4096).decode()
        return dict(line.split("=", 1) for line in message.split("\n"))

    def until(self, key: str, value: str = "") -> dict[str, str]:
        """The first message that says so."""
        end = time.monotonic() + PATIENCE
        while True:
            message = self.read()
            if key in message and value in message[key]:
                return message
            assert time.monotonic() < end, f"{key}={value} was never said"


@pytest.fixture(params=["path", "abstract"])
def supervisor(request: pytest.FixtureRequest, place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    where = str(place / "notify") if request.param == "path" else f"@usbredir-mtp-tests/{place.name}"
    supervisor = Supervisor(where)
    monkeypatch.setenv("NOTIFY_SOCKET", where)
    with supervisor.socket:
        yield supervisor


def test_a_life(supervisor: Supervisor, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the sandbox, as a user starts it."""
    config = place / "config"
    config.write_text(f"export = 'Share={place}/share'")
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    arguments = ["--listen", f"unix:{place}/socket", "--config", str(config)]
    with program(place, *arguments) as (process, [address]):
        assert supervisor.read() == {"READY": "1", "STATUS": "no guest; sharing share, Share"}
        with connection(address) as sock:
            Guest(sock).attach()
            assert supervisor.until("STATUS", "1 guest;")["WATCHDOG"] == "1"
            assert supervisor.until("WATCHDOG") == {"WATCHDOG": "1"}, "what has not changed is not said again"
        supervisor.until("STATUS", "no guest;")
        config.write_text("")
        process.send_signal(signal.SIGHUP)
        reloading = supervisor.until("RELOADING")
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert now - 60_000_000 < int(reloading["MONOTONIC_USEC"]) <= now
        assert supervisor.until("READY")["STATUS"] == "no guest; sharing share"
        with initiator(address) as mtp:
            handle = mtp.names()["file"]
            mtp.begin_upload("new", 300_000, bytes(1000))
            process.send_signal(signal.SIGTERM)
            assert supervisor.until("STOPPING") == {"STOPPING": "1", "STATUS": "unplugging"}
            for _ in range(3):
                assert supervisor.read() == {"WATCHDOG": "1", "EXTEND_TIMEOUT_USEC": "30000000"}, "it takes its time"
            assert handle
        assert process.wait(20) == 0


def test_many_devices(supervisor: Supervisor, place: Path) -> None:
    tables = (f"[[device]]\nname = '{name}'\nexport = '{place}/share'\nport = 0\n" for name in "ab")
    (place / "config").write_text("".join(tables))
    command = [
        "--config",
        str(place / "config"),
        "--state-dir",
        str(place / "state"),
        "--cache-dir",
        str(place / "cache"),
    ]
    before = f"import sys; from usbredir_mtp.cli import main; sys.argv[1:] = {command!r}; main()"
    with program(place, before=before) as (process, _):
        assert supervisor.read()["STATUS"] == "no guest; a (0): share; b (0): share"
        process.send_signal(signal.SIGTERM)
        supervisor.until("STOPPING")
        assert process.wait(20) == 0


def test_nobody_asks(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    with program(place, "--port", "0") as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_nobody_is_told_of_a_failed_start(supervisor: Supervisor, place: Path) -> None:
    assert refusal(place, "--listen", "fd:77")[0] == 3
    supervisor.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        supervisor.read()


@pytest.mark.parametrize("where", ["vsock:2:1234", "relative", "/nowhere/at/all", "/" + "x" * 200])
def test_where_nobody_can_be_told(where: str, caplog: pytest.LogCaptureFixture) -> None:
    assert notifier({"NOTIFY_SOCKET": where}) == Notifier()
    [record] = caplog.records
    assert f"NOTIFY_SOCKET={where}: " in record.getMessage()


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("30000000", "", 30.0),
        ("30000000", "own", 30.0),
        ("30000000", "1", None),
        ("0", "", None),
        ("-1", "", None),
        ("many", "", None),
        ("", "", None),
    ],
)
def test_the_watchdog(supervisor: Supervisor, usec: str, pid: str, seconds: float | None) -> None:
    number = str(os.getpid()) if pid == "own" else pid
    environment = {"NOTIFY_SOCKET": supervisor.where, "WATCHDOG_USEC": usec, "WATCHDOG_PID": number, "OTHER": ""}
    found = notifier(environment)
    assert found.watchdog == seconds
    assert environment == {"OTHER": ""}, "child processes do not speak for us"
    found.close()


def test_systemd_goes_away(supervisor: Supervisor) -> None:
    found = notifier({"NOTIFY_SOCKET": supervisor.where})
    supervisor.socket.close()
    found.ready("nobody hears it")
    found.close()
    found.stopping()


@pytest.mark.parametrize(
    ("devices", "text"),
    [
        ([("", ["Share"], 0)], "no guest; sharing Share"),
        ([("", ["One", "Two"], 1)], "1 guest; sharing One, Two"),
        ([("a", ["One"], 2), ("b", ["Two", "Three"], 1)], "3 guests; a (2): One; b (1): Two, Three"),
        ([], "no guest"),
    ],
)
def test_the_status(devices: list[tuple[str, list[str], int]], text: str) -> None:
    assert status_of(devices) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nREADY=0", "a\ufffdREADY=0"),
        ("\udcff", "\ufffd"),
        ("x" * 1000, "x" * (MAX_STATUS - 1) + "…"),
    ],
)
def test_a_status_that_is_not_as_it_should_be(supervisor: Supervisor, text: str, said: str) -> None:
    """Names of exports and devices are their owners' business."""
    found = notifier({"NOTIFY_SOCKET": supervisor.where})
    found.ready(text)
    assert supervisor.read() == {"READY": "1", "STATUS": said}
    found.close()
