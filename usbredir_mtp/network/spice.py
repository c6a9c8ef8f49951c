"""How a phone gets to a VM through its SPICE server."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

from usbredir_mtp.hotplug.errors import AttachError
from usbredir_mtp.hotplug.qmp import query_spice
from usbredir_mtp.network.dialing import DialError
from usbredir_mtp.network.link import Link
from usbredir_mtp.network.spice_channels import NoReplyError, SpiceServer
from usbredir_mtp.network.tls import reason_of
from usbredir_mtp.spice.constants import ChannelType, LinkError
from usbredir_mtp.spice.errors import LinkRefusedError, SpiceProtocolError
from usbredir_mtp.spice.framing import SpiceFraming
from usbredir_mtp.spice.password import VARIABLE
from usbredir_mtp.spice.ticket import check_library, check_password

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from usbredir_mtp.hotplug.qmp import SpiceChannel
    from usbredir_mtp.network.addresses import Spice
    from usbredir_mtp.network.link import Owner
    from usbredir_mtp.network.spice_channels import MainLink, Wire

logger = logging.getLogger(__name__)


class LinkLike(Protocol):
    """What is needed of a link: `asyncio.BufferedProtocol`, and that it tells of its end."""

    ended: asyncio.Future[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BufferedProtocol."""

    def get_buffer(self, sizehint: int, /) -> bytearray | memoryview:
        """See asyncio.BufferedProtocol."""

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""


LinkT = TypeVar("LinkT", bound=LinkLike)

TAKEN_TIMEOUT = 1.0
"""Seconds after which a channel that was opened is ours. A server closes one that is taken at once, and QEMU greets at
once on one that is not, unless the VM is paused."""

END_TIMEOUT = 1.0
"""Seconds until the main channel of a session that is over must have ended as well."""

PROBE_INTERVAL = 1.0
"""Seconds between looks whether a server is there that lets nobody stay connected."""

ATTEMPTS = 5
"""How often a viewer's session may go between the question for it and the joining."""

ATTEMPT_INTERVAL = 0.2

_NUMBERS = range(0x100)
"""What a channel's number may be: the link message has a byte for it."""

_HOW = "-chardev spicevmc,id=ID,name=usbredir -device usb-redir,chardev=ID"
_TAKEN = (
    "every usbredir channel is taken: start the viewer with --spice-disable-usbredir, or, where phones have them, "
    f"the VM with one more {_HOW}"
)
_TEXTS = {
    LinkError.NEED_SECURED: "the server wants TLS here: use spice+tls:// and the VM's tls-port",
    LinkError.NEED_UNSECURED: "the server wants no TLS here: use spice:// and the VM's port",
}
_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}
_TAKEN_OVER = (
    "%s: a viewer has taken the SPICE session over and keeps it: the phone waits until the VM or this program is "
    "started anew; with --qmp PATH both share a session"
)


def spice_opener(
    owner: Owner, address: Spice, password: str = "", tls: ssl.SSLContext | None = None, monitor: Path | None = None
) -> SpiceOpener[Link]:
    """How to connect to a VM's SPICE server; see `SpiceOpener`.

    Args:
        owner: Whose links they will be.
        address: Where it is.
        password: From `spice.password.find_password`.
        tls: For its TLS port.
        monitor: The unix socket of the VM's QMP monitor, to share sessions with viewers.

    Raises:
        MissingLibraryError: `cryptography` is not installed.
        PasswordError: No server can have this password.
    """

    def link(framing: SpiceFraming) -> Link:
        return Link(owner, asyncio.get_running_loop(), str(address), framing)

    server = SpiceServer(address, check_password(password), tls)
    return SpiceOpener(server, link, None if monitor is None else partial(query_spice, monitor))


class _Refusal(Enum):
    """Why a channel of the VM's is not to be had."""

    TAKEN = auto()
    MISSING = auto()


class _SessionGoneError(Exception):
    """A viewer's session has ended before it was joined."""


@dataclass(slots=True, frozen=True)
class _Viewer:
    """The session that somebody has open, and the usbredir channels in use."""

    connection_id: int
    taken: frozenset[int]


@dataclass(slots=True, frozen=True)
class _Opened:
    """A usbredir channel that is ours; `rest` is what came behind the handshake."""

    wire: Wire
    framing: SpiceFraming
    rest: bytes


class SpiceOpener(Generic[LinkT]):
    """Opens a usbredir channel of a VM, as often as it is called, and never fights with a viewer over the session.

    A SPICE server has one session at a time, and opening another ends it. With a monitor to ask, the session of a
    viewer is joined, and one is opened only if there is none. Without, one is opened; a viewer that then takes it over
    keeps it: a call waits until the server has been gone, or for `take_back`.

    Args:
        server: The SPICE server.
        new_link: Makes the link that speaks usbredir inside the channel's messages.
        viewers: Asks QEMU which channels are open (`hotplug.qmp.query_spice`); None where it cannot be asked.

    Raises:
        MissingLibraryError: `cryptography` is not installed.
    """

    def __init__(
        self,
        server: SpiceServer,
        new_link: Callable[[SpiceFraming], LinkT],
        viewers: Callable[[], Awaitable[Sequence[SpiceChannel]]] | None = None,
    ) -> None:
        check_library()
        self._server = server
        self._new_link = new_link
        self._viewers = viewers
        self._told_to = asyncio.Event()
        self._main: MainLink | None = None

    async def __call__(self) -> LinkT:
        """Open a channel; returns its link, which has begun.

        Raises:
            OSError: The server cannot be reached, or breaks off.
            DialError: It refuses, or no channel is free; one line that says what would help.
        """
        try:
            return await self._open()
        except NoReplyError as error:
            raise DialError(f"the server hangs up without a word{self._hint}") from error
        except SpiceProtocolError as error:
            raise DialError(str(error)) from error
        except AttachError as error:
            raise DialError(str(error)) from error
        except LinkRefusedError as error:
            raise self._refused(error) from error
        except ssl.SSLError as error:
            raise _untrusted(error) from error
        except ConnectionResetError as error:
            raise DialError("the server has broken the connection off") from error

    def take_back(self) -> None:
        """Open a session at the next call, although a viewer has taken the last one over."""
        self._told_to.set()

    # -- which session -----------------------------------------------------------------------------------------------

    async def _open(self) -> LinkT:
        for _ in range(ATTEMPTS):
            with suppress(_SessionGoneError):
                main = await self._own_session()
                if main is not None:
                    return await self._use(main)
                viewer = await self._find_viewer()
                if viewer is not None:
                    return await self._join(viewer)
                self._main = await self._server.open_main()
                logger.info("%s: opened a session", self._server.address)
                return await self._use(self._main)
            await asyncio.sleep(ATTEMPT_INTERVAL)
        raise DialError("every session that QEMU told of had ended before it was joined")

    async def _own_session(self) -> MainLink | None:
        """The session that was opened for an earlier channel, if it is still there."""
        if self._main is not None and self._main.ended.is_set():
            if self._main.thrown_out and self._viewers is None:
                await self._keep_away()
            self._main = None
        return self._main

    async def _find_viewer(self) -> _Viewer | None:
        if self._viewers is None:
            return None
        channels = await self._viewers()
        sessions = [each.connection_id for each in channels if each.channel_type == ChannelType.MAIN]
        taken = frozenset(each.channel_id for each in channels if each.channel_type == ChannelType.USBREDIR)
        return _Viewer(sessions[-1], taken) if sessions else None

    async def _join(self, viewer: _Viewer) -> LinkT:
        opened = await self._take(viewer.connection_id, _NUMBERS, viewer.taken, self._hint)
        link = self._start(opened, lambda: None)
        logger.info("%s: joined the session of a viewer", self._server.address)
        return link

    async def _use(self, main: MainLink) -> LinkT:
        main.keep()
        try:
            opened = await self._take(main.channel.session_id or 0, main.channel.usbredir or ())
            link = self._start(opened, main.idle)
        except _SessionGoneError:
            await main.see_off(END_TIMEOUT)
            raise
        except BaseException:
            main.idle()
            raise
        main.keep(opened.wire.transport.abort)
        return link

    # -- which channel -----------------------------------------------------------------------------------------------

    async def _take(
        self, connection_id: int, numbers: Iterable[int], taken: frozenset[int] = frozenset(), hint: str = ""
    ) -> _Opened:
        """Open the first channel that nobody has.

        Args:
            connection_id: The session's.
            numbers: Which to try, as long as they are there.
            taken: Which not to try; there may be gaps between them.
            hint: What else may be wrong where there are none.
        """
        last = max(taken, default=-1)
        for number in numbers:
            found = _Refusal.TAKEN if number in taken else await self._try(connection_id, number)
            if isinstance(found, _Opened):
                return found
            if found is _Refusal.TAKEN:
                taken |= {number}
            elif number > last:
                break
        if taken:
            raise DialError(_TAKEN)
        raise DialError(f"the VM has no usbredir channel: start it with {_HOW}{hint}", final=True)

    async def _try(self, connection_id: int, number: int) -> _Opened | _Refusal:
        try:
            wire, handshake = await self._server.open(ChannelType.USBREDIR, number, connection_id)
        except NoReplyError:  # so spice-server says that it has no such channel
            return _Refusal.MISSING
        except LinkRefusedError as error:
            if error.code is LinkError.CHANNEL_NOT_AVAILABLE:
                return _Refusal.MISSING
            if error.code is LinkError.BAD_CONNECTION_ID:
                raise _SessionGoneError from error
            raise
        if not handshake.rest and not await _stays_open(wire):
            return _Refusal.TAKEN
        framing = SpiceFraming(str(self._server.address), mini_header=handshake.mini_header)
        return _Opened(wire, framing, handshake.rest)

    def _start(self, opened: _Opened, on_lost: Callable[[], None]) -> LinkT:
        """Give the connection to a link, and the link what has come on it."""
        if opened.wire.lost:
            raise ConnectionResetError
        transport = opened.wire.transport
        link = self._new_link(opened.framing)
        link.ended.add_done_callback(lambda _: on_lost())
        transport.set_protocol(cast("asyncio.BaseProtocol", link))
        link.connection_made(transport)
        data = memoryview(opened.rest + opened.wire.take())
        while data and not transport.is_closing():
            room = memoryview(link.get_buffer(len(data)))[: len(data)]
            room[:] = data[: len(room)]
            data = data[len(room) :]
            link.buffer_updated(len(room))
        return link

    # -- the end of a session ----------------------------------------------------------------------------------------

    async def _keep_away(self) -> None:
        """Wait until the server is gone, which a connection tells that is only held."""
        loop, said = asyncio.get_running_loop(), False
        self._told_to.clear()
        while not self._told_to.is_set():
            begun = loop.time()
            try:
                wire = await self._server.connect()
            except OSError as error:
                if _says_gone(error):
                    return
            else:
                if not said:
                    logger.warning(_TAKEN_OVER, self._server.address)
                    said = True
                await self._hold(wire)
            await self._wait_told(begun + PROBE_INTERVAL - loop.time())

    async def _hold(self, wire: Wire) -> None:
        waits = [asyncio.ensure_future(wire.wait()), asyncio.ensure_future(self._told_to.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            wire.transport.abort()

    async def _wait_told(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._told_to.wait()

    # -- what to say -------------------------------------------------------------------------------------------------

    @property
    def _hint(self) -> str:
        return "" if self._server.tls else "; is its port for TLS (spice+tls://)?"

    def _refused(self, error: LinkRefusedError) -> DialError:
        if error.code is not LinkError.PERMISSION_DENIED:
            return DialError(_TEXTS.get(error.code, str(error)), final=error.code in _TEXTS)
        if self._server.password:
            return DialError("the server refuses the password: it is wrong, or it has expired", final=True)
        return DialError(f"the server asks for a password: --spice-password-file FILE or {VARIABLE}", final=True)


def _untrusted(error: ssl.SSLError) -> DialError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return DialError(reason_of(error), final=True)
    return DialError("no TLS connection: is its port one without TLS (spice://)?", final=True)


async def _stays_open(wire: Wire) -> bool:
    """Whether the server leaves a channel open; what we then do not take is closed."""
    try:
        async with asyncio.timeout(TAKEN_TIMEOUT):
            stays = await wire.wait()
    except TimeoutError:
        return True
    except BaseException:
        wire.transport.abort()
        raise
    if not stays:
        wire.transport.abort()
    return stays


def _says_gone(error: OSError) -> bool:
    """Whether the address was reached, and nobody listened there."""
    unknown = TimeoutError | ConnectionResetError | socket.gaierror | ssl.SSLError
    return not isinstance(error, unknown) and error.errno not in _UNREACHABLE
