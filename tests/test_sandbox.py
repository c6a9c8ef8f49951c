"""The second wall: what the program cannot reach, whatever fault it has."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.codes import Op, Rc
from tests.support.initiator import Initiator, refused
from tests.support.usbredir import Guest
from usbredir_mtp import cli, landlock, sandbox
from usbredir_mtp.exports import Export
from usbredir_mtp.landlock import Access
from usbredir_mtp.sandbox import READ, WRITE, Needs, Sandbox, SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from usbredir_mtp.setup import Setup

ROOT = Path(__file__).parents[1]


def _abi() -> int:
    try:
        return landlock.abi()
    except OSError:
        return 0


ABI = _abi()
real = pytest.mark.skipif(landlock.MIN_ABI > ABI, reason="this kernel's Landlock is missing, off or too old")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two exports, with a file each, and what is none of the program's business."""
    for name in ("share", "fixed", "outside", "config"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "share" / "link").symlink_to(tmp_path / "outside" / "file")
    return tmp_path


class Running(NamedTuple):
    process: subprocess.Popen[str]
    port: int
    outcomes: list[str]

    @property
    def said(self) -> str:
        """The next line of the log."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    @contextmanager
    def initiator(self) -> Iterator[Initiator]:
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            guest = Guest(connection)
            guest.attach()
            guest.set_configuration(1)
            mtp = Initiator(guest)
            mtp.open_session()
            yield mtp


@contextmanager
def faulty(place: Path, attempts: list[tuple[str, object]], *arguments: str) -> Iterator[Running]:
    """The program in a process of its own, which has made these attempts."""
    folders = ["--state-dir", str(place / "state"), "--cache-dir", str(place / "cache")]
    command = [sys.executable, "-m", "tests.support.intruder", json.dumps(attempts), *folders]
    if "--listen" not in arguments:
        command += ["--port", "0"]
    with subprocess.Popen(
        [*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            found = re.match(r"Outcomes: (\[.*\])", process.stdout.readline())
            assert found, process.stderr.read()
            for line in process.stdout:
                if port := re.fullmatch(r"Listening on .*:(\d+)\n", line):
                    break
            else:
                pytest.fail("no 'Listening on' line")
            yield Running(process, int(port[1]), json.loads(found[1]))
        finally:
            process.kill()


def exports(place: Path) -> list[str]:
    return ["--export", str(place / "share"), "--export", f"{place / 'fixed'}:ro"]


# -- what a fault can do ----------------------------------------------------------------------------------------------


class Attempt(NamedTuple):
    """What is tried.

    Attributes:
        name: In the intruder's table.
        path: Below `place`, or absolute.
        outcome: In the sandbox; without it is "ok".
        since: The first version of Landlock that is about it.
    """

    name: str
    path: str
    outcome: str = "EACCES"
    since: int = 1


ATTEMPTS = [
    Attempt("read", "outside/file"),
    Attempt("read", "share/link"),
    Attempt("read", "share/../outside/file"),
    Attempt("read", "/etc/fstab"),
    Attempt("read", "/proc/1/cmdline"),
    Attempt("list", "/"),
    Attempt("list", "."),
    Attempt("list", "/proc"),
    Attempt("edit", "outside/file"),
    Attempt("create", "outside/new"),
    Attempt("create", "new"),
    Attempt("make folder", "outside/folder"),
    Attempt("link", "outside/new link"),
    Attempt("truncate", "outside/file", since=3),
    Attempt("rename", "outside/file"),
    Attempt("remove", "outside/file.new"),
    Attempt("execute", "/bin/true"),
    Attempt("read", "fixed/file", "ok"),
    Attempt("list", "fixed", "ok"),
    Attempt("edit", "fixed/file"),
    Attempt("create", "fixed/new"),
    Attempt("make folder", "fixed/folder"),
    Attempt("truncate", "fixed/file", since=3),
    Attempt("rename", "fixed/file"),
    Attempt("remove", "fixed/file.new"),
    Attempt("read", "share/file", "ok"),
    Attempt("list", "share", "ok"),
    Attempt("edit", "share/file", "ok"),
    Attempt("truncate", "share/file", "ok"),
    Attempt("create", "share/new", "ok"),
    Attempt("make folder", "share/folder", "ok"),
    Attempt("across", "share", "ok"),
    Attempt("rename", "share/new", "ok"),
    Attempt("remove", "share/new.new", "ok"),
    Attempt("link", "share/new link"),
    Attempt("create", "state/new", "ok"),
    Attempt("create", "cache/new", "ok"),
    Attempt("edit", "/dev/null", "ok"),
]


def tried(place: Path) -> list[tuple[str, object]]:
    return [(each.name, str(place / each.path)) for each in ATTEMPTS]


@real
def test_a_fault_reaches_nothing_else(place: Path) -> None:
    # These two are there only in the other case, where the attempt before has made them.
    for name in ("outside", "fixed"):
        (place / name / "file.new").touch()
    with faulty(place, tried(place), *exports(place)) as running:
        outcomes = dict(zip(ATTEMPTS, running.outcomes, strict=True))
    expected = {each: each.outcome if each.since <= ABI else "ok" for each in ATTEMPTS}
    assert outcomes == expected


def test_without_a_sandbox_it_would(place: Path) -> None:
    """Else the test above would show nothing."""
    (place / "state").mkdir()
    (place / "cache").mkdir()
    with faulty(place, tried(place), *exports(place), "--sandbox", "off") as running:
        refused = {each: said for each, said in zip(ATTEMPTS, running.outcomes, strict=True) if said != "ok"}
    assert {each.path for each in refused} <= {"/etc/fstab"}  # not everywhere is there one


@real
def test_links_can_be_renamed_where_they_are_shown(place: Path) -> None:
    attempts: list[tuple[str, object]] = [("link", str(place / "share/new")), ("rename", str(place / "share/new"))]
    with faulty(place, attempts, *exports(place), "--follow-symlinks") as running:
        assert running.outcomes == ["ok", "ok"]


@real
def test_nothing_runs_before_the_sandbox(place: Path) -> None:
    with faulty(place, [("threads", 1)], *exports(place)) as running:
        assert running.outcomes == ["ok"]


@pytest.mark.skipif(ABI < 4, reason="this kernel's Landlock knows nothing of TCP")
def test_no_other_tcp(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, socket.create_server(("127.0.0.1", 0)) as free:
        port, number = other.getsockname()[1], free.getsockname()[1]
        free.close()
        attempts: list[tuple[str, object]] = [("connect", port), ("bind", number), ("bind", 0)]
        with faulty(place, attempts, *exports(place)) as running:
            assert running.outcomes == ["EACCES"] * 3
        with faulty(place, [("connect", port)], *exports(place), "--sandbox", "off") as running:
            assert running.outcomes == ["ok"]


@real
def test_the_socket_s_folder(place: Path) -> None:
    """The program has to remove its socket in the end, and there is no right to do so but for a folder."""
    (place / "sockets").mkdir()
    (place / "sockets" / "other").touch()
    names = ("list", "create", "edit", "rename", "remove")
    attempts: list[tuple[str, object]] = [(name, str(place / "sockets" / "other")) for name in names]
    attempts[0], attempts[1] = ("list", str(place / "sockets")), ("create", str(place / "sockets" / "new"))
    listen = ["--listen", f"unix:{place}/sockets/mtp", "--listen", "tcp:127.0.0.1:0"]
    with faulty(place, attempts, *exports(place), *listen) as running:
        assert running.outcomes == [*["EACCES"] * 4, "ok"]
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
    assert list((place / "sockets").iterdir()) == []


@pytest.mark.skipif(ABI < 6, reason="this kernel's Landlock knows nothing of signals")
def test_no_signals(place: Path) -> None:
    with faulty(place, [("signal", os.getpid())], *exports(place)) as running:
        assert running.outcomes == ["EPERM"]


@pytest.mark.parametrize("mode", [pytest.param("landlock", marks=real), "off"])
def test_a_hole_in_the_first_wall(place: Path, mode: str) -> None:
    """A guest reads a file, and the program, by a fault, opens another one."""
    attempts: list[tuple[str, object]] = [("hole", str(place / "outside" / "file"))]
    with faulty(place, attempts, *exports(place), "--sandbox", mode) as running, running.initiator() as mtp:
        handle = mtp.names(storage=mtp.storage_ids()[0])["file"]
        if mode == "off":
            assert mtp.command(Op.GET_OBJECT, handle).data.startswith(b"out")
        else:
            with refused(Rc.ACCESS_DENIED):
                mtp.get_object(handle)


# -- what goes on as ever ---------------------------------------------------------------------------------------------


@real
def test_a_guest_notices_nothing(place: Path) -> None:
    with faulty(place, [], *exports(place)) as running, running.initiator() as mtp:
        share, fixed = mtp.storage_ids()
        assert mtp.get_object(mtp.names(storage=fixed)["file"]) == b"fixed"
        folder = mtp.make_folder("folder", storage=share)
        handle = mtp.send_file("new", b"x" * 1000, storage=share)
        mtp.move(handle, folder, share)
        mtp.rename(handle, "renamed")
        copy = mtp.copy(handle, 0, share)
        mtp.delete(handle)
        mtp.begin_edit(copy)
        mtp.truncate(copy, 10)
        mtp.end_edit(copy)
        mtp.set_device_prop_value(0xD402, "Mine")
        running.process.send_signal(signal.SIGTERM)
    assert (place / "share" / "renamed").read_bytes() == b"x" * 10
    assert [path.name for path in (place / "share" / "folder").iterdir()] == []
    [state] = (place / "state").iterdir()
    assert "Mine" in state.read_text()


@real
def test_thumbnails_are_made_and_kept(place: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (300, 200)).save(place / "share" / "picture.png")
    with faulty(place, [], *exports(place)) as running, running.initiator() as mtp:
        handle = mtp.names(storage=mtp.storage_ids()[0])["picture.png"]
        assert mtp.command(Op.GET_THUMB, handle).data.startswith(b"\xff\xd8")
    assert [path.suffix for path in (place / "cache" / "thumbnails").iterdir()] == [".jpg"]


@real
def test_a_folder_that_is_made_anew_is_out_of_reach(place: Path) -> None:
    with faulty(place, [], *exports(place)) as running, running.initiator() as mtp:
        share, fixed = mtp.storage_ids()
        assert "file" in mtp.names(storage=share)
        shutil.move(place / "share", place / "old")
        (place / "share").mkdir()
        (place / "share" / "another").touch()
        with refused(Rc.ACCESS_DENIED):
            mtp.names(storage=share)
        said = running.said
        assert f"{place / 'share'} is another folder now" in said
        assert "restart" in said
        assert mtp.names(storage=fixed).keys() == {"file"}
        (place / "share" / "another").unlink()
        (place / "share").rmdir()
        (place / "old").rename(place / "share")
        assert "file" in mtp.names(storage=share)


# -- SIGHUP -----------------------------------------------------------------------------------------------------------


@contextmanager
def configured(place: Path, text: str) -> Iterator[tuple[Running, Path]]:
    config = place / "config" / "config.toml"
    config.write_text(text)
    with faulty(place, [], "--config", str(config)) as running:
        yield running, config


def table(path: Path, more: str = "") -> str:
    return f"[[export]]\npath = '{path}'\n{more}\n"


@real
@pytest.mark.parametrize(
    "added", ["outside", "config", "share/../outside", "fixed again", "linked"], ids=lambda added: added.split("/")[0]
)
def test_what_was_not_shared_at_the_start_needs_a_restart(place: Path, added: str) -> None:
    start = table(place / "share") + table(place / "fixed", "read-only = true")
    tables = {
        "fixed again": table(place / "fixed"),
        "linked": table(place / "share", "follow-symlinks = true"),
    }
    with configured(place, start) as (running, config), running.initiator() as mtp:
        config.write_text(start + tables.get(added, table(place / added)))
        running.process.send_signal(signal.SIGHUP)
        said = running.said
        assert said.startswith("ERROR: nothing has changed: ")
        assert "--sandbox off" in said
        assert "restart" in said
        assert len(mtp.storage_ids()) == 2
        assert "file" in mtp.names(storage=mtp.storage_ids()[0])


@real
def test_what_is_inside_of_what_was_shared_can_be_added(place: Path) -> None:
    (place / "share" / "inner").mkdir()
    with configured(place, table(place / "share")) as (running, config), running.initiator() as mtp:
        mtp.guest.start_interrupt()
        new = config.with_suffix(".new")
        new.write_text(table(place / "share" / "inner", "name = 'added'"))
        new.replace(config)
        running.process.send_signal(signal.SIGHUP)
        mtp.wait_event()
        mtp.wait_event()
        [storage] = mtp.storage_ids()
        assert mtp.storage_info(storage).description == "added"
        mtp.send_file("new", b"x", storage=storage)
    assert (place / "share" / "inner" / "new").exists()


# -- what is allowed --------------------------------------------------------------------------------------------------


def rules(setup: Setup, config: Path | None = None, sockets: Sequence[Path] = ()) -> Iterator[tuple[Path, Access]]:
    return sandbox.rules(Needs([setup], sockets, config=config))


def parsed(place: Path, *arguments: str) -> Setup:
    folders = ["--state-dir", str(place / "state"), "--cache-dir", str(place / "cache")]
    [plan] = cli.parse([*exports(place), *folders, *arguments])
    return plan.setup


def test_rules(place: Path) -> None:
    allowed = list(rules(parsed(place), None))
    assert (place / "share", WRITE) in allowed
    assert (place / "fixed", READ) in allowed
    assert (place / "state", WRITE) in allowed
    assert (Path("/proc/self"), READ) in allowed
    mine = [path for path, _ in allowed if path.is_relative_to(place)]
    assert sorted(path.name for path in mine) == ["cache", "fixed", "share", "state"]
    writable = [path for path, access in allowed if access & Access.MAKE_REG]
    assert sorted(path.name for path in writable) == ["cache", "share", "state"]


@pytest.mark.parametrize("place_of", ["/", "/etc", "/home", "/usr", "/tmp", "~", "."])
def test_nothing_wide_is_allowed(place: Path, place_of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the program was started."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place / "outside"))
    monkeypatch.setattr(sys, "path", [str(place), "", *sys.path])
    (place / "outside" / "config.toml").touch()
    wide = Path(place_of).expanduser().resolve()
    allowed = rules(parsed(place), place / "outside" / "config.toml")
    assert [path for path, access in allowed if wide.is_relative_to(path.resolve()) and access != Access.READ_DIR] == []


def test_rules_for_sockets(place: Path) -> None:
    sockets = [place / "outside" / "one", place / "other"]
    allowed = list(rules(parsed(place), None, sockets))
    assert [each for each in allowed if each[1] == Access.REMOVE_FILE] == [
        (place / "outside", Access.REMOVE_FILE),
        (place, Access.REMOVE_FILE),
    ]


def test_folders_are_made_for_their_owner_alone(place: Path) -> None:
    list(rules(parsed(place), None))
    assert (place / "state").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_made_is_no_error(place: Path) -> None:
    setup = parsed(place, "--state-dir", str(place / "share" / "file" / "state"))
    assert any(path.name == "state" for path, _ in rules(setup, None))


def test_no_media_no_cache(place: Path) -> None:
    list(rules(parsed(place, "--no-media"), None))
    assert not (place / "cache").exists()


def test_one_folder_shared_twice_has_the_rights_of_both(place: Path) -> None:
    setup = parsed(place, "--export", f"again={place / 'fixed'}")
    assert (place / "fixed", WRITE) in list(rules(setup, None))


@pytest.mark.parametrize(("folder", "whole"), [("own", True), ("", False), ("..", False)])
def test_the_configuration_s_folder(place: Path, monkeypatch: pytest.MonkeyPatch, folder: str, whole: bool) -> None:
    home = place / "outside"
    monkeypatch.setenv("HOME", str(home))
    (home / "own").mkdir()
    config = home / folder / "config.toml"
    config.touch()
    allowed = [path for path, _ in rules(parsed(place), config)]
    assert (config.resolve().parent in allowed) is whole
    assert (config in allowed) is not whole


def test_etc_is_no_folder_of_its_own() -> None:
    assert sandbox._readable(Path("/etc/usbredir-mtp.toml")) == Path("/etc/usbredir-mtp.toml")


@pytest.mark.parametrize(
    ("export", "fits"),
    [
        (Export("", Path("/a")), True),
        (Export("", Path("/a/b")), True),
        (Export("", Path("/a"), read_only=True), True),
        (Export("", Path("/ab")), False),
        (Export("", Path("/")), False),
        (Export("", Path("/a"), follow_symlinks=True), False),
        (Export("", Path("/a"), read_only=True, follow_symlinks=True), True),
        (Export("", Path("/fixed"), read_only=True), True),
        (Export("", Path("/fixed")), False),
    ],
)
def test_what_can_be_shared_later(export: Export, fits: bool) -> None:
    Sandbox().require([export])
    inside = Sandbox({Path("/a"): WRITE, Path("/fixed"): READ})
    if fits:
        inside.require([export])
    else:
        with pytest.raises(SandboxError, match="restart"):
            inside.require([export])


def test_only_a_refusal_is_explained() -> None:
    inside = Sandbox({})
    error = ValueError("wrong")
    assert inside.explain(error) == ""
    error.__cause__ = PermissionError(errno.EACCES, "denied")
    assert "--sandbox off" in inside.explain(error)
    assert Sandbox().explain(error) == ""


def test_what_may_be_executed() -> None:
    """The interpreter, and what the kernel loads it by; nothing else."""
    executable = {path.resolve() for path, access in sandbox._python() if access & Access.EXECUTE}
    assert Path(sys.executable).resolve() in executable
    assert len(executable) <= 3
