"""How soon guests hear of what happens on the host, in a tree of many folders."""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.scale_rows import Row, percentile, spread
from benchmarks.scale_server import Program, running
from benchmarks.scale_trees import folders_below
from tests.support.codes import Ev, Op

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from benchmarks.scale_rows import Scale
    from tests.support.initiator import Initiator

FOLDERS = 100_000
TOPS, IN_EACH = 5, 20
"""Folders that the guest has listed: events are about these."""
STARTS = 3
ROUNDS = 200
IDLE_SECONDS = 10.0
START_TIMEOUT = 300.0
_SPARE_WATCHES = 4096
"""What other programs may be watching."""
_EVENT_TIMEOUT = 5.0
_QUIET_SECONDS = 2.0
_MARK_SECONDS = 0.05
_PAUSE_SECONDS = 0.005
"""Between operations while the watches are set up: a guest in use, not one that takes all it can."""


def events(scale: Scale) -> Iterator[Row]:
    """Start of the watching, delay of events, and the cost of waiting for them."""
    wanted = scale.of(FOLDERS)
    count = min(wanted, _watches() - _SPARE_WATCHES)
    note = "" if count == wanted else f" (of {wanted}: fs.inotify.max_user_watches is too low for more)"
    tree = folders_below(scale.trees, count)
    for _ in os.walk(tree):
        pass  # the file system's caches
    begins = [_begin(tree) for _ in range(STARTS)]
    times = [begin.seconds for begin in begins]
    yield Row(f"watching {count} folders begins after", 5, statistics.median(times), "s", spread(times) + note)
    meanwhile = [time for begin in begins for time in begin.operations]
    slowest = percentile(meanwhile, 0.99) * 1e3
    yield Row("metadata meanwhile, p99", 20, slowest, "ms", f"{len(meanwhile)} operations, {spread(meanwhile)}")
    yield from _watched(tree, count)


def _begin(tree: Path) -> Begin:
    with _watching(tree) as program, program.guest() as mtp:
        return _wait_until_watched(program, mtp, tree)


def _watched(tree: Path, count: int) -> Iterator[Row]:
    with _watching(tree) as program, program.guest() as mtp:
        folders = _listed(mtp, tree)
        _wait_until_watched(program, mtp, tree)
        changes = Changes(mtp)
        with tempfile.TemporaryDirectory(dir=tree.parent) as elsewhere:
            changes.run(folders, Path(elsewhere))
        times = [time for kind in changes.times.values() for time in kind]
        kinds = "; ".join(f"{kind}: {spread(values)}" for kind, values in changes.times.items())
        yield Row("change on the host to event on the wire, p99", 20, percentile(times, 0.99) * 1e3, "ms", kinds)
        used = program.cpu_seconds()
        time.sleep(IDLE_SECONDS)
        idle = 100 * (program.cpu_seconds() - used) / IDLE_SECONDS
        memory = f"{program.resident() >> 20} MiB resident"
        yield Row(f"CPU while {count} folders are watched and nothing happens", 1, idle, "%", memory)


def _watching(tree: Path) -> AbstractContextManager[Program]:
    return running(tree, options=("--watch", "inotify"))


def _watches() -> int:
    return int(Path("/proc/sys/fs/inotify/max_user_watches").read_text("ascii"))


def _listed(mtp: Initiator, tree: Path) -> list[Path]:
    """Let the guest list some folders; gives these."""
    tops = sorted(tree.iterdir())[:TOPS]
    handles = mtp.names()
    listed = []
    for top in tops:
        inner = mtp.object_handles(parent=handles[top.name])[:IN_EACH]
        for handle in inner:
            mtp.object_handles(parent=handle)
            listed.append(top / mtp.object_info(handle).name)
    return listed


class Begin(NamedTuple):
    """Seconds from the program's start until changes are noticed, and of each operation until then."""

    seconds: float
    operations: list[float]


def _wait_until_watched(program: Program, mtp: Initiator, tree: Path) -> Begin:
    mtp.object_handles()  # events are about folders that somebody has listed
    marker = tree / "marker"
    times: list[float] = []
    while time.monotonic() < program.begun + START_TIMEOUT:
        marker.unlink(missing_ok=True)
        marker.touch()
        until = time.monotonic() + _MARK_SECONDS
        while time.monotonic() < until:
            begun = time.monotonic()
            mtp.command(Op.GET_DEVICE_INFO)
            times.append(time.monotonic() - begun)
            if mtp.guest.events:
                seconds = time.monotonic() - program.begun
                marker.unlink()
                _drain(mtp)
                return Begin(seconds, times)
            time.sleep(_PAUSE_SECONDS)
    raise TimeoutError("no change was ever told")


def _drain(mtp: Initiator) -> None:
    try:
        while True:
            mtp.wait_event(_QUIET_SECONDS)
    except TimeoutError:
        pass


@dataclass(slots=True)
class Changes:
    """Makes changes one after the other, and takes the time until each is told.

    Attributes:
        mtp: The guest that is told.
        times: Seconds, by the kind of change.
    """

    mtp: Initiator
    times: dict[str, list[float]] = field(default_factory=dict)

    def run(self, folders: list[Path], elsewhere: Path) -> None:
        """Make and change files in folders taken at random; `elsewhere` is a folder that is not watched.

        Raises:
            TimeoutError: a change is not told.
        """
        chosen = random.Random(1)  # noqa: S311  (the same folders each time)
        for number in range(ROUNDS):
            folder = chosen.choice(folders)
            old, new, away = folder / f"old {number}", folder / f"new {number}", elsewhere / "away"
            self._change("create", partial(_create, old), Ev.OBJECT_ADDED)
            self._change("write", partial(old.write_bytes, b"changed"), Ev.OBJECT_INFO_CHANGED)
            self._change("rename", partial(old.rename, new), Ev.OBJECT_ADDED)
            if number % 2:
                self._change("remove", new.unlink, Ev.OBJECT_REMOVED)
            else:
                self._change("move away", partial(new.rename, away), Ev.OBJECT_REMOVED)

    def _change(self, kind: str, change: Callable[[], object], last: Ev) -> None:
        """One change; the last event that says so has that code."""
        begun = time.monotonic()
        change()
        while self.mtp.wait_event(_EVENT_TIMEOUT).code != last:
            pass
        self.times.setdefault(kind, []).append(time.monotonic() - begun)


def _create(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
