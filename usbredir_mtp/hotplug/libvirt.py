"""Plug the phone into a running VM of libvirt's, with virsh; and out again, even if this program is killed.

Nothing here runs on an event loop: it is done before the server starts, and before it shuts itself in, since virsh is
a program that a sandboxed process could not start any more.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from usbredir_mtp.banner import libvirt_xml
from usbredir_mtp.hotplug.errors import AttachError
from usbredir_mtp.network.addresses import Tcp, Unix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VIRSH: Final = "virsh"

VIRSH_SECONDS: Final = 30.0
"""For virsh to do what it is told; libvirt waits some seconds for QEMU."""

_ALIAS: Final = "ua-usbredir-mtp-"
"""Aliases that users give begin with "ua-" (libvirt, "Domain XML format", Devices)."""

_KEEPER: Final = """trap '' HUP INT TERM; xml=$(cat); printf '%s\\n' "$xml" | "$@" """
"""Reads until its input ends, which is when we do, however that is; then runs virsh with what it has read."""

_LOCAL: Final = {None, "localhost", "127.0.0.1", "::1"}


@dataclass(slots=True, frozen=True)
class Domain:
    """A VM of libvirt's.

    Attributes:
        name: Its name, id or UUID.
        uri: The connection, such as qemu:///session; None for virsh's default.
    """

    name: str
    uri: str | None = None

    def virsh(self, command: str, *arguments: str) -> list[str]:
        """A command line that does something to it."""
        return [VIRSH, *(["-c", self.uri] if self.uri else []), command, self.name, *arguments]


def has_virsh() -> bool:
    """Whether virsh is installed."""
    return shutil.which(VIRSH) is not None


def suggest_address(domain: Domain) -> Tcp | Unix:
    """Where to listen so that a domain's QEMU can connect.

    The QEMU of a user's own VM (qemu:///session) runs as that user: a unix socket that nobody else can connect to. That
    of a system VM runs as a user of its own, and where AppArmor is in force it may open TCP connections, but no unix
    sockets other than libvirt's (abstractions/libvirt-qemu): a TCP port of this machine.

    Raises:
        AttachError: the VM runs on another machine, or not in QEMU; or virsh does not answer.
    """
    uri = domain.uri or (_run([VIRSH, "uri"]).strip() if has_virsh() else "qemu:///system")
    parts = urlsplit(uri)
    if parts.scheme.partition("+")[0] != "qemu":
        raise AttachError(f"{uri}: only VMs of QEMU take such a phone")
    if parts.hostname not in _LOCAL:
        raise AttachError(f"{uri}: the VM runs on another machine: start usbredir-mtp there")
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if parts.path.strip("/") == "session" and Path(runtime).is_absolute():
        return Unix(Path(runtime) / f"usbredir-mtp-{secrets.token_hex(4)}")
    return Tcp("127.0.0.1", 0)


def redirdev(address: Tcp | Unix, alias: str = "") -> str:
    """The device that dials an address, as XML.

    Args:
        address: Where we listen.
        alias: The device's name in the domain; "" lets libvirt choose.
    """
    xml = libvirt_xml(address)
    if not alias:
        return xml
    return xml.removesuffix("</redirdev>") + f"  <alias name='{alias}'/>\n</redirdev>"


def by_hand(domain: Domain, address: Tcp | Unix) -> str:
    """What to do where we cannot, or shall not, run virsh: a text for the user."""
    xml = "\n".join(f"    {line}" for line in redirdev(address).splitlines())
    attach = shlex.join(domain.virsh("attach-device", "phone.xml", "--live"))
    detach = shlex.join(domain.virsh("detach-device", "phone.xml", "--live"))
    return (
        f"Save this as phone.xml:\n\n{xml}\n\nPlug it in, while this program runs:\n\n    {attach}\n\n"
        f"and out again:\n\n    {detach}"
    )


@contextmanager
def plugged(domain: Domain, address: Tcp | Unix) -> Iterator[None]:
    """Have a phone in a running domain; it is taken out in the end, and also if this process is killed meanwhile.

    Args:
        domain: The VM.
        address: Where we listen already; QEMU connects at once.

    Raises:
        AttachError: virsh is not installed, or cannot do it. In the end: virsh cannot take it out; the VM may have
            ended.
    """
    if not has_virsh():
        raise AttachError(f"{VIRSH} is not installed (Debian: libvirt-clients); --print-xml shows what to do elsewhere")
    xml = redirdev(address, _ALIAS + secrets.token_hex(4))
    _run(domain.virsh("attach-device", "/dev/stdin", "--live"), xml)
    detach = domain.virsh("detach-device", "/dev/stdin", "--live")
    try:
        keeper = _keep(detach, xml)
    except OSError as error:
        _run(detach, xml)
        raise AttachError(f"/bin/sh: {error.strerror}") from error
    try:
        yield
    finally:
        _end(keeper)


def _keep(command: Sequence[str], xml: str) -> subprocess.Popen[str]:
    keeper = subprocess.Popen(  # noqa: S603  (no shell sees what the user has written)
        ["/bin/sh", "-c", _KEEPER, "usbredir-mtp", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_environment(),
        text=True,
        errors="replace",
        start_new_session=True,  # what the terminal sends to us is not for it
    )
    assert keeper.stdin is not None
    keeper.stdin.write(xml)
    keeper.stdin.flush()
    return keeper


def _end(keeper: subprocess.Popen[str]) -> None:
    try:
        _, errors = keeper.communicate(timeout=VIRSH_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(OSError):  # the sandbox lets no signal out (Linux 6.12), and then nothing is to be waited for
            os.killpg(keeper.pid, signal.SIGKILL)  # it leads a group of its own, which virsh is in too
            keeper.communicate()
        raise AttachError(f"virsh did not take the phone out within {VIRSH_SECONDS:g} s") from None
    if keeper.returncode:
        raise AttachError(f"virsh could not take the phone out: {_one_line(errors)}")


def _run(command: Sequence[str], text: str = "") -> str:
    """Run virsh; returns what it prints."""
    try:
        done = subprocess.run(  # noqa: S603  (no shell sees what the user has written)
            command,
            input=text,
            capture_output=True,
            env=_environment(),
            text=True,
            errors="replace",
            timeout=VIRSH_SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise AttachError(f"virsh: {_one_line(error.stderr)}") from error
    except subprocess.TimeoutExpired as error:
        raise AttachError(f"virsh did not answer within {VIRSH_SECONDS:g} s") from error
    except OSError as error:
        raise AttachError(f"virsh: {error.strerror}") from error
    return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}


def _one_line(text: str) -> str:
    lines = (line.strip().removeprefix("error: ") for line in text.splitlines())
    return "; ".join(line.rstrip(".") for line in lines if line) or "it does not say why"
