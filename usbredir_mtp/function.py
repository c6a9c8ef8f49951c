"""The MTP function of a virtual device: joins the USB pipes (`device`) to a responder (`mtp`) and its worker."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import ResponseCode
from usbredir_mtp.mtp.containers import ContainerAssembler, ContainerError
from usbredir_mtp.mtp.responder import Responder
from usbredir_mtp.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbredir_mtp.device.device import VirtualDevice
    from usbredir_mtp.mtp.identity import ResponderIdentity
    from usbredir_mtp.mtp.objects import ObjectTable
    from usbredir_mtp.worker import Output

Buffer = bytes | bytearray | memoryview

logger = logging.getLogger(__name__)


class MtpFunction:
    """What is behind the pipes (see `device.Function`). All methods are for one thread, the loop's.

    Args:
        objects: What the responder shares.
        identity: Who it says it is.
        post: Runs a function on this thread soon; may be called from any thread, also when it is too late.
        name: The peer, for the log.

    Attributes:
        flush: Called after pieces of the responder's output have gone to the device outside of its own calls.
    """

    def __init__(
        self,
        objects: ObjectTable,
        identity: ResponderIdentity,
        post: Callable[[Callable[[], None]], None],
        name: str,
    ) -> None:
        self._objects = objects
        self._post = post
        self._name = name
        self._assembler = ContainerAssembler()
        self._responder = Responder(objects, identity, emit=self._emit)
        self._worker = Worker(self._responder, self._deliver, self._release, post)
        self._delivered = 0
        self._closed = False
        self._device: VirtualDevice
        self.flush: Callable[[], None]

    def attach(self, device: VirtualDevice, flush: Callable[[], None]) -> None:
        """Begin to serve `device`."""
        self._device = device
        self.flush = flush
        device.bulk_in.on_drain = self._drained
        self._objects.subscribe(self._responder)

    def close(self) -> None:
        """End: whatever is half done is undone. May be called more than once."""
        if not self._closed:
            self._closed = True
            self._objects.unsubscribe(self._responder)
            self._worker.close()

    def join(self, timeout: float) -> bool:
        """Wait for the worker's end after `close`, at most `timeout` seconds."""
        return self._worker.join(timeout)

    @property
    def busy(self) -> bool:
        """Whether a transaction is running, or the guest has not taken all of its answer."""
        return self._worker.busy or self._device.bulk_in.queued > 0

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

    def _release(self) -> None:
        if not self._closed:
            self._device.bulk_out.release()
            self.flush()

    def _emit(self, event: bytes) -> None:
        self._post(lambda: self._push_event(event))

    def _push_event(self, event: bytes) -> None:
        if not self._closed:
            self._device.interrupt.push(event)
            self.flush()
