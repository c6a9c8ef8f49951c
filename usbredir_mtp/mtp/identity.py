"""Who the responder says it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class ResponderIdentity:
    """DeviceInfo's texts (MTP 1.1, 5.1.1), and the friendly name that a device starts with."""

    manufacturer: str = "usbredir-mtp"
    model: str = "Shared folders"
    device_version: str = "1.0"
    serial_number: str = "0" * 32
    friendly_name: str = "Shared folders"
