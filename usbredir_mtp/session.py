"""One connection: the usbredir host side, a virtual device and a responder, put together.

The only module that knows all three layers; it does no I/O of its own. All methods are for one thread, the loop's.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from usbredir_mtp.device.device import VirtualDevice
from usbredir_mtp.device.identity import Identity
from usbredir_mtp.device.requests import SetupPacket
from usbredir_mtp.device.usb import Speed, TransferStatus
from usbredir_mtp.function import MtpFunction
from usbredir_mtp.protocol import packets as p
from usbredir_mtp.protocol.connection import HostConnection
from usbredir_mtp.protocol.constants import ENDPOINT_COUNT, Capability, Status, TransferType
from usbredir_mtp.protocol.errors import FilterError
from usbredir_mtp.protocol.filters import explain_reject, parse_filter
from usbredir_mtp.tally import Tallies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from usbredir_mtp.mtp.device import MtpDevice

Buffer = bytes | bytearray | memoryview

logger = logging.getLogger(__name__)

MAX_PENDING_OUT = 32 << 20
"""Bytes of bulk OUT transfers that a guest may have pending before its socket is no longer read: more than any guest
controller has in flight."""


class Transport(Protocol):
    """The byte stream to the guest."""

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Send the buffers, in order; they are not changed afterwards."""

    def pause_reading(self) -> None:
        """Deliver no more data until `resume_reading`."""

    def resume_reading(self) -> None:
        """Undo `pause_reading`; may be called without it."""

    def close(self) -> None:
        """Send what is written, then close."""

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Run a function on this thread after some seconds, unless the connection is gone by then."""


@dataclass(slots=True, frozen=True)
class Phone:
    """What is plugged in: what it is to MTP and to USB, and how fast it is.

    Attributes:
        name: What the log and the metrics call it.
        tallies: What has been done with it.
    """

    mtp: MtpDevice
    usb: Identity = field(default_factory=Identity)
    speed: Speed = Speed.HIGH
    name: str = ""
    tallies: Tallies = field(default_factory=Tallies)


class Queues(NamedTuple):
    """What waits somewhere: bytes of uploads for the storage, of answers for the guest; transfers of each direction."""

    uploads: int
    answers: int
    transfers_in: int
    transfers_out: int


class Session:
    """A guest's device, from its plug to its unplug.

    Args:
        phone: The device; other sessions may share the same.
        transport: Where packets go.
        post: Runs a function on this thread soon; may be called from any thread, also when it is too late.
        name: The peer, for the log.
    """

    def __init__(
        self,
        phone: Phone,
        transport: Transport,
        post: Callable[[Callable[[], None]], None],
        name: str = "guest",
    ) -> None:
        self.name = name
        self._transport = transport
        self._connection = HostConnection()
        self._function = MtpFunction(phone.mtp, post, transport.later, name, phone.tallies)
        self._device = VirtualDevice(phone.usb, phone.speed, self._function, self._complete, self._send_event)
        self._function.attach(self._device, self._flush, self.unplug)
        self._on_packet = self._handlers()
        self._outgoing: list[Buffer] = []
        self._write_paused = False
        self._full = False
        self._filter = ""
        self._plugged = False
        self._unplugging = False
        self._gone = False
        self._closed = False

    # -- what the transport tells ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Send our hello."""
        self._transport.write([self._connection.hello()])

    def receive(self, data: Buffer) -> None:
        """Take bytes from the guest.

        Raises:
            RemoteProtocolError: they break the protocol; the connection must be closed.
        """
        if self._closed:
            return
        for packet in self._connection.receive_data(data):
            if self._gone:
                break
            self._on_packet[type(packet)](packet)
        self._flush()

    def pause_writing(self) -> None:
        """The guest does not read: complete nothing more, and take nothing more either."""
        self._write_paused = True
        self._device.pause()
        self._regulate()

    def resume_writing(self) -> None:
        """It reads again."""
        self._write_paused = False
        self._device.resume()
        self._flush()

    def closed(self) -> None:
        """The connection is gone: undo what is half done. May be called more than once."""
        if not self._closed:
            self._closed = True
            self._function.close()

    # -- what the server wants -------------------------------------------------------------------------------------

    @property
    def greeted(self) -> bool:
        """Whether the guest's hello has come."""
        return self._connection.peer is not None

    @property
    def busy(self) -> bool:
        """Whether a transaction is running."""
        return self._function.busy

    @property
    def queues(self) -> Queues:
        """What waits at the moment; may be asked by any thread."""
        function, device = self._function, self._device
        uploads = function.waiting + device.bulk_out.pending_bytes
        return Queues(uploads, function.unsent, device.bulk_in.pending, device.bulk_out.pending)

    @property
    def unplugging(self) -> bool:
        """Whether the device is being taken away, or has been."""
        return self._unplugging

    def unplug(self) -> None:
        """Take the device away; the transport is closed once the guest has acknowledged, or at once if it cannot."""
        if self._unplugging or self._closed:
            return
        self._unplugging = True
        if not self._plugged:
            self._transport.close()
            return
        self._plugged = False
        self._send(p.DeviceDisconnect())
        self._flush()
        self._function.close()
        if Capability.DEVICE_DISCONNECT_ACK not in self._connection.capabilities:
            self._transport.close()

    # -- packets out -------------------------------------------------------------------------------------------------

    def _complete(self, endpoint: int, id_: int, status: TransferStatus, length: int, data: Buffer) -> None:
        if self._plugged:
            self._outgoing += self._connection.complete_bulk(endpoint, id_, status, length, data)

    def _send_event(self, endpoint: int, data: Buffer) -> None:
        id_ = self._connection.next_interrupt_id(endpoint)
        self._send(p.InterruptPacket(endpoint, Status.SUCCESS, len(data), data, id=id_))

    def _send(self, packet: p.Packet) -> None:
        """Queue a packet; whoever called this session lets `_flush` write all of them at once."""
        self._outgoing += self._connection.send(packet)

    def _flush(self) -> None:
        if self._closed:
            return
        if self._outgoing:
            buffers, self._outgoing = self._outgoing, []
            self._transport.write(buffers)
        self._regulate()

    def _regulate(self) -> None:
        """Read from the guest only while there is somewhere to put what it sends."""
        full = self._write_paused or self._device.bulk_out.pending_bytes > MAX_PENDING_OUT
        if full is not self._full:
            self._full = full
            if full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # -- packets in --------------------------------------------------------------------------------------------------

    def _on_hello(self, packet: p.Hello) -> None:
        logger.info("%s: says hello as %r", self.name, packet.version)
        self._send(self._ep_info())
        self._send(self._interface_info())
        self._send(self._device_connect())
        self._plugged = True

    def _ep_info(self) -> p.EpInfo:
        types = [int(TransferType.INVALID)] * ENDPOINT_COUNT
        intervals, interfaces, sizes = ([0] * ENDPOINT_COUNT for _ in range(3))
        for endpoint in self._device.endpoint_info():
            index = (endpoint.address & 0x0F) | (endpoint.address & 0x80) >> 3
            types[index] = endpoint.transfer_type
            intervals[index] = endpoint.interval
            interfaces[index] = endpoint.interface
            sizes[index] = endpoint.max_packet
        return p.EpInfo(tuple(types), tuple(intervals), tuple(interfaces), tuple(sizes))

    def _interface_info(self) -> p.InterfaceInfo:
        rows = self._device.interface_info()
        return p.InterfaceInfo(
            tuple(row.number for row in rows),
            tuple(row.class_ for row in rows),
            tuple(row.subclass for row in rows),
            tuple(row.protocol for row in rows),
        )

    def _device_connect(self) -> p.DeviceConnect:
        identity = self._device.identity
        class_, subclass, protocol = self._device.device_class
        return p.DeviceConnect(
            self._device.speed, class_, subclass, protocol, identity.vendor, identity.product, identity.release
        )

    def _on_reset(self, _packet: p.Reset) -> None:
        self._device.reset()

    def _on_set_configuration(self, packet: p.SetConfiguration) -> None:
        status = self._device.set_configuration(packet.configuration)
        self._send(p.ConfigurationStatus(status, self._device.configuration, id=packet.id))

    def _on_get_configuration(self, packet: p.GetConfiguration) -> None:
        self._send(p.ConfigurationStatus(Status.SUCCESS, self._device.configuration, id=packet.id))

    def _on_set_alt_setting(self, packet: p.SetAltSetting) -> None:
        status = self._device.set_alternate(packet.interface, packet.alt)
        self._send(p.AltSettingStatus(status, packet.interface, packet.alt, id=packet.id))

    def _on_get_alt_setting(self, packet: p.GetAltSetting) -> None:
        status, alt = self._device.get_alternate(packet.interface)
        self._send(p.AltSettingStatus(status, packet.interface, alt, id=packet.id))

    def _on_control(self, packet: p.ControlPacket) -> None:
        setup = SetupPacket(packet.requesttype, packet.request, packet.value, packet.index, packet.length)
        reply = self._device.control(setup, packet.data)
        self._send(
            p.ControlPacket(
                packet.endpoint,
                packet.request,
                packet.requesttype,
                reply.status,
                packet.value,
                packet.index,
                len(reply.data) if packet.endpoint & 0x80 else packet.length,
                reply.data,
                id=packet.id,
            )
        )

    def _on_bulk(self, packet: p.BulkPacket) -> None:
        if packet.endpoint & 0x80:
            self._device.submit_in(packet.endpoint, packet.id, packet.length)
        else:
            self._device.submit_out(packet.endpoint, packet.id, packet.data)

    def _on_cancel(self, packet: p.CancelDataPacket) -> None:
        self._device.cancel(packet.id)  # a transfer that is complete, or never was, has no answer

    def _on_start_interrupt(self, packet: p.StartInterruptReceiving) -> None:
        known = packet.endpoint == self._device.interrupt.address
        status = Status.SUCCESS if known else Status.INVAL
        self._send(p.InterruptReceivingStatus(status, packet.endpoint, id=packet.id))
        if known:
            self._device.interrupt.start()

    def _on_stop_interrupt(self, packet: p.StopInterruptReceiving) -> None:
        known = packet.endpoint == self._device.interrupt.address
        if known:
            self._device.interrupt.stop()
        status = Status.SUCCESS if known else Status.INVAL
        self._send(p.InterruptReceivingStatus(status, packet.endpoint, id=packet.id))

    def _on_interrupt(self, packet: p.InterruptPacket) -> None:
        """There is no interrupt OUT endpoint."""
        self._send(p.InterruptPacket(packet.endpoint, Status.INVAL, 0, id=packet.id))

    def _on_iso_stream(self, packet: p.StartIsoStream | p.StopIsoStream) -> None:
        self._send(p.IsoStreamStatus(Status.INVAL, packet.endpoint, id=packet.id))

    def _on_iso(self, packet: p.IsoPacket) -> None:
        """Isochronous data has no reply, and here no endpoint."""

    def _on_bulk_streams(self, packet: p.AllocBulkStreams | p.FreeBulkStreams) -> None:
        self._send(p.BulkStreamsStatus(packet.endpoints, 0, Status.INVAL, id=packet.id))

    def _on_bulk_receiving(self, packet: p.StartBulkReceiving | p.StopBulkReceiving) -> None:
        self._send(p.BulkReceivingStatus(packet.stream_id, packet.endpoint, Status.INVAL, id=packet.id))

    def _on_filter(self, packet: p.FilterFilter) -> None:
        self._filter = packet.filter

    def _on_filter_reject(self, _packet: p.FilterReject) -> None:
        logger.error("%s: refuses the device: %s", self.name, self._reason())

    def _reason(self) -> str:
        reason: str | None = None
        if self._filter:
            try:
                rules = parse_filter(self._filter)
                reason = explain_reject(rules, self._device_connect(), self._interface_info())
            except FilterError as error:
                reason = f"its filter {self._filter!r} cannot be read: {error}"
        return reason or (
            "no filter of its own explains it; most likely its USB controller does not support "
            f"a device of {self._device.speed.name.lower()} speed (see --speed)"
        )

    def _on_disconnect_ack(self, _packet: p.DeviceDisconnectAck) -> None:
        """There is no device any more to which what follows could be addressed."""
        self._gone = True
        self._transport.close()

    def _handlers(self) -> dict[type[p.Packet], Callable[..., None]]:
        """What to do with each packet that a guest may send."""
        return {
            p.Hello: self._on_hello,
            p.Reset: self._on_reset,
            p.SetConfiguration: self._on_set_configuration,
            p.GetConfiguration: self._on_get_configuration,
            p.SetAltSetting: self._on_set_alt_setting,
            p.GetAltSetting: self._on_get_alt_setting,
            p.StartIsoStream: self._on_iso_stream,
            p.StopIsoStream: self._on_iso_stream,
            p.StartInterruptReceiving: self._on_start_interrupt,
            p.StopInterruptReceiving: self._on_stop_interrupt,
            p.AllocBulkStreams: self._on_bulk_streams,
            p.FreeBulkStreams: self._on_bulk_streams,
            p.CancelDataPacket: self._on_cancel,
            p.FilterReject: self._on_filter_reject,
            p.FilterFilter: self._on_filter,
            p.DeviceDisconnectAck: self._on_disconnect_ack,
            p.StartBulkReceiving: self._on_bulk_receiving,
            p.StopBulkReceiving: self._on_bulk_receiving,
            p.ControlPacket: self._on_control,
            p.BulkPacket: self._on_bulk,
            p.IsoPacket: self._on_iso,
            p.InterruptPacket: self._on_interrupt,
        }
