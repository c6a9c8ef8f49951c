"""Attach: a phone in a VM for as long as its connection lasts."""

from __future__ import annotations

import enum
import logging
import socket
from typing import TYPE_CHECKING

from usbredir_mtp.hotplug.errors import AttachError, MonitorGoneError
from usbredir_mtp.hotplug.plug import plug_in, take_out
from usbredir_mtp.hotplug.qmp import open_monitor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from usbredir_mtp.hotplug.plug import Plugged

logger = logging.getLogger(__name__)


class Ending(enum.Enum):
    """How it ended, in a line for the user."""

    DETACHED = "the phone is taken out of the VM"
    UNPLUGGED = "the phone was taken out of the VM by somebody else"
    VM_ENDED = "the VM has ended"
    LEFT = "the phone is gone, but its device is still in the VM; the next attach takes it out"

    def __str__(self) -> str:
        return self.value


async def attach(
    path: Path,
    adopt: Callable[[socket.socket], Awaitable[None]],
    *,
    speed: str = "high",
    add_controller: bool = True,
) -> Ending:
    """Plug the phone into a running VM, serve it, and take it out when that ends.

    The monitor is held only while the phone is plugged in and taken out. If it is cancelled, or `adopt` raises, the
    phone is taken out all the same before that goes on.

    Args:
        path: The unix socket of the VM's QMP monitor.
        adopt: Serves the phone on a connected unix socket, which is its own from then on; returns when that connection
            has ended, by whichever side. It should end the connection itself when the program is to end: running
            transfers can be waited for then.
        speed: The phone's USB speed: "full", "high" or "super".
        add_controller: Whether a USB controller (qemu-xhci) may be plugged in too, where the VM has no free port that
            does this speed. It is taken out with the last phone that uses it.

    Raises:
        AttachError: the phone cannot be plugged in; the text is one line.
    """
    ours, plugged = await _plug_in(path, speed, add_controller=add_controller)
    logger.info("plugged into %s as %s", plugged.bus.name, plugged.device)
    try:
        await adopt(ours)
    finally:
        ending = await _take_out(path, plugged)
    return ending


async def _plug_in(path: Path, speed: str, *, add_controller: bool) -> tuple[socket.socket, Plugged]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        async with open_monitor(path) as monitor:
            plugged = await plug_in(monitor, theirs, speed, add_controller=add_controller)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours, plugged


async def _take_out(path: Path, plugged: Plugged) -> Ending:
    try:
        async with open_monitor(path) as monitor:
            return Ending.DETACHED if await take_out(monitor, plugged) else Ending.UNPLUGGED
    except MonitorGoneError:
        return Ending.VM_ENDED
    except AttachError as error:
        logger.warning("%s", error)
        return Ending.LEFT
