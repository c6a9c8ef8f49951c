"""How names and times of the host are put to initiators, and taken from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from usbredir_mtp.mtp import names
from usbredir_mtp.mtp.datatypes import decode_datetime, encode_datetime

if TYPE_CHECKING:
    from datetime import tzinfo


@dataclass(slots=True, frozen=True)
class Presentation:
    """What the initiators' side is like.

    Attributes:
        zone: The zone of their clocks, since most ignore a zone in a date; None for the host's own.
        windows_names: Put characters that Windows cannot have in names as others, and back.
    """

    zone: tzinfo | None = None
    windows_names: bool = False

    def wire_name(self, name: str) -> str:
        """What initiators are shown for a host's name."""
        return names.wire_name(names.to_windows(name) if self.windows_names else name)

    def host_name(self, name: str) -> str:
        """The host's name for one that an initiator gives.

        Raises:
            MtpError: INVALID_OBJECT_PROP_VALUE for a name that no file can have or that would lead elsewhere.
        """
        return names.host_name(names.from_windows(name) if self.windows_names else name)

    def encode_time(self, time: int | None) -> str:
        """Nanoseconds since the epoch as MTP's date; "" for None."""
        return encode_datetime(time, self.zone)

    def decode_time(self, text: str) -> int | None:
        """MTP's date as nanoseconds since the epoch; None if it says nothing usable."""
        return decode_datetime(text, self.zone)


NATIVE = Presentation()
"""Names as they are on the host, times in its zone."""
