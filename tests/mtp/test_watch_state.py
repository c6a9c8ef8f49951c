"""What a watch says about itself; what it notices is in test_watch.py."""

from __future__ import annotations

import os
import shutil
import threading
import time
from typing import TYPE_CHECKING

import pytest

from usbredir_mtp.mtp import observer, watch
from usbredir_mtp.mtp.storage import WatchState
from usbredir_mtp.mtp.watch import FolderWatch, watch_folder
from usbredir_mtp.mtp.watch_plan import WatchMode, WatchPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from usbredir_mtp.mtp.storage import Change

PATIENCE = 20.0


@pytest.fixture
def share(tmp_path: Path) -> Path:
    (tmp_path / "share").mkdir()
    return tmp_path / "share"


@pytest.fixture
def begin(share: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[WatchMode], FolderWatch]]:
    """Begins watches, which end with the test."""
    monkeypatch.setattr(watch, "_CHECK_SECONDS", 0.02)
    monkeypatch.setattr(watch, "_SETTLE_SECONDS", 0.0)
    running: list[FolderWatch] = []

    def begin(mode: WatchMode, listen: Callable[[Change], None] = lambda _change: None) -> FolderWatch:
        running.append(watch_folder(os.path.realpath(share), listen, lambda _name: False, WatchPlan(mode, 0.02)))
        return running[-1]

    yield begin
    for each in running:
        each.stop()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.005)


def test_it_starts_and_watches(begin: Callable[..., FolderWatch]) -> None:
    looking, go_on = threading.Event(), threading.Event()

    def listen(_change: Change) -> None:
        looking.set()
        go_on.wait(PATIENCE)

    running = begin(WatchMode.INOTIFY, listen)
    assert looking.wait(PATIENCE)
    assert running.state is WatchState.STARTING
    go_on.set()
    until(lambda: running.state is WatchState.WATCHING)
    assert running.losses == 0


@pytest.mark.parametrize(
    ("mode", "well"), [(WatchMode.INOTIFY, WatchState.WATCHING), (WatchMode.POLL, WatchState.POLLING)]
)
def test_a_folder_that_goes_and_comes_back(
    share: Path, begin: Callable[..., FolderWatch], mode: WatchMode, well: WatchState
) -> None:
    running = begin(mode)
    until(lambda: running.state is well)
    shutil.rmtree(share)
    until(lambda: running.state is WatchState.GONE)
    share.mkdir()
    until(lambda: running.state is well)
    assert running.losses == 0


def test_changes_that_are_lost(begin: Callable[..., FolderWatch]) -> None:
    running = begin(WatchMode.INOTIFY)
    for number in (1, 2):
        until(lambda: running.state is WatchState.WATCHING)
        running.missed()
        until(lambda number=number: running.losses == number)  # type: ignore[misc]
    until(lambda: running.state is WatchState.WATCHING)


@pytest.mark.parametrize(
    ("mode", "state"), [(WatchMode.INOTIFY, WatchState.FAILED), (WatchMode.AUTO, WatchState.POLLING)]
)
def test_what_the_host_refuses(
    begin: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch, mode: WatchMode, state: WatchState
) -> None:
    def refuse(_missed: object) -> AbstractContextManager[None]:
        raise OSError(28, "no watches left")

    monkeypatch.setattr(observer, "overflows", refuse)
    running = begin(mode)
    until(lambda: running.state is state)


def test_a_fault_of_ours(begin: Callable[..., FolderWatch], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_root: object) -> None:
        raise ValueError("a fault")

    monkeypatch.setattr(watch, "_identity", fail)
    monkeypatch.setattr(threading, "excepthook", lambda _arguments: None)
    running = begin(WatchMode.INOTIFY)
    until(lambda: running.state is WatchState.FAILED)
