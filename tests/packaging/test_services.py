"""The units as they are, in a systemd that is one: started, watched, told to read anew, and ended by it."""

from __future__ import annotations

import os
import shutil
import signal
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.network.program import connection, copies_both_ways, initiator
from tests.packaging import systemd
from tests.support.initiator import MtpFailure
from tests.support.usbredir import Guest

if TYPE_CHECKING:
    from tests.packaging.systemd import Systemd

SERVICE, SOCKET = "usbredir-mtp@vm.service", "usbredir-mtp@vm.socket"
USER = "daemon"
CONFIG = """
[[export]]
name = "Share"
path = "/srv/share"
"""
WRITER = f"""[Service]
User={USER}
ReadWritePaths=/srv/share
"""


def configure(manager: Systemd, config: str = CONFIG, drop_in: str = "") -> str:
    """Write what an administrator would; returns where the socket's address is for guests of ours."""
    (manager.place / "etc" / "vm.toml").write_text(config)
    if drop_in:
        manager.drop_in(SERVICE, drop_in)
    return f"unix:{manager.place}/run/vm"


def test_a_guest_starts_the_service(manager: Systemd) -> None:
    shutil.chown(manager.place / "share", USER)
    address = configure(manager, drop_in=WRITER)
    manager.ctl("start", SOCKET)
    assert manager.show(SERVICE, "ActiveState") == "inactive"
    with connection(address) as sock:
        guest = Guest(sock)
        guest.attach()
        manager.wait(lambda: manager.show(SERVICE, "StatusText") == "1 guest; sharing Share")
        assert manager.show(SERVICE, "ActiveState") == "active"
    assert copies_both_ways(manager.place, address)
    manager.ctl("stop", SERVICE)
    assert manager.show(SERVICE, "Result") == "success"
    assert manager.show(SOCKET, "ActiveState") == "active", "the next guest starts it again"
    assert copies_both_ways(manager.place, address)
    manager.ctl("stop", SERVICE, SOCKET)
    assert not (manager.place / "run" / "vm").exists()
    assert "sandbox" not in manager.log, "it has been in its own as well"
    assert "WARNING" not in manager.log


def test_what_the_unit_keeps_it_from(manager: Systemd) -> None:
    """As it comes, it has a user of its own, who can write nothing; and none but what it needs of the kernel."""
    (manager.place / "share").chmod(0o777)
    address = configure(manager)
    manager.ctl("start", SOCKET)
    with initiator(address) as mtp:
        assert mtp.get_object(mtp.names()["file"]) == b"shared"
        with pytest.raises(MtpFailure):
            mtp.send_file("new", b"data")
    status = Path(f"/proc/{manager.pid_of(SERVICE)}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert int(fields["Uid"].split()[0]) >= 61184, "DynamicUser="
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    assert int(fields["CapBnd"], 16) == 0


def test_it_is_told_to_read_anew(manager: Systemd) -> None:
    configure(manager)
    manager.ctl("start", SERVICE)
    configure(manager, CONFIG.replace("Share", "Other"))
    manager.ctl("reload", SERVICE)
    manager.wait(lambda: manager.show(SERVICE, "StatusText") == "no guest; sharing Other")
    configure(manager, "no TOML")
    manager.ctl("reload", SERVICE)
    manager.wait(lambda: "nothing has changed" in manager.log)
    manager.wait(lambda: manager.show(SERVICE, "ActiveState") == "active")
    assert manager.show(SERVICE, "StatusText") == "no guest; sharing Other"


def test_it_hangs(manager: Systemd) -> None:
    """systemd starts another one, and the guest that dials again gets it."""
    address = configure(manager, drop_in="[Service]\nWatchdogSec=300ms\nRestartSec=0\n")
    manager.ctl("start", SOCKET)
    with initiator(address) as mtp:
        assert "file" in mtp.names()
    first = manager.pid_of(SERVICE)
    told: set[str] = set()

    def is_alive() -> bool:
        told.add(manager.show(SERVICE, "WatchdogTimestampMonotonic"))
        return len(told) > 4

    manager.wait(is_alive)
    assert manager.show(SERVICE, "NRestarts") == "0"
    os.kill(first, signal.SIGSTOP)
    manager.wait(lambda: manager.pid_of(SERVICE) not in {0, first})
    with initiator(address) as mtp:
        assert "file" in mtp.names()
    assert manager.show(SERVICE, "NRestarts") == "1"


def test_what_is_wrong_is_not_tried_again(manager: Systemd) -> None:
    configure(manager, "port = 'x'")
    manager.ctl("start", SERVICE, check=False)
    assert manager.show(SERVICE, "ActiveState") == "failed"
    assert manager.show(SERVICE, "ExecMainStatus") == "2"
    assert "is not a valid integer" in manager.log


def test_a_folder_in_somebody_s_home(manager: Systemd) -> None:
    """BindPaths= lets it in, and nothing that is beside it."""
    home = manager.path("/home/alice")
    (home / "share").mkdir(parents=True)
    (home / "beside").write_text("private")
    shutil.chown(home / "share", USER)
    config = CONFIG.replace("/srv/share", "/home/alice/share")
    address = configure(manager, config, f"[Service]\nUser={USER}\nBindPaths=/home/alice/share\n")
    manager.ctl("start", SOCKET)
    with initiator(address) as mtp:
        mtp.send_file("new", b"data")
    assert (home / "share" / "new").read_bytes() == b"data"
    seen = manager.path(f"/proc/{manager.show(SERVICE, 'MainPID')}/root/home/alice")
    assert [path.name for path in seen.iterdir()] == ["share"]


MANAGER = f"""[Service]
Type=notify
User={USER}
Delegate=yes
Environment=HOME=/home/alice XDG_RUNTIME_DIR=/run/user/alice SYSTEMD_UNIT_PATH=/home/alice/.config/systemd/user
ExecStart={systemd.INIT} --user --log-target=console
"""


def test_a_user_s_own(manager: Systemd) -> None:
    """The user's units, as pipx and the page have them installed."""
    home = manager.path("/home/alice")
    units, programs, configs = home / ".config/systemd/user", home / ".local/bin", home / ".config/usbredir-mtp"
    for folder in (programs, configs, home / "share", manager.path("/run/user/alice")):
        folder.mkdir(parents=True)
    shutil.copytree(systemd.UNITS / "user", units)
    for target in ("basic", "default", "shutdown", "sockets"):
        (units / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    shutil.copy(manager.path("/usr/local/sbin/usbredir-mtp"), programs)
    (configs / "vm.toml").write_text(CONFIG.replace("/srv", "/home/alice"))
    manager.path("/etc/systemd/system/manager.service").write_text(MANAGER)
    manager.run("chown", "-R", USER, "/home/alice", "/run/user/alice")
    manager.ctl("daemon-reload")
    manager.ctl("start", "manager.service")
    user = [
        "setpriv",
        f"--reuid={USER}",
        "--clear-groups",
        "env",
        "HOME=/home/alice",
        "XDG_RUNTIME_DIR=/run/user/alice",
    ]
    user += ["systemctl", "--user"]
    manager.run(*user, "start", SOCKET)
    assert manager.run(*user, "show", "--property=ActiveState", "--value", SERVICE) == "inactive"
    socket = manager.path("/run/user/alice/usbredir-mtp/vm")
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    with initiator(f"unix:{socket}") as mtp:
        mtp.send_file("new", b"data")
    assert (home / "share" / "new").read_bytes() == b"data"
    assert manager.run(*user, "show", "--property=ActiveState", "--value", SERVICE) == "active"
    manager.run(*user, "stop", SERVICE, SOCKET)
