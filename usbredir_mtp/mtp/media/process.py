"""The process that parses, seen from ours: started when there is something to do, ended when it does not behave."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.media.client import Channel, ChannelError, Message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from usbredir_mtp.mtp.media.model import Limits

logger = logging.getLogger(__name__)

START_SECONDS = 20.0
"""For loading two libraries, from a disk that may have to spin up."""

MAX_FAILED_STARTS = 3
"""In a row; then the installation is broken and no further attempt is made."""

_KILL_SECONDS = 2.0  # a process that hangs in a network file system outlives its SIGKILL
_ATTEMPTS = 2  # the process may end, idle, in the moment when it gets a job

_MAIN = "import sys; sys.path[:] = sys.argv[2:]; from usbredir_mtp.mtp.media.worker import main; main(sys.argv[1])"
_KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # without them an interpreter may not start; the rest is not needed


class WorkerFailedError(Exception):
    """The file was too much for the process: it crashed, took too long or answered nonsense."""


class WorkerUnavailableError(Exception):
    """There is no process to ask, for no fault of the file's."""


def worker_command(limits: Limits) -> list[str]:
    """What to run: our interpreter, isolated from environment and working folder, with our own module path."""
    root = str(Path(__file__).parents[3])
    return [sys.executable, "-I", "-c", _MAIN, json.dumps(asdict(limits)), *filter(None, sys.path), root]


class WorkerProcess:
    """Keeps one process. Used by one thread at a time, but for `stop`."""

    def __init__(self, command: Sequence[str], seconds: float) -> None:
        self._command = command
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._failed_starts = 0
        self._stopped = False

    def run(self, job: Mapping[str, object], descriptor: int) -> Message:
        """Have a job done on an open file, which stays the caller's to close.

        Raises:
            WorkerFailedError: the process did not survive the file; the next job gets another process.
            WorkerUnavailableError: the process cannot be started, or was stopped.
        """
        for _ in range(_ATTEMPTS):
            channel = self._channel or self._start()
            try:
                channel.send(job, descriptor=descriptor)
            except OSError:  # it ended before this job, of idleness or at somebody's hand
                self.discard()
                continue
            try:
                return channel.receive(self._seconds)
            except (EOFError, OSError, ChannelError) as error:
                status = self.discard(crashed=not isinstance(error, TimeoutError | ChannelError))
                if self._stopped:
                    raise WorkerUnavailableError("stopped") from error
                if status != 0:
                    raise WorkerFailedError(f"{type(error).__name__}, exit status {status}: {error}") from error
        raise WorkerFailedError("ends without an answer")

    def stop(self) -> None:
        """End the process, from any thread; a job that runs fails at once, and no other begins."""
        self._stopped = True
        process = self._process
        if process is not None:
            process.kill()

    def discard(self, *, crashed: bool = False) -> int | None:
        """End the process, if there is one, and take leave of it.

        Args:
            crashed: It is about to end of itself, and how is of interest.

        Returns:
            Its exit status; None if it had to be killed, or did not even then go.
        """
        process, self._process = self._process, None
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        if process is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            if crashed:
                return process.wait(_KILL_SECONDS)
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_KILL_SECONDS)
        return None

    def _start(self) -> Channel:
        if self._stopped or self._failed_starts >= MAX_FAILED_STARTS:
            raise WorkerUnavailableError("stopped" if self._stopped else "it failed to start before")
        try:
            self._channel = self._launch()
            self._channel.receive(START_SECONDS)
        except (EOFError, OSError, ChannelError) as error:
            status = self.discard(crashed=isinstance(error, EOFError))
            if not self._stopped:
                self._failed_starts += 1
                logger.warning("no media metadata: the process for it does not start: %r, status %s", error, status)
            raise WorkerUnavailableError("did not start") from error
        self._failed_starts = 0
        return self._channel

    def _launch(self) -> Channel:
        ours, theirs = Channel.pair()
        try:
            self._process = subprocess.Popen(  # noqa: S603  (our own interpreter, no shell)
                self._command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _KEPT if name in os.environ},
                cwd="/",
                start_new_session=True,  # a Ctrl-C at the terminal is for us alone
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        if self._stopped:
            self._process.kill()
        return ours
