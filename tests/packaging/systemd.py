"""A systemd of our own that runs nothing but the units of a test, in namespaces of its own. It takes root.

It has folders of its own where systemd writes; all others are the host's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "packaging" / "systemd"
INIT = shutil.which("systemd", path="/lib/systemd:/usr/lib/systemd") or ""
PATIENCE = 20.0

_GOAL = "tests.target"
_TARGETS = ("basic", "multi-user", "network", "shutdown", "sockets", "sysinit", "tests")

# $place is the folder that both sides see; ours is in it too, as it would be installed.
_BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
cp -a /etc /run/etc
mount --bind /run/etc /etc
rm -rf /etc/systemd/system /etc/usbredir-mtp
cp -a "$place/units" /etc/systemd/system
mkdir /etc/usbredir-mtp /run/usbredir-mtp
mount --bind "$place/etc" /etc/usbredir-mtp
mount --bind "$place/run" /run/usbredir-mtp
mount -t tmpfs -o mode=755 tmpfs /srv
for folder in source packages python share; do
    mkdir "/srv/$folder"
    mount --bind "$(eval echo "\\$$folder")" "/srv/$folder"
done
for folder in /var/lib /var/cache /usr/local/sbin; do mount -t tmpfs -o mode=755 tmpfs $folder; done
cp "$place/usbredir-mtp" /usr/local/sbin
mount -t tmpfs -o mode=755 tmpfs /home
umount -R -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env -i PATH="$PATH" container=tests SYSTEMD_UNIT_PATH=/etc/systemd/system \
    "$init" --system --unit="$goal" --log-target=console --log-level=info --show-status=no
"""

_PROGRAM = f"""#!/bin/sh
export PYTHONPATH=/srv/source:/srv/packages PYTHONHOME=/srv/python LD_LIBRARY_PATH=/srv/python/lib
exec /srv/python/bin/python{sys.version_info.major}.{sys.version_info.minor} -m usbredir_mtp "$@"
"""


@dataclass(slots=True)
class Systemd:
    """The running one.

    Attributes:
        pid: Of its process, as we see it.
        place: A folder with `share` (its /srv/share), `etc` and `run` (/etc/usbredir-mtp and /run/usbredir-mtp), where
            services write their `log`.
    """

    pid: int
    place: Path

    def ctl(self, *arguments: str, check: bool = True) -> str:
        """What systemctl answers."""
        return self.run("systemctl", "--no-pager", *arguments, check=check)

    def run(self, *command: str, check: bool = True) -> str:
        """What a program says that is run where the services are."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--cgroup"]
        done = subprocess.run([*enter, *command], capture_output=True, text=True, timeout=60, check=False)
        if check and done.returncode:
            pytest.fail(f"{done.stderr}\n{self.log}")
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """A property of a unit's."""
        return self.ctl("show", "--property", name, "--value", unit)

    def pid_of(self, service: str) -> int:
        """The main process of a service, as we see it; 0 if there is none."""
        inside = self.show(service, "MainPID")
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                numbers = next(line for line in status.read_text().splitlines() if line.startswith("NSpid:")).split()
                if numbers[2:] == [inside] and self._is_ours(status.parent):
                    return int(numbers[1])
        return 0

    def _is_ours(self, process: Path) -> bool:
        return (process / "ns" / "pid").readlink() == Path(f"/proc/{self.pid}/ns/pid").readlink()

    def path(self, inside: str) -> Path:
        """How we reach a path of the services'."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def drop_in(self, unit: str, text: str) -> None:
        """What `systemctl edit` does."""
        inside = self.path(f"/etc/systemd/system/{unit}.d/override.conf")
        inside.parent.mkdir(exist_ok=True)
        inside.write_text(text)
        self.ctl("daemon-reload")

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                pytest.fail(self.log)
            time.sleep(0.05)

    @property
    def log(self) -> str:
        """What systemd and the services have said."""
        service = self.place / "run" / "log"
        return (service.read_text() if service.exists() else "") + (self.place / "boot").read_text()


@contextmanager
def booted(place: Path) -> Iterator[Systemd]:
    """A running systemd that knows the units of `packaging`; `place` holds `share`."""
    _furnish(place)
    paths = sysconfig.get_paths()
    folders = {"source": ROOT, "packages": paths["purelib"], "python": sys.base_prefix, "share": place / "share"}
    environment = {**os.environ, "place": str(place), "init": INIT, "goal": _GOAL}
    environment |= {name: str(folder) for name, folder in folders.items()}
    with _cgroup() as cgroup, (place / "boot").open("w") as boot:
        command = [
            "unshare",
            "--mount",
            "--pid",
            "--cgroup",
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]
        with subprocess.Popen(
            ["sh", "-c", 'echo 0 >"$cgroup/cgroup.procs" && exec "$@"', "sh", *command, "sh", "-c", _BOOT],
            env={**environment, "cgroup": str(cgroup)},
            stdin=subprocess.DEVNULL,
            stdout=boot,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                systemd = Systemd(_child(process), place)
                systemd.wait(
                    lambda: process.poll() is not None or systemd.ctl("is-active", _GOAL, check=False) == "active"
                )
                yield systemd
            finally:
                process.kill()


def _furnish(place: Path) -> None:
    place.chmod(0o755)
    for name in ("units", "etc", "run"):
        (place / name).mkdir()
    for name in _TARGETS:
        (place / "units" / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    for unit in (UNITS / "system").iterdir():
        shutil.copy(unit, place / "units")
    drop_in = place / "units" / "usbredir-mtp@.service.d"
    drop_in.mkdir()
    (drop_in / "log.conf").write_text(
        "[Service]\nStandardOutput=append:/run/usbredir-mtp/log\nStandardError=append:/run/usbredir-mtp/log\n"
    )
    program = place / "usbredir-mtp"
    program.write_text(_PROGRAM)
    program.chmod(0o755)


@contextmanager
def _cgroup() -> Iterator[Path]:
    """A control group to be the root of what systemd sees."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    top = next((Path(each[1]) for each in mounts if each[2] == "cgroup2"), None)
    own = next(
        (line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")), None
    )
    if top is None or own is None:
        pytest.skip("there is no cgroup2 here")
    group = top / own.lstrip("/") / f"usbredir-mtp-tests-{os.getpid()}"
    group.mkdir()
    try:
        yield group
    finally:
        end = time.monotonic() + PATIENCE
        while group.exists() and time.monotonic() < end:  # what was killed is not gone at once
            for each in sorted(group.rglob("*/"), reverse=True):
                with suppress(OSError):
                    each.rmdir()
            with suppress(OSError):
                group.rmdir()


def _child(process: subprocess.Popen[bytes]) -> int:
    """The pid of the first process in the namespaces."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        if pids := children.read_text().split():
            return int(pids[0])
        time.sleep(0.01)
    pytest.fail("no namespaces")
