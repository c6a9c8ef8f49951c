"""A phone that a guest sees: the server behind it, the shared folder, and the guest's programs."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.e2e.guest import Guest
    from tests.e2e.server import Server

SIZES = (
    *(0, 1, 52, 114, 116, 500, 511, 512, 513, 578, 1012, 1024, 4084, 16384),
    *(1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 1),
)
"""File sizes at which containers, packets and buffers end exactly, or have ended other programs."""

MOUNTERS = {
    "jmtpfs": "jmtpfs {mount} -device={bus},{device}",
    "aft-mtp-mount": "aft-mtp-mount {mount}",
    "go-mtpfs": "go-mtpfs {mount} >/dev/null 2>&1 </dev/null &",
}
"""Program that mounts a phone -> how it is called."""


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone plugged into a guest.

    Attributes:
        guest: where it is plugged in.
        server: what it is made by.
        root: the host folder that it shares.
        bus: number of its USB bus in the guest.
        device: its number on that bus.
    """

    guest: Guest
    server: Server
    root: Path
    bus: int
    device: int

    @contextlib.contextmanager
    def mounted(self, mounter: str = "jmtpfs") -> Iterator[str]:
        """Mounts the phone in the guest and gives the path of its first storage there.

        Args:
            mounter: a key of MOUNTERS.
        """
        mount = f"/mnt/{mounter}-{self.bus}-{self.device}"
        command = MOUNTERS[mounter].format(mount=mount, bus=self.bus, device=self.device)
        shown = quote(f"ls {mount} | grep .")
        self.guest.check(f"mkdir -p {mount}\n{command}\nwait-for 20 sh -c {shown}")
        try:
            name = self.guest.check(f"ls {mount}").splitlines()[0]
            yield f"{mount}/{name}"
        finally:
            # the program ends some time after the unmount; until then it holds the phone
            gone = quote(f"! pgrep -f '^{mounter} {mount}'")
            self.guest.run(f"cd / && fusermount -u {mount}; wait-for 30 sh -c {gone}")

    def uri(self) -> str:
        """Mounts the phone in gvfs and gives the address of its first storage there."""
        find = "gio mount -li | sed -n 's/^ *activation_root=//p' | grep ^mtp: "
        self.guest.check(f"wait-for 20 sh -c {quote(find)}")
        root = self.guest.check(find).strip()
        self.guest.check(f"gio mount {root}")
        return root + self.guest.check(f"gio list -u {root}").strip().rpartition("/")[2]


def digests(root: Path) -> dict[str, str]:
    """Hashes of all files below a host folder, by path from it."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def guest_digests(guest: Guest, folder: str) -> dict[str, str]:
    """Hashes of all files below a folder of the guest, by path from it."""
    shown = guest.check(f"cd {quote(folder)} && find . -type f -exec sha256sum {{}} +", timeout=300)
    pairs = (line.split("  ./", 1) for line in shown.splitlines())
    return {path: digest for digest, path in pairs}


def write_tree(root: Path, files: Mapping[str, bytes]) -> None:
    """Writes files below a host folder, with the folders that they lie in."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def pattern(size: int, seed: int = 1) -> bytes:
    """Bytes in which any shift, gap or repetition shows; the same for the same arguments."""
    return hashlib.shake_256(seed.to_bytes(4, "big")).digest(size)
