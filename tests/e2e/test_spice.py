"""A phone that comes through a VM's SPICE server: alone, and beside a viewer, which here is spice-gtk's."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import REQUIRE_VARIABLE
from tests.e2e.guest import QEMU, Guest
from tests.e2e.phone import Phone, pattern
from tests.e2e.server import COMMAND, Server
from tests.spice import certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.e2e.image import GuestImage

PATIENCE = 60.0
PASSWORD = "geheim"
MAIN, DISPLAY, USBREDIR = 1, 2, 9
CHANNEL = ("-chardev", "spicevmc,id=spice0,name=usbredir", "-device", "usb-redir,chardev=spice0,bus=xhci.0")
NO_USBREDIR = "--spice-disable-usbredir"


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@cache
def missing() -> list[str]:
    """What of this machine's programs is not there, and its Debian package."""
    tools = {"spicy": "spice-client-gtk", "Xvfb": "xvfb"}
    absent = [f"{tool} (package {package})" for tool, package in tools.items() if shutil.which(tool) is None]
    options = subprocess.run([QEMU, "-spice", "help"], capture_output=True, text=True, check=False).stdout
    return absent if "password-secret" in options else [*absent, "QEMU's SPICE (package qemu-system-modules-spice)"]


@dataclass(slots=True)
class SpiceGuest:
    """A guest with one usbredir channel, and a server for phones that want it.

    Attributes:
        address: where its SPICE server is, as `--connect` takes it.
        monitor: a monitor of its own for the phone.
    """

    guest: Guest
    folder: Path
    port: int = 0
    tls_port: int = 0
    servers: list[Server] = field(default_factory=list)

    @property
    def monitor(self) -> Path:
        return self.folder / "qmp"

    def channels(self) -> list[dict[str, Any]]:
        answer = self.guest.qmp.execute("query-spice")
        channels: list[dict[str, Any]] = answer.get("channels", [])
        return channels

    def sessions(self, kind: int = MAIN) -> list[int]:
        """The session of each channel of a type."""
        return [each["connection-id"] for each in self.channels() if each["channel-type"] == kind]

    def serve(self, share: Path, *options: str) -> Server:
        log = self.folder / f"server-{len(self.servers)}.log"
        kept = {name: str(self.folder / name) for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME")}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*COMMAND, "--export", str(share), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "TZ": "UTC", **kept},
                text=True,
            )
        self.servers.append(Server(process, log))
        return self.servers[-1]

    def with_password(self) -> list[str]:
        return ["--spice-password-file", str(self.folder / "password")]

    def phone(self, server: Server, share: Path) -> Phone:
        return Phone(self.guest, server, share, *self.guest.wait_phones(1)[0])

    def clear(self) -> None:
        with contextlib.ExitStack() as stack:
            for server in self.servers:
                stack.callback(server.stop)
        self.servers.clear()
        self.guest.wait_phones(0)


def copy_both_ways(phone: Phone) -> None:
    data = pattern(1_000_000)
    (phone.root / "there.bin").write_bytes(data)
    with phone.mounted() as storage:
        phone.guest.check(f"cp {storage}/there.bin /tmp/spice.bin && cp /tmp/spice.bin {storage}/back.bin")
        phone.guest.check(f"cmp /tmp/spice.bin {storage}/back.bin; rm /tmp/spice.bin")
    assert (phone.root / "back.bin").read_bytes() == data


@pytest.fixture(scope="module")
def spice_guest(guest_image: GuestImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpiceGuest]:
    if missing():
        reason = f"tests with SPICE need {', '.join(missing())}"
        if os.environ.get(REQUIRE_VARIABLE) == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("spice")
    certificates.make(folder)
    (folder / "password").write_text(f"{PASSWORD}\n")
    port, tls_port = free_port(), free_port()
    arguments = [
        *("-object", f"secret,id=password,file={folder}/secret", "-vga", "std"),
        *("-spice", f"addr=127.0.0.1,port={port},tls-port={tls_port},x509-dir={folder},password-secret=password"),
        *("-qmp", f"unix:{folder}/qmp,server=on,wait=off", *CHANNEL),
    ]
    (folder / "secret").write_text(PASSWORD)
    guest = Guest.start(guest_image, folder, arguments)
    yield SpiceGuest(guest, folder, port, tls_port)
    assert guest.stop() == 0, guest.logs()


@pytest.fixture
def spice(spice_guest: SpiceGuest, evidence: dict[str, Callable[[], str]]) -> Iterator[SpiceGuest]:
    evidence["guest"] = spice_guest.guest.logs
    evidence["servers"] = lambda: "\n".join(server.logs() for server in spice_guest.servers)
    yield spice_guest
    spice_guest.clear()


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    """A display for viewers."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as told:
        xvfb = subprocess.Popen(["Xvfb", "-displayfd", str(writing), "-nolisten", "tcp"], pass_fds=[writing])
        os.close(writing)
        yield f":{told.readline().strip()}"
        xvfb.terminate()
        xvfb.wait()


@pytest.fixture
def view(spice: SpiceGuest, screen: str) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts viewers; returns when they show the guest's screen."""
    viewers: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> subprocess.Popen[bytes]:
        before = spice.sessions()
        command = ["spicy", f"--uri=spice://127.0.0.1:{spice.port}", "-w", PASSWORD, *options]
        viewers.append(subprocess.Popen(command, env={**os.environ, "DISPLAY": screen}))
        until(lambda: bool(set(spice.sessions(DISPLAY)) - set(before)), "the viewer's session")
        return viewers[-1]

    yield start
    for viewer in viewers:
        viewer.terminate()
        viewer.wait()


def test_alone_with_a_password(spice: SpiceGuest, share: Path) -> None:
    server = spice.serve(share, "--connect", f"spice://127.0.0.1:{spice.port}", *spice.with_password())
    copy_both_ways(spice.phone(server, share))
    spice.clear()
    until(lambda: not spice.channels(), "the end of the session")


def test_over_tls_with_a_password_from_the_environment(
    spice: SpiceGuest, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USBREDIR_MTP_SPICE_PASSWORD", PASSWORD)
    authority = ["--tls-ca", str(spice.folder / "ca-cert.pem")]
    server = spice.serve(share, "--connect", f"spice+tls://127.0.0.1:{spice.tls_port}", *authority)
    copy_both_ways(spice.phone(server, share))
    assert {each["tls"] for each in spice.channels()} == {True}


def test_beside_a_viewer(spice: SpiceGuest, share: Path, view: Callable[..., subprocess.Popen[bytes]]) -> None:
    viewer = view(NO_USBREDIR)
    before = spice.sessions()
    server = spice.serve(
        share, "--connect", f"spice://127.0.0.1:{spice.port}", "--qmp", str(spice.monitor), *spice.with_password()
    )
    copy_both_ways(spice.phone(server, share))
    assert spice.sessions() == spice.sessions(USBREDIR) == before
    spice.clear()
    assert viewer.poll() is None
    assert spice.sessions() == spice.sessions(DISPLAY) == before


def test_a_viewer_that_comes_later_is_joined(
    spice: SpiceGuest, share: Path, view: Callable[..., subprocess.Popen[bytes]]
) -> None:
    server = spice.serve(
        share, "--connect", f"spice://127.0.0.1:{spice.port}", "--qmp", str(spice.monitor), *spice.with_password()
    )
    spice.guest.wait_phones(1)
    viewer = view(NO_USBREDIR)
    session = spice.sessions()
    until(lambda: spice.sessions(USBREDIR) == session, "the phone in the viewer's session")
    copy_both_ways(spice.phone(server, share))
    assert viewer.poll() is None
    assert spice.sessions() == spice.sessions(DISPLAY) == session
    viewer.terminate()  # the session is over, and the phone opens one of its own
    until(lambda: spice.sessions(USBREDIR) == spice.sessions() != session, "a session of the phone's own")
    copy_both_ways(spice.phone(server, share))


def test_without_a_monitor_the_viewer_keeps_the_session(
    spice: SpiceGuest, share: Path, view: Callable[..., subprocess.Popen[bytes]]
) -> None:
    server = spice.serve(share, "--connect", f"spice://127.0.0.1:{spice.port}", *spice.with_password())
    spice.guest.wait_phones(1)
    viewer = view(NO_USBREDIR)
    session = spice.sessions()
    until(lambda: "a viewer has taken the SPICE session over" in server.logs(), "the line that says so")
    spice.guest.wait_phones(0)
    spice.guest.check("sleep 5")
    assert viewer.poll() is None
    assert spice.sessions() == spice.sessions(DISPLAY) == session


def test_a_viewer_that_has_the_channel(
    spice: SpiceGuest, share: Path, view: Callable[..., subprocess.Popen[bytes]]
) -> None:
    viewer = view()
    until(lambda: spice.sessions(USBREDIR) == spice.sessions(), "the viewer's usbredir channel")
    server = spice.serve(
        share, "--connect", f"spice://127.0.0.1:{spice.port}", "--qmp", str(spice.monitor), *spice.with_password()
    )
    until(lambda: "every usbredir channel is taken" in server.logs(), "the line that says so")
    assert viewer.poll() is None
    viewer.terminate()
    copy_both_ways(spice.phone(server, share))


@pytest.mark.parametrize(
    ("password", "text"), [("falsch", "refuses the password"), ("", "asks for a password: --spice-password-file")]
)
def test_a_wrong_password(spice: SpiceGuest, share: Path, password: str, text: str) -> None:
    address = f"spice://127.0.0.1:{spice.port}"
    environment = {**os.environ, "USBREDIR_MTP_SPICE_PASSWORD": password}
    command: Sequence[str] = [*COMMAND, "--export", str(share), "--connect", address]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 3
    (line,) = [line for line in ended.stderr.splitlines() if address in line]
    assert text in line


def test_on_a_unix_socket(boot: Callable[[Sequence[str]], Guest], share: Path, tmp_path: Path) -> None:
    path = tmp_path / "spice"
    guest = boot(["-spice", f"unix=on,addr={path},disable-ticketing=on", *CHANNEL])
    spice = SpiceGuest(guest, tmp_path)
    server = spice.serve(share, "--connect", f"spice+unix:{path}")
    copy_both_ways(spice.phone(server, share))
    spice.clear()
