"""What libmtp's and aft's programs do in the guest, and how long it takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.scale_trees import flat_folder, large_file
from tests.e2e.guest import GuestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.guest_peers import Plugged
    from tests.e2e.guest import Guest

MB = 1_000_000
_MOUNT = "/mnt/bench"
_SHOWN = "/tmp/shown"  # noqa: S108  (in the guest)


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to do.

    Attributes:
        name: Of its rows.
        command: The shell script that is timed; {bus}, {device} and {size} are filled in.
        expected: What `count` prints if it is done: bytes or files.
        before: What is done first, not timed.
        count: Shows what came of it; empty where the size of what was sent tells.
        after: What is done at last, whatever happened.
    """

    name: str
    command: str
    expected: int
    before: str = ":"
    count: str = ""
    after: str = ":"

    def run(self, guest: Guest, plugged: Plugged, limit: float) -> float:
        """Seconds that it takes, by the guest's clock.

        Args:
            guest: Where.
            plugged: With what.
            limit: Seconds after which it is ended.

        Raises:
            CaseError: it is not done, or not in time.
            GuestError: the guest is gone.
        """
        values = {"bus": plugged.bus, "device": plugged.device, "size": self.expected}
        try:
            guest.check(self.before.format(**values), timeout=limit)
            timed = f"begin=$(date +%s%N)\n{self.command.format(**values)}\nend=$(date +%s%N)\necho $((end - begin))"
            result = guest.run(timed, limit)
            if result.code == _KILLED:
                raise CaseError(f"over {limit:g} s", limit)
            shown = int(guest.run(self.count).text) if self.count else _size(plugged.sent)
        except GuestError as error:
            if guest.status() is None:
                raise CaseError("fails") from error
            raise
        finally:
            if guest.status() is None:
                guest.run(self.after)
            plugged.sent.unlink(missing_ok=True)
        if shown != self.expected:
            raise CaseError(f"{shown} of {self.expected}")
        return int(result.text.split()[-1]) / 1e9


@dataclass(frozen=True, slots=True)
class Group:
    """Cases on the same share.

    Attributes:
        peers: Who is compared.
        share: Makes the host folder below another one.
        cases: In the order in which they follow each plug.
    """

    peers: tuple[str, ...]
    share: Callable[[Path], Path]
    cases: tuple[Case, ...]


class CaseError(Exception):
    """A program does not do with a peer what it should; the text says it in a few words.

    Attributes:
        seconds: What it takes at least, if it only takes too long.
    """

    def __init__(self, text: str, seconds: float | None = None) -> None:
        super().__init__(text)
        self.seconds = seconds


_KILLED = 137


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def groups(part: float = 1) -> Iterator[Group]:
    """All that is measured, at a part of the full sizes."""
    get, put, files = (max(round(size * part), 1) for size in (300 * MB, 100 * MB, 10_000))
    yield Group(("floor", "ours", "usb-mtp"), lambda work: large_file(work, get), tuple(_transfers(get, put)))
    yield Group(("ours", "usb-mtp", "umtp"), lambda work: flat_folder(work, files), tuple(_listings(files)))


def _transfers(get: int, put: int) -> Iterator[Case]:
    yield Case(
        f"get {get / MB:g} MB",
        "mtp-getfile $(cat /tmp/id) /tmp/got >/dev/null 2>&1",
        get,
        before="mtp-filetree 2>/dev/null | sed -n 's/^ *\\([0-9]*\\) file$/\\1/p' >/tmp/id && test -s /tmp/id",
        count="stat -c %s /tmp/got 2>/dev/null || echo 0",
        after="rm -f /tmp/got /tmp/id",
    )
    yield Case(
        f"put {put / MB:g} MB",
        "mtp-sendfile /tmp/put.bin / >/dev/null 2>&1",
        put,
        before="head -c {size} /dev/zero >/tmp/put.bin",
        after="rm -f /tmp/put.bin",
    )


def _listings(files: int) -> Iterator[Case]:
    count = f"grep -c 'file [0-9]*[.]txt' {_SHOWN}"
    commands = {
        "mtp-filetree": f"mtp-filetree >{_SHOWN} 2>&1",
        "mtp-files": f"mtp-files >{_SHOWN} 2>&1",
        "aft-mtp-cli ls": f"aft-mtp-cli 'ls flat' >{_SHOWN} 2>&1",
        "find over jmtpfs": f"jmtpfs {_MOUNT} -device={{bus}},{{device}} >/dev/null 2>&1; find {_MOUNT} >{_SHOWN}",
    }
    gone = f"fusermount -uz {_MOUNT}; wait-for 10 sh -c '! pgrep -x jmtpfs' || killall -9 jmtpfs"
    for name, command in commands.items():
        is_mount = "jmtpfs" in name
        after = f"{gone}; rm -f {_SHOWN}" if is_mount else f"rm -f {_SHOWN}"
        yield Case(f"{name}, {files:,} files", command, files, f"mkdir -p {_MOUNT}", count, after)
