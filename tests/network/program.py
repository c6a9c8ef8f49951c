"""The program as a user starts it, in a process of its own and in its sandbox, with guests attached."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.initiator import Initiator
from tests.support.usbredir import Guest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]


def command(place: Path, *arguments: str, before: str = "") -> list[str]:
    folders = [
        "--export",
        str(place / "share"),
        "--state-dir",
        str(place / "state"),
        "--cache-dir",
        str(place / "cache"),
    ]
    return [sys.executable, *(["-c", before] if before else ["-m", "usbredir_mtp"]), *folders, *arguments]


@contextmanager
def program(
    place: Path, *arguments: str, fds: Sequence[int] = (), before: str = ""
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The running program, and where it says that it listens, or else connects to; `before` is run in its place."""
    with subprocess.Popen(
        command(place, *arguments, before=before),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=fds,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            for line in process.stdout:
                if line.startswith(("Listening on ", "Connecting to ")):
                    break
            else:
                pytest.fail(process.stderr.read())
            yield process, line.removeprefix("Listening on ").removeprefix("Connecting to ").strip().split(", ")
        finally:
            process.kill()


def refusal(place: Path, *arguments: str, check: bool = False) -> tuple[int, str]:
    """How the program, or else `check`, ends, and what it says of what is wrong."""
    checking = "import sys; from usbredir_mtp.cli import main; sys.argv.insert(1, 'check'); main()"
    ended = subprocess.run(
        command(place, *arguments, before=checking if check else ""),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert check or ended.stdout == ""
    return ended.returncode, ended.stderr


def connection(address: str) -> socket.socket:
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        try:
            sock.connect(address.removeprefix("unix:"))
        except OSError:
            sock.close()
            raise
        return sock
    host, _, port = address.removeprefix("tcp:").rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), 10)


@contextmanager
def initiator(address: str) -> Iterator[Initiator]:
    with connection(address) as sock:
        guest = Guest(sock)
        guest.attach()
        guest.set_configuration(1)
        mtp = Initiator(guest)
        mtp.open_session()
        yield mtp


def copies_both_ways(place: Path, address: str) -> bool:
    data = os.urandom(100_000)
    with initiator(address) as mtp:
        mtp.send_file("sent", data)
        assert (place / "share" / "sent").read_bytes() == data
        (place / "share" / "sent").unlink()
        return mtp.get_object(mtp.names()["file"]) == b"shared"


def end(process: subprocess.Popen[str]) -> str:
    """Let the program end well; returns its log."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert process.stderr is not None
    return process.stderr.read()
