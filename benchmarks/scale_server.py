"""The program in a process of its own, what that costs, and guests connected to it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.initiator import Initiator
from tests.support.usbredir import Guest

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = ("-m", "usbredir_mtp")
ROOT = Path(__file__).parents[1]
MIB = 1 << 20

_TIMEOUT = 120.0
_BYTECODE = Path(__file__).parent / "build" / "bytecode"
"""Of all that the server imports: an installed program has it."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True, frozen=True)
class Program:
    """The running server.

    Attributes:
        begun: When its process was started, by `time.monotonic`.
    """

    pid: int
    port: int
    begun: float

    @contextmanager
    def connection(self) -> Iterator[socket.socket]:
        """A connection, nothing said yet."""
        with socket.create_connection(("127.0.0.1", self.port), _TIMEOUT) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield connection

    @contextmanager
    def guest(self, transfer: int = MIB, depth: int = 4) -> Iterator[Initiator]:
        """A guest with a session open that asks for events."""
        with self.connection() as connection:
            guest = Guest(connection, timeout=_TIMEOUT)
            guest.attach()
            guest.set_configuration(1)
            guest.start_interrupt()
            mtp = Initiator(guest, transfer=transfer, depth=depth)
            mtp.open_session()
            yield mtp

    def resident(self) -> int:
        """Bytes of memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """What it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def wake_ups(self) -> int:
        """How often one of its threads has gone to sleep, which it did as often as it awoke."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(voluntary_switches((task / "status").read_text("ascii")) for task in tasks)


def voluntary_switches(status: str) -> int:
    """The number in /proc/PID/status (proc(5))."""
    found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)$", status, re.MULTILINE)
    return int(found[1]) if found else 0


@contextmanager
def running(*exports: str | Path, options: tuple[str, ...] = (), start: tuple[str, ...] = PROGRAM) -> Iterator[Program]:
    """The server over these exports, its state and cache in a folder of their own."""
    with tempfile.TemporaryDirectory() as state:
        shared = [word for export in exports for word in ("--export", str(export))]
        folders = ["--state-dir", state, "--cache-dir", state]
        environment = os.environ | {"PYTHONPYCACHEPREFIX": str(_BYTECODE), "PYTHONDONTWRITEBYTECODE": ""}
        command = [sys.executable, *start, "--port", "0", *shared, *folders, *options]
        begun = time.monotonic()
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    if found := re.fullmatch(r"Listening on .*:(\d+)\n", line):
                        break
                else:
                    sys.exit("the server did not start")
                yield Program(process.pid, int(found[1]), begun)
            finally:
                process.kill()
