"""Who the responder says it is."""

from __future__ import annotations

from dataclasses import dataclass

VENDOR_EXTENSIONS = "microsoft.com: 1.0; android.com: 1.0"
"""go-mtpfs looks for the bare text. libmtp takes an element that ends in ';' at its word: it leaves GetObjectPropList,
with which it lists fast, to phones that are not Android's. Without the last ';' both are content."""

ANDROID_EXTENSIONS = f"{VENDOR_EXTENSIONS};"
"""gvfs believes libmtp, and edits in place on Android's phones only."""


@dataclass(slots=True, frozen=True)
class ResponderIdentity:
    """DeviceInfo's texts (MTP 1.1, 5.1.1), and the friendly name that a device starts with."""

    manufacturer: str = "usbredir-mtp"
    model: str = "Shared folders"
    device_version: str = "1.0"
    serial_number: str = "0" * 32
    friendly_name: str = "Shared folders"
    vendor_extensions: str = VENDOR_EXTENSIONS
