"""QEMU's machine monitor (QMP): connect, ask, hand over a socket. `qemu.qmp` speaks the protocol.

A monitor serves one client at a time, so nobody holds one for longer than what there is to ask.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from usbredir_mtp.hotplug.errors import AttachError, CommandError, MonitorGoneError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from qemu.qmp import QMPClient

GREETING_TIMEOUT = 10.0
"""Seconds until a monitor must have greeted us: it does so at once, unless it serves somebody else."""

ANSWER_TIMEOUT = 10.0
"""Seconds for QEMU to answer a command; its main loop may be busy with something else."""

DEVICES = "/machine/peripheral"
"""Where QOM has the devices that were given ids."""

_FULL_BACKLOG_INTERVAL = 0.05
_GONE_INTERVAL = 0.05
_CLIENT_NAME = "usbredir-mtp"
_MISSING = "QEMU's monitor needs the package qemu.qmp: pip install 'usbredir-mtp[qmp]'"
_MASK_32 = 0xFFFFFFFF


class Monitor:
    """A monitor that takes commands; from `open_monitor`.

    Args:
        path: Its unix socket, for texts.
        client: The protocol.
        sock: What the client talks over.
    """

    def __init__(self, path: Path, client: QMPClient, sock: socket.socket) -> None:
        self._path = path
        self._client = client
        self._socket = sock

    async def execute(self, command: str, /, **arguments: object) -> object:
        """Run one command (QAPI schema reference, "Command").

        Args:
            command: Its name.
            arguments: Its arguments; an underscore stands for a minus.

        Returns:
            What it returns, as JSON has it; to be looked at with care.

        Raises:
            CommandError: QEMU refused it.
            MonitorGoneError: QEMU has ended.
            AttachError: no answer in time, or none that can be understood.
        """
        from qemu.qmp import ExecInterruptedError, ExecuteError, QMPError, StateError  # noqa: PLC0415  (an extra)

        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await self._client.execute(command, named)
        except ExecuteError as error:
            raise CommandError(command, error.error_class, str(error)) from error
        except (ExecInterruptedError, StateError) as error:
            raise MonitorGoneError(f"{self._path}: QEMU has ended, or has closed its monitor") from error
        except TimeoutError as error:
            text = f"{self._path}: QEMU did not answer {command} within {ANSWER_TIMEOUT:g} s"
            raise AttachError(text) from error
        except QMPError as error:
            raise not_understood(self._path, command) from error

    async def rows(self, command: str, types: Mapping[str, type], /, **arguments: object) -> list[dict[str, Any]]:
        """Run a command that returns a list of objects, and see that all have these members.

        Args:
            command: Its name.
            types: Name of a member -> the type that it must have.
            arguments: As for `execute`.

        Raises:
            AttachError: as `execute`; or the answer is another one.
        """
        answer = await self.execute(command, **arguments)
        if not is_rows(answer, types):
            raise not_understood(self._path, command)
        return answer  # type: ignore[return-value]  # just looked at

    async def hand_over(self, sock: socket.socket, name: str) -> None:
        """Give QEMU a duplicate of a socket, to be used once by its name (command `getfd`).

        Args:
            sock: Any socket; it stays open here.
            name: Not beginning with a digit.

        Raises:
            AttachError: as `execute`.
        """
        try:
            # The byte is white space between two commands, and only there to carry the descriptor: unix(7).
            socket.send_fds(self._socket, [b" "], [sock.fileno()])
        except OSError as error:
            raise MonitorGoneError(f"{self._path}: {error.strerror}") from error
        await self.execute("getfd", fdname=name)

    async def unplug(self, device: str, seconds: float) -> bool:
        """Take a device out (command `device_del`).

        It is seen to go: the event DEVICE_DELETED, which should tell, never comes for an xHCI controller (QEMU 7.2).

        Args:
            device: Its id.
            seconds: How long to wait; USB devices go at once, for others the guest is asked.

        Returns:
            Whether it is gone.

        Raises:
            AttachError: as `execute`; a `CommandError` of kind "DeviceNotFound" where there is none.
        """
        await self.execute("device_del", id=device)
        deadline = time.monotonic() + seconds
        while any(row["name"] == device for row in await self.rows("qom-list", {"name": str}, path=DEVICES)):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_GONE_INTERVAL)
        return True


def not_understood(path: Path, command: str) -> AttachError:
    """What to say of an answer that is none of QEMU's."""
    return AttachError(f"{path}: QEMU's answer to {command} is not understood")


def is_rows(answer: object, types: Mapping[str, type]) -> bool:
    """Whether this is a list of JSON objects with such members."""
    return isinstance(answer, list) and all(
        isinstance(row, dict) and all(isinstance(row.get(name), kind) for name, kind in types.items()) for row in answer
    )


def check_library() -> None:
    """See to it that monitors can be spoken to, before somebody waits for one, or a sandbox shuts.

    Raises:
        AttachError: they cannot: `qemu.qmp` is not installed.
    """
    try:
        import qemu.qmp  # noqa: F401, PLC0415  (an extra)
    except ImportError as error:
        raise AttachError(_MISSING) from error


@asynccontextmanager
async def open_monitor(path: Path) -> AsyncIterator[Monitor]:
    """Connect to a monitor, and leave it to others in the end.

    Args:
        path: The unix socket of `-qmp unix:PATH,server=on,wait=off`.

    Raises:
        AttachError: nobody listens there, it is busy, or no such monitor; or `qemu.qmp` is not installed.
    """
    check_library()
    from qemu.qmp import QMPClient  # noqa: PLC0415  (an extra)

    client = QMPClient(_CLIENT_NAME)
    client.logger.setLevel(logging.CRITICAL + 1)  # what it logs as errors are answers here
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            async with asyncio.timeout(GREETING_TIMEOUT):
                await _connect(sock, path)
                await _negotiate(client, sock, path)
        except TimeoutError as error:
            raise AttachError(_busy(path)) from error
        try:
            yield Monitor(path, client, sock)
        finally:
            with suppress(Exception):  # the end of a connection that has already failed says so again
                await client.disconnect()


def _busy(path: Path) -> str:
    return (
        f"{path}: no greeting within {GREETING_TIMEOUT:g} s: another program has this monitor, and there is room for "
        "one; start the VM with a second one: -qmp unix:PATH,server=on,wait=off (for a VM of libvirt's: --libvirt)"
    )


_REASONS = {
    FileNotFoundError: "there is no such socket; start the VM with -qmp unix:PATH,server=on,wait=off",
    ConnectionRefusedError: "no QEMU listens there (any more)",
    PermissionError: "permission denied; run as the user that the VM runs as",
}


_GONE = {FileNotFoundError, ConnectionRefusedError}
"""What a QEMU that ended in order leaves of its socket, and one that was killed."""


async def _connect(sock: socket.socket, path: Path) -> None:
    sock.settimeout(0)
    while True:
        try:
            sock.connect(str(path))
        except BlockingIOError:  # others wait as well, and the line is full: connect(2), EAGAIN
            await asyncio.sleep(_FULL_BACKLOG_INTERVAL)
        except OSError as error:
            kind = MonitorGoneError if type(error) in _GONE else AttachError
            reason = _REASONS.get(type(error)) or error.strerror or str(error)
            raise kind(f"{path}: {reason}") from error
        else:
            return


async def _negotiate(client: QMPClient, sock: socket.socket, path: Path) -> None:
    from qemu.qmp import ConnectError  # noqa: PLC0415  (an extra)
    from qemu.qmp.qmp_client import GreetingError, NegotiationError  # noqa: PLC0415

    try:
        await client.connect(sock)
    except ConnectError as error:
        if isinstance(error.exc, GreetingError | NegotiationError):
            raise AttachError(f"{path}: not a QMP monitor; -qmp makes one, -monitor and -qga do not") from error
        raise MonitorGoneError(f"{path}: QEMU has closed its monitor") from error


@dataclass(slots=True, frozen=True)
class SpiceChannel:
    """A channel that a SPICE client has open (QAPI: SpiceChannel).

    Attributes:
        connection_id: Of the session that it belongs to, as the link message has it: unsigned, 32 bits.
        channel_type: 1 main, 2 display, 3 inputs, … 9 usbredir (SPICE protocol, SPICE_CHANNEL_…).
        channel_id: Its number among those of its type.
    """

    connection_id: int
    channel_type: int
    channel_id: int


_SPICE_TYPES = {"connection-id": int, "channel-type": int, "channel-id": int}


async def query_spice(path: Path) -> tuple[SpiceChannel, ...]:
    """The channels that SPICE clients of a VM have open now; none if nobody is connected.

    Args:
        path: The unix socket of the VM's QMP monitor. It is held only for this question.

    Raises:
        AttachError: the monitor cannot be asked, or the VM has no SPICE; one line that names the path.
    """
    async with open_monitor(path) as monitor:
        try:
            answer = await monitor.execute("query-spice")
        except CommandError as error:
            raise AttachError(f"{path}: this QEMU has no SPICE: {error.reason}") from error
    if not isinstance(answer, dict) or not isinstance(answer.get("enabled"), bool):
        raise not_understood(path, "query-spice")
    if not answer["enabled"]:
        raise AttachError(f"{path}: this VM has no SPICE; start it with -spice")
    rows = answer.get("channels", [])
    if not is_rows(rows, _SPICE_TYPES):
        raise not_understood(path, "query-spice")
    # QAPI's integers are signed, and QEMU puts a 32-bit number into one of 32 bits: its sign has to go.
    return tuple(SpiceChannel(row["connection-id"] & _MASK_32, row["channel-type"], row["channel-id"]) for row in rows)
