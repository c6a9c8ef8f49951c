"""Runs that are longer than developers want to wait for: USBREDIR_MTP_LONG=1."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.usbredir import Guest

LONG = os.environ.get("USBREDIR_MTP_LONG", "") not in {"", "0"}
"""Whether such a run is wanted."""


class _Forgotten(list[tuple[bool, bytes]]):
    def append(self, _piece: tuple[bool, bytes], /) -> None:
        """Keep nothing."""


def forget_conversation(guest: Guest) -> None:
    """Do without the log of what was said, where that is more than memory can hold."""
    guest.log = _Forgotten()
