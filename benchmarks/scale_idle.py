"""What guests cost that do nothing."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.scale_rows import Row
from benchmarks.scale_server import MIB, Program, running
from benchmarks.scale_trees import flat_folder
from tests.support.codes import ALL, Op

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.scale_rows import Scale
    from tests.support.initiator import Initiator

GUESTS = 20
SECONDS = 10.0
SETTLE = 3.0
"""Seconds until what follows from a connection is over; the housekeeper looks a second after a change."""


def idle(scale: Scale) -> Iterator[Row]:
    """Guests that have a session open, have looked around, and then are left alone."""
    tree = flat_folder(scale.trees, 1000)
    with running(tree) as program, ExitStack() as stack:
        _use(stack.enter_context(program.guest()))  # what the first one has loaded is everybody's
        alone, before = _wake_ups(program), program.resident()
        for _ in range(GUESTS):
            _use(stack.enter_context(program.guest()))
        together, after = _wake_ups(program), program.resident()
    each = (after - before) / GUESTS / MIB
    yield Row("memory of an idle guest", 1, each, "MiB", f"of {GUESTS} over one")
    note = f"{together} in all with {GUESTS + 1}, {alone} with one: what is left is the watch that looks after its root"
    yield Row(f"wake-ups of an idle guest in {SECONDS:g} s", 0, max(together - alone, 0) / GUESTS, "", note)


def _use(mtp: Initiator) -> None:
    (folder,) = mtp.object_handles()
    mtp.command(Op.GET_OBJECT_PROP_LIST, folder, 0, ALL, 0, 1)


def _wake_ups(program: Program) -> float:
    """In `SECONDS`; the median of three times, as others may set off something."""
    time.sleep(SETTLE)
    counts = []
    for _ in range(3):
        before = program.wake_ups()
        time.sleep(SECONDS)
        counts.append(program.wake_ups() - before)
    return statistics.median(counts)
