"""What --metrics serves, as a user starts the program: in a process of its own, in its sandbox, with guests."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.network.program import ROOT, command, connection, copies_both_ways, end, initiator, program, refusal
from tests.network.test_http import answer
from tests.support.initiator import Initiator, refused
from tests.support.usbredir import Guest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 20.0


def ask(address: str, path: str) -> tuple[int, str]:
    """Status and body."""
    with connection(address) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        status, _, body = answer(sock)
        return status, body.decode()


def value(address: str, metric: str) -> float | None:
    """A sample of the page; None if there is none."""
    status, body = ask(address, "/metrics")
    assert status == 200
    for line in body.splitlines():
        if line.startswith(f"usbredir_mtp_{metric} "):
            return float(line.rpartition(" ")[2])
    return None


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.05)


@contextmanager
def monitored(place: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The program, where guests attach and where it is asked how it is."""
    monitor = f"unix:{place}/monitor"
    with program(place, "--port", "0", "--metrics", monitor, *arguments) as (process, [address]):
        yield process, address, monitor


def test_what_a_guest_does_is_counted(place: Path) -> None:
    device = 'device="Shared folders"'
    with monitored(place) as (process, address, monitor):
        assert ask(monitor, "/healthz") == (200, "ok: 1 device is served\n")
        with initiator(address) as mtp:
            mtp.send_file("sent", bytes(100_000))
            assert mtp.get_object(mtp.names()["sent"]) == bytes(100_000)
            until(lambda: value(monitor, f'transactions_total{{{device},operation="GET_OBJECT",result="OK"}}') == 1)
            assert value(monitor, f"guests{{{device}}}") == 1
            assert (value(monitor, f"received_bytes_total{{{device}}}") or 0) > 100_000
            assert 200_000 > (value(monitor, f"sent_bytes_total{{{device}}}") or 0) > 100_000
            assert value(monitor, f'uploads{{{device},export="share"}}') == 0
            number = mtp.begin_upload("half", 300_000, bytes(200 * 512 - 12))
            until(lambda: value(monitor, f'uploads{{{device},export="share"}}') == 1)
            mtp.guest.bulk_out(bytes(300_000 - 200 * 512 + 12))
            assert mtp.finish(0x100D, number).code == 0x2001
        until(lambda: value(monitor, f"guests{{{device}}}") == 0)
        assert value(monitor, f'connections_ended_total{{{device},reason="guest"}}') == 1
        assert value(monitor, f'transactions_total{{{device},operation="SEND_OBJECT",result="OK"}}') == 2, "for good"
        assert end(process) == ""
    assert not (place / "monitor").exists()


def test_errors_of_the_host(place: Path) -> None:
    with monitored(place, "--watch", "off") as (_, address, monitor), initiator(address) as mtp:
        handle = mtp.names()["file"]
        (place / "share" / "file").unlink()
        with refused(0x2009):
            mtp.get_object(handle)
        until(lambda: value(monitor, 'storage_errors_total{device="Shared folders",errno="ENOENT"}') == 1)
        assert 'state="off"} 1.0' in ask(monitor, "/metrics")[1]


def test_a_folder_that_goes(place: Path) -> None:
    with monitored(place) as (_, _, monitor):
        until(lambda: 'state="watching"} 1.0' in ask(monitor, "/metrics")[1])
        shutil.rmtree(place / "share")
        until(lambda: ask(monitor, "/healthz")[0] == 503)
        assert ask(monitor, "/healthz")[1] == "Shared folders: share: the folder is not there\n"
        assert value(monitor, 'healthy{device="Shared folders"}') == 0


def test_it_tells_to_the_end(place: Path) -> None:
    with monitored(place) as (process, address, monitor), initiator(address) as mtp:
        mtp.begin_upload("file", 300_000, bytes(1000))
        process.send_signal(signal.SIGTERM)
        until(lambda: ask(monitor, "/healthz") == (503, "Shared folders: unplugging\n"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 1
    assert not (place / "monitor").exists()


@contextmanager
def configured(config: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The program with nothing but a file, once it listens."""
    words = [sys.executable, "-m", "usbredir_mtp", "--config", str(config), *arguments]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == f"Metrics at unix:{config.parent}/monitor: /metrics and /healthz\n"
            yield process
        finally:
            process.kill()


def test_devices_come_and_go(place: Path) -> None:
    config = place / "config.toml"
    table = '[[device]]\nname = "{0}"\nlisten = "unix:{1}/{0}"\nexport = "{1}/share"\n'
    one, two = (table.format(name, place) for name in ("one", "two"))
    head = f'metrics = "unix:{place}/monitor"\nstate-dir = "{place}/state"\ncache-dir = "{place}/cache"\n'
    config.write_text(head + one)
    with configured(config, "--reserve", str(place)) as process:
        monitor = f"unix:{place}/monitor"
        assert ask(monitor, "/healthz") == (200, "ok: 1 device is served\n")
        config.write_text(head.replace("monitor", "ignored") + one + two)
        process.send_signal(signal.SIGHUP)
        until(lambda: ask(monitor, "/healthz") == (200, "ok: 2 devices are served\n"))
        assert copies_both_ways(place, f"unix:{place}/two")
        until(lambda: (value(monitor, 'sent_bytes_total{device="two"}') or 0) > 0)
        assert value(monitor, 'sent_bytes_total{device="one"}') == 0
        config.write_text(head + two)
        process.send_signal(signal.SIGHUP)
        until(lambda: ask(monitor, "/healthz") == (200, "ok: 1 device is served\n"))
        until(lambda: value(monitor, 'guests{device="one"}') is None)


def test_a_slow_client_and_guests(place: Path) -> None:
    with monitored(place) as (_, address, monitor):
        slow = [connection(monitor) for _ in range(40)]
        for sock in slow:
            sock.sendall(b"GET /metr")
        assert copies_both_ways(place, address)
        assert ask(monitor, "/healthz")[0] == 200
        for sock in slow:
            sock.close()


def test_where_it_listens(place: Path) -> None:
    with monitored(place, "--socket-mode", "0660"):
        assert stat.S_IMODE((place / "monitor").stat().st_mode) == 0o660
    with monitored(place):
        assert stat.S_IMODE((place / "monitor").stat().st_mode) == 0o600


def test_a_port(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    metrics = ["--port", "0", "--metrics", f"tcp:127.0.0.1:{port}"]
    with program(place, *metrics):
        assert ask(f"tcp:127.0.0.1:{port}", "/healthz")[0] == 200
        taken = f"Error: --metrics: cannot listen on tcp:127.0.0.1:{port}: Address already in use\n"
        assert refusal(place, *metrics) == (3, taken)


@pytest.mark.parametrize("check", [False, True])
def test_it_is_for_this_machine(place: Path, check: bool) -> None:
    listen = ["--port", "0", "--metrics", "tcp:0.0.0.0:0"]
    status, said = refusal(place, *listen, check=check)
    assert status == 2
    assert (
        "Error: --metrics tcp:0.0.0.0:0 is open to other machines: use 127.0.0.1, or unix:PATH, or --insecure" in said
    )
    with program(place, *listen, "--insecure"):
        pass


WITHOUT = """
import sys
sys.modules["prometheus_client"] = None
from usbredir_mtp.cli import main
main()
"""


def test_without_prometheus_client(place: Path) -> None:
    words = command(place, "--port", "0", "--metrics", f"unix:{place}/monitor", before=WITHOUT)
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    said = "Error: --metrics: prometheus-client is not installed (pip install 'usbredir-mtp[metrics]')\n"
    assert ended.stderr.endswith(said)
    assert [path.name for path in place.iterdir()] == ["share"]
    with program(place, "--port", "0", before=WITHOUT) as (_, [address]):
        assert copies_both_ways(place, address)


def test_the_log_as_json(place: Path) -> None:
    with program(place, "--port", "0", "--log-format", "json", "-vv") as (process, [address]):
        with connection(address) as sock:
            name = "{}:{}".format(*sock.getsockname())
            guest = Guest(sock)
            guest.attach()
            guest.set_configuration(1)
            Initiator(guest).open_session()
        rows = [json.loads(line) for line in end(process).splitlines()]
    said = {row["message"]: (row.get("device"), row.get("peer")) for row in rows}
    assert said[f"{name}: connected"] == ("Shared folders", name)
    assert said["OPEN_SESSION(1,): OK"] == ("Shared folders", name)
    assert said["unplugging"] == (None, None)


def test_what_fails_at_start_is_a_line_too(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, said = refusal(place, "--port", str(port), "--log-format", "json")
    row = json.loads(said)
    assert (status, row["level"]) == (3, "critical")
    assert row["message"] == f"cannot listen on tcp:127.0.0.1:{port}: Address already in use"
