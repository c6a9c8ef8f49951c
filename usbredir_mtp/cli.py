"""The command line."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from click.core import ParameterSource

from usbredir_mtp import __version__, logs
from usbredir_mtp.network.activation import passed
from usbredir_mtp.network.addresses import Activated, Address, Spice, Tcp
from usbredir_mtp.network.dialing import DialError
from usbredir_mtp.network.listening import ListenError
from usbredir_mtp.network.loop import run, serve
from usbredir_mtp.network.reporter import Reporter
from usbredir_mtp.network.tls import TlsFiles
from usbredir_mtp.notify import notifier, status_of
from usbredir_mtp.options import OPTIONS, Reading, config_of, section_of
from usbredir_mtp.program import Plan, Program, Reach
from usbredir_mtp.sandbox import Needs, Sandbox, SandboxError, enter
from usbredir_mtp.setup import configure

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from usbredir_mtp.monitor import Monitor
    from usbredir_mtp.network.addresses import Target
    from usbredir_mtp.spice_access import SpiceAccess

logger = logging.getLogger(__name__)

EXIT_USAGE = 2
EXIT_START = 3
"""Exit codes, beside 0: the command line is wrong; something failed at start."""

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "auto_envvar_prefix": "USBREDIR_MTP"}
_EPILOG = (
    "Every option can be set by an environment variable too: --port by USBREDIR_MTP_PORT. SIGHUP makes the program "
    "read --config anew: exports and devices come and go. Exit codes: 0 ended by SIGINT or SIGTERM, 1 by a second one, "
    "2 wrong usage, 3 could not start. Other commands: usbredir-mtp check says what these options would do."
)


class Command(click.Command):
    """Keeps the arguments, so that they can be read once more when the configuration has changed."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        """Likewise."""
        return super().make_context(info_name, args, *rest, **{"obj": Reading(tuple(args)), **extra})


def optioned(function: Callable[..., None]) -> Callable[..., None]:
    """A command with all options."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


@click.command(cls=Command, context_settings=CONTEXT, epilog=_EPILOG)
@optioned
@click.version_option(__version__, prog_name="usbredir-mtp")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Share folders with virtual machines as a virtual MTP phone, over usbredir."""
    logs.set_up(-1 if options["quiet"] else options["verbose"], options["log_format"])
    plans = wanted(ctx)
    with ExitStack() as stack:
        program = stack.enter_context(closing(listening_by(Program, plans)))
        monitor = None if options["metrics"] is None else stack.enter_context(closing(listening_by(_monitor, options)))
        run_program(options, program, monitor, lambda: parse(ctx.obj.arguments))


COMMANDS = ("attach", "check")
"""What there is beside serving, which needs no name; in `commands`, which is loaded only if asked for."""


_Listening = TypeVar("_Listening")


def listening_by(make: Callable[[Any], _Listening], what: object) -> _Listening:
    """Make something that listens from the start."""
    try:
        return make(what)
    except ListenError as error:
        cannot_start(str(error))
    except ValueError as error:  # an address, a file, a library
        raise click.UsageError(str(error)) from error


def parse(arguments: Sequence[str]) -> list[Plan]:
    """The devices that the arguments, and all that they lead to, ask for now.

    Raises:
        ValueError: they cannot be used; the text says why.
    """
    try:
        with command.make_context("usbredir-mtp", list(arguments)) as context:
            return wanted(context)
    except click.ClickException as error:
        raise ValueError(error.format_message()) from error


def wanted(ctx: click.Context) -> list[Plan]:
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
        reading = Reading(ctx.obj.arguments, name, config)
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
        spice=_spice_access(options),
    )
    return Plan(name, configure(options, section_of(ctx), name), reach)


def _spice_access(options: dict[str, Any]) -> SpiceAccess | None:
    if not any(isinstance(target, Spice) for target in options["connect"]):
        return None
    from usbredir_mtp.spice_access import find_access  # noqa: PLC0415  (a start is to be quick without it)

    ask = _ask if options["spice_password_prompt"] else None
    return find_access(options["spice_password_file"], os.environ, ask, options["qmp"])


@cache
def _ask() -> str:
    """The password that the user types, once: SIGHUP does not ask again."""
    return str(click.prompt("SPICE password", hide_input=True, err=True))


def _require_different(plans: Sequence[Plan]) -> None:
    """No two devices can have the same serial number or address."""
    found: dict[object, str] = {}
    for plan in plans:
        places = [each for each in (*plan.reach.listen, *plan.reach.connect) if _is_one_device_s(each)]
        for mark in (f"the serial number {plan.setup.usb.serial!r}", *places):
            other = found.setdefault(mark, plan.name)
            if other != plan.name:
                raise click.UsageError(f"the devices {other!r} and {plan.name!r} both have {mark}")


def _is_one_device_s(place: Address | Target) -> bool:
    """Whether no two devices can have it: ports that are free, and SPICE's channels, there is more than one of."""
    return not isinstance(place, Spice) and (not isinstance(place, Tcp) or place.port > 0)


_SOURCES = {ParameterSource.DEFAULT_MAP: 1, ParameterSource.ENVIRONMENT: 2, ParameterSource.COMMANDLINE: 3}
"""Where an option can come from; what is later goes before what is earlier."""


def _addresses(context: click.Context) -> tuple[Address, ...]:
    """What --listen says, or --host and --port: whichever is said where it goes before the other; or else systemd."""
    device = context.obj.device
    sources = map(context.get_parameter_source, ("listen", "host", "port"))
    listen, *short = (_SOURCES.get(source or ParameterSource.DEFAULT, 0) for source in sources)
    addresses: tuple[Address, ...] = context.params["listen"]
    if addresses and listen == max(short):
        raise click.UsageError("--listen does not go with --host and --port: say --listen tcp:HOST:PORT")
    if (addresses and listen > max(short)) or (context.params["connect"] and not max(short)):
        return tuple(Activated(device) if each == Activated() else each for each in addresses)
    if not max(short) and passed():
        if isinstance(context.params.get("metrics"), Activated):
            raise click.UsageError(
                "--metrics takes one of systemd's sockets: say with --listen systemd:NAME what guests get"
            )
        return (Activated(device),)
    return (Tcp(context.params["host"], context.params["port"]),)


def _monitor(options: dict[str, Any]) -> Monitor:
    from usbredir_mtp.monitor import Monitor as Made  # noqa: PLC0415  (a start is to be quick without it)

    return Made(
        options["metrics"],
        insecure=options["insecure"],
        mode=options["socket_mode"],
        users=options["allow_user"],
    )


def run_program(
    options: dict[str, Any],
    program: Program,
    monitor: Monitor | None = None,
    read_again: Callable[[], list[Plan]] | None = None,
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Serve to the end."""
    http = None if monitor is None else monitor.server(lambda: program.running)
    reporter = Reporter(notifier(os.environ), lambda: _status(program))
    files = [] if monitor is None else monitor.files
    sandbox = _enter(options, replace(program.needs, sockets=[*program.needs.sockets, *files]))

    def ready() -> None:
        if not options["quiet"]:
            shown = [] if monitor is None else monitor.banner
            click.echo("\n\n".join([*shown, *(device.banner for device in program.devices)]))
            sys.stdout.flush()
        program.start()

    try:
        servers = program.share(sandbox, http)
    except OSError as error:
        cannot_start(f"cannot share {error.filename or 'a folder'}: {error.strerror or error}")
    try:
        reload = partial(_reload, program, sandbox, read_again)
        run(serve(servers, ready, reload, reporter, beside), options["loop"])
    except ImportError as error:
        raise click.UsageError("--loop uvloop: uvloop is not installed (pip install uvloop)") from error
    except DialError as error:
        cannot_start(str(error))
    except OSError as error:
        cannot_start(f"cannot listen: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit(1)


def _status(program: Program) -> str:
    return status_of(
        (device.plan.name, [export.name for export in device.plan.setup.exports], len(device.server.sessions))
        for device in list(program.devices)
    )


def _reload(program: Program, sandbox: Sandbox, read_again: Callable[[], list[Plan]] | None) -> None:
    if read_again is None:
        return
    try:
        plans = read_again()
    except ValueError as error:
        hint = sandbox.explain(error)
        logger.error("nothing has changed: %s%s", error, hint)  # noqa: TRY400  (a user's mistake, no fault)
    else:
        program.reload(plans)


def _enter(options: dict[str, Any], needs: Needs) -> Sandbox:
    ports = frozenset(port for each in options.get("reserve", ()) if isinstance(each, range) for port in each)
    wanted = replace(
        needs,
        config=options["config"],
        bind=needs.bind | ports,
        connect=needs.connect | ports,
        reserved=[each for each in options.get("reserve", ()) if not isinstance(each, range)],
    )
    try:
        return enter(options["sandbox"], wanted)
    except SandboxError as error:
        cannot_start(str(error))


def cannot_start(text: str) -> NoReturn:
    """End with what failed at start, in one line."""
    if click.get_current_context().params.get("log_format") == logs.JSON:
        logger.critical(text)
    else:
        click.echo(f"Error: {text}", err=True)
    sys.exit(EXIT_START)


def main() -> None:
    """The console script."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in COMMANDS:
        from usbredir_mtp import commands  # noqa: PLC0415  (a start is to be quick)

        other: click.Command = getattr(commands, name)
        other.main(sys.argv[2:], prog_name=f"usbredir-mtp {name}")
    command(prog_name="usbredir-mtp")
