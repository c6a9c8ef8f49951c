"""Many guests at once; with USBREDIR_MTP_LONG=1, 50 of them for three minutes."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from tests.reliability import crowd
from tests.reliability.long import LONG, forget_conversation
from tests.support.codes import Op
from tests.support.server import running_server

if TYPE_CHECKING:
    from pathlib import Path

SECONDS, CONNECTIONS = (180.0, 50) if LONG else (6.0, 12)
MOST_DRIFT = 5.0
"""% by which memory may grow; in a short run, most of what is made once is made in the time that is looked at."""
GONE = 20
MOST_KEPT = 64 << 10
"""Bytes; less than what a guest's bytes are received in."""


@pytest.mark.timeout(120 + 2 * SECONDS)
def test_every_hash_is_right_and_nothing_is_left() -> None:
    outcome = crowd.run(SECONDS, CONNECTIONS)
    done = {action.__name__.strip("_") for action in crowd._ACTIONS}
    assert set(outcome.actions) == done, "not everything has been tried"
    assert outcome.events > CONNECTIONS
    assert outcome.left == (0, 0), "threads and descriptors are left"
    assert outcome.drift < MOST_DRIFT or not LONG
    crowd.report(outcome, SECONDS, CONNECTIONS)


def test_what_is_wrong_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(member: crowd.Member) -> None:
        for path in (member._share / member._name).glob("file *"):
            path.write_bytes(path.read_bytes()[:-1] + b"?")

    monkeypatch.setattr(crowd.Member, "_look_on_the_host", spoil)
    monkeypatch.setattr(crowd, "_ACTIONS", (*crowd._ACTIONS, spoil))
    with pytest.raises(AssertionError):
        crowd.run(3, 2)


def test_a_guest_that_has_gone_keeps_nothing_until_it_is_collected(tmp_path: Path) -> None:
    """What is read ahead, and what bytes are received in, is large."""
    (tmp_path / "large").write_bytes(bytes(16 << 20))
    gc.disable()
    tracemalloc.start()
    try:
        with running_server([tmp_path], "--no-media") as server:
            for _ in range(GONE):
                mtp = server.initiator()
                forget_conversation(mtp.guest)
                mtp.send_command(Op.GET_OBJECT, mtp.names()["large"])
                mtp.read_transfer()
                mtp.guest.close()
            deadline = time.monotonic() + 20
            while any(thread.name == "mtp-responder" for thread in threading.enumerate()):
                assert time.monotonic() < deadline, "a thread goes on"
                time.sleep(0.01)
            found = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/usbredir_mtp/*")])
            server.made.clear()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert sum(trace.size for trace in found.traces) < GONE * MOST_KEPT
