"""Storage that takes its time: only who waits for it has to, and need not."""

from __future__ import annotations

import asyncio
import itertools
import os
import struct
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.reliability.figures import figure
from tests.reliability.seen import PATIENCE, Seen, seen_server, wait_until
from tests.support.codes import ALL, Op, Rc
from tests.support.mtp import ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.initiator import Initiator

BEAT = 0.002
NUMBERS = itertools.count()


class Stuck:
    """The next call of one function by a responder does not return before `opened`; all others do."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self._lock = threading.Lock()

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*arguments: Any, **options: Any) -> Any:
            if threading.current_thread().name == "mtp-responder" and self._lock.acquire(blocking=False):
                self.reached.set()
                assert self.opened.wait(PATIENCE)
            return call(*arguments, **options)

        return slow


@contextmanager
def stuck(name: str) -> Iterator[Stuck]:
    made = Stuck()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, name, made.wrap(getattr(os, name)))
        try:
            yield made
        finally:
            made.opened.set()


class Heart:
    """Beats on an event loop; `longest` is by how many seconds it was late, at most."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.longest = 0.0
        self.beats = 0
        self._beating = asyncio.run_coroutine_threadsafe(self._beat(), loop)

    def stop(self) -> None:
        self._beating.cancel()

    async def _beat(self) -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(BEAT)
            self.longest = max(self.longest, time.perf_counter() - begun - BEAT)
            self.beats += 1


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("share")


@pytest.fixture(scope="module")
def server(share: Path) -> Iterator[Seen]:
    with seen_server(share, "--watch", "off", "--fsync") as server:
        yield server


@pytest.fixture
def heart(server: Seen) -> Iterator[Heart]:
    made = Heart(server.loop)
    yield made
    made.stop()


def clear(share: Path) -> None:
    for path in share.iterdir():
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
    (share / "file").write_bytes(b"file")


def lists(mtp: Initiator) -> Callable[[], int]:
    return lambda: mtp.send_command(Op.GET_OBJECT_HANDLES, ALL, 0, ALL)


def with_the_file(operation: int) -> Callable[[Initiator], Callable[[], int]]:
    def prepare(mtp: Initiator) -> Callable[[], int]:
        handle = mtp.names()["file"]
        return lambda: mtp.send_command(operation, handle)

    return prepare


def writes(mtp: Initiator) -> Callable[[], int]:
    mtp.send_object_info(mtp.storage, ALL, ObjectInfo(size=4, name=f"new {next(NUMBERS)}"))

    def send() -> int:
        number = mtp.send_command(Op.SEND_OBJECT)
        mtp.send_data(Op.SEND_OBJECT, number, b"data")
        return number

    return send


def makes_a_folder(mtp: Initiator) -> Callable[[], int]:
    info, storage = ObjectInfo(format=0x3001, association=1, name=f"new {next(NUMBERS)}").encode(), mtp.storage

    def send() -> int:
        number = mtp.send_command(Op.SEND_OBJECT_INFO, storage, ALL)
        mtp.send_data(Op.SEND_OBJECT_INFO, number, info)
        return number

    return send


SLOW: dict[str, Callable[[Initiator], Callable[[], int]]] = {
    "scandir": lists,
    "stat": with_the_file(Op.GET_OBJECT_INFO),
    "pread": with_the_file(Op.GET_OBJECT),
    "unlink": with_the_file(Op.DELETE_OBJECT),
    "fstatvfs": writes,
    "write": writes,
    "fchmod": writes,
    "fsync": writes,
    "rename": writes,
    "mkdir": makes_a_folder,
}
"""System calls, and what a guest wants that needs them: prepared, so that it can be begun."""


def goes_on(mtp: Initiator) -> None:
    """Another guest does a little of everything."""
    name = f"other {next(NUMBERS)}"
    handle = mtp.send_file(name, b"other")
    assert mtp.names()[name] == handle
    assert mtp.get_object(handle) == b"other"
    mtp.delete(handle)


def test_others_go_on_and_it_can_be_cancelled(server: Seen, share: Path, heart: Heart) -> None:
    for name, prepare in SLOW.items():
        clear(share)
        other, mtp = server.guests.initiator(), server.guests.initiator()
        begin = prepare(mtp)
        with stuck(name) as call:
            number = begin()
            assert call.reached.wait(PATIENCE), name
            check_others(other, heart)
            check_cancel(mtp, number)
            goes_on(other)
            assert not call.opened.is_set()
            call.opened.set()
            mtp.wait_ready()
        assert mtp.send_file("after", b"after")
        assert (share / "after").read_bytes() == b"after"
        assert not [path for path in share.iterdir() if path.name.startswith(".")], name
        for guest in (mtp, other):
            guest.guest.close()
    figure("system calls that took their time", len(SLOW))
    figure("ms by which the event loop was late meanwhile, at most", heart.longest * 1000)


def check_others(other: Initiator, heart: Heart) -> None:
    beats = heart.beats
    for _ in range(5):
        goes_on(other)
    wait_until(lambda: heart.beats > beats)


def check_cancel(mtp: Initiator, number: int) -> None:
    """The guest that waits is not cut off from its device, and can give up."""
    assert mtp.guest.get_configuration() == 1
    assert len(mtp.guest.control_in(0x80, 6, 0x0100, 0, 18)) == 18
    mtp.forget_transfers()
    mtp.guest.control_out(0x21, 0x64, data=struct.pack("<HI", 0x4001, number))
    assert mtp.device_status()[0] == Rc.DEVICE_BUSY


@pytest.mark.parametrize("name", ["scandir", "pread", "write", "fsync"])
def test_who_waits_gets_its_answer_in_the_end(server: Seen, share: Path, name: str) -> None:
    clear(share)
    mtp = server.guests.initiator()
    begin = SLOW[name](mtp)
    with stuck(name) as call:
        number = begin()
        assert call.reached.wait(PATIENCE)
        call.opened.set()
    code = {"scandir": Op.GET_OBJECT_HANDLES, "pread": Op.GET_OBJECT}.get(name, Op.SEND_OBJECT)
    assert mtp.finish(code, number).code == Rc.OK
    mtp.guest.close()


def test_a_guest_that_leaves_meanwhile(server: Seen, share: Path) -> None:
    clear(share)
    before = server.settled()
    mtp, other = server.guests.initiator(), server.guests.initiator()
    begin = SLOW["pread"](mtp)
    with stuck("pread") as call:
        begin()
        assert call.reached.wait(PATIENCE)
        mtp.guest.close()
        wait_until(lambda: len(server.inside._links) == before.connections + 1)
        goes_on(other)
    other.guest.close()
    server.wait_for(before)
