"""A burst of changes on the host, more than can be told one by one: a guest shows in the end what is on the disk."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.reliability.figures import figure
from tests.reliability.long import LONG, forget_conversation
from tests.reliability.views import View
from tests.support.codes import ALL, Ev, Prop
from tests.support.server import phone
from tests.support.watching import wait_until_watched
from usbredir_mtp.mtp.events import EventQueue

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.initiator import Initiator

FILES = 100_000 if LONG else 5_000
KEPT = 500
pytestmark = pytest.mark.timeout(600)


def create(share: Path, files: int) -> None:
    for number in range(files):
        (share / f"{number}").touch()


def follow(mtp: Initiator, view: View, wanted: int) -> float:
    """Take events until so many objects are shown; the seconds that it took."""
    begun = time.perf_counter()
    while len(view.handles) != wanted:
        view.take(mtp.wait_event(60))
    return time.perf_counter() - begun


def compare(mtp: Initiator, view: View, share: Path) -> None:
    rows = mtp.prop_list(ALL, prop=Prop.FILE_NAME)
    names = {row.handle: str(row.value) for row in rows}
    assert {names[handle] for handle in view.handles} == {path.name for path in share.iterdir()}


def test_a_burst_of_files(tmp_path: Path) -> None:
    with phone(tmp_path) as mtp:
        forget_conversation(mtp.guest)
        wait_until_watched(mtp, tmp_path)
        view = View(mtp)
        create(tmp_path, FILES)
        seconds = follow(mtp, view, FILES)
        compare(mtp, view, tmp_path)
        figure("files created at once", FILES)
        figure("s from then until a guest shows them all", seconds)
        for path in tmp_path.iterdir():
            path.unlink()
        figure("s from their removal until it shows none", follow(mtp, view, 0))


def test_more_than_is_kept_for_a_guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes no events for a while is told to read everything anew."""
    too_many, start_anew = threading.Event(), EventQueue._start_anew

    def started_anew(queue: EventQueue) -> None:
        start_anew(queue)
        too_many.set()

    monkeypatch.setattr(EventQueue.__init__, "__defaults__", (KEPT,))
    monkeypatch.setattr(EventQueue, "_start_anew", started_anew)
    with phone(tmp_path) as mtp:
        wait_until_watched(mtp, tmp_path)
        view = View(mtp)
        mtp.guest.stop_interrupt()
        create(tmp_path, 3 * KEPT)
        assert too_many.wait(60)
        mtp.guest.start_interrupt()
        while (event := mtp.wait_event(60)).code != Ev.STORE_ADDED:
            view.take(event)
        view.take(event)
        follow(mtp, view, 3 * KEPT)
        compare(mtp, view, tmp_path)
