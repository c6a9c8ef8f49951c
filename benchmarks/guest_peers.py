"""What is plugged into the guest, one at a time: ours, the floor, QEMU's usb-mtp, and umtp-responder in the guest."""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.e2e.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.e2e.guest import Guest

BUS = "xhci.0"
_NAME = "peer"

_UMTP_START = """
set -e
gadget=/sys/kernel/config/usb_gadget/umtp
if [ ! -d $gadget ]; then
    modprobe -a libcomposite dummy_hcd usb_f_fs
    grep -q configfs /proc/mounts || mount -t configfs none /sys/kernel/config
    mkdir -p $gadget/strings/0x409 $gadget/configs/c.1/strings/0x409 $gadget/functions/ffs.mtp /dev/ffs-mtp
    cd $gadget
    echo 0x46f4 >idVendor
    echo 0x0004 >idProduct
    for name in serialnumber manufacturer product; do echo umtp >strings/0x409/$name; done
    echo mtp >configs/c.1/strings/0x409/configuration
    ln -s functions/ffs.mtp configs/c.1
fi
cat >/etc/umtprd/umtprd.conf <<END
storage "/srv/umtp" "share" "rw"
manufacturer "umtp"
product "umtp"
serial "umtp"
firmware_version "1"
interface "MTP"
usb_vendor_id 0x46f4
usb_product_id 0x0004
usb_class 0x6
usb_subclass 0x1
usb_protocol 0x1
usb_dev_version 0x3008
usb_functionfs_mode 0x1
usb_dev_path "/dev/ffs-mtp/ep0"
usb_epin_path "/dev/ffs-mtp/ep1"
usb_epout_path "/dev/ffs-mtp/ep2"
usb_epint_path "/dev/ffs-mtp/ep3"
usb_max_packet_size 0x200
END
mount -t functionfs mtp /dev/ffs-mtp
umtprd >/tmp/umtp.log 2>&1 </dev/null &
wait-for 20 test -e /dev/ffs-mtp/ep3
ls /sys/class/udc >$gadget/UDC
"""
_UMTP_STOP = """
echo >/sys/kernel/config/usb_gadget/umtp/UDC
killall umtprd
wait-for 20 sh -c '! pgrep umtprd'
umount /dev/ffs-mtp
"""


@dataclass(frozen=True, slots=True)
class Plugged:
    """A peer that the guest sees.

    Attributes:
        bus: Number of its USB bus in the guest.
        device: Its number on that bus.
        sent: Where a file of this name goes when it is sent: "put.bin".
    """

    bus: int
    device: int
    sent: Path


@dataclass(frozen=True, slots=True)
class Bench:
    """What peers work with.

    Attributes:
        guest: Where they are plugged in; it runs.
        share: The host folder that they share.
        work: Folder for all else that they write.
        programs: Folder of the floor.
    """

    guest: Guest
    share: Path
    work: Path
    programs: Path


@contextmanager
def plugged_in(peer: str, bench: Bench) -> Iterator[Plugged]:
    """Starts a peer of `PEERS`, plugs it in, and undoes both: each time is the first for it."""
    with PEERS[peer](bench) as sent:
        ((bus, device),) = bench.guest.wait_phones(1)
        yield Plugged(bus, device, sent)
    if bench.guest.status() is None:
        bench.guest.wait_phones(0)


@contextmanager
def _ours(bench: Bench) -> Iterator[Path]:
    server = Server.start([bench.share], bench.work / "server.log")
    try:
        with _on_a_port(bench.guest, server.port):
            yield bench.share / "put.bin"
    finally:
        server.stop()


@contextmanager
def _floor(bench: Bench) -> Iterator[Path]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sink = bench.work / "sink"
    command: list[str | Path] = [bench.programs / "floor", str(port), bench.share / "file", sink]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            with _on_a_port(bench.guest, port):
                yield sink
        finally:
            process.kill()


@contextmanager
def _usb_mtp(bench: Bench) -> Iterator[Path]:
    device = {"driver": "usb-mtp", "id": _NAME, "rootdir": str(bench.share), "bus": BUS, "readonly": False}
    bench.guest.qmp.execute("device_add", **device)
    with _unplugged(bench.guest):
        yield bench.share / "put.bin"


@contextmanager
def _umtp(bench: Bench) -> Iterator[Path]:
    """Shares a copy in the guest's memory."""
    names = "\n".join(str(path.relative_to(bench.share)) for path in sorted(bench.share.rglob("*")) if path.is_file())
    folders = "\n".join(str(path.relative_to(bench.share)) for path in sorted(bench.share.rglob("*")) if path.is_dir())
    make = f"mkdir -p /srv/umtp && cd /srv/umtp && tr '\\n' '\\0' <<'E' | xargs -0r mkdir -p\n{folders}\nE\n"
    make += f"tr '\\n' '\\0' <<'E' | xargs -0r touch\n{names}\nE\n"
    bench.guest.check(make + _UMTP_START, timeout=120)
    try:
        yield bench.work / "unused"
    finally:
        if bench.guest.status() is None:
            bench.guest.check(_UMTP_STOP)


@contextmanager
def _on_a_port(guest: Guest, port: int) -> Iterator[None]:
    guest.plug(port, BUS, _NAME)
    with _unplugged(guest):
        yield


@contextmanager
def _unplugged(guest: Guest) -> Iterator[None]:
    try:
        yield
    finally:
        if guest.status() is None:
            guest.unplug(_NAME)


PEERS: dict[str, Callable[[Bench], AbstractContextManager[Path]]] = {
    "floor": _floor,
    "ours": _ours,
    "usb-mtp": _usb_mtp,
    "umtp": _umtp,
}
"""Each gives where what is sent to it goes."""
