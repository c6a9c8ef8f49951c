from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def _no_way_into_a_sandbox() -> Iterator[None]:
    """There is none out of it: a test that enters one does so in a process of its own."""

    def restrict(*_arguments: object) -> None:
        pytest.fail("the tests' own process is about to be confined")

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("usbredir_mtp.landlock.restrict", restrict)
        yield


class Loop:
    """What an event loop is to other threads: what they post runs here, when the test says so."""

    PATIENCE = 20.0

    def __init__(self) -> None:
        self._posted: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def post(self, function: Callable[[], None]) -> None:
        self._posted.put(function)

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Run what is posted until that holds."""
        end = time.monotonic() + self.PATIENCE
        while not condition():
            assert time.monotonic() < end, "it never came to pass"
            self.run_posted(0.01)

    def run_posted(self, seconds: float = 0.0) -> None:
        """Run what is posted by now, or if that is nothing, by then."""
        try:
            self._posted.get(timeout=seconds)() if seconds else self._posted.get_nowait()()
            while True:
                self._posted.get_nowait()()
        except Empty:
            return


@pytest.fixture
def loop() -> Loop:
    return Loop()
