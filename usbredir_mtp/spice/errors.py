"""What can go wrong between us and a SPICE server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.protocol.errors import RemoteProtocolError

if TYPE_CHECKING:
    from usbredir_mtp.spice.constants import LinkError


class SpiceProtocolError(RemoteProtocolError):
    """The server sent what the protocol forbids or we have not asked for; the connection is of no more use."""


class LinkRefusedError(Exception):
    """The server refuses a channel; `code` says why, as an error of the link (`spice/enums.h`, SpiceLinkErr)."""

    def __init__(self, code: LinkError) -> None:
        super().__init__(f"the SPICE server refuses the channel: {code.name.lower().replace('_', ' ')}")
        self.code = code


class PasswordError(Exception):
    """There is no password where it should be, or it cannot be one of SPICE; the text says what is wrong."""


class MissingLibraryError(Exception):
    """A library that SPICE needs is not installed; the text says how to install it."""
