"""A small client of QEMU's machine protocol (QMP), over a connected socket."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket


class QmpError(Exception):
    """QEMU refused a command; the text is its description."""


@dataclass(slots=True)
class Qmp:
    """Sends commands and waits for their answers.

    Attributes:
        sock: the connection; its time-out bounds every wait.
        events: what QEMU announced by itself so far, as it came.
    """

    sock: socket.socket
    events: list[dict[str, Any]] = field(default_factory=list)
    _unread: bytes = b""

    def open(self) -> None:
        """Takes the greeting and leaves negotiation mode."""
        self._read()
        self.execute("qmp_capabilities")

    def execute(self, command: str, /, **arguments: Any) -> Any:
        """Runs one command.

        Args:
            command: its name.
            arguments: its arguments; an underscore stands for a minus.

        Returns:
            What the command returns.

        Raises:
            QmpError: QEMU refused it.
            ConnectionError: QEMU has ended.
            TimeoutError: no answer came in time.
        """
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        request = {"execute": command, "arguments": named}
        self.sock.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self._read()
            if "error" in answer:
                raise QmpError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
            self.events.append(answer)

    def wait_event(self, name: str, **data: Any) -> None:
        """Waits for an event whose data holds at least these values, or takes one that came.

        Raises:
            ConnectionError: QEMU has ended.
            TimeoutError: it did not come in time.
        """
        while True:
            for event in self.events:
                if event["event"] == name and data.items() <= event.get("data", {}).items():
                    self.events.remove(event)
                    return
            self.events.append(self._read())

    def _read(self) -> dict[str, Any]:
        while b"\n" not in self._unread:
            received = self.sock.recv(65536)
            if not received:
                raise ConnectionError("QEMU closed its monitor")
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message
