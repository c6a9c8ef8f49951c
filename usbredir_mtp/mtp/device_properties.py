"""Device properties: one table, and one device's values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import DataType, DeviceProperty, ResponseCode
from usbredir_mtp.mtp.datasets import DevicePropDesc, Form, NoForm, RangeForm
from usbredir_mtp.mtp.datatypes import ENCODERS, MAX_STRING_UNITS, Buffer, Value, decode_value
from usbredir_mtp.mtp.errors import DatasetError, MtpError

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbredir_mtp.mtp.identity import ResponderIdentity


@dataclass(slots=True, frozen=True)
class DevicePropertySpec:
    """One row; `default` makes the factory value from the device's identity."""

    kind: DataType
    default: Callable[[ResponderIdentity], Value]
    settable: bool = False
    form: Form = field(default_factory=NoForm)


DEVICE_PROPERTIES: dict[int, DevicePropertySpec] = {
    # A host does not run out of power while it answers.
    DeviceProperty.BATTERY_LEVEL: DevicePropertySpec(DataType.UINT8, lambda _identity: 100, form=RangeForm(0, 100, 1)),
    DeviceProperty.SYNCHRONIZATION_PARTNER: DevicePropertySpec(DataType.STRING, lambda _identity: "", settable=True),
    DeviceProperty.DEVICE_FRIENDLY_NAME: DevicePropertySpec(
        DataType.STRING, lambda identity: identity.friendly_name, settable=True
    ),
    # Generic: what Windows shows is a portable device, not a player or a camera (MTP 1.1, C.2.7).
    DeviceProperty.PERCEIVED_DEVICE_TYPE: DevicePropertySpec(DataType.UINT32, lambda _identity: 0),
}
"""The device properties by code; DeviceInfo lists its keys."""


class DeviceProperties:
    """The values of one device."""

    def __init__(self, identity: ResponderIdentity) -> None:
        self._identity = identity
        self._values: dict[int, Value] = {}

    def describe(self, code: int) -> bytes:
        """The DevicePropDesc dataset.

        Raises:
            MtpError: DEVICE_PROP_NOT_SUPPORTED.
        """
        row = _row(code)
        default = row.default(self._identity)
        current = self._values.get(code, default)
        return DevicePropDesc(code, row.kind, row.settable, default, current, row.form).encode()

    def value(self, code: int) -> bytes:
        """The current value as bytes.

        Raises:
            MtpError: DEVICE_PROP_NOT_SUPPORTED.
        """
        row = _row(code)
        return ENCODERS[row.kind](self._values.get(code, row.default(self._identity)))

    def set(self, code: int, data: Buffer) -> None:
        """Set a value from its bytes.

        Raises:
            MtpError: DEVICE_PROP_NOT_SUPPORTED, ACCESS_DENIED if it cannot be set, INVALID_DEVICE_PROP_FORMAT.
        """
        row = _row(code)
        if not row.settable:
            raise MtpError(ResponseCode.ACCESS_DENIED, f"device property {code:#06x} cannot be set")
        try:
            value = decode_value(row.kind, data)
        except DatasetError as error:
            raise MtpError(ResponseCode.INVALID_DEVICE_PROP_FORMAT, error.detail) from error
        if isinstance(value, str) and len(value.encode("utf-16-le")) > 2 * MAX_STRING_UNITS:
            raise MtpError(ResponseCode.INVALID_DEVICE_PROP_VALUE, "longer than an MTP string may be")
        self._values[code] = value


def _row(code: int) -> DevicePropertySpec:
    try:
        return DEVICE_PROPERTIES[code]
    except KeyError:
        raise MtpError(ResponseCode.DEVICE_PROP_NOT_SUPPORTED, f"device property {code:#06x}") from None
