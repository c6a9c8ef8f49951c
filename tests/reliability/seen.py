"""A running server, seen from the inside: what its guests cost."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.server import running_server
from usbredir_mtp.network import server as program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.server import Server

PATIENCE = 20.0


@dataclass(slots=True, frozen=True)
class Holdings:
    """What a process has."""

    descriptors: int
    threads: int
    tasks: int
    connections: int


class Seen:
    """A server and its loop.

    Attributes:
        guests: Makes connections to it.
        inside: The server itself.
        loop: Its event loop, which runs on a thread of its own.
    """

    guests: Server
    inside: program.Server
    loop: asyncio.AbstractEventLoop

    def holdings(self) -> Holdings:
        """What it has at this moment."""
        descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  (just how many)
        return Holdings(descriptors, threading.active_count(), self._tasks(), len(self.inside._links))

    def settled(self) -> Holdings:
        """What it has without guests, once the last of them is gone."""
        wait_until(lambda: not self.inside._links and not _responders())
        return self.holdings()

    def wait_for(self, wanted: Holdings) -> None:
        """Until that is what it has."""
        wait_until(lambda: self.holdings() == wanted, lambda: f"{self.holdings()}, not {wanted}")

    def _tasks(self) -> int:
        async def count() -> int:
            return len(asyncio.all_tasks())

        return asyncio.run_coroutine_threadsafe(count(), self.loop).result(PATIENCE)


def _responders() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "mtp-responder"]


def wait_until(condition: Callable[[], bool], why: Callable[[], str] = lambda: "it never came to pass") -> None:
    """Until it holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(0.002)


@contextmanager
def seen_server(export: Path, *options: str) -> Iterator[Seen]:
    """A server on a thread of this process."""
    seen = Seen()

    class Shown(program.Server):
        async def listen(self, *arguments: Any) -> None:
            seen.inside, seen.loop = self, asyncio.get_running_loop()
            await super().listen(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "Server", Shown)
        with running_server([export], "--no-media", *options) as seen.guests:
            yield seen
