"""The command line."""

from __future__ import annotations

import logging
import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import platformdirs
from click.core import ParameterSource

from usbredir_mtp import __version__
from usbredir_mtp.addresses import SYNTAX, Address, AddressError, Tcp, parse_address
from usbredir_mtp.banner import banner
from usbredir_mtp.config import ConfigError, read_config
from usbredir_mtp.exports import ExportError, Shares, parse_export
from usbredir_mtp.listening import ListenError, listening, user_id
from usbredir_mtp.sandbox import AUTO, MODES, Sandbox, SandboxError, enter
from usbredir_mtp.server import GRACE, Server, run, serve
from usbredir_mtp.setup import SPEEDS, Setup, configure, update

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from usbredir_mtp.listening import Listener

logger = logging.getLogger(__name__)

EXIT_USAGE = 2
EXIT_START = 3
"""Exit codes, beside 0: the command line is wrong; something failed at start."""

_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


if TYPE_CHECKING:
    _TextType = click.ParamType[str]
    _NumberType = click.ParamType[int]
    _AddressBase = click.ParamType[Address]
else:  # generic for type checkers, and since 8.4
    _TextType = _NumberType = _AddressBase = click.ParamType


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
        except ValueError:
            number = 0
        if 0 < number <= 0xFFFF:  # noqa: PLR2004  (USB ids have 16 bits)
            return number
        return self.fail(f"{value!r} is not a number from 0001 to ffff in hexadecimal", param, ctx)


class _AddressType(_AddressBase):
    name = "ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        try:
            return parse_address(str(value))
        except AddressError as error:
            return self.fail(str(error), param, ctx)


class _UserType(_NumberType):
    name = "NAME|UID"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return user_id(str(value))
        except ValueError as error:
            return self.fail(str(error), param, ctx)


class _ModeType(_NumberType):
    """Permissions, in octal as everybody writes them; TOML's numbers are decimal, and would be something else."""

    name = "OCTAL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, str) and re.fullmatch("0?[0-7]{3}", value, re.ASCII):
            return int(value, 8)
        return self.fail(f"{value!r} is not three octal digits, such as '0660'", param, ctx)


class _Command(click.Command):
    """Keeps the arguments, so that they can be read once more when the configuration has changed."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        return super().make_context(info_name, args, *rest, obj=tuple(args), **extra)


def _require_text(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not value:
        raise click.BadParameter("an address or a host's name is needed", ctx, param)
    return value


def _read_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Let a file say what the command line and the environment do not."""
    if value is not None:
        names = {each.name for each in ctx.command.params if each.name}
        try:
            settings = read_config(value, names - {"config", "exports", "version"})
        except ConfigError as error:
            raise click.BadParameter(str(error), ctx, param) from error
        lists = {each.name for each in ctx.command.params if each.multiple}
        ctx.default_map = {
            name: [setting] if name in lists and not isinstance(setting, list) else setting
            for name, setting in settings.items()
        }
    return value


@click.command(
    cls=_Command,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "auto_envvar_prefix": "USBREDIR_MTP",
    },
    epilog="Every option can be set by an environment variable too: --port by USBREDIR_MTP_PORT. SIGHUP makes the "
    "program read --config anew: exports come and go in running guests. Exit codes: 0 ended by SIGINT or SIGTERM, 1 by "
    "a second one, 2 wrong usage, 3 could not start.",
)
@click.option(
    "--export",
    "exports",
    type=_ExportType(),
    multiple=True,
    envvar=(),
    help="Folder to share; repeat it for more. NAME is what guests see (default: the folder's name), "
    ":ro keeps them from changing it.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    is_eager=True,
    callback=_read_config,
    help="TOML file with these options as keys, and an [[export]] table for each folder (path, name, read-only, "
    "show-hidden, follow-symlinks, watch, fsync).",
)
@click.option("--read-only", is_flag=True, help="Let guests change nothing in any export.")
@click.option("--show-hidden", is_flag=True, help="Show files whose names begin with a dot.")
@click.option(
    "--follow-symlinks", is_flag=True, help="Show what symbolic links lead to, where that is in the same export."
)
@click.option(
    "--watch",
    metavar="HOW",
    default="auto",
    show_default=True,
    help="How to notice changes on the host: inotify, poll or poll=SECONDS, off; auto polls remote file systems.",
)
@click.option(
    "--fsync",
    is_flag=True,
    help="Tell a guest that an upload is done only when it is on the disk, safe from a power failure: slower.",
)
@click.option(
    "--android",
    is_flag=True,
    help="Claim to be an Android phone: GNOME's programs then edit files in place, but libmtp's list more slowly.",
)
@click.option("--allow-format", is_flag=True, help="Let guests remove everything in an export at once.")
@click.option(
    "--listen",
    type=_AddressType(),
    multiple=True,
    help=f"Where guests attach: {SYNTAX}; repeat it for more. fd: is a listening socket that this program inherits.",
)
@click.option(
    "--host",
    callback=_require_text,
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on, where there is no --listen.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=4000,
    show_default=True,
    help="TCP port to listen on, where there is no --listen; 0 picks a free one.",
)
@click.option("--insecure", is_flag=True, help="Listen where other machines can connect: nothing is encrypted.")
@click.option(
    "--socket-mode",
    type=_ModeType(),
    default="0600",
    show_default=True,
    help="Permissions of unix sockets.",
)
@click.option(
    "--allow-user",
    type=_UserType(),
    multiple=True,
    help="User who may connect to unix sockets, beside you and root (Linux); repeat it for more.",
)
@click.option(
    "--speed",
    type=click.Choice(list(SPEEDS)),
    default="high",
    show_default=True,
    help="USB speed of the device. super needs an xHCI controller in the guest.",
)
@click.option("--vendor-id", type=_IdType(), default="46f4", show_default=True, help="USB vendor id.")
@click.option("--product-id", type=_IdType(), default="0004", show_default=True, help="USB product id.")
@click.option("--manufacturer", default="usbredir-mtp", show_default=True, help="Manufacturer's name.")
@click.option("--product-name", default="Shared folders", show_default=True, help="Product name.")
@click.option("--friendly-name", help="Name of the device for its user.  [default: the product name]")
@click.option("--serial", help="Serial number.  [default: made from this machine and the exports]")
@click.option(
    "--time-zone",
    metavar="ZONE",
    help="Zone of the guests' clocks, such as UTC or Europe/Berlin: most initiators take a file's time for their "
    "own local time.  [default: this host's]",
)
@click.option(
    "--windows-names",
    is_flag=True,
    help="Show characters that Windows cannot have in names as ones that it can, and store them as what they were.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=platformdirs.user_state_path("usbredir-mtp", appauthor=False),
    show_default=True,
    help="Where to keep what guests have set, such as the device's friendly name.",
)
@click.option(
    "--media/--no-media",
    default=True,
    help="Read properties and thumbnails from pictures and music, in a process of its own, where "
    "usbredir-mtp[media] is installed.  [default: media]",
)
@click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=platformdirs.user_cache_path("usbredir-mtp", appauthor=False),
    show_default=True,
    help="Where to keep thumbnails.",
)
@click.option(
    "--sandbox",
    type=click.Choice(MODES),
    default=AUTO,
    show_default=True,
    help="Let the kernel keep this program from opening anything but the exports; auto does without where it cannot, "
    "and warns. Exports that SIGHUP adds have to be inside of those of the start.",
)
@click.option(
    "--grace",
    type=click.IntRange(0, 86400),
    metavar="SECONDS",
    default=int(GRACE),
    show_default=True,
    help="How long transfers that are running may take to end before their device is unplugged, when the program ends, "
    "and uploads before their export goes, when SIGHUP takes it away.",
)
@click.option(
    "--loop",
    type=click.Choice(["auto", "uvloop", "asyncio"]),
    default="auto",
    show_default=True,
    help="Event loop; auto takes uvloop where it is installed.",
)
@click.option("-v", "--verbose", count=True, help="Log connections and failures; twice: every operation.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.version_option(__version__, prog_name="usbredir-mtp")
@click.pass_obj
def command(arguments: Sequence[str], /, **options: Any) -> None:
    """Share folders with virtual machines as a virtual MTP phone, over usbredir."""
    _set_up_logging(-1 if options["quiet"] else options["verbose"])
    try:
        setup = configure(options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    addresses = _addresses(click.get_current_context())
    with ExitStack() as stack:
        _serve(options, setup, _listen(stack, options, addresses), lambda: parse(arguments))


def parse(arguments: Sequence[str]) -> Setup:
    """What the arguments, and all that they lead to, ask for now.

    Raises:
        ValueError: they cannot be used; the text says why.
    """
    try:
        with command.make_context("usbredir-mtp", list(arguments)) as context:
            return configure(context.params)
    except click.ClickException as error:
        raise ValueError(error.format_message()) from error


_SOURCES = {ParameterSource.DEFAULT_MAP: 1, ParameterSource.ENVIRONMENT: 2, ParameterSource.COMMANDLINE: 3}
"""Where an option can come from; what is later goes before what is earlier."""


def _addresses(context: click.Context) -> tuple[Address, ...]:
    """What --listen says, or --host and --port: whichever is said where it goes before the other."""
    sources = map(context.get_parameter_source, ("listen", "host", "port"))
    listen, *short = (_SOURCES.get(source or ParameterSource.DEFAULT, 0) for source in sources)
    addresses: tuple[Address, ...] = context.params["listen"]
    if addresses and listen == max(short):
        raise click.UsageError("--listen does not go with --host and --port: say --listen tcp:HOST:PORT")
    if addresses and listen > max(short):
        return addresses
    return (Tcp(context.params["host"], context.params["port"]),)


def _listen(stack: ExitStack, options: dict[str, Any], addresses: Sequence[Address]) -> list[Listener]:
    """Listen until the stack is closed."""
    try:
        return stack.enter_context(listening(addresses, insecure=options["insecure"], mode=options["socket_mode"]))
    except AddressError as error:
        raise click.UsageError(str(error)) from error
    except ListenError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_START)


def _serve(
    options: dict[str, Any], setup: Setup, listeners: Sequence[Listener], read_again: Callable[[], Setup]
) -> None:
    sandbox = _enter(options, setup, listeners)
    phone, shares = setup.make()
    server = Server(phone, options["grace"], options["allow_user"])

    def ready() -> None:
        if not options["quiet"]:
            click.echo(banner(setup.exports, [listener.address for listener in listeners]))
            sys.stdout.flush()
        phone.mtp.start()

    def reload() -> None:
        try:
            wanted = read_again()
            sandbox.require(wanted.exports)
            update(phone.mtp, shares, wanted)
        except (ValueError, OSError) as error:
            hint = sandbox.explain(error)
            logger.error("nothing has changed: %s%s", error, hint)  # noqa: TRY400  (a user's mistake, no fault)

    try:
        _share(shares, setup)
        run(serve(server, listeners, ready, reload), options["loop"])
    except ImportError as error:
        raise click.UsageError("--loop uvloop: uvloop is not installed (pip install uvloop)") from error
    except OSError as error:
        click.echo(f"Error: cannot listen: {error.strerror or error}", err=True)
        sys.exit(EXIT_START)
    except KeyboardInterrupt:
        sys.exit(1)
    finally:
        phone.mtp.close()


def _enter(options: dict[str, Any], setup: Setup, listeners: Sequence[Listener]) -> Sandbox:
    sockets = [listener.file for listener in listeners if listener.file]
    try:
        return enter(options["sandbox"], setup, options["config"], sockets)
    except SandboxError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_START)


def _share(shares: Shares, setup: Setup) -> None:
    try:
        shares.update(setup.exports)
    except OSError as error:
        click.echo(f"Error: cannot share {error.filename or 'a folder'}: {error.strerror or error}", err=True)
        sys.exit(EXIT_START)


def _set_up_logging(verbosity: int) -> None:
    logging.basicConfig(
        level=_LEVELS[min(verbosity, 2)],
        format="%(asctime)s %(levelname)s %(name)s: %(message)s" if verbosity > 1 else "%(levelname)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("watchdog").setLevel(logging.WARNING)


def main() -> None:
    """The console script."""
    command(prog_name="usbredir-mtp")
