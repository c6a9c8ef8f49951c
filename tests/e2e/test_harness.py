"""The harness itself, with QEMU's own MTP device in place of ours."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.guest import Guest, GuestError
from tests.e2e.server import Server, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

FAKE_SERVER = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))
print("-chardev socket,id=mtp,host=127.0.0.1,port=4321,reconnect=1", flush=True)
while True:
    signal.pause()
"""


def test_run_gives_status_and_output(guest: Guest) -> None:
    result = guest.run("printf 'a\\0b\\n'; echo oops >&2; exit 3")
    assert result.code == 3
    assert result.data == b"a\0b\noops\n"
    assert guest.run("true").data == b""


def test_long_output_is_whole(guest: Guest) -> None:
    assert guest.run("head -c 3000000 /dev/zero").data == bytes(3_000_000)


def test_a_command_that_hangs_is_killed(guest: Guest) -> None:
    assert guest.run("cat /dev/ptmx", timeout=1).code == 128 + signal.SIGKILL
    assert guest.check("echo alive") == "alive\n"


def test_check_raises_with_the_output(guest: Guest) -> None:
    with pytest.raises(GuestError, match="no such thing"):
        guest.check("echo no such thing; false")


def test_names_are_utf8(guest: Guest, scratch: str) -> None:
    assert guest.check(f"touch {scratch}/Füße-日本; ls {scratch}") == "Füße-日本\n"


def test_a_phone_comes_and_goes(guest: Guest, share: Path) -> None:
    (share / "hello.txt").write_text("hello")
    assert guest.wait_phones(0) == []
    guest.qmp.execute("device_add", driver="usb-mtp", id="peer", rootdir=str(share), bus="xhci.0")
    assert len(guest.wait_phones(1)) == 1
    assert "hello.txt" in guest.check("mtp-filetree")
    guest.qmp.execute("device_del", id="peer")
    guest.qmp.wait_event("DEVICE_DELETED", device="peer")
    assert guest.wait_phones(0) == []


def test_the_end_of_qemu_is_told(boot: Callable[[Sequence[str]], Guest]) -> None:
    guest = boot([])
    assert guest.kill() == -signal.SIGKILL
    assert guest.status() == -signal.SIGKILL
    with pytest.raises(GuestError, match="QEMU ended with status -9"):
        guest.run("true")


def test_a_server_is_started_and_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FAKE_SERVER.format(code=0)]
    server = Server.start([tmp_path], tmp_path / "log", command=command)
    assert server.port == 4321
    server.stop()
    assert "host=127.0.0.1" in server.logs()


def test_a_bad_end_of_a_server_is_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FAKE_SERVER.format(code=2)]
    server = Server.start([tmp_path], tmp_path / "log", command=command)
    with pytest.raises(ServerError, match="status 2"):
        server.stop()


def test_a_server_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such folder')"]
    with pytest.raises(ServerError, match="no such folder"):
        Server.start([tmp_path], tmp_path / "log", command=command)
