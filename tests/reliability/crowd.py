"""Many guests with mixed work, and a host that changes files too: python -m tests.reliability.crowd.

Each guest has a folder of its own, and knows what has to be in it: every hash is compared.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.reliability.figures import figure
from tests.reliability.long import forget_conversation
from tests.support.codes import Ev
from tests.support.initiator import MtpFailure
from tests.support.watching import wait_until_watched
from tests.test_program import initiator, program

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.initiator import Initiator

LARGEST = 300_000
MOST_FILES = 30
"""Files that a guest has at a time."""
MARKER = "marker"
PATIENCE = 60.0
SAMPLES = 10
"""How often memory is looked at after the warm-up and at the end: it goes up and down."""


@dataclass(slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        actions: How often what was done.
        events: How many events guests were sent.
        compared: Files whose hash was compared.
        warm: Bytes of memory after the warm-up.
        end: Bytes of memory at the end of the work.
        left: Threads and descriptors that there are more than before the first guest came.
    """

    actions: Counter[str] = field(default_factory=Counter)
    events: int = 0
    compared: int = 0
    warm: int = 0
    end: int = 0
    left: tuple[int, int] = (0, 0)

    @property
    def drift(self) -> float:
        """By how many percent memory has grown."""
        return (self.end / self.warm - 1) * 100


class Member:
    """One guest, and what it has to find in its folder.

    Attributes:
        outcome: What it has done; the memory is not its own.
    """

    def __init__(self, number: int, share: Path, port: int) -> None:
        self.outcome = Outcome()
        self._dice = Random(number)
        self._share = share
        self._port = port
        self._name = f"guest {number}"
        self._files: dict[str, bytes] = {}
        self._handles: dict[str, int] = {}
        self._count = 0
        self._stack = ExitStack()
        self._mtp: Initiator
        self._folder: int
        self._connect()

    def run(self, ended: threading.Event) -> None:
        """Work until the end.

        Raises:
            AssertionError: Something is not what it has to be.
        """
        with self._stack:
            while not ended.is_set():
                action = self._dice.choice(_ACTIONS)
                if action in _MAKERS or self._files:
                    action(self)
                    self.outcome.actions[action.__name__.strip("_")] += 1
                self._take_events()
            self._compare_all()
            self._hear_of_a_change()

    def _connect(self) -> None:
        self._stack.close()
        self._mtp = self._stack.enter_context(initiator(self._port))
        forget_conversation(self._mtp.guest)
        self._mtp.guest.timeout = PATIENCE
        self._mtp.guest.stream.settimeout(PATIENCE)
        self._mtp.guest.start_interrupt()
        self._folder = self._mtp.make_folder(self._name)  # or the one that is there
        self._read_folder()

    def _read_folder(self) -> None:
        self._handles = self._mtp.names(self._folder)
        assert self._handles.keys() == self._files.keys(), f"{self._name}: {self._handles} for {list(self._files)}"

    def _take_events(self) -> None:
        self.outcome.events += len(self._mtp.guest.events)
        self._mtp.guest.events.clear()

    def _new_name(self) -> str:
        self._count += 1
        return f"file {self._count}"

    def _any(self) -> str:
        return self._dice.choice(list(self._files))

    # What it does

    def _put(self) -> None:
        if len(self._files) >= MOST_FILES:
            self._delete()
            return
        name = self._any() if self._files and self._dice.random() < 0.3 else self._new_name()
        data = self._dice.randbytes(self._dice.randrange(LARGEST))
        self._handles[name] = self._mtp.send_file(name, data, self._folder)
        self._files[name] = data

    def _get(self) -> None:
        name = self._any()
        data = self._mtp.get_object(self._handles[name])
        self._same(hashlib.blake2b(data), self._files[name])

    def _get_part(self) -> None:
        name = self._any()
        first, size = self._dice.randrange(LARGEST), self._dice.randrange(LARGEST)
        data = self._mtp.get_partial64(self._handles[name], first, size)
        assert data == self._files[name][first : first + size]

    def _list(self) -> None:
        self._read_folder()

    def _rename(self) -> None:
        old, new = self._any(), self._new_name()
        self._mtp.rename(self._handles[old], new)
        self._files[new], self._handles[new] = self._files.pop(old), self._handles.pop(old)

    def _move(self) -> None:
        """To a folder, and back with it gone."""
        name = self._any()
        folder = self._mtp.make_folder(f"{self._name}'s")
        self._mtp.move(self._handles[name], folder)
        assert list(self._mtp.names(folder)) == [name]
        self._mtp.move(self._handles[name], self._folder)
        self._mtp.delete(folder)

    def _copy(self) -> None:
        """To a folder, which is removed with it."""
        name = self._any()
        folder = self._mtp.make_folder(f"{self._name}'s")
        copy = self._mtp.copy(self._handles[name], folder)
        self._same(hashlib.blake2b(self._mtp.get_object(copy)), self._files[name])
        self._mtp.delete(folder)

    def _delete(self) -> None:
        name = self._any()
        self._mtp.delete(self._handles.pop(name))
        del self._files[name]

    def _edit(self) -> None:
        name = self._any()
        handle, data = self._handles[name], bytearray(self._files[name])
        first, change = self._dice.randrange(len(data) + 1), self._dice.randbytes(5000)
        size = self._dice.randrange(LARGEST)
        self._mtp.begin_edit(handle)
        self._mtp.send_partial(handle, first, change)
        self._mtp.truncate(handle, size)
        self._mtp.end_edit(handle)
        data[first : first + len(change)] = change
        self._files[name] = bytes(data[:size]) + bytes(max(size - len(data), 0))

    def _look_on_the_host(self) -> None:
        name = self._any()
        self._same(hashlib.blake2b((self._share / self._name / name).read_bytes()), self._files[name])

    def _leave_and_come_back(self) -> None:
        if self._dice.random() < 0.2:
            self._connect()

    # What is compared

    def _same(self, found: hashlib.blake2b, wanted: bytes) -> None:
        self.outcome.compared += 1
        assert found.digest() == hashlib.blake2b(wanted).digest(), f"{self._name}: another hash"

    def _compare_all(self) -> None:
        self._read_folder()
        for name, data in self._files.items():
            self._same(hashlib.blake2b(self._mtp.get_object(self._handles[name])), data)
            self._same(hashlib.blake2b((self._share / self._name / name).read_bytes()), data)
        assert {path.name for path in (self._share / self._name).iterdir()} == set(self._files)

    def _hear_of_a_change(self) -> None:
        """With all this, what the host does now is told."""
        marker = self._share / self._name / MARKER
        marker.touch()
        while True:
            event = self._mtp.wait_event(PATIENCE)
            self.outcome.events += 1
            if event.code == Ev.STORE_ADDED:  # there were too many to be told: try again
                self._read_anew()
                marker.unlink()
                marker.touch()
            if event.code == Ev.OBJECT_ADDED and self._name_of(event.params[0]) == MARKER:
                return

    def _read_anew(self) -> None:
        self._mtp.names(self._folder)

    def _name_of(self, handle: int) -> str:
        try:
            return self._mtp.object_info(handle).name
        except MtpFailure:
            return ""  # gone by now


_MAKERS = (Member._put, Member._list)
_ACTIONS: tuple[Callable[[Member], None], ...] = (
    *(Member._put,) * 4,
    *(Member._get,) * 4,
    *(Member._get_part,) * 2,
    *(Member._list,) * 2,
    Member._rename,
    Member._move,
    Member._copy,
    *(Member._delete,) * 2,
    *(Member._edit,) * 2,
    Member._look_on_the_host,
    Member._leave_and_come_back,
)


def run(seconds: float, connections: int) -> Outcome:
    """Let so many guests work for that long, with the program in a process of its own.

    Raises:
        AssertionError: A guest has found something that is not as it has to be, or the program has not ended well.
    """
    total = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        share = Path(folder, "share")
        (share / "host").mkdir(parents=True)
        with program("--export", str(share), "--no-media", "--state-dir", f"{folder}/state") as (process, port):
            before = _at_rest(process.pid, share, port)
            ended = threading.Event()
            with ThreadPoolExecutor(connections + 1) as pool:
                members = list(pool.map(lambda number: Member(number, share, port), range(connections)))
                working = [pool.submit(member.run, ended) for member in members]
                host = pool.submit(_change_things, share / "host", ended)
                try:
                    ended_early = lambda: any(each.done() for each in working)  # noqa: E731  (said once)
                    total.warm = _memory(process.pid, seconds / 3, ended_early)
                    total.end = _memory(process.pid, seconds * 2 / 3, ended_early)
                finally:
                    ended.set()
                for each in (*working, host):
                    each.result()
            total.left = _settled(process.pid, before)
            process.terminate()
            assert process.wait(PATIENCE) == 0
    for member in members:
        total.actions += member.outcome.actions
        total.events += member.outcome.events
        total.compared += member.outcome.compared
    return total


def _change_things(folder: Path, ended: threading.Event) -> None:
    """The host has its own work in the same export."""
    number = 0
    while not ended.wait(0.02):
        number += 1
        (folder / f"{number}").write_bytes(b"host" * (number % 100))
        (folder / f"{number - 50}").unlink(missing_ok=True)


def _memory(pid: int, seconds: float, ended: Callable[[], bool]) -> int:
    """What a process uses at the end of that time, the median of some looks at it; less time if it has ended."""
    found, deadline = [], time.monotonic() + seconds
    begun = deadline - seconds / 4
    while not ended() and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, seconds / 4 / SAMPLES))
        if time.monotonic() >= begun:
            pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
            found.append(pages * os.sysconf("SC_PAGE_SIZE"))
    return int(statistics.median(found or [1]))


def _at_rest(pid: int, share: Path, port: int) -> tuple[int, int]:
    """What there is of both once the first guest has come and gone, and the host's changes are being watched."""
    with initiator(port) as mtp:
        mtp.guest.start_interrupt()
        wait_until_watched(mtp, share)
        used = _left(pid)
    deadline = time.monotonic() + PATIENCE
    while not all(now < then for now, then in zip(_left(pid), used, strict=True)):
        assert time.monotonic() < deadline, "the first guest is never forgotten"
        time.sleep(0.01)
    return _left(pid)


def _left(pid: int) -> tuple[int, int]:
    """Threads and descriptors of a process."""
    threads, descriptors = (len(list(Path(f"/proc/{pid}", name).iterdir())) for name in ("task", "fd"))
    return threads, descriptors


def _settled(pid: int, before: tuple[int, int]) -> tuple[int, int]:
    """How much more of both there is than before, once guests that have gone are forgotten."""
    deadline = time.monotonic() + PATIENCE / 6
    while (now := _left(pid)) > before and time.monotonic() < deadline:
        time.sleep(0.05)
    return now[0] - before[0], now[1] - before[1]


def report(outcome: Outcome, seconds: float, connections: int) -> None:
    """Keep the figures."""
    figure("guests at once", connections)
    figure("seconds that they worked", seconds)
    figure("operations of theirs", outcome.actions.total())
    figure("files whose hashes were compared", outcome.compared)
    figure("events that they were sent", outcome.events)
    figure("MiB of memory after the first third of the time", outcome.warm / (1 << 20))
    figure("% by which it has grown at the end", outcome.drift)


def main() -> None:
    """A long run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--connections", type=int, default=50)
    arguments = parser.parse_args()
    outcome = run(arguments.seconds, arguments.connections)
    report(outcome, arguments.seconds, arguments.connections)
    print(f"{outcome}\nmemory has grown by {outcome.drift:.2f} %")


if __name__ == "__main__":
    main()
