"""Device properties: one table, and one device's values."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

from usbredir_mtp.mtp.codes import MAX_UINT32, DataType, DeviceProperty, EventCode, ResponseCode
from usbredir_mtp.mtp.datasets import DevicePropDesc, Form, NoForm, RangeForm
from usbredir_mtp.mtp.datatypes import ENCODERS, MAX_STRING_UNITS, Buffer, Value, decode_value
from usbredir_mtp.mtp.errors import DatasetError, MtpError
from usbredir_mtp.mtp.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbredir_mtp.mtp.events import Publisher
    from usbredir_mtp.mtp.identity import ResponderIdentity
    from usbredir_mtp.mtp.memory import Memory


@dataclass(slots=True, frozen=True)
class DevicePropertySpec:
    """One row; `default` makes the factory value from the device's identity."""

    kind: DataType
    default: Callable[[ResponderIdentity], Value]
    settable: bool = False
    form: Form = field(default_factory=NoForm)


@functools.cache
def _icon() -> bytes:
    return resources.files(__package__).joinpath("icon.ico").read_bytes()


DEVICE_PROPERTIES: dict[int, DevicePropertySpec] = {
    # A host does not run out of power while it answers.
    DeviceProperty.BATTERY_LEVEL: DevicePropertySpec(DataType.UINT8, lambda _identity: 100, form=RangeForm(0, 100, 1)),
    DeviceProperty.SYNCHRONIZATION_PARTNER: DevicePropertySpec(DataType.STRING, lambda _identity: "", settable=True),
    DeviceProperty.DEVICE_FRIENDLY_NAME: DevicePropertySpec(
        DataType.STRING, lambda identity: identity.friendly_name, settable=True
    ),
    DeviceProperty.DEVICE_ICON: DevicePropertySpec(DataType.ARRAY_UINT8, lambda _identity: _icon()),
    # Generic: what Windows shows is a portable device, not a player or a camera (MTP 1.1, C.2.7).
    DeviceProperty.PERCEIVED_DEVICE_TYPE: DevicePropertySpec(DataType.UINT32, lambda _identity: 0),
}
"""The device properties by code; DeviceInfo lists its keys."""


class DeviceProperties:
    """The values of one device, which all of its sessions share; thread-safe."""

    def __init__(self, identity: Callable[[], ResponderIdentity], publisher: Publisher, memory: Memory) -> None:
        self._identity = identity
        self._publisher = publisher
        self._memory = memory
        self._lock = threading.Lock()

    def describe(self, code: int) -> bytes:
        """The DevicePropDesc dataset.

        Raises:
            MtpError: DEVICE_PROP_NOT_SUPPORTED.
        """
        row = _row(code)
        default = row.default(self._identity())
        return DevicePropDesc(code, row.kind, row.settable, default, self._current(code), row.form).encode()

    def value(self, code: int) -> bytes:
        """The current value as bytes.

        Raises:
            MtpError: DEVICE_PROP_NOT_SUPPORTED.
        """
        return ENCODERS[_row(code).kind](self._current(code))

    def set(self, code: int, data: Buffer, origin: object = None) -> None:
        """Set a value from its bytes; everybody but `origin` is told.

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
        if isinstance(value, str) and not _fits(value):
            raise MtpError(ResponseCode.INVALID_DEVICE_PROP_VALUE, "longer than an MTP string may be")
        self._assign(code, value, origin)

    def reset(self, code: int, origin: object = None) -> None:
        """Take a property, or all of them (0xFFFFFFFF), back to the factory value.

        Raises:
            MtpError: DEVICE_PROP_NOT_SUPPORTED, ACCESS_DENIED if it cannot be set.
        """
        if code == MAX_UINT32:
            for each, row in DEVICE_PROPERTIES.items():
                if row.settable:
                    self._assign(each, None, origin)
            return
        if not _row(code).settable:
            raise MtpError(ResponseCode.ACCESS_DENIED, f"device property {code:#06x} cannot be set")
        self._assign(code, None, origin)

    def _current(self, code: int) -> Value:
        value: Any = self._memory.get(_key(code))
        row = DEVICE_PROPERTIES[code]
        if row.settable and isinstance(value, str) and _fits(value):  # what is remembered could have been edited
            return value
        return row.default(self._identity())

    def _assign(self, code: int, value: Value | None, origin: object) -> None:
        with self._lock:
            before = self._current(code)
            self._memory.set(_key(code), value)
            if self._current(code) != before:
                self._publisher.publish([Event(EventCode.DEVICE_PROP_CHANGED, code)], origin)


def _fits(text: str) -> bool:
    try:
        return len(text.encode("utf-16-le")) <= 2 * MAX_STRING_UNITS
    except UnicodeEncodeError:
        return False


def _key(code: int) -> str:
    return f"device-property-{code:04x}"


def _row(code: int) -> DevicePropertySpec:
    try:
        return DEVICE_PROPERTIES[code]
    except KeyError:
        raise MtpError(ResponseCode.DEVICE_PROP_NOT_SUPPORTED, f"device property {code:#06x}") from None
