from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from usbredir_mtp.hotplug import libvirt
from usbredir_mtp.hotplug.errors import AttachError
from usbredir_mtp.hotplug.libvirt import Domain, by_hand, has_virsh, plugged, redirdev, suggest_address
from usbredir_mtp.network.addresses import Tcp, Unix

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESS = Tcp("127.0.0.1", 4711)
DOMAIN = Domain("my vm", "qemu:///session")

FAKE = """#!/bin/sh
case "$*" in
*attach-device*|*detach-device*) cat >>"{folder}/xml" ;;
esac
case "$*" in
*uri) echo {uri}; echo ;;
esac
echo "$*" >>"{folder}/log"
{more}
"""


@pytest.fixture
def virsh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a virsh into PATH that writes down what it is told; gives the file."""

    def make(more: str = "", uri: str = "qemu:///system") -> Path:
        script = tmp_path / "bin" / "virsh"
        script.parent.mkdir(exist_ok=True)
        script.write_text(FAKE.format(folder=tmp_path, more=more, uri=uri))
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
        return tmp_path / "log"

    return make


def test_plugged_in_and_taken_out(virsh: Callable[..., Path]) -> None:
    log = virsh()
    with plugged(DOMAIN, ADDRESS):
        assert log.read_text() == "-c qemu:///session attach-device my vm /dev/stdin --live\n"
    assert log.read_text().splitlines()[1:] == ["-c qemu:///session detach-device my vm /dev/stdin --live"]
    text = (log.parent / "xml").read_text()  # both times the same
    assert text.startswith(text[len(text) // 2 :].strip())
    assert text.count("<alias name='ua-usbredir-mtp-") == text.count("</redirdev>") == 2


KILLED = """
import os, signal
from usbredir_mtp.network.addresses import Tcp
from usbredir_mtp.hotplug.libvirt import Domain, plugged

signal.signal(signal.SIGTERM, signal.SIG_IGN)
with plugged(Domain("vm"), Tcp("::1", 1)):
    os.kill(0, signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_program_leaves_nothing(virsh: Callable[..., Path], tmp_path: Path) -> None:
    done = tmp_path / "done"
    os.mkfifo(done)
    log = virsh(f"""case "$*" in *detach*) echo >"{done}" ;; esac""")
    with subprocess.Popen([sys.executable, "-c", KILLED], start_new_session=True) as process:
        assert done.read_text() == "\n"
        assert process.wait() == -signal.SIGKILL
    assert log.read_text().splitlines() == ["attach-device vm /dev/stdin --live", "detach-device vm /dev/stdin --live"]


FAIL = (
    """case "$*" in *{when}*) echo "error: Failed to do it" >&2; printf 'error: no domain\\n\\n' >&2; exit 1 ;; esac"""
)


def test_virsh_cannot_attach(virsh: Callable[..., Path]) -> None:
    log = virsh(FAIL.format(when="attach"))
    with pytest.raises(AttachError, match=r"^virsh: Failed to do it; no domain$"), plugged(DOMAIN, ADDRESS):
        pytest.fail("not reached")
    assert "detach" not in log.read_text()


def test_virsh_cannot_detach(virsh: Callable[..., Path]) -> None:
    virsh(FAIL.format(when="detach"))
    with (
        pytest.raises(AttachError, match=r"^virsh could not take the phone out: Failed to do it; no domain$"),
        plugged(DOMAIN, ADDRESS),
    ):
        pass


@pytest.mark.parametrize("when", ["attach-device", "detach-device"])
def test_virsh_hangs(virsh: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    virsh(f"""case "$*" in *{when}*) exec >&- 2>&-; exec sleep 30 ;; esac""")
    monkeypatch.setattr(libvirt, "VIRSH_SECONDS", 0.5)
    with pytest.raises(AttachError, match=r"within 0.5 s"), plugged(DOMAIN, ADDRESS):
        assert when == "detach-device"


def test_no_virsh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert not has_virsh()
    with pytest.raises(AttachError, match=r"virsh is not installed .*--print-xml"), plugged(DOMAIN, ADDRESS):
        pytest.fail("not reached")


def test_nobody_to_take_it_out(virsh: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    log = virsh()
    monkeypatch.setattr(libvirt, "_keep", fail)
    with pytest.raises(AttachError, match="temporarily unavailable"), plugged(DOMAIN, ADDRESS):
        pytest.fail("not reached")
    assert "detach-device" in log.read_text().splitlines()[1]


def test_a_virsh_that_does_not_start(virsh: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    script = virsh().parent / "bin" / "virsh"
    script.write_text("#!/nonexistent\n")
    monkeypatch.setenv("PATH", str(script.parent))
    with pytest.raises(AttachError, match="virsh: No such file"), plugged(DOMAIN, ADDRESS):
        pytest.fail("not reached")


def test_xml() -> None:
    element = ET.fromstring(redirdev(Unix(Path("/run/a&b'c")), "ua-x"))
    assert element.attrib == {"bus": "usb", "type": "unix"}
    source, alias = element
    assert source.attrib == {"mode": "connect", "path": "/run/a&b'c"}
    assert alias.attrib == {"name": "ua-x"}
    assert [child.tag for child in ET.fromstring(redirdev(ADDRESS))] == ["source"]


def test_by_hand() -> None:
    text = by_hand(DOMAIN, ADDRESS)
    assert "    <redirdev bus='usb' type='tcp'>\n" in text
    assert "\n    virsh -c qemu:///session attach-device 'my vm' phone.xml --live\n" in text
    assert text.endswith("\n    virsh -c qemu:///session detach-device 'my vm' phone.xml --live")
    assert "virsh attach-device vm" in by_hand(Domain("vm"), ADDRESS)


@pytest.mark.parametrize(
    ("uri", "is_unix"),
    [
        ("qemu:///session", True),
        ("qemu:///system", False),
        ("qemu+unix:///session?socket=/x", True),
        ("qemu+tcp://localhost/system", False),
    ],
)
def test_the_address_goes_by_the_connection(
    monkeypatch: pytest.MonkeyPatch, virsh: Callable[..., Path], tmp_path: Path, uri: str, is_unix: bool
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    virsh(uri=f"'{uri}'")
    for domain in (Domain("vm", uri), Domain("vm")):
        address = suggest_address(domain)
        if isinstance(address, Unix):
            assert is_unix
            assert address.path.parent == tmp_path
        else:
            assert not is_unix
            assert address == Tcp("127.0.0.1", 0)


def test_no_folder_for_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert suggest_address(DOMAIN) == Tcp("127.0.0.1", 0)


def test_no_virsh_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert suggest_address(Domain("vm")) == Tcp("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("qemu+ssh://root@host.example/system", "runs on another machine: start usbredir-mtp there"),
        ("xen:///system", "only VMs of QEMU"),
        ("nonsense", "only VMs of QEMU"),
    ],
)
def test_connections_that_do_not_do(uri: str, message: str) -> None:
    with pytest.raises(AttachError, match=message):
        suggest_address(Domain("vm", uri))
