"""The command line."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from usbredir_mtp import __version__
from usbredir_mtp.banner import description
from usbredir_mtp.network.addresses import Address, AddressError, Tcp
from usbredir_mtp.network.dialing import DialError
from usbredir_mtp.network.listening import ListenError
from usbredir_mtp.network.loop import run, serve
from usbredir_mtp.network.tls import TlsError, TlsFiles
from usbredir_mtp.options import OPTIONS, Reading, config_of, section_of
from usbredir_mtp.program import Plan, Program, Reach
from usbredir_mtp.sandbox import Needs, Sandbox, SandboxError, enter
from usbredir_mtp.setup import configure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

logger = logging.getLogger(__name__)

EXIT_USAGE = 2
EXIT_START = 3
"""Exit codes, beside 0: the command line is wrong; something failed at start."""

_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "auto_envvar_prefix": "USBREDIR_MTP"}
_EPILOG = (
    "Every option can be set by an environment variable too: --port by USBREDIR_MTP_PORT. SIGHUP makes the program "
    "read --config anew: exports and devices come and go. Exit codes: 0 ended by SIGINT or SIGTERM, 1 by a second one, "
    "2 wrong usage, 3 could not start. Other commands: usbredir-mtp check says what these options would do."
)


class _Command(click.Command):
    """Keeps the arguments, so that they can be read once more when the configuration has changed."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        return super().make_context(info_name, args, *rest, **{"obj": Reading(tuple(args)), **extra})


def _optioned(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(OPTIONS):
        function = option(function)
    return function


@click.command(cls=_Command, context_settings=_CONTEXT, epilog=_EPILOG)
@_optioned
@click.version_option(__version__, prog_name="usbredir-mtp")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Share folders with virtual machines as a virtual MTP phone, over usbredir."""
    _set_up_logging(-1 if options["quiet"] else options["verbose"])
    plans = _wanted(ctx)
    try:
        program = Program(plans)
    except (AddressError, TlsError) as error:
        raise click.UsageError(str(error)) from error
    except ListenError as error:
        _cannot_start(str(error))
    try:
        _serve(options, program, lambda: parse(ctx.obj.arguments))
    finally:
        program.close()


@click.command(name="check", cls=_Command, context_settings=_CONTEXT)
@_optioned
@click.pass_context
def check(ctx: click.Context, /, **_options: Any) -> None:
    """Say what these options, and the file of --config, would do; exit code 2 if they are wrong."""
    plans = _wanted(ctx)
    try:
        for plan in plans:
            plan.reach.check()
    except (AddressError, TlsError) as error:
        raise click.UsageError(str(error)) from error
    click.echo("\n\n".join(map(description, plans)))


COMMANDS = {"check": check}
"""What there is beside serving, which needs no name."""


def parse(arguments: Sequence[str]) -> list[Plan]:
    """The devices that the arguments, and all that they lead to, ask for now.

    Raises:
        ValueError: they cannot be used; the text says why.
    """
    try:
        with command.make_context("usbredir-mtp", list(arguments)) as context:
            return _wanted(context)
    except click.ClickException as error:
        raise ValueError(error.format_message()) from error


def _wanted(ctx: click.Context) -> list[Plan]:
    """The device of a context, or the devices of the file.

    Raises:
        click.UsageError: they cannot be had.
    """
    try:
        plans = list(_plans(ctx))
    except click.ClickException:
        raise
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _require_different(plans)
    return plans


def _plans(ctx: click.Context) -> Iterator[Plan]:
    config = config_of(ctx)
    if config is None or not config.devices:
        yield _plan(ctx, "")
        return
    if ctx.params["exports"]:
        raise click.UsageError(f"--export does not go with the [[device]] tables of {ctx.params['config']}")
    for name in config.devices:
        reading = Reading(ctx.obj.arguments, name)
        with ctx.command.make_context(ctx.info_name, list(reading.arguments), obj=reading) as own:
            yield _plan(own, name)


def _plan(ctx: click.Context, name: str) -> Plan:
    options = ctx.params
    reach = Reach(
        listen=_addresses(ctx),
        connect=options["connect"],
        tls=TlsFiles(options["tls_cert"], options["tls_key"], options["tls_ca"]),
        insecure=options["insecure"],
        mode=options["socket_mode"],
        users=options["allow_user"],
    )
    return Plan(name, configure(options, section_of(ctx), name), reach)


def _require_different(plans: Sequence[Plan]) -> None:
    """No two devices can have the same serial number or address."""
    found: dict[object, str] = {}
    for plan in plans:
        places = [each for each in (*plan.reach.listen, *plan.reach.connect) if not isinstance(each, Tcp) or each.port]
        for mark in (f"the serial number {plan.setup.usb.serial!r}", *places):
            other = found.setdefault(mark, plan.name)
            if other != plan.name:
                raise click.UsageError(f"the devices {other!r} and {plan.name!r} both have {mark}")


_SOURCES = {ParameterSource.DEFAULT_MAP: 1, ParameterSource.ENVIRONMENT: 2, ParameterSource.COMMANDLINE: 3}
"""Where an option can come from; what is later goes before what is earlier."""


def _addresses(context: click.Context) -> tuple[Address, ...]:
    """What --listen says, or --host and --port: whichever is said where it goes before the other."""
    sources = map(context.get_parameter_source, ("listen", "host", "port"))
    listen, *short = (_SOURCES.get(source or ParameterSource.DEFAULT, 0) for source in sources)
    addresses: tuple[Address, ...] = context.params["listen"]
    if addresses and listen == max(short):
        raise click.UsageError("--listen does not go with --host and --port: say --listen tcp:HOST:PORT")
    if (addresses and listen > max(short)) or (context.params["connect"] and not max(short)):
        return addresses
    return (Tcp(context.params["host"], context.params["port"]),)


def _serve(options: dict[str, Any], program: Program, read_again: Callable[[], list[Plan]]) -> None:
    sandbox = _enter(options, program.needs)

    def ready() -> None:
        if not options["quiet"]:
            click.echo("\n\n".join(device.banner for device in program.devices))
            sys.stdout.flush()
        program.start()

    try:
        servers = program.share(sandbox)
    except OSError as error:
        _cannot_start(f"cannot share {error.filename or 'a folder'}: {error.strerror or error}")
    try:
        reload = partial(_reload, program, sandbox, read_again)
        run(serve(servers, ready, reload), options["loop"])
    except ImportError as error:
        raise click.UsageError("--loop uvloop: uvloop is not installed (pip install uvloop)") from error
    except DialError as error:
        _cannot_start(str(error))
    except OSError as error:
        _cannot_start(f"cannot listen: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit(1)


def _reload(program: Program, sandbox: Sandbox, read_again: Callable[[], list[Plan]]) -> None:
    try:
        plans = read_again()
    except ValueError as error:
        hint = sandbox.explain(error)
        logger.error("nothing has changed: %s%s", error, hint)  # noqa: TRY400  (a user's mistake, no fault)
    else:
        program.reload(plans)


def _enter(options: dict[str, Any], needs: Needs) -> Sandbox:
    ports = frozenset(port for each in options["reserve"] if isinstance(each, range) for port in each)
    wanted = replace(
        needs,
        config=options["config"],
        bind=needs.bind | ports,
        connect=needs.connect | ports,
        reserved=[each for each in options["reserve"] if not isinstance(each, range)],
    )
    try:
        return enter(options["sandbox"], wanted)
    except SandboxError as error:
        _cannot_start(str(error))


def _cannot_start(text: str) -> NoReturn:
    click.echo(f"Error: {text}", err=True)
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
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in COMMANDS:
        COMMANDS[name].main(sys.argv[2:], prog_name=f"usbredir-mtp {name}")
    command(prog_name="usbredir-mtp")
