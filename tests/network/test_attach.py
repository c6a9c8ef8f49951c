"""`usbredir-mtp attach` as a user calls it; what it does to a VM is in tests/hotplug and tests/e2e/test_hotplug.py."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.network.program import ROOT, connection, initiator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def command(place: Path, words: Sequence[str]) -> list[str]:
    kept = ["--state-dir", str(place / "state"), "--cache-dir", str(place / "cache")]
    return [
        sys.executable,
        "-m",
        "usbredir_mtp",
        "attach",
        *kept,
        *(word.replace("PLACE", str(place)) for word in words),
    ]


EXPORT = ["--export", "PLACE/share"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (EXPORT, "either --qmp PATH or --libvirt DOMAIN is needed"),
        ([*EXPORT, "--qmp", "a", "--libvirt", "b"], "either --qmp PATH or --libvirt DOMAIN is needed"),
        ([*EXPORT, "--qmp", "a", "--listen", "unix:b"], "--listen does not go with --qmp"),
        (["--qmp", "a"], "nothing to share"),
        ([*EXPORT, "--qmp", "a", "--connect", "unix:b"], "No such option '--connect'"),
        ([*EXPORT, "--qmp", "a", "--port", "1"], "No such option '--port'"),
        (["--qmp", "a", "--config", "PLACE/devices.toml"], "attach plugs in one device"),
        ([*EXPORT, "--libvirt", "b", "--listen", "tcp:0.0.0.0:0"], "--insecure"),
    ],
)
def test_wrong_usage(place: Path, words: list[str], said: str) -> None:
    (place / "devices.toml").write_text(f"[[device]]\nname = 'one'\nexport = '{place}/share'")
    ended = subprocess.run(command(place, words), cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert said.lower() in ended.stderr.splitlines()[-1].lower()
    assert "Traceback" not in ended.stderr


def test_no_such_vm(place: Path) -> None:
    words = [*EXPORT, "--qmp", "PLACE/qmp"]
    ended = subprocess.run(command(place, words), cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 3
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"Error: {place}/qmp: there is no such socket")


def test_xml_to_paste(place: Path) -> None:
    words = [*EXPORT, "--libvirt", "guest", "--libvirt-uri", "qemu:///session", "--print-xml"]
    words += ["--listen", "unix:PLACE/socket"]
    with subprocess.Popen(
        command(place, words), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            shown = ""
            while "Listening on" not in shown:
                line = process.stdout.readline()
                assert line, shown
                shown += line
            assert f"path='{place}/socket'" in shown
            assert "virsh -c qemu:///session attach-device guest phone.xml --live" in shown
            with initiator(f"unix:{place}/socket") as mtp:
                assert "file" in mtp.names()
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
    with pytest.raises(OSError, match=r"."):
        connection(f"unix:{place}/socket")
