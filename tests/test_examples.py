"""What examples/ holds works as it stands."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.support.initiator import Initiator, MtpFailure
from tests.support.usbredir import Guest

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[1] / "examples"
PYTHON = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}


def initiator(port: int) -> Initiator:
    guest = Guest(socket.create_connection(("127.0.0.1", port), 10))
    guest.attach()
    guest.set_configuration(1)
    mtp = Initiator(guest)
    mtp.open_session()
    return mtp


@pytest.fixture
def notes() -> Iterator[Initiator]:
    command = [sys.executable, str(EXAMPLES / "memory_storage.py"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=PYTHON) as process:
        assert process.stdout is not None
        where = re.search(r":(\d+)$", process.stdout.readline())
        assert where is not None
        mtp = initiator(int(where[1]))
        yield mtp
        mtp.guest.close()
        process.terminate()
        assert process.wait(10) == 0


def test_memory_storage(notes: Initiator) -> None:
    assert notes.get_object(notes.names()["welcome.txt"]) == b"These files are on no disk.\n"
    machine = notes.names(notes.names()["machine"])
    assert set(machine) == {"load.txt", "host.txt"}
    assert os.uname().sysname.encode() in notes.get_object(machine["host.txt"])
    with pytest.raises(MtpFailure):
        notes.send_file("new.txt", b"no")


FAKE_QEMU = """#!/bin/sh
if [ "$1" = --version ]; then echo "QEMU emulator version {version}"; else printf '%s\\n' "$@" >"$ARGUMENTS"; fi
"""


@pytest.mark.parametrize(
    ("version", "option"),
    [
        ("7.2.22 (Debian)", "reconnect=1"),
        ("9.1.0", "reconnect=1"),
        ("9.2.0", "reconnect-ms=1000"),
        ("10.0.2", "reconnect-ms=1000"),
    ],
)
def test_start_qemu(tmp_path: Path, version: str, option: str) -> None:
    """The script finds the server's port and gives it to QEMU, in the words of its version; nothing is left running."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {
        "qemu-system-x86_64": FAKE_QEMU.format(version=version),
        "usbredir-mtp": f'#!/bin/sh\nexec "{sys.executable}" -m usbredir_mtp "$@"\n',
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = {**PYTHON, "PATH": f"{programs}:{os.environ['PATH']}", "ARGUMENTS": str(tmp_path / "arguments")}
    subprocess.run(
        [EXAMPLES / "start-qemu.sh", "disk.img", tmp_path, "-display", "none"], env=environment, check=True, timeout=30
    )
    arguments = (tmp_path / "arguments").read_text().splitlines()
    (chardev,) = (value for value in arguments if value.startswith("socket,"))
    found = re.fullmatch(r"socket,id=mtp,host=127\.0\.0\.1,port=(\d+),(.*)", chardev)
    assert found is not None
    assert found[2] == option
    assert "usb-redir,chardev=mtp,bus=xhci.0" in arguments
    assert arguments[-2:] == ["-display", "none"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(found[1])), 5)


def test_libvirt_fragment() -> None:
    element = ET.parse(EXAMPLES / "libvirt-redirdev.xml").getroot()
    assert element.tag == "redirdev"
    source = element.find("source")
    assert source is not None
    assert source.get("service") == "4000"
