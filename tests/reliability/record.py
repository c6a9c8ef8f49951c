"""Records what guests send: python -m tests.reliability.record [NAME ...] (needs QEMU, see tests/e2e)."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e import image
from tests.e2e.guest import Guest
from tests.e2e.phone import Phone, write_tree
from tests.e2e.server import Server
from tests.reliability.captures import FILES, Relay, save

if TYPE_CHECKING:
    from collections.abc import Callable

PUT = "cd /tmp && head -c 500 /dev/zero >put.bin && : >empty.txt"


def mtp_sendfile(phone: Phone) -> None:
    """libmtp, uploading."""
    phone.guest.check(f"{PUT} && mtp-sendfile put.bin / >/dev/null")


def mtp_getfile(phone: Phone) -> None:
    """libmtp, downloading: the file has the handle 2."""
    phone.guest.check("mtp-getfile 2 /tmp/got.txt >/dev/null")


def aft(phone: Phone) -> None:
    """Android File Transfer for Linux."""
    phone.guest.check(
        f"{PUT} && aft-mtp-cli ls 'cd folder' 'get get.txt /tmp/out' 'put put.bin' 'put empty.txt' "
        "'rename put.bin new.bin' 'mkdir box' 'rm new.bin' ls"
    )


def gvfs(phone: Phone) -> None:
    """GNOME's virtual file system."""
    phone.guest.check("desktop start")
    try:
        uri = phone.uri()
        phone.guest.run(
            f"{PUT}; D={uri}; gio list $D; gio copy $D/folder/get.txt out; gio copy put.bin $D/put.bin; "
            "gio mkdir $D/box; gio copy $D/put.bin $D/box; gio rename $D/put.bin new.bin; "
            "printf MORE | gio save -a $D/new.bin; gio remove $D/new.bin"
        )
    finally:
        phone.guest.check("desktop stop")


RECORDINGS: dict[str, tuple[str, tuple[str, ...], Callable[[Phone], None]]] = {
    "mtp-sendfile-xhci": ("xhci.0", (), mtp_sendfile),
    "mtp-getfile-ehci": ("ehci.0", (), mtp_getfile),
    "aft-xhci": ("xhci.0", (), aft),
    "gvfs-xhci": ("xhci.0", ("--android",), gvfs),
}
"""Name -> bus, the server's options, what to do."""


def record(guest: Guest, name: str, folder: Path) -> None:
    """Make one of RECORDINGS."""
    bus, options, act = RECORDINGS[name]
    share = folder / name
    write_tree(share, FILES)
    server = Server.start([share], folder / f"{name}.log", options)
    try:
        relay = Relay(server.port)
        guest.plug(relay.port, bus, "recorded")
        ((number, device),) = guest.wait_phones(1)
        act(Phone(guest, server, share, number, device))
        guest.unplug("recorded")
        relay.join()
        guest.wait_phones(0)
    finally:
        server.stop()
    save(name, relay.pieces)


def main() -> None:
    """Make those that are named, or all."""
    with tempfile.TemporaryDirectory() as folder:
        guest = Guest.start(image.image(), Path(folder) / "guest")
        try:
            for name in sys.argv[1:] or RECORDINGS:
                record(guest, name, Path(folder))
                print(name)
        finally:
            guest.stop()


if __name__ == "__main__":
    main()
