"""What the server prints when it is ready: what it shares, and what to paste to attach a guest."""

from __future__ import annotations

import shlex
from html import escape
from typing import TYPE_CHECKING

from usbredir_mtp.network.addresses import Tcp, Unix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usbredir_mtp.exports import Export
    from usbredir_mtp.network.addresses import Address, Target
    from usbredir_mtp.program import Plan

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (compared with, not bound to)

_MOST = 4
"""Addresses that there are lines to paste for; they are alike."""


def qemu_arguments(address: Tcp | Unix) -> str:
    """QEMU's arguments for a guest that dials this address, with a USB controller of its own."""
    return f"-device qemu-xhci,id=xhci {_chardev(address)} -device usb-redir,chardev=mtp,bus=xhci.0"


def _chardev(address: Tcp | Unix) -> str:
    # QEMU's option parser takes a doubled comma for one; IPv6 addresses need nothing special.
    if isinstance(address, Unix):
        where = "path=" + str(address.path).replace(",", ",,")
    else:
        where = f"host={address.host},port={address.port}"
    return "-chardev " + shlex.quote(f"socket,id=mtp,{where},reconnect=1")


def libvirt_xml(address: Tcp | Unix) -> str:
    """The element to put under a domain's <devices>."""
    if isinstance(address, Unix):
        kind, where = "unix", f"path='{escape(str(address.path))}'"
    else:
        kind, where = "tcp", f"host='{escape(address.host)}' service='{address.port}'"
    return (
        f"<redirdev bus='usb' type='{kind}'>\n"
        f"  <source mode='connect' {where}>\n"
        "    <reconnect enabled='yes' timeout='1'/>\n"
        "  </source>\n"
        "</redirdev>"
    )


def banner(
    exports: Sequence[Export], addresses: Sequence[Address], targets: Sequence[Target] = (), name: str = ""
) -> str:
    """The whole text for a device.

    Args:
        exports: What it shares.
        addresses: Where it listens.
        targets: Where it connects to.
        name: Its name, where there are several.
    """
    lines = [f"Sharing as {name}" if name else "Sharing", *(f"  {export}" for export in exports)]
    if addresses:
        lines += [f"Listening on {', '.join(map(str, addresses))}"]
    if targets:
        lines += [f"Connecting to {', '.join(map(str, targets))}"]
    dialled = [_dialled(address) for address in addresses if isinstance(address, Tcp | Unix)]
    if dialled:
        lines += ["", *_instructions(dialled[0], dialled[1:_MOST])]
    return "\n".join(lines)


def description(plan: Plan) -> str:
    """What a device would be, and what a VM would see of it."""
    setup, reach = plan.setup, plan.reach
    usb = f"{setup.usb.vendor:04x}:{setup.usb.product:04x} {setup.usb.manufacturer} {setup.usb.product_name}"
    rows = {
        "USB device": f"{usb}, {setup.speed.name.lower()} speed, serial number {setup.usb.serial}",
        "MTP device": setup.mtp.friendly_name,
        "storages": "\n".join(map(str, setup.exports)),
        "listens on": "\n".join(map(str, reach.listen)),
        "connects to": "\n".join(map(str, reach.connect)),
        "TLS for TCP": ", ".join(map(str, reach.tls)),
    }
    width = max(map(len, rows)) + 2
    lines = [f"{name + ':':{width}}{value}" for name, text in rows.items() for value in text.splitlines()]
    return "\n".join([plan.name or "One device", *(f"  {line}" for line in lines)])


def _instructions(first: Tcp | Unix, others: Sequence[Tcp | Unix]) -> list[str]:
    lines = ["QEMU (9.2 and later: reconnect-ms=1000 in place of reconnect=1):", f"  {qemu_arguments(first)}"]
    if others:
        lines += ["or, in place of that -chardev:", *(f"  {_chardev(other)}" for other in others)]
    lines += ["libvirt, under <devices>:", *(f"  {line}" for line in libvirt_xml(first).splitlines())]
    if others:
        lines += ["or:", *("  " + "".join(map(str.strip, libvirt_xml(other).splitlines())) for other in others)]
    return lines


def _dialled(address: Tcp | Unix) -> Tcp | Unix:
    """What a guest on this machine dials."""
    return Tcp(_ANY.get(address.host, address.host), address.port) if isinstance(address, Tcp) else address
