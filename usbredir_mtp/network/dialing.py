"""Connections that we make: to a QEMU that listens, or whatever relays to one."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from typing import TYPE_CHECKING, TypeVar

from usbredir_mtp.network.addresses import Tcp, Unix
from usbredir_mtp.network.link import HELLO_TIMEOUT, Link
from usbredir_mtp.network.tls import reason_of
from usbredir_mtp.tally import End

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from usbredir_mtp.network.addresses import Target
    from usbredir_mtp.network.link import Owner

    Opener = Callable[[], Awaitable[Link]]
    """Connects once: a link whose session has been started.

    Raises:
        DialError: it cannot be done; the text says why and what to do.
        OSError: likewise.
    """

logger = logging.getLogger(__name__)

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)

FIRST_DELAY, LAST_DELAY = 0.2, 5.0
"""Seconds until the first try after one that was in vain; twice as many after each more, up to the last."""

JITTER = 0.1
"""Part of a delay that is left to chance: a hundred servers shall not knock at the same moment."""

CONNECT_TIMEOUT = 10.0
"""Seconds for a connection to be made, with all of TLS."""

BUSY = (
    f"connected, but nobody says hello within {HELLO_TIMEOUT:g} s: another program has that VM's port, "
    "or there is no usb-redir device behind it"
)


_REASONS = {End.PROTOCOL: "breaks the protocol", End.FAULT: "disconnected by a fault of ours"}
"""Ends that a new connection is likely to have too: it is no new beginning."""


class DialError(Exception):
    """A connection that cannot be made; the text says why.

    Attributes:
        final: Whether it is a mistake of ours, which trying again will not cure.
    """

    def __init__(self, text: str, *, final: bool = False) -> None:
        super().__init__(text)
        self.final = final


class Dialer:
    """Keeps one connection up.

    Args:
        address: Where to, for the log.
        opener: How.
        fail: Told of a mistake that shows at the first try, which is the last one then; None to go on trying.
    """

    def __init__(self, address: Target, opener: Opener, fail: Callable[[DialError], None] | None = None) -> None:
        self.address = address
        self._open = opener
        self._fail = fail
        self._said = ""

    async def run(self) -> None:
        """Connect, whenever there is no connection, until cancelled."""
        delay = FIRST_DELAY
        is_first = True
        while True:
            try:
                link = await self._open()
                await asyncio.shield(link.ended)
                reason = _reason(link)
            except DialError as error:
                if error.final and is_first and self._fail is not None:
                    self._fail(error)
                    return
                reason = str(error)
            except OSError as error:
                reason = text_of(error)
            except UnicodeError:
                reason = "not the name of a host"
            is_first = False
            if not reason:
                self._said = ""
                delay = FIRST_DELAY
            self._say(reason)
            await asyncio.sleep(delay * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311  (no secret)
            delay = min(2 * delay, LAST_DELAY)

    def _say(self, reason: str) -> None:
        if reason and reason != self._said:
            logger.warning("%s: %s; trying again until it works", self.address, reason)
            self._said = reason


def _reason(link: Link) -> str:
    """Why a link that has ended is no good beginning for the next; "" if it is."""
    if not link.session.greeted:
        return BUSY if link.end is End.NO_HELLO else "connected, but the other end hangs up without a word"
    return "" if link.end is None else _REASONS.get(link.end, "")


def text_of(error: OSError) -> str:
    """What an error means to whoever gave the address."""
    if isinstance(error, TimeoutError):
        return f"does not answer within {CONNECT_TIMEOUT:g} s"
    # asyncio puts the address, and several errors, into a text of its own.
    return (error.strerror or str(error)).partition("]: ")[2] or error.strerror or str(error)


def opener(owner: Owner, address: Tcp | Unix, tls: ssl.SSLContext | None = None) -> Opener:
    """How to connect to a plain address.

    Args:
        owner: Whose link it will be.
        address: Where to.
        tls: For TCP.
    """

    async def open_link() -> Link:
        loop = asyncio.get_running_loop()
        try:
            return await connect(lambda: Link(owner, loop, str(address)), address, tls)
        except ssl.SSLError as error:
            raise DialError(f"no TLS connection: {reason_of(error)}", final=True) from error

    return open_link


async def connect(protocol: Callable[[], _Protocol], address: Tcp | Unix, tls: ssl.SSLContext | None) -> _Protocol:
    """Make a connection.

    Args:
        protocol: Makes what takes it.
        address: Where to.
        tls: For TCP.

    Raises:
        OSError: There is none to be had; `ssl.SSLError` where TLS is the reason.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_TIMEOUT):
        if isinstance(address, Unix):
            return (await loop.create_unix_connection(protocol, str(address.path)))[1]
        return (await loop.create_connection(protocol, address.host, address.port, ssl=tls))[1]
