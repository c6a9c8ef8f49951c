"""The responder: takes one command at a time, runs it, and answers through a channel. It only dispatches.

Plain blocking code for one thread per session; what carries the bytes is behind `Channel`.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Protocol, cast

from usbredir_mtp.mtp.codes import EventCode, OperationCode, ResponseCode
from usbredir_mtp.mtp.containers import (
    HEADER,
    MAX_PARAMETERS,
    Command,
    encode_data_header,
    encode_event,
    encode_response,
)
from usbredir_mtp.mtp.errors import MtpError, TransactionCancelled, response_code
from usbredir_mtp.mtp.events import Event, EventQueue
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply
from usbredir_mtp.mtp.operations import OPERATIONS
from usbredir_mtp.mtp.state import MtpSession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from usbredir_mtp.mtp.device import MtpDevice
    from usbredir_mtp.mtp.storage import Buffer, DataSink, DataSource, Editor

logger = logging.getLogger(__name__)

FIRST_BLOCK = 256 << 10
"""Bytes read before the first byte leaves: small, so that it leaves soon, and enough for most files."""
BLOCK = 1 << 20
"""Bytes read at a time after that."""


def _block(sent: int) -> int:
    """How much to read next, so that what has been sent, the container's header included, ends where transfers do.

    Initiators ask for powers of two: none of these then takes from two blocks, which would mean to copy it.
    """
    return FIRST_BLOCK - sent if sent < FIRST_BLOCK else BLOCK - sent % BLOCK


_FAULT = "a fault of usbredir-mtp's, please report it: %s"

NO_TRANSACTION = 0xFFFFFFFF
"""The transaction of events that belong to none (MTP 1.1, 4.8)."""


class Channel(Protocol):
    """What the responder needs of the way to its initiator.

    Every method raises `TransactionCancelled` when the transaction was given up meanwhile.
    """

    def receive(self) -> Buffer | None:
        """The next piece of the initiator's data phase; None at its end.

        Raises:
            MtpError: INCOMPLETE_TRANSFER if it ended early.
        """

    def send(self, data: Buffer) -> None:
        """A piece of a container; may wait until there is room."""

    def end(self) -> None:
        """The container that was being sent is complete."""

    def check(self) -> None:
        """Only look whether the transaction was cancelled."""


class Responder:
    """One guest's responder.

    Args:
        device: What it has in common with other guests' responders.
        wake: Called, from any thread, when there may be events to take.
        operations: The operations by code.

    Attributes:
        objects: The device's object table.
        session: The open session, None outside of one.
        power_off: The initiator wants the device to be unplugged.
        untidy: `tidy` has something to do.
        errors: Number of an error of the host's -> how many transactions it has brought to an end.
    """

    def __init__(
        self,
        device: MtpDevice,
        wake: Callable[[], None] = lambda: None,
        operations: Mapping[int, Operation] = OPERATIONS,
    ) -> None:
        self.device = device
        self.objects = device.objects
        self.session: MtpSession | None = None
        self.operations = operations
        self.power_off = False
        self.untidy = False
        self.errors: Counter[int] = Counter()
        self._wake = wake
        self._events = EventQueue(self._everything_changed)
        self._channel: Channel | None = None

    def execute(self, command: Command, channel: Channel) -> ResponseCode:
        """Run one transaction to its end; returns what was answered.

        Raises:
            TransactionCancelled: it was given up; whatever it had begun is undone, and nothing more is sent.
        """
        self._channel = channel
        try:
            with self.objects.stores.in_use(), ExitStack() as stack:
                reply = self._perform(command, channel, stack)
                code = reply.code
                if reply.source is not None:
                    code = self._send_data(command, reply.source, channel) or code
                channel.send(encode_response(code, command.transaction, reply.parameters))
                channel.end()
        finally:
            self._channel = None
        return code

    def checkpoint(self) -> None:
        """For handlers that take long: raises `TransactionCancelled` when the initiator no longer waits."""
        if self._channel is not None:
            self._channel.check()

    def open_session(self, session_id: int) -> None:
        """Begin a session."""
        self.session = MtpSession(session_id)

    def close_session(self) -> None:
        """End the session, if there is one, and all that was open in it."""
        session, self.session = self.session, None
        self._events.clear()
        if session is None:
            return
        if session.pending is not None:
            self.objects.release(session.pending.folder, session.pending.name)
        for editor in session.editors.values():
            _let_go(editor)

    def tidy(self) -> None:
        """Close the files of objects that are gone: somebody may want to unmount what they lie on."""
        self.untidy = False
        editors = self.session.editors if self.session is not None else {}
        for handle in list(editors):
            with suppress(MtpError):
                self.objects.get(handle)
                continue
            _let_go(editors.pop(handle))

    def require_session(self) -> MtpSession:
        """The open session.

        Raises:
            MtpError: SESSION_NOT_OPEN.
        """
        if self.session is None:
            raise MtpError(ResponseCode.SESSION_NOT_OPEN)
        return self.session

    def notify(self, event: Event, /) -> None:
        """Keep an event for the initiator, if there is a session in which it means anything."""
        if self.session is not None:
            self.untidy |= event.code is EventCode.STORE_REMOVED
            self._events.put(event)
            self._wake()

    def take_events(self) -> list[bytes]:
        """The containers of the next events, few at a time; none if there is nothing to tell."""
        return [encode_event(code, NO_TRANSACTION, (parameter,)) for code, parameter in self._events.take()]

    def _everything_changed(self) -> list[Event]:
        """What makes an initiator read everything anew (MTP 1.1, G.2.4-5)."""
        ids = [root.storage_id for root in self.objects.stores]
        codes = (EventCode.STORE_REMOVED, EventCode.STORE_ADDED)
        return [Event(code, storage_id) for code in codes for storage_id in ids]

    def _perform(self, command: Command, channel: Channel, stack: ExitStack) -> Reply:
        try:
            operation = self._lookup(command)
            if operation.open_sink is None:
                reply = operation.handler(self, _padded(command))
            else:
                sink = self._receive_data(operation, command, channel, stack)
                reply = operation.handler(self, _padded(command), sink)
        except (MtpError, OSError) as error:
            return Reply(code=self._failed(command, error))
        except TransactionCancelled:
            raise
        except Exception:
            logger.exception(_FAULT, _name(command))
            return Reply(code=ResponseCode.GENERAL_ERROR)
        if reply.source is not None:
            stack.callback(reply.source.close)
        logger.debug("%s%s: %s", _name(command), command.parameters, reply.code.name)
        return reply

    def _lookup(self, command: Command) -> Operation:
        operation = self.operations.get(command.code)
        if operation is None:
            raise MtpError(ResponseCode.OPERATION_NOT_SUPPORTED)
        if operation.needs_session:
            self.require_session()
        return operation

    def _receive_data(self, operation: Operation, command: Command, channel: Channel, stack: ExitStack) -> DataSink:
        """Take the data phase to its end; data for an operation that fails is read and dropped (MTP 1.1, 4.6)."""
        sink: DataSink | None = None
        failure: MtpError | OSError | None = None
        try:
            assert operation.open_sink is not None
            sink = operation.open_sink(self, _padded(command))
            stack.callback(sink.abort)
        except (MtpError, OSError) as error:
            failure = error
        while (data := channel.receive()) is not None:
            if failure is None and sink is not None:
                try:
                    sink.write(data)
                except (MtpError, OSError) as error:
                    failure = error
                    sink.abort()
        if failure is not None:
            raise failure
        return cast("DataSink", sink)

    def _send_data(self, command: Command, source: DataSource, channel: Channel) -> ResponseCode | None:
        """Send the data phase; returns a response code if it could not be completed."""
        failure: ResponseCode | None = None
        left = source.length
        started = False
        while True:
            try:
                data = source.read(min(_block(HEADER.size + source.length - left), left)) if left else b""
            except (MtpError, OSError) as error:
                data, failure = b"", self._failed(command, error)
            except Exception:
                logger.exception(_FAULT, _name(command))
                data, failure = b"", ResponseCode.GENERAL_ERROR
            if failure is not None and not started:
                return failure  # nothing has left yet: the response alone says it
            if not started:
                channel.send(encode_data_header(command.code, command.transaction, source.length))
                started = True
            if data:
                channel.send(data)
                left -= len(data)
            if not data or not left:
                break
        channel.end()
        if failure is None and left:
            failure = ResponseCode.INCOMPLETE_TRANSFER
        return failure

    def _failed(self, command: Command, error: MtpError | OSError) -> ResponseCode:
        """What to answer where that is why a transaction fails."""
        logger.info("%s: %s", _name(command), error)
        of_host = error if isinstance(error, OSError) else error.__cause__
        if isinstance(of_host, OSError):
            self.errors[of_host.errno or 0] += 1
        return response_code(error)


def _let_go(editor: Editor) -> None:
    """Close a file that nobody waits for."""
    try:
        editor.close()
    except OSError as error:
        logger.warning("what was written to a file may be lost: %s", error)


def _padded(command: Command) -> Parameters:
    padding = (0,) * (MAX_PARAMETERS - len(command.parameters))
    return cast("Parameters", command.parameters + padding)


def _name(command: Command) -> str:
    try:
        return OperationCode(command.code).name
    except ValueError:
        return f"operation {command.code:#06x}"
