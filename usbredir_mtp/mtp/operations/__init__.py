"""The operations, by subject. `OPERATIONS` is the responder's table and DeviceInfo's list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.mtp.operations import (
    device,
    edit,
    media,
    moves,
    properties,
    property_lists,
    read,
    references,
    removal,
    storages,
    uploads,
)

if TYPE_CHECKING:
    from usbredir_mtp.mtp.operation import Operation

OPERATIONS: dict[int, Operation] = dict(
    sorted(
        {
            **device.OPERATIONS,
            **storages.OPERATIONS,
            **read.OPERATIONS,
            **media.OPERATIONS,
            **uploads.OPERATIONS,
            **edit.OPERATIONS,
            **moves.OPERATIONS,
            **removal.OPERATIONS,
            **properties.OPERATIONS,
            **property_lists.OPERATIONS,
            **references.OPERATIONS,
        }.items()
    )
)
"""Every operation that the responder knows, by code."""
