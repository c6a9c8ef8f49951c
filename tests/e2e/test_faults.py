"""What QEMU does to a transfer: it stops, saves, resets, unplugs, moves away, or dies. And so may the server.

Each time a file is on its way to the guest and another one from it, each on a phone of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.e2e.guest import Guest, redir_arguments
from tests.e2e.phone import Phone, digests, pattern
from tests.e2e.qmp import Qmp
from tests.reliability.captures import Relay
from tests.reliability.figures import figure
from usbredir_mtp.protocol.constants import PacketType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.e2e.conftest import Bench, GuestPool
    from tests.e2e.server import Server
    from tests.reliability.captures import Piece

SIZE = 16_000_000
"""Of both files: many times what is on its way when a fault comes."""

PAUSE = 3.0
"""Seconds for which a guest stands still."""

OLD = pattern(1000, 2)
KEPT = pattern(300_000, 3)
HOST_FILES = {"big.bin": pattern(SIZE), "kept.bin": KEPT, "up.bin": OLD}
BUSES = {"phone0": "xhci.0", "phone1": "ehci.0"}
"""Name of a phone -> where it is plugged in."""


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Waits for something that nobody announces."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(slots=True)
class Scene:
    """A guest with two phones of one server, and files that go both ways.

    Attributes:
        guest: where the phones are plugged in.
        server: what both are made by; it logs every operation.
        share: the folder that both share: big.bin is got, up.bin replaced.
        plugged: names of the phones that are to be taken out in the end.
        sent: digest of what the guest sends as up.bin.
    """

    guest: Guest
    server: Server
    share: Path
    plugged: list[str]
    sent: str = ""

    @contextlib.contextmanager
    def transfers(self) -> Iterator[None]:
        """Both files are on their way."""
        first, second = self.guest.wait_phones(2)
        self.guest.check(f"cd /tmp && rm -f out && (test -e up.bin || head -c {SIZE} /dev/urandom >up.bin)")
        self.sent = self.guest.check("sha256sum /tmp/up.bin").split()[0]
        gets = self._operations("GET_OBJECT(")
        self.guest.check(f"mkdir -p /mnt/get && jmtpfs /mnt/get -device={first[0]},{first[1]} && ls /mnt/get/*")
        try:
            port = f"usb:{second[0]:03},{second[1]:03}"
            self._begin("put", f"gphoto2 --port {port} --folder /store_00010001 --upload-file up.bin")
            wait_until(lambda: self.unfinished() > 1_000_000)
            self._begin("get", "cp /mnt/get/*/big.bin out")
            wait_until(lambda: self._operations("GET_OBJECT(") > gets)
            assert 0 < self.unfinished() < SIZE
            yield
        finally:
            if self.guest.status() is None:
                self.end()

    def end(self) -> None:
        """Ends the programs, whatever they are doing."""
        self.guest.run("pkill gphoto2; pkill cp; fusermount -u /mnt/get; wait-for 30 sh -c '! pgrep jmtpfs'")

    def ends(self) -> dict[str, int]:
        """Waits for both programs' ends; gives their exit statuses."""
        found = "cat put.exit get.exit 2>/dev/null | wc -w | grep -qx 2"
        shown = self.guest.check(f"cd /tmp && wait-for 200 sh -c '{found}' && cat put.exit get.exit", timeout=220)
        put, get = map(int, shown.split())
        return {"put": put, "get": get}

    def unfinished(self) -> int:
        """Bytes that the host has of an upload under way; 0 if there is none."""
        return sum(path.stat().st_size for path in self.share.glob(".usbredir-mtp-*"))

    def stays(self) -> None:
        """Waits until nothing is left of the upload, and sees that all else is as it was."""
        wait_until(lambda: len(list(self.share.iterdir())) == len(HOST_FILES))
        assert digests(self.share) == {name: sha256(data) for name, data in HOST_FILES.items()}

    def plug(self, ports: Sequence[int] = ()) -> None:
        """Plugs both phones in, where they have been before; through other ports than the server's, if given."""
        for name, port in zip(BUSES, ports or [self.server.port] * len(BUSES), strict=True):
            self.guest.plug(port, BUSES[name], name, place="1")
            self.plugged.append(name)

    def unplug(self) -> None:
        while self.plugged:
            self.guest.unplug(self.plugged.pop())

    def works(self) -> None:
        """Waits for both phones, and sees that each gives a file and takes one."""
        for bus, device in self.guest.wait_phones(2):
            name = f"back-{bus}"
            with Phone(self.guest, self.server, self.share, bus, device).mounted() as storage:
                self.guest.check(f"cp {storage}/kept.bin /tmp/{name} && cp /tmp/{name} {storage}/")
            assert (self.share / name).read_bytes() == KEPT
            (self.share / name).unlink()
        assert "please report" not in self.server.logs()

    def _operations(self, name: str) -> int:
        return self.server.logs().count(f" {name}")

    def _begin(self, name: str, command: str) -> None:
        whole = f"{command} >{name}.log 2>&1 </dev/null; echo $? >{name}.exit"
        self.guest.check(f"cd /tmp && rm -f {name}.exit && ({whole}) >/dev/null 2>&1 </dev/null &")


@pytest.fixture
def share(share: Path) -> Path:
    for name, data in HOST_FILES.items():
        (share / name).write_bytes(data)
    return share


@pytest.fixture
def scene(bench: Bench, share: Path) -> Scene:
    """A scene whose phones are yet to be plugged in."""
    return Scene(bench.guest, bench.serve(share, ["-vv"]), share, bench.plugged)


def test_a_pause_interrupts_nothing(scene: Scene) -> None:
    qmp = scene.guest.qmp
    scene.plug()
    with scene.transfers():
        qmp.execute("stop")
        time.sleep(PAUSE)  # standing still is the fault
        assert 0 < scene.unfinished() < SIZE
        qmp.execute("cont")
        assert scene.ends() == {"put": 0, "get": 0}
        assert scene.guest.check("sha256sum /tmp/out").split()[0] == sha256(HOST_FILES["big.bin"])
    assert digests(scene.share)["up.bin"] == scene.sent
    assert len(list(scene.share.iterdir())) == len(HOST_FILES)
    assert "disconnected" not in scene.server.logs()


def test_devices_are_taken_out_and_put_in(scene: Scene) -> None:
    scene.plug()
    with scene.transfers():
        scene.unplug()
        scene.stays()
        assert all(scene.ends().values())
    scene.guest.wait_phones(0)
    begun = time.monotonic()
    scene.plug()
    scene.guest.wait_phones(2)
    figure("s until phones that QEMU has plugged in again are there", time.monotonic() - begun)
    scene.works()


def test_a_killed_server_is_started_again(scene: Scene, bench: Bench) -> None:
    scene.plug()
    with scene.transfers():
        bench.servers.remove(scene.server)
        scene.server.kill()
        assert all(scene.ends().values())
    scene.guest.wait_phones(0)
    assert scene.unfinished()
    begun = time.monotonic()
    scene.server = bench.serve(scene.share, ["-vv"], scene.server.port)
    scene.guest.wait_phones(2)
    figure("s until the phones of a killed server are there again", time.monotonic() - begun)
    scene.stays()
    scene.works()


class Snapshots:
    """A disk of a guest, for snapshots alone; the guest stands still while one is made or loaded."""

    _arguments: ClassVar = {"tag": "one", "vmstate": "snapshots", "devices": ["snapshots"]}

    def __init__(self, guest: Guest, path: Path) -> None:
        self._qmp = guest.qmp
        self._job("blockdev-create", options={"driver": "file", "filename": str(path), "size": 0})
        self._qmp.execute("blockdev-add", driver="file", filename=str(path), node_name="file")
        self._job("blockdev-create", options={"driver": "qcow2", "file": "file", "size": 1 << 20})
        self._qmp.execute("blockdev-add", driver="qcow2", file="file", node_name="snapshots")

    def save(self) -> None:
        self._job("snapshot-save", **self._arguments)

    def load(self, refusal: str | None = None) -> None:
        """Loads what was saved; QEMU may refuse it if such an error is given."""
        self._job("snapshot-load", refusal, **self._arguments)

    def _job(self, command: str, refusal: str | None = None, /, **arguments: object) -> None:
        self._qmp.execute(command, job_id="job", **arguments)
        wait_until(lambda: self._qmp.execute("query-jobs")[0]["status"] == "concluded")
        (job,) = self._qmp.execute("query-jobs")
        self._qmp.execute("job-dismiss", id="job")
        assert job.get("error") in {None, refusal}


def asked_and_answered(pieces: Sequence[Piece]) -> tuple[Counter[int], Counter[int]]:
    """The ids of a session's transfers: how often each was asked for, and answered."""
    return _transfers(pieces, from_guest=True), _transfers(pieces, from_guest=False)


def _transfers(pieces: Sequence[Piece], *, from_guest: bool) -> Counter[int]:
    stream = b"".join(piece.data for piece in pieces if piece.from_guest is from_guest)
    ids: Counter[int] = Counter()
    kind, length = struct.unpack_from("<II", stream)
    used = 12 + length  # the hello's header is short
    while used < len(stream):
        kind, length, number = struct.unpack_from("<IIQ", stream, used)
        used += 16 + length
        ids.update([number] * (kind in {PacketType.CONTROL_PACKET, PacketType.BULK_PACKET}))
    return ids


def test_a_guest_is_saved_and_reset(scene: Scene, bench: Bench, guest_pool: GuestPool, tmp_path: Path) -> None:
    """A snapshot of a transfer under way does it harm: QEMU notes its id, and when that comes again, sends nothing.

    The guest then waits in vain. Nothing can be done about that from here: all that QEMU asks for is answered, and
    nothing else. Another guest goes on, for without KVM this one would take a minute to be up again.
    """
    relays = [Relay(scene.server.port) for _ in BUSES]
    scene.plug([relay.port for relay in relays])
    snapshots = Snapshots(scene.guest, tmp_path / "snapshots.qcow2")
    with scene.transfers():
        snapshots.save()
        scene.guest.reset()
        scene.stays()
        assert "disconnected" not in scene.server.logs()
        scene.unplug()
        assert scene.guest.stop() == 0
    for relay in relays:
        relay.join()
        asked, answered = asked_and_answered(relay.pieces)
        assert answered == asked != Counter()
    bench.guest = scene.guest = guest_pool.get()
    scene.plug()
    scene.works()


def test_a_guest_moves_to_another_qemu_that_dies(
    boot: Callable[[Sequence[str]], Guest], scene: Scene, tmp_path: Path
) -> None:
    """It dies of a snapshot that it is told to load in the middle of a transfer.

    QEMU 7.2 cancels what is under way before it loads, does not take the answers meanwhile, and aborts as it has then
    more cancelled ids than the snapshot. Where it has got a part of a packet it refuses to load, and is killed here.
    """
    source, server = scene.guest, scene.server
    phones = [part for name in BUSES for part in redir_arguments(server.port, BUSES[name], name)]
    address = f"unix:{tmp_path / 'migration'}"
    target = boot([*phones, "-incoming", address])
    scene.plug()
    with scene.transfers():
        _migrate(source, target, address)
        scene.unplug()
        scene.guest = target
        target.qmp.execute("cont")
        wait_until(lambda: server.logs().count("says hello") == 2 * len(BUSES))
        scene.stays()
        assert all(scene.ends().values())

    snapshots = Snapshots(target, tmp_path / "snapshots.qcow2")
    snapshots.save()
    with scene.transfers():
        try:
            snapshots.load(refusal="Error -1 while loading VM state")
        except ConnectionError:
            target.excuse("usbredir_get_packet_id_q: Assertion `q->size == size' failed.")
        else:
            assert target.kill() == -signal.SIGKILL
    scene.stays()
    scene.guest = source
    source.qmp.execute("cont")
    scene.end()
    scene.guest.wait_phones(0)
    scene.plug()
    scene.works()


def _migrate(source: Guest, target: Guest, address: str) -> None:
    """Both stand still afterwards."""
    source.qmp.execute("migrate-set-parameters", max_bandwidth=1 << 34)
    source.qmp.execute("stop")  # without KVM, memory that changes meanwhile may arrive torn
    source.qmp.execute("migrate", uri=address)
    wait_until(lambda: source.qmp.execute("query-migrate")["status"] == "completed")
    wait_until(lambda: target.qmp.execute("query-status")["status"] == "paused")


def test_an_abort_of_qemu_is_told(tmp_path: Path) -> None:
    monitor, agent = socket.socketpair()
    with subprocess.Popen([sys.executable, "-c", "import os; os.abort()"]) as process:
        process.wait()
        guest = Guest(process, Qmp(monitor), tmp_path, agent)
        guest.kill()
        assert guest.fault() == f"QEMU ended with status {-signal.SIGABRT}"
