"""Waiting for what happens on the host to be told, with no sleep but the wait for an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.codes import Ev
from tests.support.initiator import MtpFailure

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.initiator import Event, Initiator


def is_addition_of(mtp: Initiator, event: Event, name: str) -> bool:
    """Whether an event says that an object of that name has come, and it is still there."""
    if event.code != Ev.OBJECT_ADDED:
        return False
    try:
        return mtp.object_info(event.params[0]).name == name
    except MtpFailure:
        return False


def wait_until_watched(mtp: Initiator, share: Path) -> None:
    """Watching a share begins in the background: make changes until one is told, and take in all that follow.

    Raises:
        AssertionError: None is ever told.
    """
    mtp.names()  # events are about folders that somebody has listed
    for attempt in range(100):
        marker = share / f"marker {attempt}"
        marker.touch()
        told = None
        try:
            while told is None:
                event = mtp.wait_event(0.2)
                told = event.params[0] if is_addition_of(mtp, event, marker.name) else None
        except TimeoutError:
            pass
        marker.unlink()
        if told is not None:
            while (event := mtp.wait_event()).code != Ev.OBJECT_REMOVED or event.params[0] != told:
                pass
            return
    raise AssertionError("no change was ever told")
