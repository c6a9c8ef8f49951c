"""What systemd's own tools say of the units, and of the program started by systemd-socket-activate."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from subprocess import PIPE
from typing import TYPE_CHECKING

import pytest

from tests.network.program import ROOT, command, copies_both_ways, initiator
from tests.packaging.conftest import need
from tests.packaging.systemd import UNITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

EXPOSURE = 15
"""Tenths, of what `systemd-analyze security` gives the system's service: from 0 to 100."""


@pytest.mark.parametrize("kind", ["system", "user"])
def test_the_units_are_understood(tmp_path: Path, kind: str) -> None:
    """The program is not installed where the tests run, so another one stands in for it."""
    for unit in (UNITS / kind).iterdir():
        text = re.sub("^ExecStart=[^ ]+", f"ExecStart={sys.executable}", unit.read_text(), flags=re.MULTILINE)
        (tmp_path / unit.name.replace("@", "@vm")).write_text(text)
    arguments = [] if kind == "system" else ["--user"]
    done = subprocess.run(
        [need("systemd-analyze"), *arguments, "verify", "--man=no", *map(str, tmp_path.iterdir())],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    said = [line for line in done.stderr.splitlines() if "usbredir-mtp" in line]
    assert (done.returncode, said) == (0, [])


def test_how_hardened_the_service_is() -> None:
    unit = UNITS / "system" / "usbredir-mtp@.service"
    done = subprocess.run(
        [need("systemd-analyze"), "security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE}", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_both_services_are_the_same_where_they_can_be() -> None:
    """The user's has nothing that the system's has not, but where the program is."""
    system, user = (
        set(re.findall("^[A-Z].*=.*$", (UNITS / kind / "usbredir-mtp@.service").read_text(), re.MULTILINE))
        for kind in ("system", "user")
    )
    own = {line.partition("=")[0] for line in user - system}
    assert own == {"ExecStart", "WantedBy"}


@contextmanager
def activated(arguments: Sequence[str], **sockets: Path) -> Iterator[subprocess.Popen[str]]:
    """The program, once the first guest comes to one of these sockets (by name)."""
    listen = [f"--listen={path}" for path in sockets.values()]
    activate = [need("systemd-socket-activate"), *listen, f"--fdname={':'.join(sockets)}"]
    with subprocess.Popen([*activate, *arguments], cwd=ROOT, stdout=PIPE, stderr=PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for _ in sockets:
                assert process.stderr.readline().startswith("Listening on ")
            yield process
        finally:
            process.kill()


def ends_well(process: subprocess.Popen[str]) -> bool:
    process.send_signal(signal.SIGTERM)
    return process.wait(20) == 0


def test_the_first_guest_starts_the_program(place: Path) -> None:
    with activated(command(place), usb=place / "socket") as process:
        assert copies_both_ways(place, f"unix:{place}/socket")
        assert ends_well(process)


@pytest.mark.parametrize("listen", ["", "listen = 'systemd:'\n"])
def test_each_device_gets_the_sockets_of_its_name(place: Path, listen: str) -> None:
    config = place / "config"
    tables = (f"[[device]]\nname = '{name}'\nexport = '{name}={place}/share'\n{listen}" for name in "ab")
    config.write_text("".join(tables))
    arguments = [sys.executable, "-m", "usbredir_mtp", "--config", str(config), "--state-dir", str(place / "state")]
    with activated(arguments, b=place / "one", a=place / "other") as process:
        for path, name in (("one", "b"), ("other", "a")):
            with initiator(f"unix:{place}/{path}") as mtp:
                assert [mtp.storage_info(each).description for each in mtp.storage_ids()] == [name]
        assert ends_well(process)
