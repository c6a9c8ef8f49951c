"""A Debian guest in QEMU: boot, run commands in it, plug devices in and out, end it."""

from __future__ import annotations

import base64
import contextlib
import re
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from tests.e2e.qmp import Qmp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.e2e.image import GuestImage

QEMU = "qemu-system-x86_64"
BOOT_SECONDS = 180
"""Bound on a boot; it takes about 10 s without KVM on an idle machine."""

ANSWER_MARGIN = 60
"""Seconds by which the host outwaits the guest's own bound on a command."""

CONTROLLERS = (
    ("-device", "qemu-xhci,id=xhci"),
    ("-device", "usb-ehci,id=ehci"),
    ("-device", "piix3-usb-uhci,id=uhci"),
)
"""USB buses of every guest: xhci.0, ehci.0 and uhci.0."""


class GuestError(Exception):
    """A command failed in the guest, or the guest is gone."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command in the guest came to.

    Attributes:
        code: its exit status; 137 when it was killed by its time-out.
        data: what it wrote to standard output and standard error.
    """

    code: int
    data: bytes

    @property
    def text(self) -> str:
        """The output as text."""
        return self.data.decode(errors="replace")


@cache
def qemu_version() -> tuple[int, int]:
    """Major and minor version of the installed QEMU."""
    shown = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", shown)
    if found is None:
        raise GuestError(f"unexpected answer to {QEMU} --version: {shown!r}")
    return int(found[1]), int(found[2])


def reconnect_option() -> tuple[str, int]:
    """How this QEMU is told to dial again a second after a lost connection: name and value."""
    return ("reconnect-ms", 1000) if qemu_version() >= (9, 2) else ("reconnect", 1)


def redir_arguments(port: int, bus: str = "xhci.0", name: str = "mtp") -> list[str]:
    """QEMU's command line for a phone that a server offers on a port of this machine."""
    option, value = reconnect_option()
    return [
        "-chardev",
        f"socket,id={name},host=127.0.0.1,port={port},{option}={value}",
        "-device",
        f"usb-redir,chardev={name},bus={bus}",
    ]


@dataclass(slots=True)
class Guest:
    """A running guest; made by `Guest.start`.

    Attributes:
        process: QEMU.
        qmp: its monitor.
        folder: holds console.log and qemu.log (QEMU's own messages).
        transcript: the commands run so far and their output, for reports.
    """

    process: subprocess.Popen[bytes]
    qmp: Qmp
    folder: Path
    _agent: socket.socket
    transcript: list[str] = field(default_factory=list)
    _unread: bytes = b""
    _requests: int = 0
    _told: int | None = None

    @classmethod
    def start(cls, image: GuestImage, folder: Path, arguments: Sequence[str] = ()) -> Guest:
        """Boots a guest and waits until it takes commands.

        Args:
            image: what to boot.
            folder: where the logs go; made if it is not there.
            arguments: further arguments for QEMU; with -incoming the guest is up elsewhere, and not waited for.

        Raises:
            GuestError: it did not come up; the text holds the end of its console.
        """
        folder.mkdir(parents=True, exist_ok=True)
        monitor, qemu_monitor = socket.socketpair()
        agent, qemu_agent = socket.socketpair()
        command = _command_line(image, folder, qemu_monitor.fileno(), qemu_agent.fileno())
        with qemu_monitor, qemu_agent, (folder / "qemu.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(qemu_monitor.fileno(), qemu_agent.fileno()),
            )
        monitor.settimeout(ANSWER_MARGIN)
        guest = cls(process, Qmp(monitor), folder, agent)
        try:
            guest.qmp.open()
            if "-incoming" not in arguments:
                guest._read_answer(BOOT_SECONDS)
        except (ConnectionError, GuestError, TimeoutError) as error:
            guest.kill()
            raise GuestError(f"the guest did not boot: {error}\n{guest.logs()}") from error
        return guest

    def run(self, script: str, timeout: float = 60) -> Result:
        """Runs a shell script in the guest.

        Args:
            script: for a POSIX shell (busybox); it must leave nothing running on its output.
            timeout: seconds after which the guest kills it.

        Raises:
            GuestError: the guest or its agent is gone, or does not answer.
        """
        self._requests += 1
        encoded = base64.b64encode(script.encode()).decode()
        request = f"{self._requests} {max(1, round(timeout))} {encoded}\n"
        self.transcript.append(f"$ {script.strip()}")
        try:
            self._agent.settimeout(ANSWER_MARGIN)
            self._agent.sendall(request.encode())
            number, code, data = self._read_answer(timeout + ANSWER_MARGIN)
        except OSError as error:  # a closed socket, a time-out
            state = self._state()
            self.kill()  # what it answers from now on could not be told apart
            raise GuestError(f"no answer to {script!r}: {state} ({error})") from error
        if number != str(self._requests):
            raise GuestError(f"the guest answered request {number}, not {self._requests}")
        result = Result(code, data)
        self.transcript.append(f"{result.text}[exit {code}]")
        return result

    def check(self, script: str, timeout: float = 60) -> str:
        """Runs a shell script that must succeed and returns its output.

        Raises:
            GuestError: it failed, or the guest is gone.
        """
        result = self.run(script, timeout)
        if result.code:
            raise GuestError(f"exit status {result.code} of {script!r}:\n{result.text}")
        return result.text

    def plug(self, port: int, bus: str = "xhci.0", name: str = "mtp", place: str | None = None) -> None:
        """Plugs in a phone that a server offers on a port of this machine.

        Args:
            port: the server's.
            bus: where to: xhci.0, ehci.0 or uhci.0.
            name: by which `unplug` knows it.
            place: number of the bus's port; None for one that is free.
        """
        option, value = reconnect_option()
        address = {"type": "inet", "data": {"host": "127.0.0.1", "port": str(port)}}
        data = {"addr": address, "server": False, option: value}
        self.qmp.execute("chardev-add", id=name, backend={"type": "socket", "data": data})
        places = {} if place is None else {"port": place}
        self.qmp.execute("device_add", driver="usb-redir", id=name, chardev=name, bus=bus, **places)

    def unplug(self, name: str = "mtp") -> None:
        """Takes out what `plug` has put in, and its connection to the server with it."""
        self.qmp.execute("device_del", id=name)
        self.qmp.wait_event("DEVICE_DELETED", device=name)
        # the device has taken its chardev along

    def wait_phones(self, count: int = 1, timeout: float = 60) -> list[tuple[int, int]]:
        """Waits until there are exactly as many phones and udev knows them.

        Returns:
            Bus and device number of each.
        """
        shown = self.check(f"wait-phone {count} {round(timeout)}", timeout + 40)
        return [(int(bus), int(device)) for bus, device in map(str.split, shown.splitlines())]

    def reset(self) -> None:
        """Presses the reset button; what the guest answers from then on is not for `run`."""
        self.qmp.execute("set-action", reboot="reset")  # in place of -no-reboot
        self.qmp.execute("system_reset")

    def fault(self) -> str | None:
        """What is wrong with QEMU: that it has ended, and not as it was told to (an abort is status -6)."""
        status = self.status()
        return None if status in {None, self._told} else f"QEMU ended with status {status}"

    def status(self) -> int | None:
        """QEMU's exit status, negative for a signal; None while it runs."""
        return self.process.poll()

    def stop(self) -> int:
        """Ends QEMU in order and returns its exit status."""
        if self.status() is None:
            self._told = 0
            with contextlib.suppress(ConnectionError, TimeoutError):
                self.qmp.execute("quit")
        return self._reap()

    def kill(self) -> int:
        """Ends QEMU at once (SIGKILL), as a crash would; returns its exit status."""
        if self.status() is None:
            self._told = -signal.SIGKILL
        self.process.kill()
        return self._reap()

    def excuse(self, message: str) -> None:
        """Takes it that QEMU has aborted with this message, for a fault that is none but its own."""
        status = self._reap()
        if status == -signal.SIGABRT and message in self.logs():
            self._told = status

    def logs(self, lines: int = 60) -> str:
        """The last lines of the guest's console and of QEMU's own messages."""
        parts = []
        for name in ("console.log", "qemu.log"):
            path = self.folder / name
            text = path.read_text(errors="replace") if path.exists() else ""
            parts.append(f"--- {name}\n" + "\n".join(text.splitlines()[-lines:]))
        return "\n".join(parts)

    def _reap(self) -> int:
        try:
            return self.process.wait(timeout=ANSWER_MARGIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise GuestError("QEMU did not end by itself and was killed") from None
        finally:
            self.qmp.sock.close()
            self._agent.close()

    def _state(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            # a closed socket is seen a little before the exit status
            return f"QEMU ended with status {self.process.wait(timeout=1)}"
        return "QEMU is running"

    def _read_answer(self, timeout: float) -> tuple[str, int, bytes]:
        self._agent.settimeout(timeout)
        received = [self._unread]
        while b"\n" not in received[-1]:
            data = self._agent.recv(1 << 20)
            if not data:
                raise ConnectionError("QEMU closed the agent's port")
            received.append(data)
        line, _, self._unread = b"".join(received).partition(b"\n")
        number, code, *output = line.decode().split()
        encoded = output[0] if output and number != "ready" else ""
        return number, int(code), base64.b64decode(encoded)


def _command_line(image: GuestImage, folder: Path, monitor: int, agent: int) -> list[str]:
    qemu = shutil.which(QEMU)
    if qemu is None:
        raise GuestError(f"{QEMU} is not installed")
    return [
        qemu,
        *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(image.memory)),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd)),
        *("-append", "console=ttyS0 loglevel=5 panic=-1 no_timer_check"),
        *("-serial", f"file:{folder / 'console.log'}"),
        *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
        *("-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,fd={agent}"),
        *("-device", "virtserialport,chardev=agent,name=e2e"),
        *(argument for controller in CONTROLLERS for argument in controller),
    ]
