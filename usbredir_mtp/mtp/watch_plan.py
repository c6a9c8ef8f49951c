"""How the changes of a folder are noticed: what the user wants, and what its file system can do."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path as HostPath

POLL_SECONDS = 5.0


class WatchMode(Enum):
    """A way to notice changes."""

    AUTO = "auto"
    """Inotify, but for file systems that others change too: these are polled."""
    INOTIFY = "inotify"
    """The system's own way, which elsewhere than on Linux is another."""
    POLL = "poll"
    OFF = "off"


@dataclass(slots=True, frozen=True)
class WatchPlan:
    """What to do; `seconds` between two looks where it comes to polling."""

    mode: WatchMode = WatchMode.AUTO
    seconds: float = POLL_SECONDS

    def __str__(self) -> str:
        return f"poll={self.seconds:g}" if self.mode is WatchMode.POLL else self.mode.value


AUTO = WatchPlan()
"""What is done where nobody says otherwise."""


def parse_watch(text: str) -> WatchPlan:
    """A plan from `auto`, `inotify`, `poll`, `poll=SECONDS` or `off`.

    Raises:
        ValueError: it is none of these, or polls more often than ten times a second.
    """
    word, separator, seconds = text.partition("=")
    try:
        mode = WatchMode(word)
        if separator and mode is not WatchMode.POLL:
            raise ValueError  # noqa: TRY301
        interval = float(seconds) if separator else POLL_SECONDS
        if not 0.1 <= interval < math.inf:  # noqa: PLR2004  (anything less is a mistake)
            raise ValueError  # noqa: TRY301
    except ValueError:
        raise ValueError(f"{text!r} is not one of auto, inotify, poll, poll=SECONDS (at least 0.1), off") from None
    return WatchPlan(mode, interval)


_REMOTE = re.compile(
    r"nfs.*|cifs|smb.*|9p|virtiofs|vboxsf|vmhgfs|prl_fs|ceph|afs|ncpfs|coda|glusterfs|lustre|gpfs|beegfs"
    r"|orangefs|pvfs2|ocfs2|gfs2|fuse|fuse\..+"
)
_LOCAL = re.compile(r"fuseblk|fuse\.(mergerfs|ntfs.*|bindfs|gocryptfs|encfs|cryfs|exfat|unionfs.*|fuse-overlayfs)")


def others_change(root: str) -> bool:
    """Whether a folder is on a file system of which inotify sees only what this host does itself."""
    kind = _file_system(root)
    return _REMOTE.fullmatch(kind) is not None and _LOCAL.fullmatch(kind) is None


def _file_system(root: str) -> str:
    """The type of the file system that holds a path, as mountinfo names it; "" where that is not known."""
    try:
        device = os.stat(root).st_dev  # noqa: PTH116  (the same as everywhere)
        lines = HostPath("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        mount, _, kind = line.partition(" - ")
        if mount.split(" ", 3)[2] == number:
            return kind.split(" ", 1)[0]
    return ""
