"""The devices of a program: what each is, how guests get to it, and their coming and going."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from usbredir_mtp.banner import banner
from usbredir_mtp.network.addresses import Spice, Tcp, Unix
from usbredir_mtp.network.dialing import opener
from usbredir_mtp.network.direct import Turns
from usbredir_mtp.network.listening import SOCKET_MODE, ListenError, check, listening
from usbredir_mtp.network.loop import Servers, Ways
from usbredir_mtp.network.server import Server
from usbredir_mtp.network.tls import TlsFiles
from usbredir_mtp.sandbox import Needs, Sandbox
from usbredir_mtp.setup import update

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from ssl import SSLContext

    from usbredir_mtp.exports import Shares
    from usbredir_mtp.network.addresses import Address, Target
    from usbredir_mtp.network.dialing import Opener
    from usbredir_mtp.network.http import HttpServer
    from usbredir_mtp.network.link import Link
    from usbredir_mtp.network.listening import Listener
    from usbredir_mtp.network.spice import SpiceOpener
    from usbredir_mtp.setup import Setup
    from usbredir_mtp.spice_access import SpiceAccess

logger = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True)
class Reach:
    """How guests get to a device.

    Attributes:
        listen: Where it listens.
        connect: What it connects to.
        tls: For TCP, both ways.
        insecure: Whether all who can reach it are trusted.
        mode: Permissions of unix sockets.
        users: Ids of the users who may connect to them.
        spice: How to get into SPICE servers; None where there are none.
    """

    listen: tuple[Address, ...] = ()
    connect: tuple[Target, ...] = ()
    tls: TlsFiles = field(default_factory=TlsFiles)
    insecure: bool = False
    mode: int = SOCKET_MODE
    users: tuple[int, ...] = ()
    spice: SpiceAccess | None = None

    @property
    def is_safe(self) -> bool:
        """Whether it may be reached from other machines."""
        return self.insecure or (self.tls.cert is not None and self.tls.ca is not None)

    @property
    def listen_tls(self) -> SSLContext | None:
        """For TCP listeners; None for none.

        Raises:
            TlsError: a file cannot be used.
        """
        by_tcp = any(not isinstance(address, Unix) for address in self.listen)
        return self.tls.for_listening() if by_tcp and self.tls else None

    @property
    def connect_tls(self) -> SSLContext | None:
        """For connections by TCP; None for none.

        Raises:
            TlsError: a file cannot be used.
        """
        by_spice = any(isinstance(target, Spice) and target.tls for target in self.connect)
        return self.tls.for_connecting() if by_spice or (self.connect and self.tls) else None

    def require_libraries(self) -> None:
        """Look whether what SPICE needs is there, where it is spoken.

        Raises:
            SpiceAccessError: it is not.
        """
        if self.spice is not None:
            self.spice.check()

    def check(self) -> None:
        """Look whether it can be had, without doing so.

        Raises:
            TlsError: a file cannot be used.
            AddressError: other machines could connect, and may not.
        """
        _ = self.listen_tls, self.connect_tls
        self.require_libraries()
        check(self.listen, insecure=self.is_safe)


@dataclass(slots=True, frozen=True)
class Plan:
    """A device as it is wanted.

    Attributes:
        name: "" for the only one.
    """

    name: str
    setup: Setup
    reach: Reach

    @property
    def label(self) -> str:
        """What the log and the metrics call it."""
        return self.name or self.setup.usb.product_name

    def __str__(self) -> str:
        return f"device {self.name!r}" if self.name else "the device"


class Device:
    """A device of a program: listens from the start, shares once told to.

    Args:
        plan: What it is.
        turns: The loop's.

    Raises:
        AddressError: it would be open to other machines, and may not.
        ListenError: an address cannot be had.
        TlsError: a file for TLS cannot be used.
        SpiceAccessError: SPICE cannot be spoken.
    """

    def __init__(self, plan: Plan, turns: Turns) -> None:
        self.plan = plan
        reach = plan.reach
        reach.require_libraries()
        self._turns = turns
        self.spice: list[SpiceOpener[Link]] = []
        with ExitStack() as undo:
            self._listen_tls, self._connect_tls = reach.listen_tls, reach.connect_tls
            self.listeners: Sequence[Listener] = undo.enter_context(
                listening(reach.listen, insecure=reach.is_safe, mode=reach.mode)
            )
            self._stack = undo.pop_all()
        self.server: Server
        self._shares: Shares

    def share(self) -> None:
        """Make the phone, and open what it shares.

        Raises:
            OSError: a folder cannot be opened.
        """
        phone, self._shares = self.plan.setup.make(self.plan.label)
        self._stack.callback(phone.mtp.close)
        self._shares.update(self.plan.setup.exports)
        self.server = Server(phone, self.plan.setup.grace, self.plan.reach.users, self._turns)

    def start(self) -> None:
        """Look for what is shared, now that guests may come."""
        self.server.phone.mtp.start()

    def update(self, plan: Plan) -> None:
        """Become what is wanted now, as far as `fits` says that it can.

        Raises:
            TlsError: a certificate that is to be read again cannot be used; nothing has changed then.
            OSError: a folder cannot be opened; nothing has changed then.
        """
        for make, context in (
            (plan.reach.tls.for_listening, self._listen_tls),
            (plan.reach.tls.for_connecting, self._connect_tls),
        ):
            if context is not None and plan.reach.tls:
                make()  # all of it can be used
                plan.reach.tls.load(context)  # certificates that were renewed hold for new connections
        update(self.server.phone.mtp, self._shares, plan.setup)
        self.server.grace = plan.setup.grace
        self.plan = plan

    def fits(self, plan: Plan) -> bool:
        """Whether it can become that without being unplugged."""
        return self.plan.reach == plan.reach and self.plan.setup.is_same_device(plan.setup)

    def close(self) -> None:
        """Let go of everything; once its server has shut down."""
        self._stack.close()

    @property
    def banner(self) -> str:
        """What to print when it is ready."""
        plan = self.plan
        addresses = [listener.address for listener in self.listeners]
        return banner(plan.setup.exports, addresses, plan.reach.connect, plan.name)

    @property
    def ways(self) -> Ways:
        """How guests get to it."""
        return Ways(
            self.listeners, [(target, self._opener(target)) for target in self.plan.reach.connect], self._listen_tls
        )

    def _opener(self, target: Target) -> Opener:
        if isinstance(target, Spice):
            assert self.plan.reach.spice is not None
            self.spice.append(self.plan.reach.spice.opener(self.server, target, self._connect_tls))
            return self.spice[-1]
        return opener(self.server, target, self._connect_tls if self.plan.reach.tls else None)


class Program:
    """All devices.

    Args:
        plans: What is wanted.

    Raises:
        AddressError, ListenError, TlsError: as of `Device`.
    """

    def __init__(self, plans: Iterable[Plan]) -> None:
        self._turns = Turns()
        self._sandbox = Sandbox()
        self._devices: dict[str, Device] = {}
        self._servers: Servers
        with ExitStack() as undo:
            undo.callback(self.close)
            for plan in plans:
                self._devices[plan.name] = Device(plan, self._turns)
            undo.pop_all()

    @property
    def devices(self) -> Collection[Device]:
        """Those that there are."""
        return self._devices.values()

    @property
    def running(self) -> list[Server]:
        """What serves them; may be asked by any thread, once they are shared."""
        return [device.server for device in list(self.devices)]

    @property
    def needs(self) -> Needs:
        """What the sandbox has to let through."""
        listeners = [listener for device in self.devices for listener in device.listeners]
        reaches = [device.plan.reach for device in self.devices]
        addresses = [each.address for each in listeners] + [each for reach in reaches for each in reach.listen]
        wheres = [target.where if isinstance(target, Spice) else target for each in reaches for target in each.connect]
        return Needs(
            setups=[device.plan.setup for device in self.devices],
            sockets=[listener.file for listener in listeners if listener.file],
            files=[file for reach in reaches for file in (*reach.tls, *(reach.spice.files if reach.spice else ()))],
            bind=frozenset(address.port for address in addresses if isinstance(address, Tcp)),
            connect=frozenset(where.port for where in wheres if isinstance(where, Tcp)),
        )

    def share(self, sandbox: Sandbox, http: HttpServer | None = None) -> Servers:
        """Open what is shared; returns what serves it.

        Args:
            sandbox: What we are in.
            http: Tells how the devices are.

        Raises:
            OSError: a folder cannot be opened.
        """
        self._sandbox = sandbox
        for device in self.devices:
            device.share()
        self._servers = Servers([(device.server, device.ways) for device in self.devices], http)
        return self._servers

    def start(self) -> None:
        """Guests may come now."""
        for device in self.devices:
            device.start()

    def reload(self, plans: Iterable[Plan]) -> None:
        """Let devices come, go and change; the others notice nothing. What goes wrong with one is told in the log.

        For a thread that is not the loop's.
        """
        wanted = {plan.name: plan for plan in plans}
        refused = {name for name, plan in wanted.items() if not self._allows(plan)}
        before: dict[str, Plan] = {}
        for name, device in list(self._devices.items()):
            if name not in refused and (name not in wanted or not device.fits(wanted[name])):
                before[name] = device.plan
                self._remove(name)
        for name, plan in wanted.items():
            if name not in refused and not self._try(plan) and name in before:
                self._try(before[name])  # as it was, if that can still be had

    def _allows(self, plan: Plan) -> bool:
        """Whether nothing speaks against it that can be known before something is taken away."""
        try:
            self._sandbox.require(plan.setup.exports)
            if plan.name not in self._devices or not self._devices[plan.name].fits(plan):
                plan.reach.check()
        except (ValueError, OSError) as error:
            self._complain(plan, "nothing has changed", error)
            return False
        return True

    def _try(self, plan: Plan) -> bool:
        was_there = plan.name in self._devices
        try:
            self._change(plan)
        except (ValueError, OSError, ListenError) as error:
            self._complain(plan, "nothing has changed" if was_there else "not plugged in", error)
            return False
        return True

    def _complain(self, plan: Plan, what: str, error: Exception) -> None:
        name = f"{plan.name}: " if plan.name else ""
        logger.error("%s%s: %s%s", name, what, error, self._sandbox.explain(error))

    def close(self) -> None:
        """Let go of everything."""
        for device in list(self.devices):
            device.close()

    def _change(self, plan: Plan) -> None:
        if plan.name in self._devices:
            device = self._devices[plan.name]
            device.update(plan)
            for each in device.spice:
                self._servers.call(each.take_back)
        else:
            self._add(plan)

    def _add(self, plan: Plan) -> None:
        with ExitStack() as undo:
            device = Device(plan, self._turns)
            undo.callback(device.close)
            device.share()
            self._servers.start(device.server, device.ways)
            undo.pop_all()
        device.start()
        self._devices[plan.name] = device
        logger.info("plugged in: %s", plan, extra={"device": plan.label})

    def _remove(self, name: str) -> None:
        device = self._devices.pop(name)
        self._servers.stop(device.server)
        device.close()
        logger.info("unplugged: %s", device.plan, extra={"device": device.plan.label})
