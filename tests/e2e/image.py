"""Builds the guest's kernel and initramfs from the packages that this machine's apt knows.

Nothing is installed and no maintainer script runs: apt resolves and downloads, dpkg-deb unpacks,
and the files go straight into an uncompressed initramfs. So it works for any user, root or not.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tests.e2e import cpio, recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
ROOTFS = HERE / "rootfs"
RECIPE = (HERE / "image.py", HERE / "recipe.py", HERE / "cpio.py", ROOTFS)
"""What the image is made from, besides the packages: a change in it means a new image."""

PACKAGE_LIST = "etc/packages"
"""In the guest: a line "name version" for each package."""

CACHE_VARIABLE = "USBREDIR_MTP_GUEST_CACHE"
PROGRAMS = {"apt-get": "apt", "dpkg-deb": "dpkg"}
"""Program -> Debian package that holds it."""


@dataclass(frozen=True, slots=True)
class GuestImage:
    """A bootable guest.

    Attributes:
        kernel: the compressed kernel (bzImage).
        initrd: the root file system, an uncompressed initramfs.
        memory: megabytes of RAM that it needs.
    """

    kernel: Path
    initrd: Path
    memory: int


class ImageError(Exception):
    """The image cannot be built; the text says why in one line."""


def missing() -> list[str]:
    """What keeps this machine from building an image, one phrase each."""
    if platform.machine() != "x86_64":
        return ["an x86-64 machine"]
    return [f"{program} (package {package})" for program, package in PROGRAMS.items() if shutil.which(program) is None]


def image() -> GuestImage:
    """The image, from the cache or built now; safe to call from several processes.

    Raises:
        ImageError: it could not be built.
    """
    folder = _cache_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(folder.name + ".lock")):
        if not folder.is_dir():
            _build(folder)
    return GuestImage(folder / "vmlinuz", folder / "initrd", recipe.MEMORY)


def _cache_folder() -> Path:
    digest = hashlib.sha256()
    for root in RECIPE:
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.is_file():
                digest.update(f"{path.relative_to(HERE)} {path.stat().st_mode:o}\n".encode())
                digest.update(path.read_bytes())
    name = f"guest-{digest.hexdigest()[:16]}"
    if base := os.environ.get(CACHE_VARIABLE):
        return Path(base) / name
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return user / "usbredir-mtp" / name


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(folder: Path) -> None:
    """Builds in a temporary folder beside the final one and renames it when it is whole."""
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder.parent) as name:
        work = Path(name)
        (result := work / "result").mkdir()
        debs = _download(_resolve([_kernel_package(), *recipe.PACKAGES], work), work)
        kernel = None
        with (result / "initrd").open("wb") as stream:
            archive = cpio.CpioWriter(stream)
            cpio.add_skeleton(archive)
            cpio.add_tree(archive, ROOTFS)
            archive.add(PACKAGE_LIST, stat.S_IFREG | 0o644, _versions(debs))
            for deb in debs:
                kernel = cpio.add_package(archive, deb, recipe.wants_path) or kernel
            archive.close()
        if kernel is None:
            raise ImageError("no package of the guest holds a kernel")
        (result / "vmlinuz").write_bytes(kernel)
        result.rename(folder)


def _kernel_package() -> str:
    release = platform.freedesktop_os_release()
    for name in [release["ID"], *release.get("ID_LIKE", "").split()]:
        if name in recipe.KERNELS:
            return recipe.KERNELS[name]
    raise ImageError(f"no kernel package is known for {release['ID']}: Debian or Ubuntu is needed")


def _resolve(packages: list[str], work: Path) -> list[str]:
    """Names, with versions, the packages that an empty system would need.

    Returns:
        Entries "name=version", as `apt-get download` takes them.
    """
    (status := work / "status").touch()
    (archives := work / "archives").mkdir()
    settings = {
        "Dir::State::status": status,
        "Dir::Cache::archives": archives,  # what lies in the machine's own is not listed
        "Debug::NoLocking": "1",
    }
    options = [f"-o{key}={value}" for key, value in settings.items()]
    listed = _apt([*options, "install", "--no-install-recommends", "--print-uris", "-y", *packages], work)
    names = [line.split()[1] for line in listed.splitlines() if line.startswith("'")]
    wanted = []
    for name, version, _ in (unquote(name).removesuffix(".deb").split("_") for name in names):
        if recipe.wants_package(name):
            wanted.append(f"{name}={version}")
    return wanted


def _download(packages: list[str], work: Path) -> list[Path]:
    """Fetches packages by "name=version", their signatures checked by apt."""
    (folder := work / "debs").mkdir()
    _apt(["-oAPT::Sandbox::User=root", "download", *packages], folder)
    return sorted(folder.glob("*.deb"))


def _versions(debs: list[Path]) -> bytes:
    named = (unquote(deb.stem).split("_") for deb in debs)
    return "".join(f"{name} {version}\n" for name, version, _ in named).encode()


def _apt(arguments: list[str], folder: Path) -> str:
    command = [shutil.which("apt-get") or "apt-get", "-qq", *arguments]
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        reason = " ".join(errors) or f"exit status {done.returncode}"
        raise ImageError(f"apt-get failed (do its lists need `apt-get update`?): {reason}")
    return done.stdout
