"""usbredir's device filters: parse them, and explain what they make of a device.

Source: usbredir protocol 0.7, "usb_redir_filter_filter", and `usbredirfilter.h` (the functions
`usbredirfilter_string_to_rules` and `usbredirfilter_check`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from usbredir_mtp.protocol.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from usbredir_mtp.protocol.packets import DeviceConnect, InterfaceInfo

ANY = -1
"""In a rule: every value matches."""

CLASSES_BY_INTERFACE = frozenset({0x00, 0xEF})
"""Device classes that leave it to the interfaces to say what the device is: not checked."""

HID_WITHOUT_BOOT = (0x03, 0x00, 0x00)
"""Such an interface beside others, the volume keys of a headset say, is not checked."""

_LIMITS = {
    "device_class": 0xFF,
    "vendor_id": 0xFFFF,
    "product_id": 0xFFFF,
    "device_version_bcd": 0xFFFF,
}

_NUMBER = re.compile(
    r"[ \t\n\v\f\r]*(?P<sign>[+-]?)(?:0[xX](?P<hex>[0-9a-fA-F]+)|(?P<oct>0[0-7]*)|(?P<dec>[1-9][0-9]*))"
)
"""What C's strtol takes with base 0."""

_BASES = {"hex": 16, "oct": 8, "dec": 10}
_INT_BITS = 31


@dataclass(slots=True, frozen=True)
class FilterRule:
    """One rule; each value is a number or ANY. The first rule that matches decides."""

    device_class: int
    vendor_id: int
    product_id: int
    device_version_bcd: int
    allow: bool

    def matches(self, device_class: int, device: DeviceConnect) -> bool:
        """Whether it decides about this device, taken to be of this class."""
        return (
            self.device_class in {ANY, device_class}
            and self.vendor_id in {ANY, device.vendor_id}
            and self.product_id in {ANY, device.product_id}
            and self.device_version_bcd in {ANY, device.device_version_bcd}
        )

    def __str__(self) -> str:
        return ",".join(str(int(getattr(self, field.name))) for field in fields(self))


def parse_filter(text: str) -> list[FilterRule]:
    """The rules of `class,vendor,product,version,allow|...`; empty rules and values are skipped.

    Numbers are decimal, 0x hexadecimal or 0 octal; -1 is ANY; `allow` is any number, 0 for deny.

    Raises:
        FilterError: A rule has not five numbers, or one is out of range.
    """
    return [_parse_rule(rule) for rule in text.split("|") if rule]


def _parse_rule(text: str) -> FilterRule:
    values = [_parse_number(value) for value in text.split(",") if value]
    if len(values) != len(fields(FilterRule)):
        raise FilterError(f"a rule has five values, not {len(values)}: {text!r}")
    for value, (name, limit) in zip(values, _LIMITS.items(), strict=False):
        if not ANY <= value <= limit:
            raise FilterError(f"{name} is out of range: {text!r}")
    device_class, vendor_id, product_id, device_version_bcd, allow = values
    return FilterRule(device_class, vendor_id, product_id, device_version_bcd, allow != 0)


def _parse_number(text: str) -> int:
    match = _NUMBER.fullmatch(text)
    if match is None or match.lastgroup is None:
        raise FilterError(f"not a number: {text!r}")
    value = int(match[match.lastgroup], _BASES[match.lastgroup])
    if value >> _INT_BITS:
        raise FilterError(f"out of range: {text!r}")
    return -value if match["sign"] == "-" else value


def explain_reject(rules: Sequence[FilterRule], device: DeviceConnect, interfaces: InterfaceInfo) -> str | None:
    """Why a peer with this filter refuses the device, as a sentence for the log; None if it takes it.

    The device's class is checked, unless it points to the interfaces, and then each interface's: all
    must be allowed, and what no rule matches is denied.
    """
    for what, device_class in _passes(device, interfaces):
        rule = next((rule for rule in rules if rule.matches(device_class, device)), None)
        about = f"{what} {device_class:#04x} of {device.vendor_id:04x}:{device.product_id:04x}"
        if rule is None:
            return f"No rule of the peer's filter allows {about}."
        if not rule.allow:
            return f"Rule {rules.index(rule) + 1} of the peer's filter ({rule}) denies {about}."
    return None


def _passes(device: DeviceConnect, interfaces: InterfaceInfo) -> Iterator[tuple[str, int]]:
    """The classes to check, each with its name. If all interfaces could be skipped, none is."""
    if device.device_class not in CLASSES_BY_INTERFACE:
        yield "device class", device.device_class
    rows = list(
        zip(
            interfaces.interface_class,
            interfaces.interface_subclass,
            interfaces.interface_protocol,
            strict=False,
        )
    )
    checked = [row for row in rows if row != HID_WITHOUT_BOOT]
    for row in checked or rows:
        yield "interface class", row[0]
