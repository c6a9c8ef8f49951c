"""The command line."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import platformdirs

from usbredir_mtp import __version__
from usbredir_mtp.banner import banner
from usbredir_mtp.config import ConfigError, read_config
from usbredir_mtp.exports import ExportError, Shares, parse_export
from usbredir_mtp.sandbox import AUTO, MODES, Sandbox, SandboxError, enter
from usbredir_mtp.server import Server, run, serve
from usbredir_mtp.setup import SPEEDS, Setup, configure, update

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

EXIT_USAGE = 2
EXIT_START = 3
"""Exit codes, beside 0: the command line is wrong; something failed at start."""

_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


if TYPE_CHECKING:
    _TextType = click.ParamType[str]
    _NumberType = click.ParamType[int]
else:  # generic for type checkers, and since 8.4
    _TextType = _NumberType = click.ParamType


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
        ctx.default_map = settings
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
    "show-hidden, follow-symlinks, watch).",
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
    "--android",
    is_flag=True,
    help="Claim to be an Android phone: GNOME's programs then edit files in place, but libmtp's list more slowly.",
)
@click.option("--allow-format", is_flag=True, help="Let guests remove everything in an export at once.")
@click.option("--host", callback=_require_text, default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=4000,
    show_default=True,
    help="TCP port to listen on; 0 picks a free one.",
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
    _serve(options, setup, lambda: parse(arguments))


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


def _serve(options: dict[str, Any], setup: Setup, read_again: Callable[[], Setup]) -> None:
    sandbox = _enter(options, setup)
    phone, shares = setup.make()

    def ready(addresses: list[tuple[str, int]]) -> None:
        if not options["quiet"]:
            click.echo(banner(setup.exports, addresses))
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
        run(serve(Server(phone), options["host"], options["port"], ready, reload), options["loop"])
    except ImportError as error:
        raise click.UsageError("--loop uvloop: uvloop is not installed (pip install uvloop)") from error
    except (OSError, UnicodeError) as error:
        where = f"{options['host']} port {options['port']}"
        reason = error.strerror if isinstance(error, OSError) else "not the name of a host"
        click.echo(f"Error: cannot listen on {where}: {reason or error}", err=True)
        sys.exit(EXIT_START)
    except KeyboardInterrupt:
        sys.exit(1)
    finally:
        phone.mtp.close()


def _enter(options: dict[str, Any], setup: Setup) -> Sandbox:
    try:
        return enter(options["sandbox"], setup, options["config"], options["port"])
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
