"""The MTP function of a virtual device: joins the USB pipes (`device`) to a responder (`mtp`) and its worker."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import ResponseCode
from usbredir_mtp.mtp.containers import ContainerAssembler, ContainerError
from usbredir_mtp.mtp.responder import Responder
from usbredir_mtp.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbredir_mtp.device.device import VirtualDevice
    from usbredir_mtp.mtp.device import MtpDevice
    from usbredir_mtp.tally import Tallies
    from usbredir_mtp.worker import Output

Buffer = bytes | bytearray | memoryview

logger = logging.getLogger(__name__)

EVENT_BURST = 512
"""Events that may leave at once: QEMU keeps 2,000 for a guest and drops what is more."""
EVENT_RATE = 1000.0
"""Events a second after that: what a guest that polls takes."""
EVENT_PAUSE = 0.1
"""Seconds until the next ones when these are used up."""


class MtpFunction:
    """What is behind the pipes (see `device.Function`). All methods are for one thread, the loop's.

    Args:
        device: What the responder shares with others of the same device.
        post: Runs a function on this thread soon; may be called from any thread, also when it is too late.
        later: Runs a function on this thread after some seconds.
        name: The peer, for the log.
        tallies: Where transactions are counted.

    Attributes:
        unplug: Called when the guest has powered the device down.
        flush: Called after pieces of the responder's output have gone to the device outside of its own calls.
    """

    def __init__(
        self,
        device: MtpDevice,
        post: Callable[[Callable[[], None]], None],
        later: Callable[[float, Callable[[], None]], None],
        name: str,
        tallies: Tallies | None = None,
    ) -> None:
        self._publisher = device.objects.publisher
        self._post = post
        self._later = later
        self._name = name
        self._assembler = ContainerAssembler()
        self._responder = Responder(device, self._wake)
        self._worker = Worker(self._responder, self._deliver, self._release, post, tallies, name)
        self._delivered = 0
        self._closed = False
        self._woken = False
        self._allowance = float(EVENT_BURST)
        self._allowed_at = 0.0
        self._device: VirtualDevice
        self.flush: Callable[[], None]
        self.unplug: Callable[[], None]

    def attach(self, device: VirtualDevice, flush: Callable[[], None], unplug: Callable[[], None]) -> None:
        """Begin to serve `device`."""
        self._device = device
        self.flush = flush
        self.unplug = unplug
        device.bulk_in.on_drain = self._drained
        device.interrupt.on_ready = self._pump_events
        self._publisher.subscribe(self._responder)

    def close(self) -> None:
        """End: whatever is half done is undone. May be called more than once."""
        if not self._closed:
            self._closed = True
            self._publisher.unsubscribe(self._responder)
            self._worker.close()
            self._assembler.reset()
            self._device.bulk_in.flush()  # megabytes, which nobody will ask for

    def join(self, timeout: float) -> bool:
        """Wait for the worker's end after `close`, at most `timeout` seconds."""
        return self._worker.join(timeout)

    @property
    def busy(self) -> bool:
        """Whether a transaction is running, or the guest has not taken all of its answer."""
        return self._worker.busy or self._worker.unsent > 0

    @property
    def waiting(self) -> int:
        """Bytes of uploads that the storage has not been given."""
        return self._worker.waiting

    @property
    def unsent(self) -> int:
        """Bytes of answers that the guest has not taken."""
        return self._worker.unsent

    # -- from the device -------------------------------------------------------------------------------------------

    def receive(self, data: Buffer, short: bool) -> None:
        """A bulk OUT transfer has arrived."""
        try:
            items = self._assembler.receive(data, short)
        except ContainerError as error:
            logger.warning("%s: %s: the bulk endpoints stall until the guest clears them", self._name, error)
            self._abandon()
            self._worker.cancel()
            self._device.bulk_in.halt()
            self._device.bulk_out.halt()
            return
        self._worker.accept(items)
        if self._worker.full:
            self._device.bulk_out.hold()

    def cancel(self, transaction: int) -> None:
        """The class request Cancel (Still Image Capture Device Definition 1.0, 5.2.1)."""
        logger.info("%s: cancels transaction %d", self._name, transaction)
        self._abandon()
        self._worker.cancel()

    def reset(self) -> None:
        """The class request Reset, a bus reset or a new configuration: the MTP session is over."""
        self._abandon()
        self._worker.reset()

    def status(self) -> int:
        """The class request Get Device Status: busy until what was given up is undone."""
        return ResponseCode.DEVICE_BUSY if self._worker.cancelling else ResponseCode.OK

    def _abandon(self) -> None:
        self._assembler.reset()
        self._device.bulk_in.flush()
        self._drained()
        self._device.bulk_out.release()

    def _drained(self) -> None:
        """Tell the worker how much has left the queue since the last time."""
        left = self._delivered - self._device.bulk_in.queued
        if left:
            self._delivered -= left
            self._worker.sent(left)
        self._leave_if_told()

    def _leave_if_told(self) -> None:
        """PowerDown: unplug once the guest has taken the answer."""
        if self._responder.power_off and not self._device.bulk_in.queued and not self._closed:
            self._responder.power_off = False
            self._post(self.unplug)

    # -- from the worker, through `post` ---------------------------------------------------------------------------

    def _deliver(self, output: Output) -> None:
        bulk_in = self._device.bulk_in
        for piece in output:
            if piece is None:
                bulk_in.end_message()
            else:
                self._delivered += len(piece)
                bulk_in.push(piece)
        self.flush()
        self._leave_if_told()

    def _release(self) -> None:
        if not self._closed:
            self._device.bulk_out.release()
            self.flush()

    # -- events ------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """From any thread: there may be events."""
        if not self._woken:
            self._woken = True
            self._post(self._on_woken)

    def _on_woken(self) -> None:
        self._woken = False
        if self._responder.untidy:
            self._worker.tidy()
        self._pump_events()
        self.flush()

    def _pump_events(self) -> None:
        """Let events out while the guest takes them, no faster than QEMU can pass them on."""
        while not self._closed and self._device.interrupt.ready:
            if not self._allow_event():
                self._woken = True
                self._later(EVENT_PAUSE, self._on_woken)
                return
            events = self._responder.take_events()
            if not events:
                return
            self._allowance -= len(events)
            for event in events:
                self._device.interrupt.push(event)

    def _allow_event(self) -> bool:
        if self._allowance >= 1:
            return True
        now = monotonic()
        self._allowance = min(EVENT_BURST, self._allowance + (now - self._allowed_at) * EVENT_RATE)
        self._allowed_at = now
        return self._allowance >= 1
