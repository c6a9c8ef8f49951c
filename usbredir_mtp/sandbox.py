"""What the process may still reach once it runs: the exports, and the little that it and Python need besides.

A second wall behind `mtp.containment`, which the kernel guards: should the first have a hole, there is nothing behind
it. A guest's paths are never looked at here.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import tempfile
import zoneinfo
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbredir_mtp import landlock
from usbredir_mtp.landlock import Access

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from usbredir_mtp.exports import Export
    from usbredir_mtp.setup import Setup

logger = logging.getLogger(__name__)

AUTO, LANDLOCK, OFF = MODES = ("auto", "landlock", "off")
"""If the kernel can; or not at all; or not."""

READ: Final = Access.READ_FILE | Access.READ_DIR
WRITE: Final = (
    READ
    | Access.WRITE_FILE
    | Access.TRUNCATE
    | Access.MAKE_REG
    | Access.MAKE_DIR
    | Access.REMOVE_FILE
    | Access.REMOVE_DIR
    | Access.REFER
)

_SYSTEM: Final = (
    # the C library: libraries, names of hosts and users, local time
    *("/etc/ld.so.cache", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/resolv.conf", "/etc/gai.conf"),
    *("/etc/passwd", "/etc/localtime", "/usr/lib/locale"),
    # what SIGHUP looks at again
    *("/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostname"),
    "/dev/urandom",
)
_PROCESS: Final = Path("/proc/self")

_REASONS: Final = {
    errno.ENOSYS: "this system has no Landlock (Linux 5.19 has one that will do)",
    errno.EOPNOTSUPP: "Landlock is turned off in this kernel (see the boot parameter lsm=)",
    errno.EPERM: "Landlock is forbidden here, by a container's rules perhaps",
}
_TOO_OLD: Final = "this kernel's Landlock lets nobody move files between folders (that of Linux 5.19 does)"
_RISK: Final = "a fault in usbredir-mtp could expose more than what is shared"
_REMEDY: Final = (
    " (the sandbox lets through what was there at the start, and what is in folders of --reserve: "
    "restart to change that, or use --sandbox off)"
)


class SandboxError(ValueError):
    """What is asked for cannot be had in the sandbox, or the sandbox itself; the text says why."""


@dataclass(slots=True, frozen=True)
class Sandbox:
    """What we have shut ourselves in.

    Attributes:
        exports: Rights by the exports' real paths; None if we are free.
    """

    exports: Mapping[Path, Access] | None = None

    def require(self, exports: Iterable[Export]) -> None:
        """Let only those pass that are reachable.

        Raises:
            SandboxError: one was not shared at the start, or with fewer rights.
        """
        if self.exports is None:
            return
        for export in exports:
            rights = Access(0)
            for path, access in self.exports.items():
                if export.path.is_relative_to(path):
                    rights |= access
            if _rights(export) & ~rights:
                raise SandboxError(f"{export} was not shared, or not so, at the start{_REMEDY}")

    def explain(self, error: BaseException | None) -> str:
        """What to add to the text of an error that may be the sandbox's doing; "" for others."""
        while self.exports is not None and error is not None:
            if isinstance(error, PermissionError):
                return _REMEDY
            error = error.__cause__ or error.__context__
        return ""


@dataclass(slots=True, frozen=True)
class Needs:
    """What has to be let through.

    Attributes:
        setups: What is going to be shared, and how.
        sockets: Files to remove in the end.
        files: What is read once more on SIGHUP, beside the configuration.
        bind: TCP ports to listen on once more, after SIGHUP.
        connect: TCP ports to connect to.
        config: The file that SIGHUP reads again.
        reserved: Folders in which it may add exports and sockets.
    """

    setups: Sequence[Setup]
    sockets: Sequence[Path] = ()
    files: Sequence[Path] = ()
    bind: frozenset[int] = frozenset()
    connect: frozenset[int] = frozenset()
    config: Path | None = None
    reserved: Sequence[Path] = ()


def enter(mode: str, needs: Needs) -> Sandbox:
    """Give up, for good, what sharing does not need; before any thread starts. A warning says if that cannot be.

    The folders for state and cache are made, if they are not there.

    Args:
        mode: One of `MODES`.
        needs: What is not given up.

    Raises:
        SandboxError: There has to be one, and there cannot.
    """
    if mode == OFF:
        return Sandbox()
    try:
        version = _confine(needs)
    except (OSError, SandboxError) as error:
        reason = _REASONS.get(error.errno or 0, str(error)) if isinstance(error, OSError) else str(error)
        if mode == LANDLOCK:
            raise SandboxError(f"no sandbox: {reason}") from error
        logger.warning("no sandbox: %s; %s", reason, _RISK)
        return Sandbox()
    logger.info("in a sandbox: Landlock, version %d", version)
    return Sandbox(_exports(needs))


def _confine(needs: Needs) -> int:
    version = landlock.abi()
    if version < landlock.MIN_ABI:
        raise SandboxError(_TOO_OLD)
    with _held(_PROCESS):
        landlock.restrict(version, rules(needs), needs.bind if needs.config else (), needs.connect)
    return version


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep a folder of /proc, for good if all goes well.

    Where nobody does, the kernel forgets it when memory gets scarce; it makes a new one then, which nobody has rights
    to.
    """
    with ExitStack() as undo:
        with suppress(OSError):
            undo.callback(os.close, os.open(folder, os.O_PATH | os.O_CLOEXEC))
        yield
        undo.pop_all()


def rules(needs: Needs) -> Iterator[tuple[Path, Access]]:
    """All that is allowed. An export inside of another one has the rights of both."""
    yield from _exports(needs).items()
    for socket in needs.sockets:  # there are no such rights to one file
        yield socket.parent, Access.REMOVE_FILE | (Access.MAKE_SOCK if needs.config else Access(0))
    for folder in dict.fromkeys(folder for setup in needs.setups for folder in _kept(setup)):
        with suppress(OSError):  # then nothing is kept there, as without a sandbox
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield folder, WRITE
    for file in (*needs.files, *([needs.config] if needs.config else [])):
        yield _readable(file), READ
    for path in (*_SYSTEM, *zoneinfo.TZPATH):
        yield Path(path), READ
    yield _PROCESS, READ  # the umask and the mounts
    yield Path(os.devnull), READ | Access.WRITE_FILE
    yield from _python()


def _kept(setup: Setup) -> Iterator[Path]:
    for folder in (setup.state, setup.cache if setup.media else None):
        if folder is not None:
            yield folder


def _exports(needs: Needs) -> dict[Path, Access]:
    exports = {path.resolve(): WRITE | Access.MAKE_SYM | Access.MAKE_SOCK for path in needs.reserved}
    for export in (export for setup in needs.setups for export in setup.exports):
        exports[export.path] = exports.get(export.path, Access(0)) | _rights(export)
    return exports


def _rights(export: Export) -> Access:
    if export.read_only:
        return READ
    return WRITE | Access.MAKE_SYM if export.follow_symlinks else WRITE  # to rename a link is to make one


def _readable(config: Path) -> Path:
    """The file's folder, since editors put a new file in the old one's place; or the file, if that would be too much.

    It would if the folder has all kinds of things in it: the user's home or one above it, /etc, that for temporary
    files.
    """
    folder = config.resolve().parent
    common = {Path("/etc")}
    with suppress(OSError):  # there is none
        common.add(Path(tempfile.gettempdir()).resolve())
    with suppress(RuntimeError):  # nobody's home
        common |= {Path.home().resolve(), *Path.home().resolve().parents}
    return config if folder in common else folder


def _python() -> Iterator[tuple[Path, Access]]:
    """The interpreter with its libraries, and us: for modules that are loaded late, and the process for media files."""
    package = Path(__file__).parent
    yield package.parent, Access.READ_DIR  # else Python does not find us in there
    yield package, READ
    not_libraries = {Path.cwd(), Path(sys.argv[0]).resolve().parent}  # in sys.path because of how we were started
    for entry in map(Path, sys.path):
        if entry.resolve() not in not_libraries:
            yield entry, READ
    yield Path(sys.prefix, "pyvenv.cfg"), READ
    yield Path(sys.executable), READ | Access.EXECUTE
    for file in _mapped():
        if ".so" in file.name:
            yield file.parent, READ
        if ".so" not in file.name or file.name.startswith("ld"):  # the interpreter, and what the kernel loads it by
            yield file, READ | Access.EXECUTE


def _mapped() -> set[Path]:
    """The files whose code we run."""
    try:
        lines = (_PROCESS / "maps").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return set()
    fields = [line.split(maxsplit=5) for line in lines]
    return {Path(each[5]) for each in fields if len(each) == 6 and "x" in each[1] and each[5][0] == "/"}  # noqa: PLR2004  (proc(5))
