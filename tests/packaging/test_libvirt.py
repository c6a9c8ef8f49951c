"""libvirt: the XML of all pages is XML of libvirt's, and a VM that libvirt starts from it gets the phone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.network.program import ROOT, program
from tests.packaging.conftest import need

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATIENCE = 20.0

USER = "daemon"
"""Who starts VMs where we are root: there is no session of root's."""

DOMAIN = """<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <emulator>{emulator}</emulator>
    <controller type='usb' model='qemu-xhci'/>
    {devices}
    <memballoon model='none'/>
  </devices>
</domain>
"""
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", *sorted((ROOT / "examples").glob("*.xml"))]


def elements(text: str) -> list[str]:
    """The elements of a device that a page shows, if it shows them whole; what stands for something is put in."""
    found = re.findall(r"^ *<redirdev .*?</redirdev>", text, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(each) for each in found if "…" not in each]


def test_there_are_some() -> None:
    assert sum(len(elements(page.read_text())) for page in PAGES) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_xml(tmp_path: Path, page: Path) -> None:
    domain = DOMAIN.format(
        name="vm", emulator="/usr/bin/qemu-system-x86_64", devices="".join(elements(page.read_text()))
    )
    (tmp_path / "domain.xml").write_text(domain)
    need("xmllint")
    command = [need("virt-xml-validate"), str(tmp_path / "domain.xml"), "domain"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


class Libvirt:
    """A user's own libvirt, in folders of a test's own. virsh starts the daemon."""

    def __init__(self, place: Path, before: Sequence[str]) -> None:
        self._before = [*before, need("virsh"), "-c", "qemu:///session"]
        kinds = ("RUNTIME_DIR", "CONFIG_HOME", "CACHE_HOME", "DATA_HOME", "STATE_HOME")
        self._environment = {"HOME": str(place), "PATH": f"{os.environ['PATH']}:/usr/sbin", "LC_ALL": "C"}
        self._environment |= {f"XDG_{kind}": str(place / kind) for kind in kinds}
        settings = place / "CONFIG_HOME" / "libvirt" / "qemu.conf"
        settings.parent.mkdir(parents=True)
        settings.write_text('stdio_handler = "file"\n')  # no daemon for that as well
        self._pid = place / "RUNTIME_DIR" / "libvirt" / "libvirtd.pid"

    def virsh(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._before, *arguments], env=self._environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def end(self) -> None:
        if not self._pid.exists():
            return
        pid = int(self._pid.read_text())
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + PATIENCE
        while Path(f"/proc/{pid}").exists() and time.monotonic() < end:  # it has files in what is removed next
            time.sleep(0.02)


@contextmanager
def libvirt(place: Path) -> Iterator[Libvirt]:
    """One, to the end of the block."""
    before: list[str] = []
    folder = place / "libvirt"
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        before = [need("setpriv"), f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        place.chmod(0o755)
    found = Libvirt(folder, before)
    if before:
        subprocess.run(["chown", "-R", USER, folder], check=True)
    try:
        yield found
    finally:
        found.end()


def test_a_vm_of_libvirt_s(place: Path) -> None:
    """Without a guest: QEMU itself says hello, and says what is plugged in."""
    emulator = need("qemu-system-x86_64")
    need("libvirtd")
    name = f"usbredir-mtp-{place.name}"
    shown = elements((ROOT / "docs" / "attach.md").read_text())
    dials, listens = (
        re.sub("path='[^']*'", f"path='{path}'", next(each for each in shown if "type='unix'" in each and mode in each))
        for mode, path in {"connect": place / "socket", "bind": place / "libvirt" / "socket"}.items()
    )
    listen = ["--listen", f"unix:{place}/socket", "--socket-mode", "0666", "--allow-user", USER]
    connect = ["--connect", f"unix:{place}/libvirt/socket"]
    with program(place, *listen, *connect, "-v") as (process, _), libvirt(place) as session:
        (place / "domain.xml").write_text(DOMAIN.format(name=name, emulator=emulator, devices=dials + listens))
        (place / "phone.xml").write_text(dials)
        session.virsh("create", str(place / "domain.xml"))
        try:
            session.virsh("attach-device", name, str(place / "phone.xml"))
            assert process.stderr is not None
            for _ in range(3):
                while "says hello as 'qemu usb-redir guest" not in process.stderr.readline():
                    assert process.poll() is None
            usb = session.virsh("qemu-monitor-command", "--hmp", name, "info usb")
            assert usb.count("USB Redirection Device") == 3
        finally:
            session.virsh("destroy", name)
