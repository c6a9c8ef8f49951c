"""What an MTP session remembers between transactions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usbredir_mtp.mtp.nodes import Node
    from usbredir_mtp.mtp.storage import Editor


@dataclass(slots=True, frozen=True)
class PendingObject:
    """A file announced by SendObjectInfo, to be filled by SendObject.

    Attributes:
        size: Bytes, None if the initiator did not say.
        modified: Nanoseconds since the epoch, None likewise.
    """

    handle: int
    folder: Node
    name: str
    size: int | None
    modified: int | None


@dataclass(slots=True)
class MtpSession:
    """An open session (MTP 1.1, 4.3)."""

    session_id: int
    pending: PendingObject | None = None
    editors: dict[int, Editor] = field(default_factory=dict)
