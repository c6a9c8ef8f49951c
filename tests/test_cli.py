from __future__ import annotations

import gc
import logging
import os
import socket
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner

from usbredir_mtp import __version__, cli, program
from usbredir_mtp.device.usb import Speed
from usbredir_mtp.mtp.codes import EventCode
from usbredir_mtp.mtp.nodes import storage_of
from usbredir_mtp.mtp.watch_plan import WatchMode
from usbredir_mtp.network.addresses import Address, AddressError, Inherited, Tcp, Unix
from usbredir_mtp.network.listening import Listener, ListenError
from usbredir_mtp.sandbox import Sandbox, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from click.testing import Result

    from usbredir_mtp.mtp.events import Event
    from usbredir_mtp.network.loop import Servers
    from usbredir_mtp.network.reporter import Reporter
    from usbredir_mtp.network.server import Server
    from usbredir_mtp.setup import Setup

STRANGER = 4_000_000_000
"""Nobody's user id."""


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests, no sandbox around them, and a folder `share` in the current one."""
    monkeypatch.setattr(cli, "enter", lambda *_arguments: Sandbox())
    for name in [name for name in os.environ if name.startswith("USBREDIR_MTP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "share").mkdir()


def parse(*arguments: str) -> Setup:
    [plan] = cli.parse(["--export", "share", *arguments])
    return plan.setup


# -- what the options mean ------------------------------------------------------------------------------------------


def test_defaults(tmp_path: Path) -> None:
    setup = parse()
    assert [(export.name, export.path, export.read_only) for export in setup.exports] == [
        ("share", tmp_path / "share", False)
    ]
    assert (setup.usb.vendor, setup.usb.product, setup.speed) == (0x46F4, 0x0004, Speed.HIGH)
    assert (setup.mtp.manufacturer, setup.mtp.model) == ("usbredir-mtp", "Shared folders")
    assert (setup.usb.manufacturer, setup.usb.product_name) == (setup.mtp.manufacturer, setup.mtp.model)
    assert setup.mtp.friendly_name == "Shared folders"
    assert setup.mtp.serial_number == setup.usb.serial
    assert setup.mtp.device_version == __version__
    assert setup.presentation.zone is None
    assert not setup.presentation.windows_names
    assert not setup.allow_format
    assert setup.exports[0].watch.mode is WatchMode.AUTO


OPTIONS: list[tuple[list[str], Callable[[Setup], object], object]] = [
    (["--read-only"], lambda setup: setup.exports[0].read_only, True),
    (["--show-hidden"], lambda setup: setup.exports[0].show_hidden, True),
    (["--follow-symlinks"], lambda setup: setup.exports[0].follow_symlinks, True),
    (["--watch", "off"], lambda setup: setup.exports[0].watch.mode, WatchMode.OFF),
    (["--fsync"], lambda setup: setup.exports[0].fsync, True),
    (["--android"], lambda setup: setup.mtp.vendor_extensions, "microsoft.com: 1.0; android.com: 1.0;"),
    (["--allow-format"], lambda setup: setup.allow_format, True),
    (["--speed", "full"], lambda setup: setup.speed, Speed.FULL),
    (["--speed", "super"], lambda setup: setup.speed, Speed.SUPER),
    (["--vendor-id", "18d1"], lambda setup: setup.usb.vendor, 0x18D1),
    (["--vendor-id", "0x18D1"], lambda setup: setup.usb.vendor, 0x18D1),
    (["--product-id", "FFFF"], lambda setup: setup.usb.product, 0xFFFF),
    (["--manufacturer", "Zoë"], lambda setup: (setup.usb.manufacturer, setup.mtp.manufacturer), ("Zoë", "Zoë")),
    (
        ["--product-name", "Box"],
        lambda setup: (setup.usb.product_name, setup.mtp.model, setup.mtp.friendly_name),
        ("Box", "Box", "Box"),
    ),
    (["--friendly-name", "Mine"], lambda setup: (setup.mtp.friendly_name, setup.mtp.model), ("Mine", "Shared folders")),
    (["--serial", "S1"], lambda setup: (setup.usb.serial, setup.mtp.serial_number), ("S1", "S1")),
    (["--time-zone", "Europe/Berlin"], lambda setup: setup.presentation.zone, ZoneInfo("Europe/Berlin")),
    (["--windows-names"], lambda setup: setup.presentation.windows_names, True),
    (["--state-dir", "state"], lambda setup: setup.state, Path("state")),
]


@pytest.mark.parametrize(("arguments", "look", "value"), OPTIONS)
def test_options(arguments: list[str], look: Callable[[Setup], object], value: object) -> None:
    assert look(parse()) != value
    assert look(parse(*arguments)) == value


@pytest.mark.parametrize(("arguments", "look", "value"), OPTIONS)
def test_the_environment(
    arguments: list[str], look: Callable[[Setup], object], value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "USBREDIR_MTP_" + arguments[0].removeprefix("--").replace("-", "_").upper()
    monkeypatch.setenv(name, arguments[1] if len(arguments) > 1 else "1")
    assert look(parse()) == value


def test_exports_add_up(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    setup = parse("--export", "other:ro", "--export", "Named=share")
    assert [str(export) for export in setup.exports] == [
        f"share: {tmp_path}/share (read-write)",
        f"other: {tmp_path}/other (read-only)",
        f"Named: {tmp_path}/share (read-write)",
    ]


def test_repeated_exports_and_names(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert len(parse("--export", "./share/").exports) == 1
    assert [export.name for export in parse("--export", "share=other").exports] == ["share", "share"]


def test_read_only_holds_for_all(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert all(export.read_only for export in parse("--read-only", "--export", "N=other").exports)


def test_the_serial_number_is_stable(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    serial = parse().usb.serial
    assert len(serial) == 32
    assert parse("--product-name", "Box", "--read-only").usb.serial == serial
    assert parse("--export", "other").usb.serial != serial


# -- what cannot be ---------------------------------------------------------------------------------------------------

WRONG: list[tuple[list[str], str]] = [
    (["--export", "missing"], "Invalid value for '--export': missing: No such file or directory"),
    (["--export", "file"], "Invalid value for '--export': file: Not a directory"),
    (["--export"], "Option '--export' requires an argument."),
    (["--config", "missing"], "File 'missing' does not exist"),
    (["--watch", "closely"], "watch: 'closely' is not one of"),
    (["--port", "65536"], "65536 is not in the range 0<=x<=65535"),
    (["--port", "-1"], "-1 is not in the range"),
    (["--port", "http"], "'http' is not a valid integer"),
    (["--listen", "4000"], "'4000' is no address: use tcp:HOST:PORT, unix:PATH, fd:N or systemd:[NAME]"),
    (["--listen", ""], "'' is no address"),
    (["--listen", "tcp:::1:4000"], "in brackets"),
    (["--listen", "unix:/" + "x" * 200], "too long for the path of a socket"),
    (["--socket-mode", "rw"], "'rw' is not three octal digits, such as '0660'"),
    (["--socket-mode", "1777"], "'1777' is not three octal digits"),
    (["--socket-mode", "0688"], "'0688' is not three octal digits"),
    (["--allow-user", "no-such-user"], "there is no user 'no-such-user'"),
    (["--speed", "low"], "'low' is not one of 'full', 'high', 'super'"),
    (["--vendor-id", "0"], "'0' is not a number from 0001 to ffff in hexadecimal"),
    (["--vendor-id", "10000"], "'10000' is not a number from 0001 to ffff"),
    (["--vendor-id", "-1"], "'-1' is not a number from 0001 to ffff"),
    (["--product-id", "xyz"], "'xyz' is not a number from 0001 to ffff"),
    (["--product-id", ""], "'' is not a number from 0001 to ffff"),
    (["--manufacturer", "m" * 127], "manufacturer must have 1 to 126 characters, not 127"),
    (["--product-name", ""], "product name must have 1 to 126 characters, not 0"),
    (["--serial", "s" * 127], "serial must have 1 to 126 characters, not 127"),
    (["--time-zone", "Mars/Olympus"], "--time-zone: there is no time zone 'Mars/Olympus'"),
    (["--time-zone", "../../etc/passwd"], "--time-zone: there is no time zone"),
    (["--state-dir", "file"], "Directory 'file' is a file"),
    (["--loop", "trio"], "'trio' is not one of 'auto', 'uvloop', 'asyncio'"),
    (["--sandbox", "seccomp"], "'seccomp' is not one of 'auto', 'landlock', 'off'"),
    (["--what"], "No such option"),
    (["argument"], "unexpected extra argument"),
]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.command, ["--export", "share", *arguments], prog_name="usbredir-mtp")


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_wrong_usage(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "file").touch()
    result = invoke(*arguments)
    assert result.exit_code == cli.EXIT_USAGE == 2
    *_, last = result.stderr.strip().splitlines()
    assert last.startswith("Error: ")
    assert said in last
    assert result.stdout == ""


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_wrong_usage_noticed_later(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r".") as caught:
        parse(*arguments)
    assert said in str(caught.value)


def test_nothing_to_share() -> None:
    result = CliRunner().invoke(cli.command, [])
    assert result.exit_code == 2
    assert "nothing to share: use --export [NAME=]PATH" in result.stderr


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_every_option(option: str) -> None:
    result = invoke(option)
    assert result.exit_code == 0
    for parameter in cli.command.params:
        assert parameter.opts[0] in result.stdout
    assert "USBREDIR_MTP_PORT" in result.stdout


def test_version() -> None:
    assert invoke("--version").stdout == f"usbredir-mtp, version {__version__}\n"


# -- what is done with them -------------------------------------------------------------------------------------------


@dataclass
class Network:
    """Stands in for the server: notes how it was started, says that it listens, then does what a test tells it."""

    outcome: BaseException | None = None
    refusal: Exception | None = None
    then: Callable[[Callable[[], None]], None] = lambda _reload: None
    started: list[list[Address]] = field(default_factory=list)
    modes: list[int] = field(default_factory=list)
    insecure: list[bool] = field(default_factory=list)
    closed: int = 0
    loops: list[str] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)

    @contextmanager
    def listening(self, addresses: Sequence[Address], *, insecure: bool, mode: int) -> Iterator[list[Listener]]:
        if self.refusal is not None:
            raise self.refusal
        self.started.append(list(addresses))
        self.insecure.append(insecure)
        self.modes.append(mode)
        try:
            with socket.socket() as sock:
                yield [Listener(address, sock, (0, 0)) for address in addresses]
        finally:
            self.closed += 1

    def serve(
        self,
        servers: Servers,
        ready: Callable[[], None],
        reload: Callable[[], None],
        reporter: Reporter,
        beside: object,
    ) -> object:
        assert beside is None
        [(server, ways)] = servers._first
        self.servers.append(server)
        assert [listener.address for listener in ways.listeners] == self.started[-1]
        self.shared = [storage_of(root).description for root in server.phone.mtp.objects.stores]
        ready()
        self.then(reload)
        return self

    def run(self, main: object, loop: str) -> None:
        assert main is self
        self.loops.append(loop)
        if self.outcome is not None:
            raise self.outcome


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    made = Network()
    monkeypatch.setattr(program, "listening", made.listening)
    monkeypatch.setattr(cli, "serve", made.serve)
    monkeypatch.setattr(cli, "run", made.run)
    monkeypatch.setattr(logging, "basicConfig", lambda **_options: None)
    return made


def test_a_good_end(network: Network) -> None:
    result = invoke("--state-dir", "state")
    assert (result.exit_code, result.stderr) == (0, "")
    assert network.started == [[Tcp("127.0.0.1", 4000)]]
    assert (network.modes, network.insecure, network.closed) == ([0o600], [False], 1)
    assert network.servers[0].users == {0, os.geteuid()}
    assert network.loops == ["auto"]
    assert network.shared == ["share"]
    assert result.stdout.startswith("Sharing\n  share: ")
    assert "Listening on tcp:127.0.0.1:4000" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "addresses"),
    [
        (["--port", "0"], [Tcp("127.0.0.1", 0)]),
        (["--host", "::1", "--port", "65535"], [Tcp("::1", 65535)]),
        (["--host", "vm.example"], [Tcp("vm.example", 4000)]),
        (["--listen", "tcp:127.0.0.1:4001"], [Tcp("127.0.0.1", 4001)]),
        (["--listen", "unix:/run/x", "--listen", "tcp:[::1]:0"], [Unix(Path("/run/x")), Tcp("::1", 0)]),
        (["--listen", "fd:3"], [Inherited(3)]),
    ],
)
def test_the_addresses(network: Network, arguments: list[str], addresses: list[Address]) -> None:
    assert invoke(*arguments).exit_code == 0
    assert network.started == [addresses]


LISTEN, PORT = "listen = 'unix:/file'\n", "port = 1\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "file", "address"),
    [
        (["--listen", "unix:/line"], {"PORT": "1"}, "", "unix:/line"),
        (["--listen", "unix:/line"], {"LISTEN": "unix:/env"}, LISTEN, "unix:/line"),
        (["--listen", "unix:/line"], {}, PORT, "unix:/line"),
        ([], {"LISTEN": "unix:/env"}, PORT, "unix:/env"),
        ([], {"LISTEN": "unix:/env"}, LISTEN, "unix:/env"),
        ([], {}, LISTEN, "unix:/file"),
        (["--port", "2"], {"LISTEN": "unix:/env"}, "", "tcp:127.0.0.1:2"),
        (["--host", "::1"], {}, LISTEN, "tcp:[::1]:4000"),
        ([], {"PORT": "2"}, LISTEN, "tcp:127.0.0.1:2"),
        ([], {}, "listen = []\n" + PORT, "tcp:127.0.0.1:1"),
    ],
)
def test_what_is_said_where_it_counts_more(
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environment: dict[str, str],
    file: str,
    address: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"USBREDIR_MTP_{name}", value)
    Path("config.toml").write_text(file)
    assert invoke("--config", "config.toml", *arguments).exit_code == 0
    assert [str(each) for each in network.started[0]] == [address]


@pytest.mark.parametrize(
    ("arguments", "environment", "file"),
    [
        (["--listen", "unix:/line", "--port", "4000"], {}, ""),
        (["--listen", "unix:/line", "--host", "127.0.0.1"], {}, LISTEN),
        ([], {"LISTEN": "unix:/env", "PORT": "1"}, ""),
        ([], {}, LISTEN + PORT),
    ],
)
def test_two_ways_to_say_it_at_once(
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environment: dict[str, str],
    file: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"USBREDIR_MTP_{name}", value)
    Path("config.toml").write_text(file)
    result = invoke("--config", "config.toml", *arguments)
    assert result.exit_code == 2
    assert "--listen does not go with --host and --port: say --listen tcp:HOST:PORT" in result.stderr
    assert network.started == []


def test_lists_in_the_file(network: Network) -> None:
    text = "listen = ['unix:/run/a b', 'tcp:[::1]:1']\nallow-user = ['root', 4000000000]\nsocket-mode = '0660'"
    Path("config.toml").write_text(text)
    assert invoke("--config", "config.toml").exit_code == 0
    assert network.started == [[Unix(Path("/run/a b")), Tcp("::1", 1)]]
    assert network.servers[0].users == {0, os.geteuid(), STRANGER}
    assert network.modes == [0o660]


def test_lists_in_the_environment(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USBREDIR_MTP_LISTEN", "unix:/run/x tcp:[::1]:1")
    monkeypatch.setenv("USBREDIR_MTP_ALLOW_USER", str(STRANGER))
    assert invoke("--insecure").exit_code == 0
    assert network.started == [[Unix(Path("/run/x")), Tcp("::1", 1)]]
    assert network.servers[0].users == {0, os.geteuid(), STRANGER}
    assert network.insecure == [True]


def test_who_may_connect(network: Network) -> None:
    assert invoke("--allow-user", "root", "--allow-user", str(STRANGER), "--socket-mode", "666").exit_code == 0
    assert network.servers[0].users == {0, os.geteuid(), STRANGER}
    assert network.modes == [0o666]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listen = 7", "'7' is no address"),
        ("listen = [{path = 'x'}]", "is no address"),
        ("socket-mode = 660", "660 is not three octal digits, such as '0660'"),
        ("socket-mode = 0o660", "432 is not three octal digits"),
        ("allow-user = 'no-such-user'", "there is no user 'no-such-user'"),
    ],
)
def test_what_a_file_cannot_say(network: Network, text: str, said: str) -> None:
    Path("config.toml").write_text(text)
    result = invoke("--config", "config.toml")
    assert result.exit_code == 2
    assert said in result.stderr


def test_an_address_that_other_machines_can_reach(network: Network) -> None:
    network.refusal = AddressError("tcp:0.0.0.0:4000 is open")
    result = invoke("--host", "0.0.0.0")
    assert result.exit_code == 2
    assert result.stderr.endswith("Error: tcp:0.0.0.0:4000 is open\n")
    assert network.servers == []


@pytest.mark.parametrize("loop", ["auto", "uvloop", "asyncio"])
def test_the_loop(network: Network, loop: str) -> None:
    assert invoke("--loop", loop).exit_code == 0
    assert network.loops == [loop]


def test_quiet(network: Network) -> None:
    assert invoke("-q").output == ""


@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_an_address_that_cannot_be_had(network: Network, quiet: list[str]) -> None:
    network.refusal = ListenError("cannot listen on unix:/x: Permission denied")
    result = invoke("--listen", "unix:/x", *quiet)
    assert result.exit_code == cli.EXIT_START == 3
    assert result.stderr == "Error: cannot listen on unix:/x: Permission denied\n"
    assert result.stdout == ""
    assert network.servers == []


@pytest.mark.parametrize(
    ("error", "said"),
    [(OSError(24, "Too many open files"), "Too many open files"), (OSError("no more"), "no more")],
)
def test_a_loop_that_does_not_listen(network: Network, error: OSError, said: str) -> None:
    network.outcome = error
    result = invoke("-q")
    assert (result.exit_code, result.stderr) == (3, f"Error: cannot listen: {said}\n")
    assert network.closed == 1


def test_a_second_signal(network: Network) -> None:
    network.outcome = KeyboardInterrupt()
    result = invoke("-q")
    assert (result.exit_code, result.output) == (1, "")


@pytest.mark.parametrize("outcome", [None, OSError(98, "in use"), KeyboardInterrupt(), RuntimeError("a fault")])
def test_storages_are_closed_whatever_happens(network: Network, outcome: BaseException | None) -> None:
    network.outcome = outcome
    invoke("-q")
    [server] = network.servers
    [root] = server.phone.mtp.objects.stores
    with pytest.raises(OSError, match=r"[Bb]ad file descriptor"):
        storage_of(root).space()


@pytest.fixture
def without_uvloop(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[int, str, list[str]]]:
    """Asks for uvloop where it is not installed; gives exit status, what is printed, and Python's warnings."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    monkeypatch.setattr(logging, "basicConfig", lambda **_options: None)

    def ask() -> tuple[int, str, list[str]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = invoke("--loop", "uvloop", "--port", "0")
            ended = result.exit_code, result.stderr
            del result
            gc.collect()
        return *ended, [str(warning.message) for warning in caught]

    return ask


def test_uvloop_that_is_not_there(without_uvloop: Callable[[], tuple[int, str, list[str]]]) -> None:
    status, said, _ = without_uvloop()
    assert status == 2
    assert "Error: --loop uvloop: uvloop is not installed" in said


def test_uvloop_that_is_not_there_is_no_reason_for_more(
    without_uvloop: Callable[[], tuple[int, str, list[str]]],
) -> None:
    assert without_uvloop()[2] == []


def test_a_folder_that_goes_before_it_is_opened(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def vanish(_export: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "share")

    monkeypatch.setattr("usbredir_mtp.exports.Export.open", vanish)
    result = invoke()
    assert result.exit_code == 3
    assert "share" in result.stderr
    assert "listen" not in result.stderr


# -- the sandbox ------------------------------------------------------------------------------------------------------


def test_what_the_sandbox_is_told(network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    heard: list[tuple[Any, ...]] = []

    def enter(*arguments: Any) -> Sandbox:
        heard.append(arguments)
        assert len(network.servers) < len(heard) == len(network.started), "all listen, and nothing has been started"
        return Sandbox()

    monkeypatch.setattr(cli, "enter", enter)
    (tmp_path / "config.toml").touch()
    addresses = ["--listen", "tcp:127.0.0.1:4005", "--listen", "unix:/run/x"]
    assert invoke(*addresses, "--config", "config.toml").exit_code == 0
    assert invoke("--sandbox", "off").exit_code == 0
    [(mode, needs), (other, others)] = heard
    assert (mode, other) == ("auto", "off")
    assert (needs.config, needs.sockets, needs.bind) == (Path("config.toml"), [Path("/run/x")], {4005})
    assert (others.config, others.sockets) == (None, [])
    assert [export.name for setup in needs.setups for export in setup.exports] == ["share"]


def test_a_sandbox_that_cannot_be_had(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def enter(*_arguments: object) -> Sandbox:
        raise SandboxError("no sandbox: no Landlock")

    monkeypatch.setattr(cli, "enter", enter)
    result = invoke("--sandbox", "landlock")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "Error: no sandbox: no Landlock\n")
    assert network.servers == []


# -- the log ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def configured(network: Network, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(logging, "basicConfig", lambda **options: calls.append(options))
    watchdog = logging.getLogger("watchdog")
    level = watchdog.level
    yield calls
    watchdog.setLevel(level)


@pytest.mark.parametrize(
    ("arguments", "level", "named"),
    [
        ([], logging.WARNING, False),
        (["-v"], logging.INFO, False),
        (["-vv"], logging.DEBUG, True),
        (["-v", "-v", "-v"], logging.DEBUG, True),
        (["-q"], logging.ERROR, False),
        (["-q", "-vv"], logging.ERROR, False),
    ],
)
def test_how_much_is_logged(configured: list[dict[str, Any]], arguments: list[str], level: int, named: bool) -> None:
    assert invoke(*arguments).exit_code == 0
    [options] = configured
    assert options["level"] == level
    assert ("%(name)s" in options["format"]) is named
    assert logging.getLogger("watchdog").level == logging.WARNING


# -- reading everything anew ------------------------------------------------------------------------------------------


@dataclass
class Subscriber:
    heard: list[EventCode] = field(default_factory=list)

    def notify(self, event: Event, /) -> None:
        self.heard.append(event.code)


def test_exports_come_and_go(network: Network, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    config = tmp_path / "config.toml"
    config.write_text("friendly-name = 'before'\n[[export]]\npath = 'share'")
    listener = Subscriber()

    def then(reload: Callable[[], None]) -> None:
        device = network.servers[0].phone.mtp
        device.objects.publisher.subscribe(listener)
        serial = device.identity.serial_number
        config.write_text("friendly-name = 'after'\nallow-format = true\n[[export]]\npath = 'other'")
        reload()
        assert [storage_of(root).description for root in device.objects.stores] == ["other"]
        assert (device.identity.friendly_name, device.allow_format) == ("after", True)
        assert device.identity.serial_number == serial, "it is the same device"
        assert listener.heard == [
            EventCode.STORE_REMOVED,
            EventCode.STORE_ADDED,
            EventCode.DEVICE_INFO_CHANGED,
            EventCode.DEVICE_PROP_CHANGED,
        ]

    network.then = then
    result = CliRunner().invoke(cli.command, ["--config", str(config)], catch_exceptions=False)
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "config.toml"),
        ("[[export]]\npath = 'missing'", "missing: No such file or directory"),
        ("", "nothing to share"),
        ("speed = 'ludicrous'\nexport = 'share'", "'ludicrous' is not one of"),
        ("serial = ''\nmanufacturer = ''\nexport = 'share'", "manufacturer must have"),
    ],
)
def test_a_mistake_changes_nothing(
    network: Network, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, said: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[[export]]\npath = 'share'")
    listener = Subscriber()

    def then(reload: Callable[[], None]) -> None:
        device = network.servers[0].phone.mtp
        device.objects.publisher.subscribe(listener)
        config.write_text(text)
        reload()
        assert [storage_of(root).description for root in device.objects.stores] == ["share"]
        assert listener.heard == []

    network.then = then
    result = CliRunner().invoke(cli.command, ["--config", str(config)], catch_exceptions=False)
    assert result.exit_code == 0
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.message.startswith("nothing has changed: ")
    assert said in record.message
    assert record.exc_info is None


def test_the_console_script(
    network: Network, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["whatever", "--version"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"usbredir-mtp, version {__version__}\n"


def test_no_host_at_all(network: Network) -> None:
    result = invoke("--host", "")
    assert result.exit_code == 2
    assert "an address" in result.stderr
