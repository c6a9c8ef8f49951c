"""The virtual device: configuration, control requests, routing of transfers to endpoints, cancel and reset."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from usbredir_mtp.device import model
from usbredir_mtp.device.endpoints import BulkIn, BulkOut, InterruptIn
from usbredir_mtp.device.requests import CONTROL_PIPE, ControlReply, SetupPacket, answer
from usbredir_mtp.device.usb import Buffer, Complete, Speed, TransferStatus, TransferType

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbredir_mtp.device.identity import Identity

Endpoint = BulkIn | BulkOut | InterruptIn

_CONTROL_MAX_PACKET = {Speed.FULL: 64, Speed.HIGH: 64, Speed.SUPER: 512}


class Function(Protocol):
    """What is behind the device's pipes."""

    def receive(self, data: Buffer, short: bool) -> None:
        """One bulk OUT transfer; `short`: it ends a message, since its last packet is not a full one."""

    def cancel(self, transaction: int) -> None:
        """The class request Cancel: give up that transaction."""

    def reset(self) -> None:
        """The class request Reset, a bus reset or a new configuration: forget all that is in flight."""

    def status(self) -> int:
        """The code that the class request Get Device Status reports."""


class EndpointInfo(NamedTuple):
    """An endpoint, as a bus driver sees it."""

    address: int
    transfer_type: TransferType
    interval: int
    interface: int
    max_packet: int
    max_streams: int = 0


class InterfaceInfo(NamedTuple):
    """An interface, likewise."""

    number: int
    class_: int
    subclass: int
    protocol: int


class VirtualDevice:
    """A USB device with one still-image interface. No I/O, no threads: all calls come from one thread.

    Args:
        identity: Who it says it is.
        speed: At which it is attached.
        function: What is behind the pipes.
        complete: Takes the completion of every bulk transfer.
        emit_interrupt: Takes what the interrupt endpoint sends: its address and the data.
    """

    def __init__(
        self,
        identity: Identity,
        speed: Speed,
        function: Function,
        complete: Complete,
        emit_interrupt: Callable[[int, Buffer], None],
    ) -> None:
        self.identity = identity
        self.speed = speed
        self.function = function
        self.configuration = 0
        self.device_class = (0, 0, 0)
        self.descriptors = model.descriptor_table(identity, speed)
        self._complete = complete
        max_packet = model.BULK_MAX_PACKET[speed]
        self.bulk_in = BulkIn(model.BULK_IN, max_packet, complete)
        self.bulk_out = BulkOut(model.BULK_OUT, max_packet, complete, function.receive)
        self.interrupt = InterruptIn(model.INTERRUPT_IN, model.INTERRUPT_MAX_PACKET, emit_interrupt)
        self.endpoints: tuple[Endpoint, ...] = (self.bulk_in, self.bulk_out, self.interrupt)

    # -- what it consists of -------------------------------------------------------------------------------------

    def endpoint_info(self) -> list[EndpointInfo]:
        """Its endpoints, the default control pipe included."""
        control = _CONTROL_MAX_PACKET[self.speed]
        default = [EndpointInfo(address, TransferType.CONTROL, 0, 0, control) for address in CONTROL_PIPE]
        interface = model.interface(self.speed)
        return default + [
            EndpointInfo(row.address, row.transfer_type, row.interval, interface.number, row.max_packet)
            for row in interface.endpoints
        ]

    def interface_info(self) -> list[InterfaceInfo]:
        """Its interfaces."""
        return [InterfaceInfo(model.INTERFACE, *model.STILL_IMAGE)]

    def has_interface(self, number: int) -> bool:
        """Whether there is an interface of that number: only in the configured state (USB 2.0, 9.1.1.5)."""
        return self.configuration != 0 and number == model.INTERFACE

    def endpoint(self, address: int) -> Endpoint | None:
        """The endpoint of that address, None if there is none; the default control pipe is none of these."""
        if self.configuration == 0:
            return None
        return next((endpoint for endpoint in self.endpoints if endpoint.address == address), None)

    # -- control -------------------------------------------------------------------------------------------------

    def control(self, setup: SetupPacket, data: Buffer) -> ControlReply:
        """Run a control transfer; the reply's data is cut to wLength."""
        return answer(self, setup, data)

    def set_configuration(self, value: int) -> TransferStatus:
        """Choose a configuration; 0 leaves the device without one. Either way it starts anew (USB 2.0, 9.1.1.5)."""
        if value not in {0, model.CONFIGURATION}:
            return TransferStatus.STALL
        self._start_anew()
        self.configuration = value
        return TransferStatus.SUCCESS

    def set_alternate(self, interface: int, alternate: int) -> TransferStatus:
        """Choose an interface's alternate setting, of which there is one."""
        if not self.has_interface(interface) or alternate != 0:
            return TransferStatus.STALL
        self._start_anew()
        return TransferStatus.SUCCESS

    def get_alternate(self, interface: int) -> tuple[TransferStatus, int]:
        """An interface's alternate setting."""
        return (TransferStatus.SUCCESS if self.has_interface(interface) else TransferStatus.STALL), 0

    def reset(self) -> None:
        """A bus reset: the default state again (USB 2.0, 9.1.1.3)."""
        self._start_anew()
        self.configuration = 0

    def _start_anew(self) -> None:
        self.bulk_in.cancel_all()
        self.bulk_in.flush()
        self.bulk_out.cancel_all()
        self.interrupt.clear()
        for endpoint in self.endpoints:
            endpoint.clear_halt()
        self.function.reset()

    # -- transfers -----------------------------------------------------------------------------------------------

    def submit_in(self, endpoint: int, id_: int, length: int) -> None:
        """A bulk IN transfer."""
        if endpoint == self.bulk_in.address and self.configuration:
            self.bulk_in.submit(id_, length)
        else:
            self._complete(endpoint, id_, TransferStatus.INVAL, 0, b"")

    def submit_out(self, endpoint: int, id_: int, data: Buffer) -> None:
        """A bulk OUT transfer."""
        if endpoint == self.bulk_out.address and self.configuration:
            self.bulk_out.submit(id_, data)
        else:
            self._complete(endpoint, id_, TransferStatus.INVAL, 0, b"")

    def cancel(self, id_: int) -> bool:
        """Complete a pending transfer as cancelled; False if none of that id is pending."""
        return self.bulk_in.cancel(id_) or self.bulk_out.cancel(id_)

    def pause(self) -> None:
        """Let nothing leave until `resume`: the host does not take it."""
        self.bulk_in.pause()
        self.interrupt.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        self.bulk_in.resume()
        self.interrupt.resume()
