"""How the sandbox is asked for, and what is said where it cannot be had; on any kernel."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import re
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from usbredir_mtp import cli, landlock, sandbox
from usbredir_mtp.landlock import Access
from usbredir_mtp.sandbox import READ, WRITE, Needs, Sandbox, SandboxError

if TYPE_CHECKING:
    from usbredir_mtp.setup import Setup


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    (tmp_path / "share").mkdir()
    folders = ["--state-dir", str(tmp_path / "state"), "--cache-dir", str(tmp_path / "cache")]
    [plan] = cli.parse(["--export", str(tmp_path / "share"), *folders])
    return plan.setup


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# -- where it cannot be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSYS, "no Landlock"),
        (errno.EOPNOTSUPP, "turned off"),
        (errno.EPERM, "forbidden"),
        (errno.E2BIG, os.strerror(errno.E2BIG)),
        (None, "Linux 5.19"),
    ],
)
def test_no_landlock(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int | None, said: str
) -> None:
    def abi() -> int:
        if code is None:
            return 1
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(landlock, "abi", abi)
    assert sandbox.enter("auto", Needs([setup])) == Sandbox()
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message.startswith("no sandbox: ")
    assert said in record.message
    with pytest.raises(SandboxError, match=re.escape(said)):
        sandbox.enter("landlock", Needs([setup]))
    caplog.clear()
    assert sandbox.enter("off", Needs([setup])) == Sandbox()
    assert not caplog.records


def test_no_descriptor_stays_if_it_fails(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(errno.E2BIG, "too many")

    monkeypatch.setattr(landlock, "abi", lambda: 7)
    monkeypatch.setattr(landlock, "restrict", fail)
    before = descriptors()
    assert sandbox.enter("auto", Needs([setup])) == Sandbox()
    assert descriptors() == before


def test_the_process_s_folder_is_held(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can make the kernel forget it on demand; that is why we look at the descriptor."""
    monkeypatch.setattr(landlock, "abi", lambda: 7)
    monkeypatch.setattr(landlock, "restrict", lambda *_arguments: None)
    assert sandbox.enter("landlock", Needs([setup])) == Sandbox({setup.exports[0].path: WRITE})
    links = {path: path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    [held] = [int(path.name) for path, target in links.items() if target == Path("/proc", str(os.getpid()))]
    os.close(held)


def test_a_system_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(OSError, match="not implemented"):
        landlock.abi()


# -- what the kernel is asked -----------------------------------------------------------------------------------------


class Kernel:
    """Stands in for the system calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, tuple[Any, ...]]] = []
        self.privileges = 0

    def syscall(self, number: int, *arguments: Any) -> int:
        self.calls.append((number, arguments))
        return os.open(os.devnull, os.O_RDONLY) if number == 444 else 0

    def no_new_privileges(self) -> None:
        assert self.calls[-1][0] == 445
        self.privileges += 1


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(landlock, "_syscall", kernel.syscall)
    monkeypatch.setattr(landlock, "_set_no_new_privileges", kernel.no_new_privileges)
    monkeypatch.setattr(landlock, "restrict", landlock_restrict)
    return kernel


landlock_restrict = landlock.restrict  # before tests/conftest.py puts something else in its place


@pytest.mark.parametrize(
    ("version", "rights", "net", "scoped"),
    [
        (2, 0x3FFF, 0, 0),
        (3, 0x7FFF, 0, 0),
        (4, 0x7FFF, 3, 0),
        (5, 0xFFFF, 3, 0),
        (6, 0xFFFF, 3, 3),
        (99, 0xFFFF, 3, 3),
    ],
)
def test_each_version_gets_what_it_knows(
    tmp_path: Path, kernel: Kernel, version: int, rights: int, net: int, scoped: int
) -> None:
    (tmp_path / "file").touch()
    paths = [(tmp_path, WRITE), (tmp_path / "missing", READ), (tmp_path / "file", WRITE | Access.EXECUTE)]
    landlock.restrict(version, paths, [4000])
    (first, created), *ruled, (last, restricted) = kernel.calls
    assert (first, last, kernel.privileges) == (444, 446, 1)
    assert (*struct.unpack("=QQQ", created[0]), *created[1:]) == (rights, net, scoped, 24, 0)
    assert restricted[1:] == (0,)
    assert all(number == 445 for number, _ in ruled)
    beneath = [struct.unpack("=Qi", each[2])[0] for _, each in ruled if each[1] == 1]
    assert beneath == [WRITE & rights, (WRITE | Access.EXECUTE) & rights & 0x8007 | WRITE & rights & 0x4000]
    ports = [struct.unpack("=QQ", each[2]) for _, each in ruled if each[1] == 2]
    assert ports == ([(1, 4000)] if net else [])


def test_no_descriptor_stays(tmp_path: Path, kernel: Kernel) -> None:
    before = descriptors()
    landlock.restrict(7, [(tmp_path, WRITE)], [0])
    assert descriptors() == before


def test_errors_of_the_kernel_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    class Libc:
        def prctl(self, *_arguments: object) -> int:
            ctypes.set_errno(errno.EINVAL)
            return -1

        syscall = prctl

    monkeypatch.setattr(landlock, "_libc", Libc())
    with pytest.raises(OSError, match="Invalid argument"):
        landlock._set_no_new_privileges()
    with pytest.raises(OSError, match="Invalid argument"):
        landlock._syscall(444, None, 0, 1)
