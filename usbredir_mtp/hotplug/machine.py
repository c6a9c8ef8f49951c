"""What a VM is made of, as far as a USB device needs it: found by walking QEMU's object tree (QOM) over QMP."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbredir_mtp.hotplug.errors import AttachError, CommandError
from usbredir_mtp.hotplug.qmp import DEVICES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usbredir_mtp.hotplug.qmp import Monitor

MAX_OBJECTS: Final = 20_000
"""Objects to look at; a large machine has some thousands, a peer that is no QEMU could have any number."""

MAX_PORTS: Final = 15
"""Ports that a controller can have: QEMU's xHCI (p2, p3), which has most."""

_CHILD: Final = re.compile(r"child<(.+)>", re.DOTALL)
_LEAVES: Final = re.compile(r"irq|(qemu:)?memory-region|.*-cpu", re.DOTALL)
"""Types of which there are many, without a bus below."""

_USB_BUS: Final = "usb-bus"
_PCI_BUSES: Final = {"PCI", "PCIE"}

_SPEEDS: Final = (
    ("xhci", ("super", "high", "full")),
    ("ehci", ("high", "full")),
    ("chipidea", ("high", "full")),
    ("dwc2", ("high", "full")),
)
"""Part of a controller's type -> the speeds it does, those to be preferred first; all others do full speed."""

_PORTS: Final = {"super": "p3", "high": "p2"}
"""Speed -> the property of an xHCI controller that says how many ports do it, from port 1 on."""


@dataclass(slots=True, frozen=True)
class Bus:
    """A bus of a VM.

    Attributes:
        name: Its name, as `bus=` takes it.
        path: Where QOM has it.
        controller: Where QOM has the device that it belongs to.
        driver: That device's type.
    """

    name: str
    path: str
    controller: str
    driver: str

    @property
    def device(self) -> str | None:
        """The id of the device that it belongs to; None if that was given none."""
        folder, _, name = self.controller.rpartition("/")
        return name if folder == DEVICES else None


@dataclass(slots=True)
class Buses:
    """All buses that devices can be plugged into.

    Attributes:
        usb: USB buses.
        pci: PCI and PCI Express buses.
    """

    usb: list[Bus]
    pci: list[Bus]


async def find_buses(monitor: Monitor, root: str = "/machine", driver: str = "") -> Buses:
    """Walk the tree below an object.

    Args:
        monitor: The VM's.
        root: The object.
        driver: Its type.

    Raises:
        AttachError: QEMU does not say.
    """
    buses, todo, looked = Buses([], []), [(root, driver)], 0
    while todo and looked < MAX_OBJECTS:
        path, driver = todo.pop()
        looked += 1
        for name, kind in await _children(monitor, path):
            bus = Bus(name, f"{path}/{name}", path, driver)
            if kind == _USB_BUS:
                buses.usb.append(bus)
            elif kind in _PCI_BUSES:
                buses.pci.append(bus)
                todo.append((bus.path, kind))
            elif not _LEAVES.fullmatch(kind):
                todo.append((bus.path, kind))
    return buses


async def _children(monitor: Monitor, path: str) -> list[tuple[str, str]]:
    """Names and types of the objects that an object is made of."""
    try:
        rows = await monitor.rows("qom-list", {"name": str, "type": str}, path=path)
    except CommandError:  # it has just gone
        return []
    matches = [(row["name"], _CHILD.fullmatch(row["type"])) for row in rows]
    return [(name, match[1]) for name, match in matches if match]


def suitable(buses: Iterable[Bus], speed: str) -> list[Bus]:
    """The USB buses that do a speed ("full", "high" or "super"), the best first."""
    ranked = [(rank, bus) for bus in buses for rank, does in [_rank(bus.driver)] if speed in does]
    return [bus for _, bus in sorted(ranked, key=lambda each: each[0])]


def _rank(driver: str) -> tuple[int, tuple[str, ...]]:
    for rank, (part, speeds) in enumerate(_SPEEDS):
        if part in driver:
            return rank, speeds
    return len(_SPEEDS), ("full",)


async def ports(monitor: Monitor, bus: Bus, speed: str) -> range:
    """The numbers of those ports of a bus that there may be, and that do a speed."""
    count = None
    if "xhci" in bus.driver and speed in _PORTS:
        try:
            count = await monitor.execute("qom-get", path=bus.controller, property=_PORTS[speed])
        except CommandError:
            count = None
    return range(1, 1 + (min(count, MAX_PORTS) if isinstance(count, int) else MAX_PORTS))


async def is_empty(monitor: Monitor, bus: Bus) -> bool:
    """Whether there is a bus, and nothing is plugged into it."""
    try:
        rows = await monitor.rows("qom-list", {"name": str, "type": str}, path=bus.path)
    except CommandError:
        return False
    return not any(row["name"].startswith("child[") for row in rows)


async def require_running(monitor: Monitor) -> None:
    """See that the VM runs: QEMU would not talk to the phone of one that is paused.

    Raises:
        AttachError: it does not run.
    """
    answer = await monitor.execute("query-status")
    if not isinstance(answer, dict) or not isinstance(answer.get("status"), str):
        raise AttachError("QEMU's answer to query-status is not understood")
    if answer.get("running") is not True:
        raise AttachError(f"the VM does not run ({answer['status']!r}): let it go on, then attach")


async def require_usb_redir(monitor: Monitor) -> None:
    """See that QEMU has the device that takes phones.

    Raises:
        AttachError: it has not.
    """
    try:
        await monitor.execute("device-list-properties", typename="usb-redir")
    except CommandError as error:
        text = "this QEMU has no usb-redir device: it, or a module of its (hw-usb-redirect), is not installed"
        raise AttachError(f"{text} ({error.reason})") from error
