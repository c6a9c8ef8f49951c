"""A writer of initramfs archives, and the copying of Debian packages into one."""

from __future__ import annotations

import shutil
import stat
import subprocess
import tarfile
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
"""Folders of the root that are symlinks into /usr (older packages still ship files in them)."""


@dataclass(slots=True)
class CpioWriter:
    """Writes the "newc" format of the kernel's Documentation/driver-api/early-userspace.

    Folders above an entry are made as needed and a name is written once: the first one wins, so
    that a writer can put its own files before those of packages.

    Attributes:
        stream: where the archive goes, opened for binary writing.
    """

    stream: IO[bytes]
    _seen: set[str] = field(default_factory=set)

    def add(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        """Writes one entry.

        Args:
            name: path from the root, without a leading slash.
            mode: file type and permissions, as in st_mode.
            data: content of a file, target of a symlink.
            device: major and minor number of a device node.
        """
        if name in self._seen:
            return
        folder, _, _ = name.rpartition("/")
        if folder:
            self.add(folder, stat.S_IFDIR | 0o755)
        self._write(name, mode, data, device)
        self._seen.add(name)

    def close(self) -> None:
        """Writes the trailer; the stream stays open."""
        self._write("TRAILER!!!", 0, b"", (0, 0))

    def _write(self, name: str, mode: int, data: bytes, device: tuple[int, int]) -> None:
        encoded = name.encode() + b"\0"
        number = len(self._seen) + 1
        numbers = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        head = b"070701" + b"".join(b"%08X" % value for value in numbers) + encoded
        self.stream.write(head + bytes(-len(head) % 4))
        self.stream.write(data + bytes(-len(data) % 4))


def merged(path: str) -> str:
    """The path below /usr of a file that a package ships in one of the MERGED folders."""
    first, _, _ = path.partition("/")
    return f"usr/{path}" if first in MERGED else path


def add_skeleton(archive: CpioWriter) -> None:
    """Writes the symlinks of a merged /usr and the console that the kernel opens for init."""
    for name in MERGED:
        archive.add(f"usr/{name}", stat.S_IFDIR | 0o755)
        archive.add(name, stat.S_IFLNK | 0o777, f"usr/{name}".encode())
    for name in ("dev", "mnt", "proc", "root", "run", "sys", "tmp", "var"):
        archive.add(name, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))


def add_tree(archive: CpioWriter, folder: Path) -> None:
    """Writes the files below a host folder with their permissions, owned by root."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            archive.add(str(path.relative_to(folder)), path.stat().st_mode, path.read_bytes())


def add_package(archive: CpioWriter, deb: Path, wants: Callable[[str], bool]) -> bytes | None:
    """Writes the wanted files of a Debian package, unpacked but not configured.

    Args:
        archive: the archive to write to.
        deb: the package's file.
        wants: says of a path from the root, without a leading slash, whether it is kept.

    Returns:
        The kernel, if the package holds one: it does not go into the archive.

    Raises:
        RuntimeError: dpkg-deb or the archive in the package failed.
    """
    unpack = shutil.which("dpkg-deb") or "dpkg-deb"
    kernel = None
    with subprocess.Popen([unpack, "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as process:
        with tarfile.open(mode="r|", fileobj=process.stdout) as tar:
            for member in tar:
                path = merged(member.name.removeprefix("./").strip("/"))
                if path in {"", "."} or not wants(path):
                    continue
                content = tar.extractfile(member) if member.isreg() else None
                data = content.read() if content else b""
                if path.startswith("boot/vmlinuz-"):
                    kernel = data
                else:
                    _add_member(archive, path, member, data)
        code = process.wait()
    if code:
        raise RuntimeError(f"dpkg-deb failed on {deb.name} with exit status {code}")
    return kernel


def _add_member(archive: CpioWriter, path: str, member: tarfile.TarInfo, data: bytes) -> None:
    if member.isdir():
        archive.add(path, stat.S_IFDIR | member.mode)
    elif member.issym():
        archive.add(path, stat.S_IFLNK | 0o777, member.linkname.encode())
    elif member.islnk():
        # the archive is a stream: the earlier file is named, not read again
        target = merged(member.linkname.removeprefix("./"))
        archive.add(path, stat.S_IFLNK | 0o777, f"/{target}".encode())
    elif member.isreg():
        archive.add(path, stat.S_IFREG | member.mode, data)
