"""Many devices in one program: a configuration file, SIGHUP, and `check`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.network.program import ROOT, connection
from tests.support.codes import Rc
from tests.support.initiator import Initiator, refused
from tests.support.link import HungUpError
from tests.support.transactions import MtpFailure
from tests.support.usbredir import Guest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 20.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def seen(mtp: Initiator) -> list[str]:
    """What a guest sees; nothing while it changes."""
    try:
        return list(mtp.names())
    except MtpFailure:
        return []


def wait_unplugged(mtp: Initiator) -> None:
    with suppress(HungUpError):
        while True:
            mtp.guest.pump()


@dataclass
class Running:
    """The program with a configuration file.

    Attributes:
        place: With the folders `one`, `two` and `three`, and the sockets of that name behind `socket-`.
        process: The program.
        shown: What it printed.
    """

    place: Path
    process: subprocess.Popen[str]
    shown: str = ""

    def address(self, name: str) -> str:
        return f"unix:{self.place}/sockets/{name}"

    @contextmanager
    def guest(self, name: str) -> Iterator[Initiator]:
        with connection(self.address(name)) as sock:
            guest = Guest(sock)
            guest.attach()
            guest.set_configuration(1)
            mtp = Initiator(guest)
            mtp.open_session()
            yield mtp

    def reload(self, text: str) -> None:
        write(self.place, text)
        self.process.send_signal(signal.SIGHUP)

    def wait_for(self, name: str, *, there: bool) -> None:
        """Until a device can be connected to, or cannot."""
        until(lambda: self._listens(name) == there)

    def _listens(self, name: str) -> bool:
        try:
            connection(self.address(name)).close()
        except OSError:
            return False
        return True


def write(place: Path, text: str) -> Path:
    file = place / "config" / "devices.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text.replace("PLACE", str(place)))
    return file


def device(name: str, export: str | None = None, more: str = "") -> str:
    table = f"[[device]]\nname = '{name}'\nlisten = 'unix:PLACE/sockets/{name}'\nexport = 'PLACE/{export or name}'\n"
    return f"{table}{more}\n"


ONE, TWO, THREE = device("one"), device("two"), device("three")


@pytest.fixture
def folders(place: Path) -> Path:
    for name in ("one", "two", "three"):
        (place / name).mkdir()
        (place / name / f"in-{name}").write_text(name)
    (place / "sockets").mkdir()
    return place


def arguments(place: Path, text: str, *options: str) -> list[str]:
    kept = ["--state-dir", str(place / "state"), "--cache-dir", str(place / "cache")]
    return ["--config", str(write(place, text)), *kept, *options]


@contextmanager
def running(place: Path, text: str, *options: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "usbredir_mtp", *arguments(place, text, *options)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            ready = Running(place, process)
            for _ in range(text.count("[[device]]")):
                ready.shown += "".join(_until_libvirt(process))
            yield ready
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=PATIENCE)
            assert (process.returncode, "Traceback" in said) == (0, False), said
        finally:
            process.kill()


def _until_libvirt(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line
        if "</redirdev>" in line:
            return
    assert process.stderr is not None
    pytest.fail(process.stderr.read())


def test_each_has_its_own(folders: Path) -> None:
    text = (
        "product-name = 'All'\n" + ONE + device("two", more="product-name = 'Second'\nread-only = true\nserial = 'S2'")
    )
    with running(folders, text) as program:
        assert "Sharing as one\n" in program.shown
        assert "Sharing as two\n" in program.shown
        with program.guest("one") as one, program.guest("two") as two:
            assert list(one.names()) == ["in-one"]
            assert list(two.names()) == ["in-two"]
            infos = [mtp.device_info() for mtp in (one, two)]
            assert [info.model for info in infos] == ["All", "Second"]
            assert infos[1].serial == "S2"
            assert infos[0].serial != "S2"
            one.send_file("sent", b"x")
            with refused(Rc.STORE_READ_ONLY):
                two.delete(two.names()["in-two"])
    assert (folders / "one" / "sent").exists()


def test_they_come_and_go(folders: Path) -> None:
    reserve = ["--reserve", str(folders / "three"), "--reserve", str(folders / "sockets")]
    with running(folders, ONE + TWO, *reserve) as program, program.guest("two") as two:
        with program.guest("one") as one:
            program.reload(TWO + THREE)
            wait_unplugged(one)
        program.wait_for("three", there=True)
        program.wait_for("one", there=False)
        with program.guest("three") as three:
            assert list(three.names()) == ["in-three"]
        assert list(two.names()) == ["in-two"], "its guest has noticed nothing"
        program.reload(ONE + TWO)
        program.wait_for("one", there=True)
        program.wait_for("three", there=False)
        assert list(two.names()) == ["in-two"]


def test_one_that_changes(folders: Path) -> None:
    with running(folders, ONE + TWO) as program, program.guest("one") as one, program.guest("two") as two:
        program.reload(device("one", "two", "friendly-name = 'Mine'") + TWO)
        until(lambda: seen(one) == ["in-two"])
        assert list(two.names()) == ["in-two"]
        program.reload(device("one", more="product-name = 'Other'") + TWO)
        wait_unplugged(one)
        program.wait_for("one", there=True)
        with program.guest("one") as again:
            assert again.device_info().model == "Other"
        assert list(two.names()) == ["in-two"]


def test_what_the_sandbox_keeps_out(folders: Path) -> None:
    with running(folders, ONE, "--sandbox", "landlock") as program:
        assert program.process.stderr is not None
        program.reload(ONE + THREE)
        said = program.process.stderr.readline()
        assert said.startswith("ERROR: nothing has changed: ")
        assert "device 2 (three)" in said
        assert "--reserve" in said
        program.reload(ONE + "[[device]]")
        assert "device 2: the name is missing" in program.process.stderr.readline()
        with program.guest("one") as one:
            assert list(one.names()) == ["in-one"]


def test_an_address_that_is_taken(folders: Path) -> None:
    with socket.socket() as sock, running(folders, ONE, "--sandbox", "off") as program:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        assert program.process.stderr is not None
        two = TWO.replace("unix:PLACE/sockets/two", f"tcp:127.0.0.1:{sock.getsockname()[1]}")
        program.reload(ONE + two)
        assert "two: not plugged in: cannot listen on tcp:" in program.process.stderr.readline()
        program.reload(ONE + TWO)
        program.wait_for("two", there=True)


def test_one_that_cannot_be_replaced_stays(folders: Path) -> None:
    """What can be known is looked at before it is unplugged; what cannot, brings back what was there."""
    with running(folders, ONE, "--sandbox", "off") as program, program.guest("one") as one:
        assert program.process.stderr is not None
        program.reload(
            ONE + "tls-ca = 'PLACE/config/devices.toml'\nlisten = 'tcp:127.0.0.1:0'".replace("listen", "connect")
        )
        assert "nothing has changed" in program.process.stderr.readline()
        assert list(one.names()) == ["in-one"], "its guest has noticed nothing"
        with socket.create_server(("127.0.0.1", 0)) as sock:
            taken = f"tcp:127.0.0.1:{sock.getsockname()[1]}"
            program.reload(ONE.replace("unix:PLACE/sockets/one", taken))
            while "did not acknowledge" in (said := program.process.stderr.readline()):
                pass  # a guest that does not look
            assert "one: not plugged in: cannot listen on" in said
        program.wait_for("one", there=True)
        with program.guest("one") as again:
            assert list(again.names()) == ["in-one"]


def test_a_reload_that_hangs(folders: Path) -> None:
    """A file that cannot be read to its end does not keep the program from ending."""
    with running(folders, ONE, "--sandbox", "off") as program:
        config = folders / "config" / "devices.toml"
        config.unlink()
        os.mkfifo(config)
        program.process.send_signal(signal.SIGHUP)
        with program.guest("one") as one:
            assert list(one.names()) == ["in-one"]


# -- check ------------------------------------------------------------------------------------------------------------


def check(*words: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from usbredir_mtp.cli import main; sys.argv.insert(1, 'check'); main()"
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_what_a_vm_would_see(folders: Path) -> None:
    text = ONE + device("two", more="vendor-id = '18d1'\nspeed = 'super'\nfriendly-name = 'Mine'\nconnect = 'unix:/vm'")
    done = check(*arguments(folders, text))
    assert (done.returncode, done.stderr) == (0, "")
    one, two = done.stdout.split("\n\n")
    assert one.startswith("one\n  USB device:  46f4:0004 usbredir-mtp Shared folders, high speed, serial number ")
    for line in (
        "18d1:0004 usbredir-mtp Shared folders, super speed",
        "MTP device:  Mine",
        f"storages:    two: {folders}/two (read-write)",
        f"listens on:  unix:{folders}/sockets/two",
        "connects to: unix:/vm",
    ):
        assert line in two
    assert not list((folders / "sockets").iterdir()), "nothing listens"


def test_one_device(folders: Path) -> None:
    done = check("--export", str(folders / "one"))
    assert done.stdout.startswith("One device\n")
    assert "listens on:  tcp:127.0.0.1:4000" in done.stdout


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("[[device]]\nexport = 'PLACE/one'", [], "device 1: the name is missing"),
        ("[[device]]\nname = 7", [], "device 1: the name is missing"),
        ("device = [7]", [], "device 1: a table is expected"),
        (ONE + ONE, [], "two devices with the name 'one'"),
        ("export = 'PLACE/one'\n" + TWO, [], "an export outside of the [[device]] tables"),
        (ONE + "loop = 'asyncio'", [], "device 1 (one): there is no setting 'loop'"),
        ("[[device]]\nname = 'one'", [], "device 1 (one): nothing to share"),
        (ONE + device("two").replace("sockets/two", "sockets/one"), [], "the devices 'one' and 'two' both have unix:"),
        (
            ONE + "serial = 'S'\n" + TWO + "serial = 'S'",
            [],
            "the devices 'one' and 'two' both have the serial number 'S'",
        ),
        (ONE, ["--export", "PLACE/two"], "--export does not go with the [[device]] tables"),
        (ONE + "speed = 'warp'", [], "'warp' is not one of"),
        (ONE + "vendor-id = 1234", [], "not a number from 0001 to ffff"),
        (ONE + "qmp = 5", [], "qmp cannot be 5"),
        (ONE + "tls-cert = 0", [], "tls-cert cannot be 0"),
        (ONE + "grace = [1]", [], "grace cannot be [1]"),
        (ONE + "host = []", [], "host cannot be []"),
        (ONE + "connect = 'tcp:nowhere'", [], "use tcp:HOST:PORT"),
        (device("one", "nothing"), [], "nothing: No such file or directory"),
        ("listen = 'tcp:0.0.0.0:1'\nexport = 'PLACE/one'", [], "--insecure"),
    ],
)
def test_what_is_wrong(folders: Path, text: str, options: list[str], said: str) -> None:
    words = [word.replace("PLACE", str(folders)) for word in options]
    done = check(*arguments(folders, text, *words))
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--reserve", "0"], "1 to 1000 ports from 1 to 65535"),
        (["--reserve", "4000-3000"], "1 to 1000 ports"),
        (["--reserve", "1-65535"], "1 to 1000 ports"),
        (["--reserve", "/missing"], "/missing: there is no such folder"),
    ],
)
def test_what_cannot_be_reserved(folders: Path, words: list[str], said: str) -> None:
    done = check("--export", str(folders), *words)
    assert done.returncode == 2
    assert said in done.stderr
