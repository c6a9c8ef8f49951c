"""The program in a process that is killed: forked from one that has loaded everything, so that it can be done often."""

from __future__ import annotations

import fcntl
import itertools
import multiprocessing
import os
import re
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvloop  # noqa: F401  (loaded once, for all)

from usbredir_mtp import cli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from pathlib import Path

_PATIENCE = 20.0
_LISTENING = re.compile(rb"Listening on .*:(\d+)\n")
_CALLS = [
    *((os, name) for name in ("open", "write", "fchown", "fchmod", "utime", "fstat", "stat", "close")),
    *((os, name) for name in ("rename", "unlink", "fsync")),
    (fcntl, "flock"),
]
"""The system calls of an upload."""

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__])


class Step:
    """Kills this process at a system call of a responder's, counted from the one that makes an upload's file."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._numbers = itertools.count(1)
        self._begun = False

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            if threading.current_thread().name == "mtp-responder":
                self._begun |= name == "open" and bool(arguments[1] & os.O_CREAT)
                if self._begun and next(self._numbers) == self._last:
                    os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return counted


def _run(arguments: list[str], told: Connection, last: int | None) -> None:
    os.dup2(told.fileno(), sys.stdout.fileno())
    with pytest.MonkeyPatch.context() as patch:
        if last is not None:
            step = Step(last)
            for module, name in _CALLS:
                patch.setattr(module, name, step.wrap(name, getattr(module, name)))
        cli.command(arguments, standalone_mode=False)


def _port(told: Connection) -> int:
    said = b""
    while (found := _LISTENING.search(said)) is None:
        assert told.poll(_PATIENCE), "it does not start"
        more = os.read(told.fileno(), 4096)
        assert more, "it does not start"
        said += more
    return int(found[1])


@contextmanager
def program(export: Path, state: Path, *options: str, last: int | None = None) -> Iterator[tuple[BaseProcess, int]]:
    """The running program, and its port; it is killed at the end if it is not before.

    Args:
        export: The folder that it shares.
        state: Its folder for what lasts.
        options: For the command line.
        last: Number of the system call of an upload at which it kills itself.
    """
    arguments = ["--export", str(export), "--state-dir", str(state), "--port", "0", "--no-media", *options]
    here, there = _processes.Pipe(duplex=False)
    process = _processes.Process(target=_run, args=(arguments, there, last))
    process.start()
    there.close()
    try:
        yield process, _port(here)
    finally:
        process.kill()
        process.join(_PATIENCE)
        here.close()
