"""A usb-guest for tests: what a virtual machine asks of a redirected device."""

from __future__ import annotations

from tests.support.link import (
    HungUpError,
    Link,
    StallError,
    Stream,
    TransferError,
    UnpluggedError,
    check,
)
from tests.support.wire import (
    ALL_CAPS,
    Buffer,
    Cap,
    Packet,
    Status,
    Type,
    hello,
)

__all__ = [
    "ALL_CAPS",
    "Cap",
    "Guest",
    "HungUpError",
    "Packet",
    "StallError",
    "Status",
    "Stream",
    "TransferError",
    "Type",
    "UnpluggedError",
]


class Guest(Link):
    """One usb-guest on a connected stream; `attach` begins."""

    def attach(self) -> None:
        """Say hello and wait for the device."""
        self.greet()
        self.wait_device()

    def greet(self) -> None:
        """Exchange hellos."""
        self.send_raw(hello(self.caps))
        while not self._greeted:
            self.pump()

    def wait_device(self) -> None:
        """Wait until a device is plugged in."""
        while self.device is None:
            self.pump()

    def reset(self) -> None:
        """Reset the device; there is no reply."""
        self.send(Type.RESET, 0)

    def cancel(self, id_: int) -> None:
        """Ask to cancel a transfer; its one reply still comes."""
        self.send(Type.CANCEL_DATA_PACKET, id_)

    def set_configuration(self, value: int) -> None:
        """Choose a configuration."""
        reply = self.wait(self.request(Type.SET_CONFIGURATION, value))
        check(reply.status)
        assert reply["configuration"] == value, reply

    def get_configuration(self) -> int:
        """The chosen configuration."""
        reply = self.wait(self.request(Type.GET_CONFIGURATION))
        check(reply.status)
        return reply["configuration"]

    def set_interface(self, interface: int, alternate: int) -> None:
        """Choose an alternate setting."""
        reply = self.wait(self.request(Type.SET_ALT_SETTING, interface, alternate))
        check(reply.status)
        assert (reply["interface"], reply["alt"]) == (interface, alternate), reply

    def get_interface(self, interface: int) -> int:
        """The chosen alternate setting."""
        reply = self.wait(self.request(Type.GET_ALT_SETTING, interface))
        check(reply.status)
        assert reply["interface"] == interface, reply
        return reply["alt"]

    def control_in(self, request_type: int, request: int, value: int = 0, index: int = 0, length: int = 255) -> bytes:
        """A control transfer that reads."""
        values = (0x80, request, request_type, 0, value, index, length)
        reply = self.wait(self.request(Type.CONTROL, *values, endpoint=0x80, asked=length))
        check(reply.status)
        return reply.data

    def control_out(
        self,
        request_type: int,
        request: int,
        value: int = 0,
        index: int = 0,
        data: Buffer = b"",
    ) -> None:
        """A control transfer that writes, or has no data stage."""
        values = (0, request, request_type, 0, value, index, len(data))
        reply = self.wait(self.request(Type.CONTROL, *values, data=data))
        check(reply.status)
        assert reply["length"] == len(data), reply

    def endpoint(self, kind: int, direction: int) -> int:
        """The first endpoint of a type (2 bulk, 3 interrupt) and direction (0x80 is IN)."""
        return next(
            row.address for row in self.endpoints.values() if row.type == kind and row.address & 0x80 == direction
        )

    def _bulk_fields(self, endpoint: int, length: int) -> tuple[int, ...]:
        if Cap.BULK_LENGTH_32BITS in self.codec.caps:
            return endpoint, 0, length & 0xFFFF, 0, length >> 16
        return endpoint, 0, length, 0

    def submit_bulk_in(self, length: int, endpoint: int | None = None) -> int:
        """Start a bulk IN transfer; `wait` for the id."""
        address = self.endpoint(2, 0x80) if endpoint is None else endpoint
        fields = self._bulk_fields(address, length)
        return self.request(Type.BULK, *fields, endpoint=address, asked=length)

    def submit_bulk_out(self, data: Buffer, endpoint: int | None = None) -> int:
        """Start a bulk OUT transfer; `wait` for the id."""
        address = self.endpoint(2, 0) if endpoint is None else endpoint
        fields = self._bulk_fields(address, len(data))
        return self.request(Type.BULK, *fields, endpoint=address, data=data)

    def bulk_in(self, length: int) -> bytes:
        """One bulk IN transfer."""
        reply = self.wait(self.submit_bulk_in(length))
        check(reply.status)
        return reply.data

    def bulk_out(self, data: Buffer) -> None:
        """One bulk OUT transfer, which must be taken whole."""
        reply = self.wait(self.submit_bulk_out(data))
        check(reply.status)
        assert reply["length"] == len(data), reply

    def cancel_all(self) -> None:
        """Cancel what is pending and take in the replies, as a host controller does."""
        ids = self.pending
        for id_ in ids:
            self.cancel(id_)
        for id_ in ids:
            self.wait(id_)

    def start_interrupt(self) -> None:
        """Ask for events."""
        endpoint = self.endpoint(3, 0x80)
        reply = self.request(Type.START_INTERRUPT_RECEIVING, endpoint, endpoint=endpoint)
        check(self.wait(reply).status)

    def stop_interrupt(self) -> None:
        """Ask for no more events; there may be none to stop, so the status does not matter."""
        endpoint = self.endpoint(3, 0x80)
        self.wait(self.request(Type.STOP_INTERRUPT_RECEIVING, endpoint, endpoint=endpoint))

    def wait_event(self, timeout: float | None = None) -> bytes:
        """The next interrupt packet.

        Raises:
            TimeoutError: None came in time (seconds, between two pieces of anything).
        """
        self.stream.settimeout(self.timeout if timeout is None else timeout)
        try:
            while not self.events:
                self.pump()
        finally:
            self.stream.settimeout(self.timeout)
        return self.events.popleft()
