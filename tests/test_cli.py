from __future__ import annotations

import gc
import logging
import os
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner

from usbredir_mtp import __version__, cli
from usbredir_mtp.device.usb import Speed
from usbredir_mtp.mtp.codes import EventCode
from usbredir_mtp.mtp.nodes import storage_of
from usbredir_mtp.mtp.watch_plan import WatchMode
from usbredir_mtp.sandbox import Sandbox, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result

    from usbredir_mtp.mtp.events import Event
    from usbredir_mtp.server import Server
    from usbredir_mtp.setup import Setup

ADDRESSES = [("127.0.0.1", 4001)]


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests, no sandbox around them, and a folder `share` in the current one."""
    monkeypatch.setattr(cli, "enter", lambda *_arguments: Sandbox())
    for name in [name for name in os.environ if name.startswith("USBREDIR_MTP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "share").mkdir()


def parse(*arguments: str) -> Setup:
    return cli.parse(["--export", "share", *arguments])


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

    ready: bool = True
    outcome: BaseException | None = None
    then: Callable[[Callable[[], None]], None] = lambda _reload: None
    started: list[tuple[str, int]] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)

    def serve(
        self,
        server: Server,
        host: str,
        port: int,
        ready: Callable[[list[tuple[str, int]]], None],
        reload: Callable[[], None],
    ) -> object:
        self.servers.append(server)
        self.started.append((host, port))
        self.shared = [storage_of(root).description for root in server.phone.mtp.objects.stores]
        if self.ready:
            ready(ADDRESSES)
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
    monkeypatch.setattr(cli, "serve", made.serve)
    monkeypatch.setattr(cli, "run", made.run)
    monkeypatch.setattr(logging, "basicConfig", lambda **_options: None)
    return made


def test_a_good_end(network: Network) -> None:
    result = invoke("--state-dir", "state")
    assert (result.exit_code, result.stderr) == (0, "")
    assert network.started == [("127.0.0.1", 4000)]
    assert network.loops == ["auto"]
    assert network.shared == ["share"]
    assert result.stdout.startswith("Sharing\n  share: ")
    assert "Listening on 127.0.0.1:4001" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (["--port", "0"], ("127.0.0.1", 0)),
        (["--host", "::1", "--port", "65535"], ("::1", 65535)),
        (["--host", "vm.example"], ("vm.example", 4000)),
    ],
)
def test_the_address(network: Network, arguments: list[str], address: tuple[str, int]) -> None:
    assert invoke(*arguments).exit_code == 0
    assert network.started == [address]


@pytest.mark.parametrize("loop", ["auto", "uvloop", "asyncio"])
def test_the_loop(network: Network, loop: str) -> None:
    assert invoke("--loop", loop).exit_code == 0
    assert network.loops == [loop]


def test_quiet(network: Network) -> None:
    assert invoke("-q").output == ""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(98, "Address already in use"), "cannot listen on ::1 port 4001: Address already in use"),
        (OSError("could not bind"), "cannot listen on ::1 port 4001: could not bind"),
    ],
)
@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_an_address_that_cannot_be_had(network: Network, quiet: list[str], error: OSError, said: str) -> None:
    network.ready, network.outcome = False, error
    result = invoke("--host", "::1", "--port", "4001", *quiet)
    assert result.exit_code == cli.EXIT_START == 3
    assert result.stderr == f"Error: {said}\n"
    assert result.stdout == ""


@pytest.mark.parametrize("host", ["x" * 64, "two..dots.é"])
def test_a_host_that_is_no_name(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr(logging, "basicConfig", lambda **_options: None)
    result = invoke("--host", host, "--port", "0", "--loop", "asyncio")
    assert result.exit_code in {cli.EXIT_USAGE, cli.EXIT_START}
    assert host in result.stderr


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
        assert len(network.servers) < len(heard), "nothing has been started yet"
        return Sandbox()

    monkeypatch.setattr(cli, "enter", enter)
    (tmp_path / "config.toml").touch()
    assert invoke("--port", "4005", "--config", "config.toml").exit_code == 0
    assert invoke("--sandbox", "off").exit_code == 0
    [(mode, setup, config, port), (other, *_)] = heard
    assert (mode, config, port, other) == ("auto", Path("config.toml"), 4005, "off")
    assert [export.name for export in setup.exports] == ["share"]


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
class Listener:
    heard: list[EventCode] = field(default_factory=list)

    def notify(self, event: Event, /) -> None:
        self.heard.append(event.code)


def test_exports_come_and_go(network: Network, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    config = tmp_path / "config.toml"
    config.write_text("friendly-name = 'before'\n[[export]]\npath = 'share'")
    listener = Listener()

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
    listener = Listener()

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
