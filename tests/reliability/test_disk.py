"""The host's disk fails in the middle: the right response, nothing torn, and the next one works."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.reliability.failing import READING, WRITING, failing
from tests.reliability.figures import figure
from tests.support.codes import Op, Rc
from tests.support.initiator import MtpFailure
from tests.support.server import phone, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.initiator import Initiator

CODES = {
    errno.ENOSPC: Rc.STORE_FULL,
    errno.EDQUOT: Rc.STORE_FULL,
    errno.EIO: Rc.GENERAL_ERROR,
    errno.EROFS: Rc.STORE_READ_ONLY,
    errno.EACCES: Rc.ACCESS_DENIED,
}
MIB = 1 << 20
OLD = b"old" * 1000
NEW = bytes(range(256)) * (3 * MIB // 256)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("share")


@pytest.fixture(scope="module")
def mtp(share: Path) -> Iterator[Initiator]:
    with phone(share, options=["--watch", "off", "--fsync", "--no-media"]) as mtp:
        mtp.transfer = MIB
        yield mtp


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("old", [None, OLD], ids=["new", "replaced"])
def test_an_upload_meets_a_failure_at_every_call(mtp: Initiator, share: Path, code: int, old: bytes | None) -> None:
    target = share / f"{errno.errorcode[code]} {old is None}"
    mtp.names()
    number = 0
    failed: list[str] = []
    while number == len(failed):
        number += 1
        target.unlink(missing_ok=True)
        if old is not None:
            target.write_bytes(old)
        before = sorted(share.iterdir())
        outcome: int = Rc.OK
        with failing(code, number, WRITING) as failure:
            try:
                mtp.send_file(target.name, NEW)
            except MtpFailure as refusal:
                outcome = refusal.code
        failed += [failure.failed] if failure.failed else []
        if outcome == Rc.OK:
            assert target.read_bytes() == NEW, failure.calls
            continue
        assert outcome == CODES[code], failure.calls
        found = target.read_bytes() if target.exists() else None
        is_named = "rename" in failure.calls[: number - 1]  # what failed is to get the name to the disk
        assert found == (NEW if is_named else old), failure.calls
        assert is_named or sorted(share.iterdir()) == before, failure.calls
    assert {"open", "write", "fsync", "close", "rename"} <= set(failed)
    mtp.send_file(target.name, b"next")
    assert target.read_bytes() == b"next"
    figure("errors of the disk", len(CODES))
    if old is not None:
        figure("system calls of an upload that failed with each", len(failed))


def read_file(mtp: Initiator, handle: int) -> tuple[bytes, int]:
    """What comes of GetObject: the data, perhaps fewer than announced, and the response's code."""
    number = mtp.send_command(Op.GET_OBJECT, handle)
    message = mtp.read_message()
    if message[4] == 3:
        return b"", int.from_bytes(message[6:8], "little")
    assert int.from_bytes(message[:4], "little") == len(NEW) + 12
    return message[12:], mtp.read_container(3, number)[1]


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE], ids=errno.errorcode.get)
def test_a_download_meets_a_failure_at_every_call(mtp: Initiator, share: Path, code: int) -> None:
    name = f"read {errno.errorcode[code]}"
    (share / name).write_bytes(NEW)
    handle = mtp.names()[name]
    expected = {**CODES, errno.ESTALE: Rc.INVALID_OBJECT_HANDLE}[code]
    number = partly = 0
    failed: list[str] = []
    while number == len(failed):
        number += 1
        with failing(code, number, READING) as failure:
            data, outcome = read_file(mtp, handle)
        failed += [failure.failed] if failure.failed else []
        if outcome == Rc.OK:
            assert data == NEW, failure.calls
        else:
            assert outcome == expected, failure.calls
            assert NEW.startswith(data), failure.calls
            partly += 0 < len(data) < len(NEW)
    assert failed.count("pread") >= 3
    assert partly >= 2
    assert read_file(mtp, handle) == (NEW, Rc.OK)
    figure("system calls of a download that failed", len(failed))


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_other_changes_meet_a_failure(mtp: Initiator, share: Path, code: int) -> None:
    folder = share / f"folder {errno.errorcode[code]}"
    with failing(code, 1, ["mkdir"]), pytest.raises(MtpFailure) as caught:
        mtp.make_folder(folder.name)
    assert caught.value.code == CODES[code]
    assert not folder.exists()
    handle = mtp.make_folder(folder.name)
    with failing(code, 1, ["rmdir"]), pytest.raises(MtpFailure) as caught:
        mtp.delete(handle)
    assert caught.value.code == CODES[code]
    assert folder.exists()
    file = mtp.send_file("edited", OLD, handle)
    mtp.begin_edit(file)
    with failing(code, 1, ["pwrite"]), pytest.raises(MtpFailure) as caught:
        mtp.send_partial(file, 0, b"x")
    assert caught.value.code == CODES[code]
    with failing(code, 1, ["ftruncate"]), pytest.raises(MtpFailure) as caught:
        mtp.truncate(file, 0)
    assert caught.value.code == CODES[code]
    mtp.end_edit(file)
    assert mtp.get_object(file) == OLD
    with failing(code, 1, ["copy_file_range"]):
        response = mtp.transact(Op.COPY_OBJECT, file, mtp.storage, 0)
    assert response.code == CODES[code]
    assert not (share / "edited").exists()


@pytest.mark.parametrize("end", ["close session", "reset"])
def test_an_edited_file_that_cannot_be_closed(
    mtp: Initiator, share: Path, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    """Nobody is there to hear of it, and nobody else suffers."""
    handle = mtp.send_file(f"edit, {end}", OLD)
    mtp.begin_edit(handle)
    mtp.send_partial(handle, 0, b"new")
    with failing(errno.EIO, 1, ["close"]):
        if end == "close session":
            mtp.close_session()
        else:
            mtp.device_reset()
    mtp.open_session()
    assert mtp.get_object(mtp.names()[f"edit, {end}"]) == b"new" + OLD[3:]
    assert "may be lost" in caplog.text


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["unshare", "--mount", "sh", "-ec", 'mount -t tmpfs -o size=4m none "$1"; shift; exec "$@"', "sh"]
    if subprocess.run([*mount, str(folder), "true"], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    command = [*mount, str(folder), sys.executable, "-m", "tests.reliability.full_disk", str(folder)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert list(folder.iterdir()) == []


# --fsync


def synced(share: Path, *options: str) -> list[str]:
    """What is synced in which order when a folder is made, a file put into it, replaced and copied: kinds and names."""
    order: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note(fd: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else f"file of {os.fstat(fd).st_size}")
        fsync(fd)

    def name(source: str, target: str, **options: Any) -> None:
        order.append(f"is named {target}")
        rename(source, target, **options)

    with running_server([share], "--watch", "off", *options) as server, pytest.MonkeyPatch.context() as patch:
        mtp = server.initiator()
        patch.setattr(os, "fsync", note)
        patch.setattr(os, "rename", name)
        folder = mtp.make_folder("new")
        file = mtp.send_file("file", b"one", folder)
        mtp.send_file("file", b"four", folder)
        mtp.copy(file, 0xFFFFFFFF)
    return order


def test_fsync_makes_uploads_durable_before_their_ok(tmp_path: Path) -> None:
    assert synced(tmp_path, "--fsync") == [
        "folder",
        *("file of 3", "is named file", "folder"),
        *("file of 4", "is named file", "folder"),
        *("file of 4", "folder"),  # a copy replaces nothing: renamed by another system call
    ]
    assert (tmp_path / "file").read_bytes() == b"four"


def test_without_fsync_that_is_the_hosts_business(tmp_path: Path) -> None:
    assert synced(tmp_path) == ["is named file", "is named file"]


def test_fsync_is_an_exports_own_too(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    for name in ("safe", "quick"):
        (tmp_path / name).mkdir()
    config.write_text(
        f"[[export]]\npath = '{tmp_path / 'safe'}'\nfsync = true\n[[export]]\npath = '{tmp_path / 'quick'}'\n"
    )
    calls: list[int] = []
    with running_server([], "--config", str(config)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", calls.append)
        mtp = server.initiator()
        for storage, count in zip(mtp.storage_ids(), (2, 2), strict=True):
            mtp.send_file("file", b"x", storage=storage)
            assert len(calls) == count
