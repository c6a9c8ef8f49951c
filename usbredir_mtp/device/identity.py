"""Who the device says it is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

MAX_STRING_UNITS = 126
"""UTF-16 units of a string descriptor, whose length field has 8 bits (USB 2.0, 9.6.7)."""

_SERIAL_BYTES = 16


@dataclass(slots=True, frozen=True)
class Identity:
    """Ids and texts of the device descriptor.

    The default ids are those of QEMU's own usb-mtp: initiators know them, and know of no quirk that goes with them.

    Attributes:
        vendor: idVendor, 1 to 0xFFFF.
        product: idProduct, likewise.
        release: bcdDevice, 0 to 0xFFFF.
        manufacturer: 1 to 126 UTF-16 units, like the other texts.
        product_name: What systems show until they have asked the responder.
        serial: Tells devices of the same kind apart.

    Raises:
        ValueError: a field is out of its range; the text names it.
    """

    vendor: int = 0x46F4
    product: int = 0x0004
    release: int = 0x0100
    manufacturer: str = "usbredir-mtp"
    product_name: str = "Shared folders"
    serial: str = "0" * 2 * _SERIAL_BYTES

    def __post_init__(self) -> None:
        for field in ("vendor", "product"):
            if not 0 < getattr(self, field) <= 0xFFFF:  # noqa: PLR2004  (16 bits)
                raise ValueError(f"{field} id {getattr(self, field):#x} is not from 1 to 0xffff")
        if not 0 <= self.release <= 0xFFFF:  # noqa: PLR2004  (16 bits)
            raise ValueError(f"release {self.release:#x} is not from 0 to 0xffff")
        for field in ("manufacturer", "product_name", "serial"):
            try:
                units = len(getattr(self, field).encode("utf-16-le")) // 2
            except UnicodeEncodeError as error:
                raise ValueError(f"{field.replace('_', ' ')} is not valid text") from error
            if not 0 < units <= MAX_STRING_UNITS:
                raise ValueError(f"{field.replace('_', ' ')} must have 1 to {MAX_STRING_UNITS} characters, not {units}")


def stable_serial(machine_id: str, *parts: str) -> str:
    """A serial number of 32 upper-case hexadecimal digits that stays the same for the same machine and parts."""
    digest = hashlib.blake2s(digest_size=_SERIAL_BYTES, person=b"usbrdmtp")
    for part in (machine_id, *parts):
        data = part.encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest().upper()
