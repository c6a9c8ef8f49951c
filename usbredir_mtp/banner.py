"""What the server prints when it is ready: what it shares, and what to paste to attach a guest."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usbredir_mtp.exports import Export

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (compared with, not bound to)


def qemu_arguments(host: str, port: int) -> str:
    """QEMU's arguments for a guest that dials this address, with a USB controller of its own."""
    # QEMU's option parser takes a doubled comma for one; IPv6 addresses need nothing special.
    return (
        "-device qemu-xhci,id=xhci "
        f"-chardev socket,id=mtp,host={host},port={port},reconnect=1 "
        "-device usb-redir,chardev=mtp,bus=xhci.0"
    )


def libvirt_xml(host: str, port: int) -> str:
    """The element to put under a domain's <devices>."""
    return (
        "<redirdev bus='usb' type='tcp'>\n"
        f"  <source mode='connect' host='{escape(host)}' service='{port}'>\n"
        "    <reconnect enabled='yes' timeout='1'/>\n"
        "  </source>\n"
        "</redirdev>"
    )


def banner(exports: Sequence[Export], addresses: Sequence[tuple[str, int]]) -> str:
    """The whole text."""
    host, port = addresses[0]
    host = _ANY.get(host, host)
    listening = ", ".join(f"[{at}]:{on}" if ":" in at else f"{at}:{on}" for at, on in addresses)
    lines = [
        "Sharing",
        *(f"  {export}" for export in exports),
        f"Listening on {listening}",
        "",
        "QEMU (9.2 and later: reconnect-ms=1000 in place of reconnect=1):",
        f"  {qemu_arguments(host, port)}",
        "libvirt, under <devices>:",
        *(f"  {line}" for line in libvirt_xml(host, port).splitlines()),
    ]
    return "\n".join(lines)
