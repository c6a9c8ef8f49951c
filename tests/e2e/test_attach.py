"""Every bus and speed: what the guest sees of the device, and one file there and back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.e2e.phone import pattern

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Bench
    from tests.e2e.guest import Guest
    from tests.e2e.phone import Phone

PLACES = [
    pytest.param("xhci.0", "high", 512, id="xhci-high"),
    pytest.param("xhci.0", "super", 1024, id="xhci-super"),
    pytest.param("xhci.0", "full", 64, id="xhci-full"),
    pytest.param("ehci.0", "high", 512, id="ehci-high"),
    pytest.param("uhci.0", "full", 64, id="uhci-full"),
]


@pytest.mark.parametrize(("bus", "speed", "packet"), PLACES)
def test_every_bus_and_speed(bench: Bench, share: Path, scratch: str, bus: str, speed: str, packet: int) -> None:
    data = pattern(300_000)
    (share / "there.bin").write_bytes(data)
    phone = bench.plug(bench.serve(share, ["--speed", speed]), share, bus)
    guest = bench.guest

    shown = guest.check(f"lsusb -v -s {phone.bus}:{phone.device}")
    for name, value in [("Class", 6), ("SubClass", 1), ("Protocol", 1)]:
        assert re.search(rf"bInterface{name}\s+{value}\b", shown)
    assert re.findall(r"bEndpointAddress.* (IN|OUT)", shown) == ["IN", "OUT", "IN"]
    sizes = re.findall(r"Transfer Type\s+Bulk[\s\S]*?wMaxPacketSize\s+0x(\w+)", shown)
    assert [int(size, 16) for size in sizes] == [packet, packet]
    assert "can't get" not in shown

    with phone.mounted() as storage:
        guest.check(f"cp {storage}/there.bin {scratch}/ && cp {scratch}/there.bin {storage}/back")
        guest.check(f"cmp {scratch}/there.bin {storage}/back")
    assert (share / "back").read_bytes() == data
    assert "error" not in guest.check("dmesg | grep -i 'usb.*error' || true")


def test_mtp_detect_knows_the_device(guest: Guest, phone: Phone) -> None:
    shown = guest.check("mtp-detect")
    for wanted in ("Friendly name", "Storage Devices", "StorageDescription", "read/write"):
        assert wanted in shown
    assert "(NULL)" not in re.search(r"Friendly name:.*", shown)[0]  # type: ignore[index]
    assert "PTP_ERROR" not in shown
    assert "UNKNOWN" not in shown


def test_udev_takes_it_for_a_media_player(guest: Guest, phone: Phone) -> None:
    node = f"/dev/bus/usb/{phone.bus:03}/{phone.device:03}"
    shown = guest.check(f"udevadm info -q property {node}")
    assert "ID_MTP_DEVICE=1" in shown
    assert "ID_SERIAL_SHORT=" in shown


def test_a_server_stops_and_comes_back(bench: Bench, share: Path, phone: Phone) -> None:
    port = phone.server.port
    bench.servers.remove(phone.server)
    phone.server.stop()
    bench.guest.wait_phones(0)
    (share / "later.txt").write_text("later")
    bench.serve(share, port=port)
    bench.guest.wait_phones(1)
    assert "later.txt" in bench.guest.check("mtp-filetree")


def test_two_phones_on_one_export(bench: Bench, share: Path, scratch: str) -> None:
    server = bench.serve(share)
    first = bench.plug(server, share, "xhci.0")
    second = bench.plug(server, share, "ehci.0")
    guest = bench.guest
    with first.mounted() as one, second.mounted() as two:
        guest.check(f"echo one >{scratch}/1 && cp {scratch}/1 {one}/1")
        guest.check(f"echo two >{scratch}/2 && cp {scratch}/2 {two}/2")
    with first.mounted() as one:
        assert guest.check(f"cat {one}/1 {one}/2") == "one\ntwo\n"


def test_read_only_refuses_every_change(bench: Bench, share: Path, scratch: str) -> None:
    (share / "kept.txt").write_text("kept")
    phone = bench.plug(bench.serve(share, ["--read-only"]), share)
    guest = bench.guest
    with phone.mounted() as storage:
        assert guest.check(f"cat {storage}/kept.txt") == "kept"
        guest.run(f"echo new >{scratch}/new.txt; cp {scratch}/new.txt {storage}/")
        guest.run(f"rm {storage}/kept.txt; mkdir {storage}/folder; mv {storage}/kept.txt {storage}/x")
    assert {path.name: path.read_text() for path in share.iterdir()} == {"kept.txt": "kept"}
