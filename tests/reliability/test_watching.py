"""However the watch of an export fails, and whatever becomes of the folder: what a guest sees is right in the end."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import InotifyFD

from tests.reliability.figures import figure
from tests.reliability.views import View
from tests.support.codes import Rc
from tests.support.initiator import refused
from tests.support.server import phone
from tests.support.watching import wait_until_watched
from tests.test_program import ROOT, initiator
from usbredir_mtp import landlock
from usbredir_mtp.mtp import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.initiator import Initiator

PATIENCE = 20.0
LONGEST_QUEUE = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text("ascii"))


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look after the watch more often than every five seconds."""
    monkeypatch.setattr(watch, "_CHECK_SECONDS", 0.05)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    fill(share, "old")
    return share


@pytest.fixture
def mtp(share: Path) -> Iterator[Initiator]:
    with phone(share) as initiator:
        wait_until_watched(initiator, share)
        yield initiator


def fill(share: Path, name: str) -> None:
    (share / "folder").mkdir(parents=True)
    for place in (share, share / "folder"):
        (place / name).write_text(name)


KILLED = {
    "reader": (InotifyFD, "handle_event"),
    "emitter": (InotifyEmitter, "build_and_queue_event"),
    "dispatcher": (BaseObserver, "dispatch_events"),
}
"""Threads that a watch consists of: what each calls when something has happened."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("thread", KILLED)
def test_a_thread_of_the_watch_dies(
    mtp: Initiator, share: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, thread: str
) -> None:
    view = View(mtp)
    owner, name = KILLED[thread]
    call = getattr(owner, name)
    died = threading.Event()

    def die(*arguments: Any, **options: Any) -> Any:
        if not died.is_set():
            died.set()
            raise SystemExit  # of this thread only, and without a word
        return call(*arguments, **options)

    monkeypatch.setattr(owner, name, die)
    (share / "unnoticed").touch()
    assert died.wait(PATIENCE)
    (share / "noticed").touch()
    view.follow_to({"old", "folder", "unnoticed", "noticed"})
    assert "has failed" in caplog.text
    (share / "later").touch()
    view.follow_to({"old", "folder", "unnoticed", "noticed", "later"})


def test_the_kernels_queue_overflows(mtp: Initiator, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = View(mtp)
    read, asleep, awake = InotifyFD.read_events, threading.Event(), threading.Event()

    def late(reader: InotifyFD, **options: int) -> Any:
        asleep.set()
        awake.wait(PATIENCE)
        return read(reader, **options)

    monkeypatch.setattr(InotifyFD, "read_events", late)
    (share / "first").touch()
    assert asleep.wait(PATIENCE)
    for number in range(LONGEST_QUEUE):  # what one file has to tell is two events
        path = share / f"file {number % 10}"
        path.touch()
        path.unlink()
    (share / "last").touch()
    awake.set()
    view.follow_to({"old", "folder", "first", "last"})
    (share / "later").touch()
    view.follow_to({"old", "folder", "first", "last", "later"})
    figure("events that a queue overflowed with", 3 * LONGEST_QUEUE)


# What becomes of the folder


def removed(share: Path) -> None:
    shutil.rmtree(share)


def renamed(share: Path) -> None:
    share.rename(share.parent / "away")


def parent_renamed(share: Path) -> None:
    share.parent.rename(share.parent.with_name("elsewhere"))
    share.parent.mkdir()


@pytest.mark.parametrize("way", ["inotify", "poll=0.1"])
@pytest.mark.parametrize("vanish", [removed, renamed, parent_renamed])
def test_another_folder_takes_its_place(tmp_path: Path, vanish: Callable[[Path], None], way: str) -> None:
    share = tmp_path / "parent" / "share"
    fill(share, "old")
    with phone(share, options=("--watch", way)) as mtp:
        wait_until_watched(mtp, share)
        view = View(mtp)
        vanish(share)
        fill(share, "new")
        view.follow_to({"new", "folder"})
        assert mtp.get_object(mtp.find("folder/new")) == b"new"
        (share / "later").touch()
        view.follow_to({"new", "folder", "later"})


@pytest.mark.parametrize("way", ["inotify", "poll=0.1"])
def test_it_is_gone_for_a_while(tmp_path: Path, way: str) -> None:
    share = tmp_path / "share"
    fill(share, "old")
    with phone(share, options=("--watch", way)) as mtp:
        wait_until_watched(mtp, share)
        view = View(mtp)
        shutil.rmtree(share)
        view.follow_to(set())
        with refused():
            mtp.send_file("file", b"file")
        fill(share, "new")
        view.follow_to({"new", "folder"})
        mtp.send_file("file", b"file")
    assert (share / "file").read_bytes() == b"file"


@pytest.mark.parametrize("way", ["inotify", "poll=0.1"])
def test_it_comes_back_changed(tmp_path: Path, way: str) -> None:
    share, away = tmp_path / "share", tmp_path / "away"
    fill(share, "old")
    with phone(share, options=("--watch", way)) as mtp:
        wait_until_watched(mtp, share)
        view = View(mtp)
        share.rename(away)
        (away / "more").touch()
        (away / "old").unlink()
        away.rename(share)
        view.follow_to({"more", "folder"})
        (share / "later").touch()
        view.follow_to({"more", "folder", "later"})


# In a mount namespace of its own

PROGRAM = """
from usbredir_mtp import cli
from usbredir_mtp.mtp import watch

watch._CHECK_SECONDS = 0.05
cli.main()
"""


def can_mount() -> bool:
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return False
    tried = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    return tried.returncode == 0


@contextmanager
def program(share: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The program, and its port."""
    arguments = ["--export", str(share), "--port", "0", "--no-media", "--state-dir", str(share.parent / "state")]
    command = [sys.executable, "-c", PROGRAM, *arguments, *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        ["unshare", "-m", *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            listening = (re.fullmatch(r"Listening on .*:(\d+)\n", line) for line in process.stdout)
            yield process, int(next(found[1] for found in listening if found))
        finally:
            process.kill()


def inside(process: subprocess.Popen[str], command: str) -> None:
    """Do something where the program sees it."""
    subprocess.run(["nsenter", "-m", "-t", str(process.pid), "sh", "-ec", command], check=True, timeout=PATIENCE)


needs_mounts = pytest.mark.skipif(not can_mount(), reason="needs root and unshare")


@needs_mounts
def test_it_is_mounted_and_unmounted(share: Path) -> None:
    with program(share, "--sandbox", "off") as (process, port), initiator(port) as mtp:
        mtp.guest.start_interrupt()
        wait_until_watched(mtp, share)
        view = View(mtp)
        inside(process, f"mount -t tmpfs none {share}; touch {share}/mounted; mkdir {share}/folder")
        view.follow_to({"mounted", "folder"})
        inside(process, f"touch {share}/later")
        view.follow_to({"mounted", "folder", "later"})
        inside(process, f"umount -l {share}")
        view.follow_to({"old", "folder"})
        (share / "later").touch()
        view.follow_to({"old", "folder", "later"})


@needs_mounts
@pytest.mark.skipif(not landlock.abi(), reason="needs Landlock")
def test_in_the_sandbox_what_is_mounted_over_it_is_out_of_reach(share: Path) -> None:
    with program(share, "--sandbox", "landlock") as (process, port), initiator(port) as mtp:
        mtp.guest.start_interrupt()
        wait_until_watched(mtp, share)
        view = View(mtp)
        inside(process, f"mount -t tmpfs none {share}; touch {share}/mounted")
        assert process.stderr is not None
        assert any("is another folder now, and cannot be listed" in line for line in process.stderr)
        with refused(Rc.ACCESS_DENIED):
            mtp.object_handles()
        inside(process, f"umount -l {share}; touch {share}/later")
        view.follow_to({"old", "folder", "later"})
