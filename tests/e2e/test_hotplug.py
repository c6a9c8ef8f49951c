"""Phones that are plugged into VMs while these run, over QEMU's monitor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import REQUIRE_VARIABLE
from tests.e2e.guest import QEMU, Guest
from tests.e2e.phone import MOUNTERS, pattern
from tests.e2e.qmp import Qmp
from tests.e2e.server import COMMAND
from usbredir_mtp.hotplug.attach import Ending, attach
from usbredir_mtp.hotplug.errors import AttachError
from usbredir_mtp.hotplug.plug import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.e2e.image import GuestImage

PROGRAM = (*COMMAND, "attach")
PATIENCE = 60.0
CONTROLLERS = ("xhci", "ehci", "uhci")
DATA = pattern(300_000)


def ours(qmp: Qmp) -> set[str]:
    """Ids of all that usbredir-mtp has put into a VM."""
    devices = {row["name"] for row in qmp.execute("qom-list", path="/machine/peripheral")}
    chardevs = {row["label"] for row in qmp.execute("query-chardev")}
    return {name for name in devices | chardevs if name.startswith(PREFIX)}


# -- a guest, and the program ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Vm:
    """A guest with a QMP monitor for the programs under test.

    Attributes:
        guest: it; its own monitor is another one.
        monitor: the unix socket of the other.
        programs: those that were started.
    """

    guest: Guest
    monitor: Path
    folder: Path
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def attach(self, root: Path) -> subprocess.Popen[bytes]:
        """Starts a program that shares a folder."""
        environment = {**os.environ, "TZ": "UTC"}
        environment |= {name: str(self.folder / name) for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME")}
        with (self.folder / f"attach-{len(self.programs)}.log").open("wb") as log:
            program = subprocess.Popen(
                [*PROGRAM, "--qmp", str(self.monitor), "--export", str(root)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        self.programs.append(program)
        return program

    def said(self, program: subprocess.Popen[bytes]) -> str:
        return (self.folder / f"attach-{self.programs.index(program)}.log").read_text()

    def logs(self) -> str:
        return "\n".join(f"--- {log.name}\n{log.read_text()}" for log in sorted(self.folder.glob("attach-*.log")))

    def end(self, program: subprocess.Popen[bytes]) -> None:
        """Ends a program in order."""
        program.send_signal(signal.SIGTERM)
        assert program.wait(PATIENCE) == 0
        assert str(Ending.DETACHED) in self.said(program)

    @contextlib.contextmanager
    def mounted(self, place: tuple[int, int]) -> Iterator[str]:
        """Mounts a phone in the guest; gives the path of its storage."""
        mount = f"/mnt/hotplug-{place[0]}-{place[1]}"
        command = MOUNTERS["jmtpfs"].format(mount=mount, bus=place[0], device=place[1])
        self.guest.check(f"mkdir -p {mount}\n{command}\nwait-for 20 sh -c 'ls {mount} | grep .'")
        try:
            yield f"{mount}/{self.guest.check(f'ls {mount}').splitlines()[0]}"
        finally:
            self.guest.run(f"cd / && fusermount -u {mount}; wait-for 30 sh -c \"! pgrep -f '^jmtpfs {mount}'\"")


@pytest.fixture(scope="module")
def hotplug_guest(guest_image: GuestImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Guest, Path]]:
    folder = tmp_path_factory.mktemp("hotplug")
    monitor = folder / "qmp"
    guest = Guest.start(guest_image, folder / "guest", ["-qmp", f"unix:{monitor},server=on,wait=off"])
    yield guest, monitor
    assert guest.stop() == 0, guest.logs()


@pytest.fixture
def vm(hotplug_guest: tuple[Guest, Path], tmp_path: Path, evidence: dict[str, Callable[[], str]]) -> Iterator[Vm]:
    guest, monitor = hotplug_guest
    vm = Vm(guest, monitor, tmp_path)
    evidence |= {"attach": vm.logs, "guest": guest.logs}
    try:
        yield vm
    finally:
        for program in vm.programs:
            program.kill()
            program.wait()
    assert guest.fault() is None, guest.fault()


def both_ways(vm: Vm, place: tuple[int, int], root: Path) -> None:
    """A file is copied from a phone, and back to it."""
    (root / "there.bin").write_bytes(DATA)
    with vm.mounted(place) as storage:
        vm.guest.check(f"cp {storage}/there.bin /tmp/ && cp /tmp/there.bin {storage}/back && rm /tmp/there.bin")
    assert (root / "back").read_bytes() == DATA
    (root / "back").unlink()


def test_plugged_in_taken_out_and_plugged_in_again(vm: Vm, share: Path) -> None:
    for _ in range(2):
        program = vm.attach(share)
        (place,) = vm.guest.wait_phones(1)
        both_ways(vm, place, share)
        vm.end(program)
        vm.guest.wait_phones(0)
        assert ours(vm.guest.qmp) == set()


def test_two_at_once(vm: Vm, tmp_path: Path) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    programs: list[subprocess.Popen[bytes]] = []
    places: set[tuple[int, int]] = set()
    for count, root in enumerate(roots, 1):
        root.mkdir()
        programs.append(vm.attach(root))
        (place,) = set(vm.guest.wait_phones(count)) - places
        places.add(place)
        both_ways(vm, place, root)
    vm.end(programs[0])
    (place,) = vm.guest.wait_phones(1)
    both_ways(vm, place, roots[1])
    vm.end(programs[1])
    vm.guest.wait_phones(0)


def test_a_program_that_was_killed_does_not_keep_the_next_from_it(vm: Vm, share: Path) -> None:
    program = vm.attach(share)
    vm.guest.wait_phones(1)
    program.kill()
    program.wait()
    vm.guest.wait_phones(0)
    (stale,) = ours(vm.guest.qmp)
    program = vm.attach(share)
    (place,) = vm.guest.wait_phones(1)
    both_ways(vm, place, share)
    assert stale not in ours(vm.guest.qmp)
    vm.end(program)


def test_somebody_else_takes_it_out(vm: Vm, share: Path) -> None:
    program = vm.attach(share)
    vm.guest.wait_phones(1)
    (device,) = ours(vm.guest.qmp)
    vm.guest.qmp.execute("device_del", id=device)
    assert program.wait(PATIENCE) == 0
    assert str(Ending.UNPLUGGED) in vm.said(program)
    assert ours(vm.guest.qmp) == set()


def test_a_pause_changes_nothing(vm: Vm, share: Path) -> None:
    program = vm.attach(share)
    (place,) = vm.guest.wait_phones(1)
    vm.guest.qmp.execute("stop")
    refused = vm.attach(share)
    assert refused.wait(PATIENCE) == 3
    assert "let it go on, then attach" in vm.said(refused)
    vm.guest.qmp.execute("cont")
    both_ways(vm, place, share)
    vm.end(program)


def test_a_guest_without_usb(vm: Vm, share: Path) -> None:
    """The last test of this guest: its controllers are taken out."""
    for name in CONTROLLERS:
        vm.guest.qmp.execute("device_del", id=name)
    vm.guest.check("wait-for 20 sh -c '! lsusb | grep .'")
    program = vm.attach(share)
    (place,) = vm.guest.wait_phones(1)
    assert len(ours(vm.guest.qmp)) == 2
    both_ways(vm, place, share)
    vm.end(program)
    assert ours(vm.guest.qmp) == set()
    vm.guest.check("wait-for 20 sh -c '! lsusb | grep .'")


# -- QEMU without a guest ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Machine:
    """A QEMU that runs its firmware only, but takes devices as any."""

    process: subprocess.Popen[bytes]
    qmp: Qmp
    monitor: Path


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[[Sequence[str]], Machine]]:
    if shutil.which(QEMU) is None:
        text = f"needs {QEMU} (package qemu-system-x86)"
        pytest.fail(text) if os.environ.get(REQUIRE_VARIABLE) == "1" else pytest.skip(text)
    machines: list[Machine] = []

    def start(arguments: Sequence[str]) -> Machine:
        sock, qemu = socket.socketpair()
        sock.settimeout(PATIENCE)
        monitor = tmp_path / "qmp"
        with qemu:
            process = subprocess.Popen(
                [
                    *(QEMU, "-accel", "tcg", "-nodefaults", "-no-user-config", "-display", "none", *arguments),
                    *("-chardev", f"socket,id=monitor,fd={qemu.fileno()}", "-mon", "chardev=monitor,mode=control"),
                    *("-qmp", f"unix:{monitor},server=on,wait=off"),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[qemu.fileno()],
            )
        machines.append(Machine(process, Qmp(sock), monitor))
        machines[-1].qmp.open()
        return machines[-1]

    yield start
    for machine in machines:
        machine.process.kill()
        machine.process.wait()
        machine.qmp.sock.close()


HELLO = b"qemu usb-redir guest"


def attached(machine: Machine, then: Callable[[], None] = lambda: None, **options: Any) -> tuple[Ending, str]:
    """Attaches a phone that takes QEMU's hello and does no more.

    Returns:
        How it ended, and the type of the controller that it was plugged into.
    """
    found = ""

    async def adopt(sock: socket.socket) -> None:
        nonlocal found
        with sock:
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            assert HELLO in await loop.sock_recv(sock, 100)
            (device,) = (name for name in ours(machine.qmp) if "xhci" not in name)
            found = parent(machine.qmp, device)
            then()

    async def bounded() -> Ending:
        async with asyncio.timeout(PATIENCE):
            return await attach(machine.monitor, adopt, **options)

    return asyncio.run(bounded()), found


def parent(qmp: Qmp, device: str) -> str:
    """The type of a USB device's controller."""
    bus: str = qmp.execute("qom-get", path=f"/machine/peripheral/{device}", property="parent_bus")
    kind: str = qmp.execute("qom-get", path=bus.rpartition("/")[0], property="type")
    return kind


PORT = ["-device", "pcie-root-port,id=rp,chassis=1"]
TABLETS = [part for _ in range(4) for part in ("-device", "usb-tablet")]


@pytest.mark.parametrize(
    ("arguments", "speed", "controller"),
    [
        pytest.param(["-device", "qemu-xhci"], "high", "qemu-xhci", id="xhci"),
        pytest.param(["-device", "usb-ehci", "-device", "nec-usb-xhci"], "high", "nec-usb-xhci", id="both"),
        pytest.param(["-M", "q35,usb=on"], "high", "ich9-usb-ehci1", id="ehci-of-q35"),
        pytest.param(["-M", "pc,usb=on"], "full", "piix3-usb-uhci", id="uhci-of-pc"),
        pytest.param(["-M", "pc,usb=on"], "high", "qemu-xhci", id="uhci-does-not-do"),
        pytest.param(["-M", "q35,usb=on", *PORT], "super", "qemu-xhci", id="nor-ehci"),
        pytest.param(["-M", "pc"], "high", "qemu-xhci", id="none"),
        pytest.param(["-M", "q35", *PORT], "high", "qemu-xhci", id="none-in-q35"),
        pytest.param(["-device", "nec-usb-xhci,p2=3,p3=9", *TABLETS[:6]], "high", "qemu-xhci", id="full"),
        pytest.param(["-device", "nec-usb-xhci,p2=1,p3=2", *TABLETS[:2]], "high", "qemu-xhci", id="super-left"),
        pytest.param(["-device", "nec-usb-xhci,p2=4,p3=4", *TABLETS[:6]], "high", "nec-usb-xhci", id="last"),
    ],
)
def test_finds_a_controller(
    machine: Callable[[Sequence[str]], Machine],
    monkeypatch: pytest.MonkeyPatch,
    arguments: Sequence[str],
    speed: str,
    controller: str,
) -> None:
    monkeypatch.setattr("usbredir_mtp.hotplug.plug.CONTROLLER_SECONDS", 0.1)  # no guest will let go of it
    vm = machine(arguments)
    assert attached(vm, speed=speed) == (Ending.DETACHED, controller)
    assert {name for name in ours(vm.qmp) if "xhci" not in name} == set()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["-M", "q35"], {}, r"does high speed; start it with -device qemu-xhci \(.*hotplug"),
        (["-M", "pc"], {"add_controller": False}, r"does high speed; start it with -device qemu-xhci$"),
        (["-M", "pc", "-device", "qemu-xhci", "-S"], {}, r"does not run \('prelaunch'\)"),
        (["-M", "microvm"], {}, "nor has it PCI"),
    ],
)
def test_finds_none(
    machine: Callable[[Sequence[str]], Machine], arguments: Sequence[str], options: dict[str, Any], message: str
) -> None:
    vm = machine(arguments)
    with pytest.raises(AttachError, match=message):
        attached(vm, **options)
    assert ours(vm.qmp) == set()


def test_qemu_is_killed(machine: Callable[[Sequence[str]], Machine]) -> None:
    vm = machine(["-device", "qemu-xhci"])
    assert attached(vm, vm.process.kill)[0] is Ending.VM_ENDED


def test_a_reset_changes_nothing(machine: Callable[[Sequence[str]], Machine]) -> None:
    vm = machine(["-device", "qemu-xhci"])

    def reset() -> None:
        vm.qmp.execute("system_reset")
        vm.qmp.wait_event("RESET")
        assert len(ours(vm.qmp)) == 1

    assert attached(vm, reset)[0] is Ending.DETACHED


def test_a_second_one_waits_for_the_monitor(machine: Callable[[Sequence[str]], Machine]) -> None:
    vm = machine(["-device", "qemu-xhci"])
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(vm.monitor))
        assert b"QMP" in other.recv(1000)

        async def both() -> Ending:
            attaching = asyncio.ensure_future(attach(vm.monitor, close))
            await asyncio.sleep(0)
            other.close()
            return await attaching

        assert asyncio.run(both()) is Ending.DETACHED


async def close(sock: socket.socket) -> None:
    sock.close()
