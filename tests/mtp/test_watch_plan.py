from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tests.mtp.test_watch import EVERYTHING, Listener, added
from usbredir_mtp.mtp import observer, watch, watch_plan
from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.folder_temporaries import is_temporary
from usbredir_mtp.mtp.watch import FolderWatch, watch_folder
from usbredir_mtp.mtp.watch_plan import WatchMode, WatchPlan, others_change, parse_watch

if TYPE_CHECKING:
    from usbredir_mtp.mtp.storage import Change


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("auto", WatchPlan()),
        ("inotify", WatchPlan(WatchMode.INOTIFY)),
        ("poll", WatchPlan(WatchMode.POLL, 5.0)),
        ("poll=0.5", WatchPlan(WatchMode.POLL, 0.5)),
        ("off", WatchPlan(WatchMode.OFF)),
    ],
)
def test_plans(text: str, plan: WatchPlan) -> None:
    assert parse_watch(text) == plan
    assert parse_watch(str(plan)) == plan


@pytest.mark.parametrize("text", ["", "never", "poll=", "poll=x", "poll=0", "poll=-1", "poll=nan", "poll=inf", "off=1"])
def test_what_is_no_plan(text: str) -> None:
    with pytest.raises(ValueError, match="is not one of auto, inotify"):
        parse_watch(text)


@pytest.mark.parametrize(
    ("kind", "remote"),
    [
        ("ext4", False),
        ("overlay", False),
        ("fuseblk", False),
        ("fuse.mergerfs", False),
        ("nfs", True),
        ("nfs4", True),
        ("cifs", True),
        ("smb3", True),
        ("9p", True),
        ("virtiofs", True),
        ("vboxsf", True),
        ("ocfs2", True),
        ("fuse", True),
        ("fuse.sshfs", True),
        ("", False),
    ],
)
def test_file_systems_that_others_change(monkeypatch: pytest.MonkeyPatch, kind: str, remote: bool) -> None:
    monkeypatch.setattr(watch_plan, "_file_system", lambda root: kind)
    assert others_change("/") is remote


def test_the_file_system_of_a_folder(tmp_path: Path) -> None:
    assert watch_plan._file_system("/proc") == "proc"
    assert watch_plan._file_system(str(tmp_path / "missing")) == ""


def test_without_mountinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_plan, "HostPath", lambda path: Path("/missing"))
    assert watch_plan._file_system("/proc") == ""


def test_a_mount_that_is_not_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mounts").touch()
    monkeypatch.setattr(watch_plan, "HostPath", lambda path: tmp_path / "mounts")
    assert watch_plan._file_system("/proc") == ""


def count(listener: Listener, number: int) -> None:
    with listener.arrived:
        assert listener.arrived.wait_for(lambda: listener.changes.count(EVERYTHING) >= number, 20)


def test_polling_looks_time_and_again(tmp_path: Path) -> None:
    listener = Listener()
    running = watch_folder(str(tmp_path), listener, is_temporary, WatchPlan(WatchMode.POLL, 0.1))
    count(listener, 3)
    running.stop()
    seen = len(listener.changes)
    assert set(listener.changes) == {EVERYTHING}
    running.stop()
    assert len(listener.changes) == seen


@pytest.mark.parametrize(("look", "pause"), [(0.01, 5.0), (0.25, 5.0), (0.5, 10.0), (60.0, 1200.0)])
def test_polling_takes_a_twentieth_of_the_time_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: float, pause: float
) -> None:
    class Waits(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout)
            return len(waited) > 3

    def listen(change: Change) -> None:
        looks.append(look)

    looks: list[float] = []
    waited: list[float | None] = []
    running = FolderWatch(str(tmp_path), listen, is_temporary, WatchPlan(WatchMode.POLL, 5.0))
    running._stopped = Waits()
    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: sum(looks)))
    running._poll()
    assert waited == pytest.approx([0.0, pause, pause, pause])


def test_polling_stops_at_once(tmp_path: Path) -> None:
    listener = Listener()
    running = watch_folder(str(tmp_path), listener, is_temporary, WatchPlan(WatchMode.POLL, 3600.0))
    count(listener, 1)
    running.stop()
    assert not running._thread.is_alive()


def test_auto_polls_what_others_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "others_change", lambda root: True)
    listener = Listener()
    running = watch_folder(str(tmp_path), listener, is_temporary, WatchPlan(WatchMode.AUTO, 0.1))
    (tmp_path / "new").touch()
    count(listener, 3)
    running.stop()
    assert set(listener.changes) == {EVERYTHING}


def test_auto_is_inotify_elsewhere(tmp_path: Path) -> None:
    listener = Listener()
    running = watch_folder(os.path.realpath(tmp_path), listener, is_temporary, WatchPlan())
    listener.wait(EVERYTHING)
    (tmp_path / "new").touch()
    listener.wait(added("new"))
    running.stop()


def test_auto_polls_where_inotify_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(running: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(observer, "observe", refuse)
    listener = Listener()
    running = watch_folder(str(tmp_path), listener, is_temporary, WatchPlan(WatchMode.AUTO, 0.1))
    count(listener, 3)
    running.stop()
    [message] = caplog.messages
    assert "will be looked for every 0.1 s only" in message
    assert "fs.inotify.max_user_watches" in message


def test_off(tmp_path: Path) -> None:
    with FolderStorage(tmp_path, description="x", watch=WatchPlan(WatchMode.OFF)) as storage:
        assert storage.watch(Listener()) is None
