"""Put a phone into a VM that is running, and take it out again, over QMP."""

from __future__ import annotations

import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbredir_mtp.hotplug.errors import AttachError, CommandError, MonitorGoneError
from usbredir_mtp.hotplug.machine import (
    Bus,
    find_buses,
    is_empty,
    ports,
    require_running,
    require_usb_redir,
    suitable,
)
from usbredir_mtp.hotplug.qmp import DEVICES

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from usbredir_mtp.hotplug.qmp import Monitor

logger = logging.getLogger(__name__)

PREFIX: Final = "usbredir-mtp-"
"""How the ids of all that we put into a VM begin."""

CONTROLLER_PREFIX: Final = "usbredir-mtp-xhci-"
_CONTROLLER: Final = "qemu-xhci"

DEVICE_SECONDS: Final = 5.0
"""For a USB device to go: QEMU needs nobody for that."""

CONTROLLER_SECONDS: Final = 10.0
"""For a USB controller to go: the guest is asked, and PCI Express gives its user 5 s to object (PCI Express Base
Specification, "Attention Button")."""

_DISCONNECTED: Final = "disconnected:"
"""How QEMU's description of a socket begins whose other end is gone (chardev/char-socket.c)."""


@dataclass(slots=True, frozen=True)
class Plugged:
    """A phone in a VM.

    Attributes:
        device: Id of the device, and of its character device.
        bus: What it is plugged into.
    """

    device: str
    bus: Bus


async def plug_in(monitor: Monitor, sock: socket.socket, speed: str, *, add_controller: bool) -> Plugged:
    """Plug a phone in; all is as before if that fails.

    Args:
        monitor: The VM's.
        sock: QEMU's end of the connection to the phone; QEMU gets a duplicate.
        speed: The phone's: "full", "high" or "super".
        add_controller: Whether to plug in a USB controller too, where the VM has none that will do.

    Raises:
        AttachError: it cannot be done.
    """
    await require_running(monitor)
    await require_usb_redir(monitor)
    await remove_stale(monitor)
    name = PREFIX + secrets.token_hex(4)
    try:
        await _add_chardev(monitor, sock, name)
        return Plugged(name, await _place(monitor, name, speed, add_controller=add_controller))
    except BaseException:  # with a command under way, perhaps
        with suppress(AttachError):
            await _remove(monitor, name)
        with suppress(AttachError):
            await monitor.execute("closefd", fdname=name)
        raise


async def take_out(monitor: Monitor, plugged: Plugged) -> bool:
    """Take a phone out, and the controller it came with if nothing else uses that.

    Returns:
        Whether the phone was still there.

    Raises:
        AttachError: it cannot be done.
    """
    was_there = await _remove(monitor, plugged.device)
    await _clean_up(monitor, plugged.bus)
    return was_there


async def remove_stale(monitor: Monitor) -> None:
    """Take out the phones of those of us that have died without.

    Raises:
        AttachError: it cannot be done.
    """
    for row in await monitor.rows("query-chardev", {"label": str, "filename": str}):
        if row["label"].startswith(PREFIX) and row["filename"].startswith(_DISCONNECTED):
            logger.info("%s: to be taken out, its usbredir-mtp has died", row["label"])
            try:
                await _remove(monitor, row["label"])
            except MonitorGoneError:
                raise
            except AttachError as error:
                logger.warning("%s", error)


async def _add_chardev(monitor: Monitor, sock: socket.socket, name: str) -> None:
    try:
        await monitor.hand_over(sock, name)
    except CommandError as error:
        raise AttachError(
            f"{error}: the connection has to reach QEMU itself, not something that forwards it"
        ) from error
    address = {"type": "fd", "data": {"str": name}}
    backend = {"type": "socket", "data": {"addr": address, "server": False}}
    await monitor.execute("chardev-add", id=name, backend=backend)


async def _place(monitor: Monitor, name: str, speed: str, *, add_controller: bool) -> Bus:
    buses = await find_buses(monitor)
    bus, reason = await _add_device(monitor, name, suitable(buses.usb, speed), speed)
    if bus is None and add_controller:
        bus, reason = await _add_both(monitor, name, buses.pci, speed)
    if bus is None:
        text = f"the VM has no free port of a USB controller that does {speed} speed; start it with -device qemu-xhci"
        raise AttachError(f"{text} ({reason})" if reason else text)
    return bus


async def _add_device(monitor: Monitor, name: str, buses: Iterable[Bus], speed: str) -> tuple[Bus | None, str]:
    """Plug in at the first port that takes it; returns its bus, or why the last one did not.

    Where no port is named, and one is left, QEMU plugs a full-speed hub in there (usb_claim_port in hw/usb/bus.c),
    and would then refuse a faster phone without a word to us.
    """
    device = {"driver": "usb-redir", "id": name, "chardev": name}
    reason = ""
    for bus in buses:
        for port in await ports(monitor, bus, speed):
            try:
                await monitor.execute("device_add", **device, bus=bus.name, port=str(port))
            except CommandError as error:
                reason = error.reason
            else:
                return bus, ""
    return None, reason


async def _add_both(monitor: Monitor, name: str, slots: Iterable[Bus], speed: str) -> tuple[Bus | None, str]:
    """Plug in a controller, and the phone there; returns the phone's bus, or why there is none."""
    controller = CONTROLLER_PREFIX + secrets.token_hex(4)
    bus = None
    try:
        reason = await _add_controller(monitor, controller, slots)
        if reason:
            return None, reason
        buses = await find_buses(monitor, f"{DEVICES}/{controller}", _CONTROLLER)
        bus, reason = await _add_device(monitor, name, buses.usb, speed)
        return bus, reason
    finally:
        if bus is None:
            with suppress(AttachError):
                await _drop(monitor, controller)


async def _add_controller(monitor: Monitor, controller: str, slots: Iterable[Bus]) -> str:
    """Plug in a controller; returns why it cannot be, or ""."""
    reason = "nor has it PCI"
    for slot in slots:
        try:
            await monitor.execute("device_add", driver=_CONTROLLER, id=controller, bus=slot.name)
        except CommandError as error:
            reason = error.reason
        else:
            return ""
    return reason


async def _drop(monitor: Monitor, controller: str) -> None:
    """Take a controller out; at a time of its guest's choosing, if that takes long."""
    with suppress(CommandError):
        if not await monitor.unplug(controller, CONTROLLER_SECONDS):
            logger.info("the guest does not let go of the USB controller %s", controller)


async def _remove(monitor: Monitor, name: str) -> bool:
    """Take a phone out; returns whether it was there."""
    was_there = True
    try:
        if not await monitor.unplug(name, DEVICE_SECONDS):
            raise AttachError(f"QEMU does not let go of {name}")
    except CommandError as error:
        if error.kind != "DeviceNotFound":
            raise
        was_there = False
    with suppress(CommandError):  # usb-redir takes it along
        await monitor.execute("chardev-remove", id=name)
    return was_there


async def _clean_up(monitor: Monitor, bus: Bus) -> None:
    """Take out a controller of ours that nobody uses."""
    device = bus.device
    if device is None or not device.startswith(CONTROLLER_PREFIX) or not await is_empty(monitor, bus):
        return
    await _drop(monitor, device)
