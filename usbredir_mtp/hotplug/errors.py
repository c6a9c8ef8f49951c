"""What can go wrong with a running VM."""

from __future__ import annotations


class AttachError(Exception):
    """The phone cannot be plugged in, or not be taken out; the text is one line that says why and what would help."""


class MonitorGoneError(AttachError):
    """QEMU has ended, or has closed its monitor."""


class CommandError(AttachError):
    """QEMU refused a command.

    Args:
        command: The command's name.
        kind: QEMU's class of the error, such as "GenericError" or "DeviceNotFound" (QAPI's QapiErrorClass).
        reason: QEMU's own words.
    """

    def __init__(self, command: str, kind: str, reason: str) -> None:
        super().__init__(f"QEMU refuses {command}: {' '.join(reason.split())}")
        self.command = command
        self.kind = kind
        self.reason = reason
