"""The program itself for tests: started by its own command line, spoken to over its socket."""

from __future__ import annotations

import queue
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from tests.support.initiator import Initiator, OutStyle
from tests.support.usbredir import ALL_CAPS, Cap, Guest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
ADDRESS = re.compile(r"127\.0\.0\.1(?::|,port=)(\d+)")
START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0


class Export(NamedTuple):
    """One `--export`."""

    path: Path
    name: str | None = None
    read_only: bool = False

    def __str__(self) -> str:
        named = f"{self.name}={self.path}" if self.name else str(self.path)
        return named + ":ro" * self.read_only


@dataclass(slots=True)
class Server:
    """A running server.

    Attributes:
        port: Where it listens on 127.0.0.1.
        guests: Closes the guests when the server's block ends.
    """

    port: int
    guests: ExitStack = field(default_factory=ExitStack)

    def socket(self) -> socket.socket:
        """A new connection, no byte sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), 10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.guests.callback(connection.close)
        return connection

    def connect(self, caps: Cap = ALL_CAPS, *, split: int | None = None) -> Guest:
        """A new usb-guest, no byte sent."""
        return Guest(self.socket(), caps, split=split)

    def attach(self, caps: Cap = ALL_CAPS, *, split: int | None = None) -> Guest:
        """A new usb-guest with its device plugged in and configured."""
        guest = self.connect(caps, split=split)
        guest.attach()
        guest.reset()
        guest.set_configuration(1)
        guest.start_interrupt()
        return guest

    def initiator(
        self,
        caps: Cap = ALL_CAPS,
        *,
        split: int | None = None,
        transfer: int = 16384,
        depth: int = 1,
        exact: bool = False,
        style: OutStyle = OutStyle.JOINED,
    ) -> Initiator:
        """A new guest's initiator with a session open."""
        guest = self.attach(caps, split=split)
        mtp = Initiator(guest, transfer=transfer, depth=depth, exact=exact, style=style)
        mtp.open_session()
        return mtp


def _follow(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        print("server:", line, end="")
        lines.put(line)
    lines.put(None)


def _port(lines: queue.Queue[str | None]) -> int:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        assert line is not None, "the server ended"
        if match := ADDRESS.search(line):
            return int(match[1])


@contextmanager
def running_server(exports: Sequence[Path | Export], *options: str) -> Iterator[Server]:
    """The program serving `exports` with more command line options; it must end well on SIGTERM."""
    command = [sys.executable, "-u", "-m", "usbredir_mtp", "--port", "0", *options]
    for export in exports:
        command += ["--export", str(export)]
    lines: queue.Queue[str | None] = queue.Queue()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        follower = threading.Thread(target=_follow, args=(process.stdout, lines))
        follower.start()
        try:
            server = Server(_port(lines))
            with server.guests:
                yield server
            process.terminate()
            assert process.wait(STOP_TIMEOUT) == 0, f"exit status {process.returncode}"
        finally:
            process.kill()
            follower.join()


@contextmanager
def phone(*exports: Path | Export, options: Sequence[str] = ()) -> Iterator[Initiator]:
    """A server of its own and one initiator with a session open."""
    with running_server(exports, *options) as server:
        yield server.initiator()
