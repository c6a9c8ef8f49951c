"""The operations, by subject. `OPERATIONS` is the responder's table and DeviceInfo's list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.mtp.operations import device, edit, properties, read, storages, write

if TYPE_CHECKING:
    from usbredir_mtp.mtp.operation import Operation

OPERATIONS: dict[int, Operation] = dict(
    sorted(
        {
            **device.OPERATIONS,
            **storages.OPERATIONS,
            **read.OPERATIONS,
            **write.OPERATIONS,
            **edit.OPERATIONS,
            **properties.OPERATIONS,
        }.items()
    )
)
"""Every operation that the responder knows, by code."""
