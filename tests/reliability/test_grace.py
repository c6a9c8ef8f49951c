"""What is running when the program is told to end, or an export to go, ends first: within `--grace`."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.reliability.figures import figure
from tests.support.codes import ALL, Ev, Op, Rc
from tests.support.mtp import ObjectInfo
from tests.support.transactions import RESPONSE
from tests.support.usbredir import UnpluggedError
from tests.test_program import initiator, program

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.initiator import Initiator

FIRST = 200 * 512 - 12
"""Bytes of an upload that, with the container's header, end on a whole packet: the data phase stays open."""
DATA = os.urandom(300_000)
LONG = 60
BOUND = 1
PATIENCE = 20.0


@pytest.fixture
def shares(tmp_path: Path) -> Path:
    for name in ("stays", "goes"):
        (tmp_path / name).mkdir()
    share(tmp_path, "stays", "goes")
    return tmp_path


def share(shares: Path, *names: str) -> None:
    """What the configuration says from now on."""
    (shares / "config.toml").write_text("".join(f"[[export]]\npath = '{shares / name}'\n" for name in names))


@contextmanager
def running(shares: Path, grace: int) -> Iterator[tuple[subprocess.Popen[str], Initiator]]:
    arguments = ("--config", str(shares / "config.toml"), "--grace", str(grace), "--state-dir", str(shares / "state"))
    with program("-v", "--no-media", "--sandbox", "off", *arguments) as (process, port), initiator(port) as mtp:
        mtp.guest.start_interrupt()
        yield process, mtp


def begin(mtp: Initiator) -> int:
    """An upload to the second storage, of which the first part has been taken."""
    mtp.send_object_info(mtp.storage_ids()[1], ALL, ObjectInfo(size=len(DATA), name="file"))
    number = mtp.send_command(Op.SEND_OBJECT)
    mtp.begin_data(Op.SEND_OBJECT, number, len(DATA), DATA[:FIRST])
    return number


def finish(mtp: Initiator, number: int) -> int:
    """The rest of the upload; the response."""
    mtp.send_message(DATA[FIRST:])
    return mtp.finish(Op.SEND_OBJECT, number).code


def take_away(shares: Path, process: subprocess.Popen[str]) -> None:
    """Let the program read that only one export stays, and wait until it has."""
    share(shares, "stays")
    process.send_signal(signal.SIGHUP)
    wait_for_line(process, "INFO: going as soon as")


def wait_for_line(process: subprocess.Popen[str], start: str) -> None:
    assert process.stderr is not None
    assert any(line.startswith(start) for line in process.stderr), f"never said: {start}"


def wait_unplugged(mtp: Initiator) -> None:
    waiting = mtp.guest.submit_bulk_in(512)
    with pytest.raises(UnpluggedError):
        mtp.guest.wait(waiting)
    mtp.guest.expect_close()


def left(shares: Path) -> list[Path]:
    return [path for path in (shares / "goes").iterdir() if path.name != "file"]


def test_at_the_end_an_upload_ends_first(shares: Path) -> None:
    with running(shares, LONG) as (process, mtp):
        number = begin(mtp)
        process.send_signal(signal.SIGTERM)
        wait_for_line(process, "INFO: unplugging")
        assert finish(mtp, number) == Rc.OK
        wait_unplugged(mtp)
        assert process.wait(PATIENCE) == 0
    assert (shares / "goes" / "file").read_bytes() == DATA
    assert left(shares) == []


def test_at_the_end_a_download_ends_first(shares: Path) -> None:
    (shares / "stays" / "large").write_bytes(DATA * 60)
    with running(shares, LONG) as (process, mtp):
        handle = mtp.names()["large"]
        number = mtp.send_command(Op.GET_OBJECT, handle)
        first = mtp.read_transfer()
        process.send_signal(signal.SIGTERM)
        wait_for_line(process, "INFO: unplugging")
        assert first[12:] + mtp.read_message() == DATA * 60
        assert mtp.read_container(RESPONSE, number)[1] == Rc.OK
        wait_unplugged(mtp)
        assert process.wait(PATIENCE) == 0


def test_at_the_end_nothing_is_waited_for_longer(shares: Path) -> None:
    with running(shares, BOUND) as (process, mtp):
        begin(mtp)
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        wait_unplugged(mtp)
        took = time.monotonic() - begun
        assert process.wait(PATIENCE) == 0
    assert took > BOUND / 2, "it has not been waited for"
    assert list((shares / "goes").iterdir()) == []
    figure("s until a device was unplugged in the middle of an upload, with --grace 1", took)


def test_an_export_goes_after_the_upload_to_it(shares: Path) -> None:
    with running(shares, LONG) as (process, mtp):
        going = mtp.storage_ids()[1]
        number = begin(mtp)
        take_away(shares, process)
        assert finish(mtp, number) == Rc.OK
        assert mtp.wait_event().params[0] == going
        assert going not in mtp.storage_ids()
        assert mtp.send_file("file", DATA)
    for name in ("stays", "goes"):
        assert (shares / name / "file").read_bytes() == DATA
    assert left(shares) == []


def test_an_export_goes_in_the_middle_of_an_upload_that_takes_longer(shares: Path) -> None:
    with running(shares, BOUND) as (process, mtp):
        going = mtp.storage_ids()[1]
        number = begin(mtp)
        take_away(shares, process)
        wait_for_line(process, "WARNING: goes: taken away in the middle of an upload")
        event = mtp.wait_event()
        assert (event.code, event.params[0]) == (Ev.STORE_REMOVED, going)
        assert finish(mtp, number) in {Rc.STORE_NOT_AVAILABLE, Rc.INVALID_OBJECT_HANDLE}
        assert list((shares / "goes").iterdir()) == []
        assert mtp.send_file("file", DATA)


def test_an_upload_elsewhere_keeps_no_export(shares: Path) -> None:
    """It would not come to an end here: the rest is sent after the export has gone."""
    share(shares, "goes", "stays")
    with running(shares, LONG) as (process, mtp):
        going = mtp.storage_ids()[0]
        number = begin(mtp)
        take_away(shares, process)
        event = mtp.wait_event()
        assert (event.code, event.params[0]) == (Ev.STORE_REMOVED, going)
        assert finish(mtp, number) == Rc.OK
    assert (shares / "stays" / "file").read_bytes() == DATA


def test_the_end_does_not_wait_twice(shares: Path) -> None:
    """An export is going while the program is told to end, and then to end at once."""
    with running(shares, LONG) as (process, mtp):
        begin(mtp)
        take_away(shares, process)
        process.send_signal(signal.SIGTERM)
        wait_for_line(process, "INFO: unplugging")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 1
    assert not (shares / "goes" / "file").exists()
