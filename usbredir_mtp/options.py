"""The options of the command line, which are those of the environment and of the configuration file too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import platformdirs

from usbredir_mtp.config import Config, ConfigError, Section, read_config
from usbredir_mtp.exports import ExportError, parse_export
from usbredir_mtp.logs import FORMATS, TEXT
from usbredir_mtp.network.addresses import (
    CONNECT_SYNTAX,
    SYNTAX,
    parse_address,
    parse_target,
)
from usbredir_mtp.network.listening import user_id
from usbredir_mtp.network.server import GRACE
from usbredir_mtp.sandbox import AUTO, MODES
from usbredir_mtp.setup import SPEEDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

if TYPE_CHECKING:
    _TextType = click.ParamType[str]
    _NumberType = click.ParamType[int]
    _ParsedBase = click.ParamType[Any]
    _ReserveBase = click.ParamType[Path | range]
else:  # generic for type checkers, and since 8.4
    _TextType = _NumberType = _ParsedBase = _ReserveBase = click.ParamType


class _ExportType(_TextType):
    name = "[NAME=]PATH[:ro]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            parse_export(value)
        except ExportError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class _IdType(_NumberType):
    """A USB id, in hexadecimal as everybody writes them."""

    name = "HEX"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value, 16)
        except (TypeError, ValueError):  # a number of TOML's, which would be decimal
            number = 0
        if 0 < number <= 0xFFFF:  # noqa: PLR2004  (USB ids have 16 bits)
            return number
        return self.fail(f"{value!r} is not a number from 0001 to ffff in hexadecimal", param, ctx)


class _ParsedType(_ParsedBase):
    """What a function makes of a text; its ValueError says what is wrong with one.

    Args:
        name: What `--help` shows.
        parse: The function.
    """

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._parse(str(value))
        except ValueError as error:
            return self.fail(str(error), param, ctx)


_ADDRESS = _ParsedType("ADDRESS", parse_address)
_TARGET = _ParsedType("ADDRESS", parse_target)
_USER = _ParsedType("NAME|UID", user_id)


class _ReserveType(_ReserveBase):
    """Ports or a folder; a folder whose name is a number is ./ and that number."""

    name = "FOLDER|PORT[-PORT]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | range:
        match = re.fullmatch("([0-9]{1,5})(?:-([0-9]{1,5}))?", str(value), re.ASCII)
        if match is not None:
            ports = range(int(match[1]), int(match[2] or match[1]) + 1)
            if 0 < len(ports) <= _MOST_PORTS and ports[0] > 0 and ports[-1] <= _LAST_PORT:
                return ports
            return self.fail(f"{value}: 1 to {_MOST_PORTS} ports from 1 to {_LAST_PORT} are expected", param, ctx)
        path = Path(str(value)).expanduser()
        if path.is_dir():
            return path.resolve()
        return self.fail(f"{value}: there is no such folder", param, ctx)


_LAST_PORT = 0xFFFF
_MOST_PORTS = 1000


class _ModeType(_NumberType):
    """Permissions, in octal as everybody writes them; TOML's numbers are decimal, and would be something else."""

    name = "OCTAL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, str) and re.fullmatch("0?[0-7]{3}", value, re.ASCII):
            return int(value, 8)
        return self.fail(f"{value!r} is not three octal digits, such as '0660'", param, ctx)


def _require_text(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not value:
        raise click.BadParameter("an address or a host's name is needed", ctx, param)
    return value


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(slots=True, frozen=True)
class Reading:
    """What a context was made of: `ctx.obj`.

    Attributes:
        arguments: So that they can be read once more when the configuration has changed.
        device: Whose options these are; "" for those of all.
        config: The configuration file, where it has been read already: a device's options are those of the same state.
    """

    arguments: Sequence[str] = ()
    device: str = ""
    config: Config | None = None


GLOBAL = frozenset(
    {"config", "version", "exports", "sandbox", "reserve", "metrics", "loop", "log_format", "verbose", "quiet"}
)
"""Options that no device has of its own."""

_CONFIG = "usbredir_mtp.config"


def config_of(ctx: click.Context) -> Config | None:
    """The configuration file; None if there is none."""
    return ctx.meta.get(_CONFIG)


def section_of(ctx: click.Context) -> Section | None:
    """What the configuration file says of exports."""
    config = config_of(ctx)
    return None if config is None else config.section(ctx.obj.device)


def _read_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Let a file say what the command line and the environment do not."""
    if value is not None:
        names = {each.name for each in ctx.command.params if each.name}
        try:
            known = ctx.obj.config
            config = known or read_config(value, names - {"config", "exports", "version"}, names - GLOBAL)
        except ConfigError as error:
            raise click.BadParameter(str(error), ctx, param) from error
        ctx.meta[_CONFIG] = config
        section = config.section(ctx.obj.device)
        lists = {each.name for each in ctx.command.params if each.multiple}
        paths = {each.name for each in ctx.command.params if isinstance(each.type, click.Path)}
        settings = {**config.top.settings, **section.settings}
        for name, setting in settings.items():
            is_path = name in paths and not isinstance(setting, str)
            if is_path or isinstance(setting, dict) or (isinstance(setting, list) and name not in lists):
                raise click.BadParameter(f"{value}: {name.replace('_', '-')} cannot be {setting!r}", ctx, param)
        ctx.default_map = {
            name: [setting] if name in lists and not isinstance(setting, list) else setting
            for name, setting in settings.items()
        }
    return value


OPTIONS: Sequence[Callable[[Any], Any]] = (
    click.option(
        "--export",
        "exports",
        type=_ExportType(),
        multiple=True,
        envvar=(),
        help="Folder to share; repeat it for more. NAME is what guests see (default: the folder's name), "
        ":ro keeps them from changing it.",
    ),
    click.option(
        "--config",
        type=_FILE,
        is_eager=True,
        callback=_read_config,
        help="TOML file with these options as keys, and an [[export]] table for each folder (path, name, read-only, "
        "show-hidden, follow-symlinks, watch, fsync). Many devices: a [[device]] table for each, with a "
        "name, exports and options of its own.",
    ),
    click.option("--read-only", is_flag=True, help="Let guests change nothing in any export."),
    click.option("--show-hidden", is_flag=True, help="Show files whose names begin with a dot."),
    click.option(
        "--follow-symlinks", is_flag=True, help="Show what symbolic links lead to, where that is in the same export."
    ),
    click.option(
        "--watch",
        metavar="HOW",
        default="auto",
        show_default=True,
        help="How to notice changes on the host: inotify, poll or poll=SECONDS, off; auto polls remote file systems.",
    ),
    click.option(
        "--fsync",
        is_flag=True,
        help="Tell a guest that an upload is done only when it is on the disk, safe from a power failure: slower.",
    ),
    click.option(
        "--android",
        is_flag=True,
        help="Claim to be an Android phone: GNOME's programs then edit files in place, but libmtp's list more slowly.",
    ),
    click.option("--allow-format", is_flag=True, help="Let guests remove everything in an export at once."),
    click.option(
        "--listen",
        type=_ADDRESS,
        multiple=True,
        help=f"Where guests attach: {SYNTAX}; repeat it for more. fd: is a listening socket that this program "
        "inherits, systemd: those that systemd passes to it; with a NAME only those with that FileDescriptorName=, "
        "without one, for one of many devices, those with the device's name. Where neither this nor --port nor "
        "--connect is said, they are taken without being asked for.",
    ),
    click.option(
        "--connect",
        type=_TARGET,
        multiple=True,
        help=f"Where a VM waits to be connected to: {CONNECT_SYNTAX}; repeat it for more. Tried again until it works, "
        "and whenever the connection is lost.",
    ),
    click.option(
        "--spice-password-file",
        type=_FILE,
        help="File whose first line is the password of the SPICE servers of --connect; or set "
        "USBREDIR_MTP_SPICE_PASSWORD.",
    ),
    click.option("--spice-password-prompt", is_flag=True, help="Ask for that password at the start."),
    click.option(
        "--qmp",
        type=click.Path(path_type=Path),
        help="Unix socket of a QMP monitor of the VM of --connect spice: to join a viewer's session there instead of "
        "taking it over. Needs usbredir-mtp[qmp].",
    ),
    click.option(
        "--host",
        callback=_require_text,
        default="127.0.0.1",
        show_default=True,
        help="Address to listen on, where there is neither --listen nor --connect.",
    ),
    click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=4000,
        show_default=True,
        help="TCP port to listen on, where there is neither --listen nor --connect; 0 picks a free one.",
    ),
    click.option(
        "--tls-cert",
        type=_FILE,
        help="PEM file with this program's certificate, and those that prove it: TCP is encrypted then, both ways.",
    ),
    click.option("--tls-key", type=_FILE, help="PEM file with its key, if that is not in the same file."),
    click.option(
        "--tls-ca",
        type=_FILE,
        help="PEM file with the authorities that must have signed the other end's certificate: without it guests need "
        "none, and a VM that is connected to one that the system knows.",
    ),
    click.option(
        "--insecure",
        is_flag=True,
        help="Listen where other machines can connect, without --tls-cert and --tls-ca: whoever can reach the port has "
        "the exports.",
    ),
    click.option(
        "--socket-mode",
        type=_ModeType(),
        default="0600",
        show_default=True,
        help="Permissions of unix sockets.",
    ),
    click.option(
        "--allow-user",
        type=_USER,
        multiple=True,
        help="User who may connect to unix sockets, beside you and root (Linux); repeat it for more.",
    ),
    click.option(
        "--speed",
        type=click.Choice(list(SPEEDS)),
        default="high",
        show_default=True,
        help="USB speed of the device. super needs an xHCI controller in the guest.",
    ),
    click.option("--vendor-id", type=_IdType(), default="46f4", show_default=True, help="USB vendor id."),
    click.option("--product-id", type=_IdType(), default="0004", show_default=True, help="USB product id."),
    click.option("--manufacturer", default="usbredir-mtp", show_default=True, help="Manufacturer's name."),
    click.option("--product-name", default="Shared folders", show_default=True, help="Product name."),
    click.option("--friendly-name", help="Name of the device for its user.  [default: the product name]"),
    click.option("--serial", help="Serial number.  [default: made from this machine and the exports]"),
    click.option(
        "--time-zone",
        metavar="ZONE",
        help="Zone of the guests' clocks, such as UTC or Europe/Berlin: most initiators take a file's time for their "
        "own local time.  [default: this host's]",
    ),
    click.option(
        "--windows-names",
        is_flag=True,
        help="Show characters that Windows cannot have in names as ones that it can, and store them as what they were.",
    ),
    click.option(
        "--state-dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=platformdirs.user_state_path("usbredir-mtp", appauthor=False),
        show_default=True,
        help="Where to keep what guests have set, such as the device's friendly name.",
    ),
    click.option(
        "--media/--no-media",
        default=True,
        help="Read properties and thumbnails from pictures and music, in a process of its own, where "
        "usbredir-mtp[media] is installed.  [default: media]",
    ),
    click.option(
        "--cache-dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=platformdirs.user_cache_path("usbredir-mtp", appauthor=False),
        show_default=True,
        help="Where to keep thumbnails.",
    ),
    click.option(
        "--sandbox",
        type=click.Choice(MODES),
        default=AUTO,
        show_default=True,
        help="Let the kernel keep this program from opening anything but the exports; auto does without where it "
        "cannot, and warns. Exports that SIGHUP adds have to be inside of those of the start, or see --reserve.",
    ),
    click.option(
        "--reserve",
        type=_ReserveType(),
        multiple=True,
        help="What the sandbox lets SIGHUP add: a folder in which there may be exports and unix sockets, or TCP ports "
        "to listen on and connect to; repeat it for more.",
    ),
    click.option(
        "--grace",
        type=click.IntRange(0, 86400),
        metavar="SECONDS",
        default=int(GRACE),
        show_default=True,
        help="How long transfers that are running may take to end before their device is unplugged, when the program "
        "ends, and uploads before their export goes, when SIGHUP takes it away.",
    ),
    click.option(
        "--loop",
        type=click.Choice(["auto", "uvloop", "asyncio"]),
        default="auto",
        show_default=True,
        help="Event loop; auto takes uvloop where it is installed.",
    ),
    click.option(
        "--metrics",
        type=_ADDRESS,
        help=f"Where a monitor asks for /metrics (Prometheus) and /healthz: {SYNTAX}. Needs usbredir-mtp[metrics].",
    ),
    click.option(
        "--log-format",
        type=click.Choice(FORMATS),
        default=TEXT,
        show_default=True,
        help="Lines of text, or a JSON object on each.",
    ),
    click.option("-v", "--verbose", count=True, help="Log connections and failures; twice: every operation."),
    click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors."),
)
