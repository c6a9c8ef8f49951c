"""What the command line has beside serving: `check` and `attach`."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from usbredir_mtp import logs
from usbredir_mtp.banner import description
from usbredir_mtp.cli import CONTEXT, Command, cannot_start, listening_by, optioned, run_program, wanted
from usbredir_mtp.hotplug import libvirt
from usbredir_mtp.hotplug.attach import attach as plug_in
from usbredir_mtp.hotplug.errors import AttachError
from usbredir_mtp.hotplug.qmp import check_library as check_qmp
from usbredir_mtp.monitor import check_monitor
from usbredir_mtp.network.addresses import Tcp, Unix
from usbredir_mtp.options import config_of, section_of
from usbredir_mtp.program import Plan, Program, Reach
from usbredir_mtp.setup import configure

if TYPE_CHECKING:
    from pathlib import Path


@click.command(name="check", cls=Command, context_settings=CONTEXT)
@optioned
@click.pass_context
def check(ctx: click.Context, /, **options: Any) -> None:
    """Say what these options, and the file of --config, would do; exit code 2 if they are wrong."""
    plans = wanted(ctx)
    try:
        for plan in plans:
            plan.reach.check()
        check_monitor(options["metrics"], insecure=options["insecure"])
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    click.echo("\n\n".join(map(description, plans)))


_NOT_TO_ATTACH = {
    *("connect", "host", "port", "reserve", "metrics"),
    *("spice_password_file", "spice_password_prompt", "tls_cert", "tls_key", "tls_ca"),
}
"""Options that `attach` has not: it finds its way by itself."""


@click.command(name="attach", cls=Command, context_settings=CONTEXT)
@click.option("--libvirt", metavar="DOMAIN", help="VM of libvirt's, in place of --qmp; needs virsh.")
@click.option("--libvirt-uri", metavar="URI", help="libvirt's connection, such as qemu:///session.")
@click.option("--print-xml", is_flag=True, help="Leave virsh alone: print what to give to it, and serve.")
@click.option(
    "--add-controller/--no-add-controller",
    default=True,
    help="Plug in a USB controller as well, where the VM has no free port of this speed.  [default: add it]",
)
@optioned
@click.pass_context
def attach(ctx: click.Context, /, **options: Any) -> None:
    """Plug the phone into a VM that is running, over its QMP monitor or with libvirt, and take it out in the end."""
    logs.set_up(-1 if options["quiet"] else options["verbose"], options["log_format"])
    if (options["qmp"] is None) == (options["libvirt"] is None):
        raise click.UsageError("either --qmp PATH or --libvirt DOMAIN is needed: the VM to plug the phone into")
    try:
        (_attach_to_libvirt if options["qmp"] is None else _attach_to_qemu)(ctx, options)
    except AttachError as error:
        cannot_start(str(error))


attach.params = [param for param in attach.params if param.name not in _NOT_TO_ATTACH]


def _attach_to_qemu(ctx: click.Context, options: dict[str, Any]) -> None:
    """Over a socket pair, whose other end QEMU is given: no address, no permissions."""
    if options["listen"]:
        raise click.UsageError("--listen does not go with --qmp: the VM is given a socket of its own")
    path: Path = options["qmp"]
    check_qmp()
    endings: list[object] = []
    with closing(listening_by(Program, [_bare_plan(ctx, Reach())])) as program:
        [device] = program.devices

        async def beside() -> None:
            adopt = partial(device.server.adopt, name=f"VM of {path}")
            speed, add_controller = options["speed"], options["add_controller"]
            endings.append(await plug_in(path, adopt, speed=speed, add_controller=add_controller))

        run_program(options, program, beside=beside)
    if not options["quiet"]:
        click.echo("\n".join(map(str, endings)))


def _attach_to_libvirt(ctx: click.Context, options: dict[str, Any]) -> None:
    """Libvirt's QEMU connects to us."""
    domain = libvirt.Domain(options["libvirt"], options["libvirt_uri"])
    reach = Reach(
        listen=options["listen"][:1] or (libvirt.suggest_address(domain),),
        insecure=options["insecure"],
        mode=options["socket_mode"],
        users=options["allow_user"],
    )
    with closing(listening_by(Program, [_bare_plan(ctx, reach)])) as program:
        [device] = program.devices
        address = device.listeners[0].address
        if not isinstance(address, Tcp | Unix):
            raise click.UsageError(f"--listen {address}: a tcp: or unix: address is needed here")
        if options["print_xml"] or not libvirt.has_virsh():
            click.echo(libvirt.by_hand(domain, address))
            run_program(options, program)
        else:
            with libvirt.plugged(domain, address):
                run_program(options, program)


def _bare_plan(ctx: click.Context, reach: Reach) -> Plan:
    config = config_of(ctx)
    if config is not None and config.devices:
        raise click.UsageError(f"attach plugs in one device, and {ctx.params['config']} has [[device]] tables")
    try:
        return Plan("", configure(ctx.params, section_of(ctx)), reach)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
