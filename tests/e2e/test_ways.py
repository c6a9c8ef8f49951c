"""Every way for a QEMU to get to the server, or the server to QEMU: a file there and back over each."""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.guest import reconnect_option
from tests.e2e.phone import Phone, pattern
from tests.e2e.server import Server
from tests.network.program import end, program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.guest import Guest

CERTIFICATES = Path(__file__).parents[2] / "examples" / "make-certificates.sh"
NAME = "way"


@dataclass(frozen=True, slots=True)
class Way:
    """One way.

    Attributes:
        qemu_listens: Or else the server does.
        kind: "tcp", "unix" or "tls".
    """

    qemu_listens: bool
    kind: str

    def __str__(self) -> str:
        return f"{self.kind}-{'dial' if self.qemu_listens else 'listen'}"


@dataclass(slots=True)
class Place:
    """Where a test's things are.

    Attributes:
        folder: With the server's folders and sockets.
        objects: What QEMU has for it.
    """

    folder: Path
    guest: Guest
    objects: list[str] = field(default_factory=list)

    @property
    def share(self) -> Path:
        return self.folder / "share"

    def tls(self, *, qemu_listens: bool) -> tuple[list[str], dict[str, str]]:
        """The server's options, and QEMU's part of a chardev's."""
        certificates = self.folder / "certificates"
        subprocess.run([CERTIFICATES, certificates, "127.0.0.1", "localhost"], check=True, capture_output=True)
        ours, theirs = ("client", "server") if qemu_listens else ("server", "client")
        self.guest.qmp.execute(
            "object-add",
            **{"qom-type": "tls-creds-x509", "id": f"{NAME}-tls", "dir": str(certificates / theirs)},
            **{"endpoint": theirs, "verify-peer": True},
        )
        self.objects.append(f"{NAME}-tls")
        own = certificates / ours
        files = {"cert": own / f"{ours}-cert.pem", "key": own / f"{ours}-key.pem", "ca": certificates / "ca-cert.pem"}
        options = [word for name, file in files.items() for word in (f"--tls-{name}", str(file))]
        return options, {"tls-creds": f"{NAME}-tls"}

    def plug(self, address: dict[str, Any], **more: object) -> None:
        data = {"addr": address, **more}
        self.guest.qmp.execute("chardev-add", id=NAME, backend={"type": "socket", "data": data})
        self.guest.qmp.execute("device_add", driver="usb-redir", id=NAME, chardev=NAME, bus="xhci.0")

    def clear(self) -> None:
        self.guest.unplug(NAME)
        for name in self.objects:
            self.guest.qmp.execute("object-del", id=name)
        self.guest.wait_phones(0)


@pytest.fixture
def place(guest: Guest) -> Iterator[Place]:
    with TemporaryDirectory(prefix="mtp") as folder:
        place = Place(Path(folder), guest)
        place.share.mkdir()
        yield place
        place.clear()


def address(text: str) -> dict[str, Any]:
    """What QMP calls an address of ours."""
    kind, _, rest = text.partition(":")
    if kind == "unix":
        return {"type": "unix", "data": {"path": rest}}
    host, _, port = rest.rpartition(":")
    return {"type": "inet", "data": {"host": host, "port": port}}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def attached(place: Place, way: Way) -> Iterator[Phone]:
    """The phone, as the guest sees it."""
    port = free_port()
    where = f"unix:{place.folder}/socket" if way.kind == "unix" else f"tcp:127.0.0.1:{port}"
    options, tls = place.tls(qemu_listens=way.qemu_listens) if way.kind == "tls" else ([], {})
    if way.qemu_listens:
        place.plug(address(where), server=True, wait=False, **tls)
        started = program(place.folder, "--connect", where, *options)
    else:
        started = program(place.folder, "--listen", where.replace(f":{port}", ":0"), *options)
    with started as (process, [shown]):
        if not way.qemu_listens:
            option, value = reconnect_option()
            place.plug(address(shown), server=False, **{option: value}, **tls)
        [(bus, number)] = place.guest.wait_phones(1)
        yield Phone(place.guest, Server(process, place.folder / "log"), place.share, bus, number)
        assert end(process) == ""


WAYS = [Way(qemu_listens, kind) for kind in ("tcp", "unix", "tls") for qemu_listens in (False, True)]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_file_there_and_back(place: Place, way: Way, scratch: str) -> None:
    data = pattern(2_000_000)
    (place.share / "there.bin").write_bytes(data)
    guest = place.guest
    with attached(place, way) as phone, phone.mounted() as storage:
        guest.check(f"cp {storage}/there.bin {scratch}/ && cp {scratch}/there.bin {storage}/back.bin")
        guest.check(f"cmp {scratch}/there.bin {storage}/back.bin")
    assert (place.share / "back.bin").read_bytes() == data
