"""The program under test, started by its own command line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COMMAND = (sys.executable, "-m", "usbredir_mtp")
PORT = re.compile(r"\bport=(\d+)")
"""How the ready-to-paste QEMU arguments, printed at start, name the port."""

START_SECONDS = 60
STOP_SECONDS = 60


class ServerError(Exception):
    """The server did not start or did not end as it should; the text holds its log."""


@dataclass(slots=True)
class Server:
    """A running server; made by `Server.start`.

    Attributes:
        process: the server.
        log: file that holds everything it printed.
        port: where it listens on 127.0.0.1.
    """

    process: subprocess.Popen[str]
    log: Path
    port: int = 0
    _found: Future[int] = field(default_factory=Future)
    _reader: threading.Thread | None = None

    @classmethod
    def start(
        cls,
        exports: Sequence[Path | str],
        log: Path,
        options: Sequence[str] = (),
        port: int = 0,
        command: Sequence[str] = COMMAND,
    ) -> Server:
        """Starts a server and waits until it has printed its port.

        Args:
            exports: values of --export.
            log: where its output goes; appended to.
            options: further options.
            port: where it shall listen; 0 for a free port.
            command: the program and its first arguments.

        Raises:
            ServerError: it did not start.
        """
        exported = [part for export in exports for part in ("--export", str(export))]
        # times in MTP have no zone by default: server and guest must agree on one
        environment = {**os.environ, "TZ": "UTC", "PYTHONUNBUFFERED": "1"}
        # what it keeps stays apart from the user's own
        environment |= {name: str(log.parent / name) for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME")}
        process = subprocess.Popen(
            [*command, *exported, "--port", str(port), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
            errors="replace",
        )
        server = cls(process, log)
        server._reader = threading.Thread(target=server._copy_output, daemon=True)
        server._reader.start()
        try:
            server.port = server._found.result(START_SECONDS)
        except (ServerError, TimeoutError) as error:
            server.kill()
            raise ServerError(f"the server did not start: {error}\n{server.logs()}") from error
        return server

    def stop(self) -> None:
        """Ends the server in order (SIGTERM) and checks that it does so.

        Raises:
            ServerError: it did not end in time, or not with status 0.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(f"the server ignored SIGTERM\n{self.logs()}") from None
        self._join()
        if code:
            raise ServerError(f"the server ended with status {code}\n{self.logs()}")

    def kill(self) -> None:
        """Ends the server at once (SIGKILL)."""
        self.process.kill()
        self.process.wait()
        self._join()

    def logs(self) -> str:
        """What it printed so far."""
        return self.log.read_text() if self.log.exists() else ""

    def _join(self) -> None:
        if self._reader is not None:
            self._reader.join(timeout=10)

    def _copy_output(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout, self.log.open("a") as log:
            for line in self.process.stdout:
                log.write(line)
                log.flush()
                match = PORT.search(line)
                if match and not self._found.done():
                    self._found.set_result(int(match[1]))
        if not self._found.done():
            self._found.set_exception(ServerError("it ended before it named a port"))
