"""The command line."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from usbredir_mtp import __version__
from usbredir_mtp.banner import banner
from usbredir_mtp.device.identity import Identity, stable_serial
from usbredir_mtp.device.usb import Speed
from usbredir_mtp.exports import Export, ExportError, open_exports, parse_export
from usbredir_mtp.mtp.identity import ResponderIdentity
from usbredir_mtp.server import Server, run, serve
from usbredir_mtp.session import Phone

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_USAGE = 2
EXIT_START = 3
"""Exit codes, beside 0: the command line is wrong; something failed at start."""

_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}
_SPEEDS = {speed.name.lower(): speed for speed in (Speed.FULL, Speed.HIGH, Speed.SUPER)}


class _ExportType(click.ParamType[str]):
    name = "[NAME=]PATH[:ro]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            parse_export(value)
        except ExportError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class _IdType(click.ParamType[int]):
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


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 ended by SIGINT or SIGTERM, 2 wrong usage, 3 could not start.",
)
@click.option(
    "--export",
    "exports",
    type=_ExportType(),
    multiple=True,
    required=True,
    help="Folder to share; repeat it for more. NAME is what guests see (default: the folder's name), "
    ":ro keeps them from changing it.",
)
@click.option("--read-only", is_flag=True, help="Let guests change nothing in any export.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=4000,
    show_default=True,
    help="TCP port to listen on; 0 picks a free one.",
)
@click.option(
    "--speed",
    type=click.Choice(list(_SPEEDS)),
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
    "--loop",
    type=click.Choice(["auto", "uvloop", "asyncio"]),
    default="auto",
    show_default=True,
    help="Event loop; auto takes uvloop where it is installed.",
)
@click.option("-v", "--verbose", count=True, help="Log connections and failures; twice: every operation.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.version_option(__version__, prog_name="usbredir-mtp")
def command(**options: Any) -> None:
    """Share folders with virtual machines as a virtual MTP phone, over usbredir."""
    _set_up_logging(-1 if options["quiet"] else options["verbose"])
    exports, phone = configure(options)
    _serve(options, exports, phone)


def configure(options: dict[str, Any]) -> tuple[list[Export], Phone]:
    """What the command line's options ask for.

    Raises:
        click.UsageError: they contradict what a device can be.
    """
    exports = [parse_export(text, read_only=options["read_only"]) for text in options["exports"]]
    try:
        return exports, _phone(options, exports)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _serve(options: dict[str, Any], exports: list[Export], phone: Phone) -> None:
    def ready(addresses: list[tuple[str, int]]) -> None:
        if not options["quiet"]:
            click.echo(banner(exports, addresses))
            sys.stdout.flush()
        objects.watch()

    objects = open_exports(exports)
    server = Server(objects, phone)
    try:
        run(serve(server, options["host"], options["port"], ready), options["loop"])
    except ImportError as error:
        raise click.UsageError("--loop uvloop: uvloop is not installed (pip install uvloop)") from error
    except OSError as error:
        where = f"{options['host']} port {options['port']}"
        click.echo(f"Error: cannot listen on {where}: {error.strerror or error}", err=True)
        sys.exit(EXIT_START)
    except KeyboardInterrupt:
        sys.exit(1)
    finally:
        objects.close()


def _phone(options: dict[str, Any], exports: Sequence[Export]) -> Phone:
    serial = options["serial"] or stable_serial(_machine_id(), *(str(export.path) for export in exports))
    usb = Identity(
        vendor=options["vendor_id"],
        product=options["product_id"],
        manufacturer=options["manufacturer"],
        product_name=options["product_name"],
        serial=serial,
    )
    mtp = ResponderIdentity(
        manufacturer=usb.manufacturer,
        model=usb.product_name,
        device_version=__version__,
        serial_number=serial,
        friendly_name=options["friendly_name"] or usb.product_name,
    )
    return Phone(usb, mtp, _SPEEDS[options["speed"]])


def _machine_id() -> str:
    """What tells this machine from others (systemd's machine-id(5)); the host name where there is none."""
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"), Path("/etc/hostname")):
        with suppress(OSError):
            if text := path.read_text(encoding="ascii", errors="replace").strip():
                return text
    return "unknown"


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
