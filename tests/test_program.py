"""The program as a user starts it: a process of its own, its output, its signals, its exit status."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.initiator import Initiator
from tests.support.usbredir import Guest, UnpluggedError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
FIRST = 200 * 512 - 12
"""Bytes of an upload that, with the container's header, end on a whole packet: the data phase stays open."""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "usbredir_mtp", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


@contextmanager
def program(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The running program, and its port."""
    command = [sys.executable, "-m", "usbredir_mtp", "--port", "0", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if found := re.fullmatch(r"Listening on .*:(\d+)\n", line):
                    break
            else:
                pytest.fail("no 'Listening on' line")
            yield process, int(found[1])
        finally:
            process.kill()


@contextmanager
def initiator(port: int, host: str = "127.0.0.1") -> Iterator[Initiator]:
    with socket.create_connection((host, port), 10) as connection:
        guest = Guest(connection)
        guest.attach()
        guest.set_configuration(1)
        mtp = Initiator(guest)
        mtp.open_session()
        yield mtp


def wait_unplugged(guest: Guest) -> None:
    waiting = guest.submit_bulk_in(512)
    with pytest.raises(UnpluggedError):
        guest.wait(waiting)
    guest.expect_close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_unplugs_and_ends(tmp_path: Path, number: signal.Signals) -> None:
    with program("--export", str(tmp_path)) as (process, port), initiator(port) as mtp:
        process.send_signal(number)
        wait_unplugged(mtp.guest)
        assert process.wait(10) == 0


def test_a_running_upload_ends_before_the_unplugging(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    with program("--export", str(tmp_path)) as (process, port), initiator(port) as mtp:
        number = mtp.begin_upload("file", len(data), data[:FIRST])
        process.send_signal(signal.SIGTERM)
        mtp.guest.bulk_out(data[FIRST:])
        assert mtp.finish(0x100D, number).code == 0x2001
        wait_unplugged(mtp.guest)
        assert process.wait(10) == 0
    assert (tmp_path / "file").read_bytes() == data


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with program("--export", str(tmp_path)) as (process, port), initiator(port) as mtp:
        mtp.begin_upload("file", 300_000, bytes(FIRST))
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 1
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert not (tmp_path / "file").exists()


def test_quiet_prints_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "usbredir_mtp", "-q", "--port", str(port), "--export", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for _ in range(200):
            try:
                with initiator(port):
                    break
            except ConnectionRefusedError:
                if process.poll() is not None:
                    break
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.05)
        process.terminate()
        assert process.wait(10) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_ipv6(tmp_path: Path) -> None:
    with program("--export", str(tmp_path), "--host", "::1") as (process, port):
        with initiator(port, "::1") as mtp:
            assert mtp.device_info().manufacturer == "usbredir-mtp"
        process.terminate()
        assert process.wait(10) == 0


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("--export", str(tmp_path), "--port", str(port))
    assert ended.returncode == 3
    assert ended.stderr.count("\n") == 1
    assert str(port) in ended.stderr
    assert "in use" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--export", "/no/such/folder"], "/no/such/folder"),
        (["--export", __file__], __file__),
        ([], "--export"),
        (["--export", ".", "--speed", "low"], "--speed"),
        (["--export", ".", "--vendor-id", "xyz"], "--vendor-id"),
        (["--export", ".", "--port", "65536"], "--port"),
        (["--export", ".", "--serial", "x" * 127], "serial"),
        (["--export", ".", "--what"], "--what"),
    ],
)
def test_wrong_usage(arguments: list[str], named: str) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr


def test_version_and_help() -> None:
    assert run("--version").stdout.startswith("usbredir-mtp")
    assert "--export" in run("--help").stdout


def test_sighup_reads_the_configuration_anew(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f"[[export]]\npath = '{tmp_path}'\nname = 'before'")
    with program("--config", str(config)) as (process, port), initiator(port) as mtp:
        mtp.guest.start_interrupt()
        config.write_text("nonsense")
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "nothing has changed" in line
        assert "config.toml" in line
        config.write_text(f"[[export]]\npath = '{tmp_path}'\nname = 'after'")
        process.send_signal(signal.SIGHUP)
        mtp.wait_event()
        mtp.wait_event()
        assert [mtp.storage_info(number).description for number in mtp.storage_ids()] == ["after"]
        process.send_signal(signal.SIGTERM)
        wait_unplugged(mtp.guest)
        assert process.wait(10) == 0
