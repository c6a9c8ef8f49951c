"""kill -9 in the middle of an upload: the old file or the new one, and nothing else for long."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import signal
import socket
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.reliability.figures import figure
from tests.reliability.killed import program
from tests.support.codes import Op
from tests.support.initiator import Initiator
from tests.support.mtp import ObjectInfo
from tests.support.transactions import DATA, HEADER
from tests.support.usbredir import Guest, HungUpError
from usbredir_mtp.mtp import folder_temporaries
from usbredir_mtp.mtp.device import MtpDevice
from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.folder_temporaries import clear, is_temporary, make_temporary
from usbredir_mtp.mtp.memory import Memory
from usbredir_mtp.mtp.objects import ObjectTable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POINTS = 100
TRANSFERS = 24
TRANSFER = 16384
SIZE = TRANSFERS * TRANSFER - HEADER.size - 100
PATIENCE = 10.0
LEFT_OVER = ".usbredir-mtp-0123456789abcdef.part"


def content(number: int) -> bytes:
    """As long as every other, and different from it in every block."""
    return random.Random(number).randbytes(4096) * (SIZE // 4096) + bytes(SIZE % 4096)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    folder = tmp_path / "share" / "a" / "b"
    folder.mkdir(parents=True)
    return tmp_path / "share"


def left_over(share: Path) -> list[Path]:
    return [path for path in share.rglob("*") if is_temporary(path.name)]


def wait_until_clear(share: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while left := left_over(share):
        assert time.monotonic() < deadline, left
        time.sleep(0.002)


@contextmanager
def initiator(port: int) -> Iterator[Initiator]:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        guest = Guest(connection)
        guest.attach()
        guest.set_configuration(1)
        mtp = Initiator(guest, transfer=TRANSFER)
        mtp.open_session()
        yield mtp


def begin(mtp: Initiator, path: str, data: bytes) -> list[bytes]:
    """Announce an upload; the transfers that it consists of."""
    folder, _, name = path.rpartition("/")
    mtp.send_object_info(mtp.storage, mtp.find(folder), ObjectInfo(size=len(data), name=name))
    number = mtp.send_command(Op.SEND_OBJECT)
    message = HEADER.pack(len(data) + HEADER.size, DATA, Op.SEND_OBJECT, number) + data
    return [message[start : start + TRANSFER] for start in range(0, len(message), TRANSFER)]


@pytest.mark.timeout(400)
def test_a_kill_at_any_time_leaves_the_old_file_or_the_new_one(share: Path, tmp_path: Path) -> None:
    dice = random.Random(11)
    old, replaced, made = content(0), 0, 0
    (share / "a" / "b" / "replaced").write_bytes(old)
    for number in range(1, POINTS + 1):
        name = "replaced" if number % 2 else f"made {number}"
        target, new = share / "a" / "b" / name, content(number)
        with program(share, tmp_path / "state") as (process, port):
            wait_until_clear(share)
            with initiator(port) as mtp:
                transfers = begin(mtp, f"a/b/{name}", new)
                sent = dice.randrange(2 * len(transfers))
                for transfer in transfers[:sent]:
                    mtp.guest.submit_bulk_out(transfer)
                if sent >= len(transfers):  # all of it: now in the middle of the end
                    time.sleep(dice.random() * 0.004)
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                process.join()
        if number % 2:
            found = target.read_bytes()
            assert found in (old, new), f"point {number}: neither the old file nor the new one"
            replaced += found == new
            old = found
        elif target.exists():
            assert target.read_bytes() == new, f"point {number}: torn"
            made += 1
    with program(share, tmp_path / "state"):
        wait_until_clear(share)
    figure("points at which the server was killed", POINTS)
    figure("of them with the new file in place", replaced + made)


@pytest.mark.parametrize("options", [(), ("--fsync",)])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_kill_at_every_system_call(share: Path, tmp_path: Path, old: bytes | None, options: tuple[str, ...]) -> None:
    target = share / "a" / "b" / "file"
    before = tmp_path / "state"
    calls = 0
    done = False
    while not done:
        calls += 1
        if old is None:
            target.unlink(missing_ok=True)
        else:
            target.write_bytes(old)
        with program(share, before, *options, last=calls) as (_, port):
            wait_until_clear(share)
            with initiator(port) as mtp:
                try:
                    mtp.send_file("file", b"new", mtp.find("a/b"))
                    done = True
                except (HungUpError, ConnectionError):
                    found = target.read_bytes() if target.exists() else None
                    assert found in (old, b"new"), f"killed at call {calls}"
        assert calls < 60, "it never comes to an end"
    assert target.read_bytes() == b"new"
    assert calls > 10
    if options and old:
        figure("system calls of an upload at each of which it was killed", calls - 1)


# What is cleared, and what is not


@pytest.fixture
def folder(share: Path) -> Iterator[int]:
    fd = os.open(share, os.O_RDONLY)
    yield fd
    os.close(fd)


def names(folder: int) -> list[str]:
    return sorted(os.listdir(folder))


def test_an_upload_on_its_way_is_nobodys_to_clear(share: Path) -> None:
    with FolderStorage(share, description="") as one, FolderStorage(share, description="") as other:
        upload = one.create(("a", "file"), 3)
        upload.write(b"new")
        list(other.scan(("a",)))
        other.recover(lambda: False)
        assert len(left_over(share)) == 1
        upload.commit(None)
    assert (share / "a" / "file").read_bytes() == b"new"


def test_a_listing_clears_its_folder(share: Path) -> None:
    for place in (share, share / "a"):
        (place / LEFT_OVER).touch()
    with FolderStorage(share, description="") as storage:
        assert [entry.name for entry in storage.scan(())] == ["a"]
    assert left_over(share) == [share / "a" / LEFT_OVER]


def test_nothing_is_cleared_in_what_is_read_only(share: Path) -> None:
    (share / LEFT_OVER).touch()
    with FolderStorage(share, description="", read_only=True) as storage:
        list(storage.scan(()))
        storage.recover(lambda: False)
    assert len(left_over(share)) == 1


@pytest.mark.parametrize("name", ["file", ".usbredir-mtp-.part", ".usbredir-mtp-0123456789ABCDEF.part"])
def test_what_is_not_ours_stays(folder: int, share: Path, name: str) -> None:
    (share / name).touch()
    clear(folder, name)
    assert name in names(folder)


@pytest.mark.timeout(10)
def test_links_folders_and_fifos_stay(folder: int, share: Path) -> None:
    numbered = [LEFT_OVER.replace("0", str(number)) for number in (1, 2, 3)]
    (share / "target").touch()
    (share / numbered[0]).symlink_to("target")
    (share / numbered[1]).mkdir()
    os.mkfifo(share / numbered[2])
    before = names(folder)
    for name in (*numbered, LEFT_OVER):
        clear(folder, name)
    assert names(folder) == before


def test_a_file_that_got_its_name_just_now_stays(folder: int, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, upload, lock = make_temporary(folder)
    flock = fcntl.flock

    def late(fd: int, operation: int) -> None:
        (share / name).rename(share / "file")
        os.close(upload)
        os.close(lock)
        flock(fd, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", late)
        clear(folder, name)
    assert names(folder) == ["a", "file"]


@pytest.mark.parametrize("moment", ["locked", "removed"])
def test_a_file_that_is_cleared_before_it_is_locked_is_made_again(
    folder: int, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    flock = fcntl.flock
    hands: list[int] = []

    def late(fd: int, operation: int) -> None:
        if not hands:
            [name] = filter(is_temporary, names(folder))
            hands.append(os.open(name, os.O_RDWR, dir_fd=folder))
            if moment == "locked":
                flock(hands[0], fcntl.LOCK_EX)
            else:
                os.unlink(name, dir_fd=folder)
        flock(fd, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", late)
        name, fd, lock = make_temporary(folder)
    assert os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=folder))
    assert not os.path.samestat(os.fstat(fd), os.fstat(hands[0]))
    for each in (fd, lock, hands[0]):
        os.close(each)


def test_where_there_are_no_locks_nothing_is_cleared(folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    name, fd, lock = make_temporary(folder)
    os.close(fd)
    os.close(lock)
    clear(folder, name)
    assert name in names(folder)


def test_on_a_network_only_what_is_old_is_cleared(folder: int, share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_temporaries, "others_change", lambda _path: True)
    (share / LEFT_OVER).touch()
    clear(folder, LEFT_OVER)
    assert LEFT_OVER in names(folder)
    long_ago = time.time() - 2 * 86400
    os.utime(share / LEFT_OVER, (long_ago, long_ago))
    clear(folder, LEFT_OVER)
    assert LEFT_OVER not in names(folder)


# When all folders are looked through


class Watched(FolderStorage):
    """Counts how often it has to recover."""

    recoveries = 0

    def recover(self, stopped: object) -> None:
        self.recoveries += 1


@contextmanager
def started(share: Path, state: Path) -> Iterator[tuple[MtpDevice, Watched]]:
    storage = Watched(share, description="share")
    device = MtpDevice(ObjectTable(), memory=Memory(state))
    device.add_storage(storage)
    device.start()
    with closing(device):
        yield device, storage


def test_only_after_a_bad_end(share: Path, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    with started(share, state) as (_, storage):
        pass
    assert storage.recoveries == 0
    with started(share, state) as (device, storage):
        user = device.objects.stores.in_use()
        user.__enter__()  # a transaction that does not end before the process does
    assert storage.recoveries == 0
    with started(share, state) as (_, storage):
        pass
    assert storage.recoveries == 1
    with started(share, state) as (_, storage):
        pass
    assert storage.recoveries == 0


def test_a_search_can_be_stopped(share: Path) -> None:
    (share / "a" / "b" / LEFT_OVER).touch()
    with FolderStorage(share, description="") as storage:
        storage.recover(lambda: True)
        assert left_over(share)
        storage.recover(lambda: False)
    assert not left_over(share)


def test_a_search_follows_no_link(share: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / LEFT_OVER).touch()
    (share / "link").symlink_to(tmp_path / "outside")
    with FolderStorage(share, description="") as storage:
        storage.recover(lambda: False)
    assert (tmp_path / "outside" / LEFT_OVER).exists()
