"""QEMU killed in the middle of an upload: nothing torn stays, and the next guest works."""

from __future__ import annotations

import hashlib
import signal
import time
from typing import TYPE_CHECKING

from tests.e2e.guest import redir_arguments
from tests.e2e.phone import digests, pattern
from tests.e2e.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.e2e.guest import Guest

UPLOAD = 400_000_000
"""Takes a guest much longer than the kill does."""

SEND = "cd /tmp && truncate -s {size} big.bin && mtp-sendfile big.bin /"


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Waits for something on the host that nobody announces."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def size_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def test_killed_in_mid_upload(
    boot: Callable[[Sequence[str]], Guest],
    share: Path,
    tmp_path: Path,
    evidence: dict[str, Callable[[], str]],
) -> None:
    (share / "kept.txt").write_bytes(pattern(1000))
    kept = digests(share)
    server = Server.start([share], tmp_path / "server.log")
    evidence["server"] = server.logs
    try:
        first = boot(redir_arguments(server.port))
        first.wait_phones(1)
        first.check(f"({SEND.format(size=UPLOAD)}) >/dev/null 2>&1 </dev/null &")
        wait_until(lambda: size_below(share) > 1_000_000)
        assert first.kill() == -signal.SIGKILL
        wait_until(lambda: len(list(share.iterdir())) == 1)
        assert digests(share) == kept

        second = boot(redir_arguments(server.port))
        second.wait_phones(1)
        shown = second.check("mtp-filetree")
        assert "kept.txt" in shown
        assert "big.bin" not in shown
        second.check(SEND.format(size=3_000_000))
        assert digests(share) == kept | {"big.bin": hashlib.sha256(bytes(3_000_000)).hexdigest()}
        assert second.stop() == 0
    finally:
        server.stop()
