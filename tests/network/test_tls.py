"""TLS, both ways: who is let in, what is said to the others, and what the records look like."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar, cast

import pytest

from tests.network.program import command, end, program, refusal
from tests.support.initiator import Initiator
from tests.support.usbredir import Guest
from usbredir_mtp.network.link import RECORD
from usbredir_mtp.network.tls import TlsError, TlsFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SCRIPT = Path(__file__).parents[2] / "examples" / "make-certificates.sh"
T = TypeVar("T")
ANY = "tcp:127.0.0.1:0"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made with openssl")


def made(folder: Path, *names: str) -> Path:
    subprocess.run([SCRIPT, folder, *names], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("certificates"), "localhost", "127.0.0.1", "::1")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of somebody else's authority, for another host."""
    return made(tmp_path_factory.mktemp("others"), "elsewhere.example")


def options(certificates: Path, end: str, *, ca: Path | None = None) -> list[str]:
    own = certificates / end
    files = {"cert": own / f"{end}-cert.pem", "key": own / f"{end}-key.pem", "ca": (ca or certificates) / "ca-cert.pem"}
    return [word for name, file in files.items() for word in (f"--tls-{name}", str(file))]


def client(certificates: Path, *, certificate: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates / "ca-cert.pem")
    if certificate:
        own = certificates / "client"
        context.load_cert_chain(own / "client-cert.pem", own / "client-key.pem")
    return context


def connected(shown: Sequence[str]) -> socket.socket:
    host, _, port = shown[0].removeprefix("tcp:").rpartition(":")
    sock = socket.create_connection((host.strip("[]"), int(port)), 20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


@contextmanager
def initiator(sock: socket.socket) -> Iterator[Initiator]:
    with sock:
        guest = Guest(sock)
        guest.attach()
        guest.set_configuration(1)
        mtp = Initiator(guest)
        mtp.open_session()
        yield mtp


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_guest_with_a_certificate(place: Path, certificates: Path, loop: str) -> None:
    data = bytes(range(256)) * 4000
    with program(place, "--listen", ANY, "--loop", loop, *options(certificates, "server")) as (process, shown):
        wrapped = client(certificates).wrap_socket(connected(shown), server_hostname="localhost")
        with initiator(wrapped) as mtp:
            mtp.send_file("sent", data)
            assert (place / "share" / "sent").read_bytes() == data
            assert mtp.get_object(mtp.names()["sent"]) == data
        assert end(process) == ""


def is_hung_up(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except OSError:
        return True


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_guests_that_are_refused(place: Path, certificates: Path, others: Path, loop: str) -> None:
    """No certificate, somebody else's, no TLS at all, garbage: a line each, and the next guest is served."""
    with program(place, "--listen", ANY, "--loop", loop, *options(certificates, "server")) as (process, shown):
        assert process.stderr is not None
        foreign = client(certificates, certificate=False)
        foreign.load_cert_chain(others / "client" / "client-cert.pem", others / "client" / "client-key.pem")
        for context in (client(certificates, certificate=False), foreign):
            with connected(shown) as sock, context.wrap_socket(sock, server_hostname="localhost") as wrapped:
                assert is_hung_up(wrapped)  # TLS 1.3 tells only then
            assert process.stderr.readline().startswith("WARNING: refused a connection over TLS: ")
        with connected(shown) as sock:
            sock.sendall(b"hello without TLS, as usbredir would begin it" * 2)
            assert process.stderr.readline().startswith("WARNING: refused a connection over TLS: ")
        wrapped = client(certificates).wrap_socket(connected(shown), server_hostname="localhost")
        with initiator(wrapped) as mtp:
            assert "file" in mtp.names()
        assert end(process) == ""


class Watched:
    """A TLS connection that notes the sizes of the records that come.

    Args:
        sock: What it is on.
        context: The client's.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self.sizes: list[int] = []
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._until_done(self._tls.do_handshake)

    def sendall(self, data: bytes) -> None:
        self._tls.write(data)
        self._sock.sendall(self._outgoing.read())

    def recv(self, size: int) -> bytes:
        return self._until_done(lambda: self._tls.read(size))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)

    def _until_done(self, step: Callable[[], T]) -> T:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._sock.sendall(self._outgoing.read())
                self._take_record()
            finally:
                self._sock.sendall(self._outgoing.read())

    def _take_record(self) -> None:
        header = self._exactly(5)
        self.sizes.append(int.from_bytes(header[3:], "big"))
        self._incoming.write(header + self._exactly(self.sizes[-1]))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self._sock.recv(size - len(data)) or pytest.fail("it has hung up")
        return data


def test_records_are_as_small_as_qemu_reads(place: Path, certificates: Path) -> None:
    (place / "share" / "large").write_bytes(bytes(300_000))
    with program(place, "--listen", ANY, *options(certificates, "server")) as (process, shown):
        with connected(shown) as sock:
            watched = Watched(sock, client(certificates))
            before = len(watched.sizes)  # of the handshake
            with initiator(cast("socket.socket", watched)) as mtp:
                assert mtp.get_object(mtp.names()["large"]) == bytes(300_000)
        end(process)
    sizes = watched.sizes[before:]
    assert sum(sizes) > 300_000
    assert max(sizes) <= RECORD + 256


# -- connecting -----------------------------------------------------------------------------------------------------


@contextmanager
def vm(certificates: Path) -> Iterator[tuple[socket.socket, str]]:
    """A VM that listens, with a certificate, and asks for one."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates / "ca-cert.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificates / "server" / "server-cert.pem", certificates / "server" / "server-key.pem")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(20)
        with context.wrap_socket(sock, server_side=True) as listener:
            yield (
                listener,
                f"tcp:127.0.0.1:{sock.getsockname()[1] if sock.fileno() >= 0 else listener.getsockname()[1]}",
            )


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_vm_with_a_certificate(place: Path, certificates: Path, loop: str) -> None:
    with (
        vm(certificates) as (listener, address),
        program(place, "--connect", address, "--loop", loop, *options(certificates, "client")) as (process, _),
    ):
        sock, _ = listener.accept()
        sock.settimeout(20)
        with initiator(sock) as mtp:
            assert mtp.get_object(mtp.names()["file"]) == b"shared"
        end(process)


def test_a_vm_that_is_somebody_else_s(place: Path, certificates: Path, others: Path) -> None:
    with vm(others) as (listener, address):
        arguments = command(place, "--connect", address, *options(certificates, "client"))
        with subprocess.Popen(
            arguments, cwd=SCRIPT.parents[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            with pytest.raises(OSError, match=r"."):
                listener.accept()
            _, said = process.communicate(timeout=20)
    assert process.returncode == 3
    reason = "its certificate is refused: self-signed certificate in certificate chain (see --tls-ca)"
    assert said == f"Error: {address}: no TLS connection: {reason}\n"


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tls-ca", "ca-cert.pem"], "whoever listens needs --tls-cert and --tls-key too"),
        (["--tls-cert", "ca-key.pem"], "--tls-cert"),
        (["--tls-cert", "server/server-cert.pem"], "--tls-cert"),
        (["--tls-cert", "server/server-cert.pem", "--tls-key", "client/client-key.pem"], "key values mismatch"),
        (["--tls-cert", "server/server-cert.pem", "--tls-key", "missing"], "'missing' does not exist"),
        (
            ["--tls-cert", "server/server-cert.pem", "--tls-key", "server/server-key.pem", "--tls-ca", "ca-key.pem"],
            "--tls-ca",
        ),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_files_that_will_not_do(place: Path, certificates: Path, arguments: list[str], said: str, check: bool) -> None:
    named = [str(certificates / word) if word.endswith(".pem") else word for word in arguments]
    status, text = refusal(place, "--port", "0", *named, check=check)
    assert status == 2
    assert said in text.splitlines()[-1]
    assert "Traceback" not in text


def test_other_machines_need_certificates(place: Path, certificates: Path) -> None:
    """Encryption alone lets everybody in."""
    without_ca = options(certificates, "server")[:-2]
    status, text = refusal(place, "--listen", "tcp:0.0.0.0:0", *without_ca)
    assert status == 2
    assert "--tls-ca" in text
    status, text = refusal(place, "--listen", "tcp:0.0.0.0:0", *options(certificates, "server"), check=True)
    assert (status, text) == (0, "")


def test_a_key_without_a_certificate(tmp_path: Path) -> None:
    with pytest.raises(TlsError, match="--tls-key needs --tls-cert"):
        TlsFiles(key=tmp_path, ca=None).for_connecting()
