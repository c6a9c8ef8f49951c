"""The shape of an operation: a row of the responder's table, and what its handler gives back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from usbredir_mtp.mtp.codes import ResponseCode
from usbredir_mtp.mtp.errors import DatasetError
from usbredir_mtp.mtp.storage import Buffer, DataSink, DataSource

if TYPE_CHECKING:
    from usbredir_mtp.mtp.responder import Responder

Parameters = tuple[int, int, int, int, int]
"""An operation's parameters; those that the initiator left out are 0."""

MAX_DATASET = 1 << 20
"""Bytes of a dataset that an initiator may send: the longest that MTP has, a property list, is far below."""


class BytesSource:
    """A data phase from memory."""

    def __init__(self, data: Buffer) -> None:
        self._rest = memoryview(data)
        self.length = len(data)

    def read(self, size: int, /) -> Buffer:
        """The next bytes."""
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def close(self) -> None:
        """Nothing to give up."""


class BytesSink:
    """A dataset from the initiator, gathered in memory."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: Buffer, /) -> None:
        """Take `data`.

        Raises:
            DatasetError: more than any dataset can have.
        """
        if len(self.data) + len(data) > MAX_DATASET:
            raise DatasetError(f"dataset of more than {MAX_DATASET} bytes")
        self.data += data

    def abort(self) -> None:
        """Forget it."""
        self.data.clear()


@dataclass(slots=True)
class Reply:
    """How an operation ends: a data phase if there is a `source`, then the response."""

    source: DataSource | None = None
    parameters: tuple[int, ...] = ()
    code: ResponseCode = ResponseCode.OK


def data_reply(data: Buffer, *parameters: int) -> Reply:
    """A reply with a dataset."""
    return Reply(BytesSource(data), parameters)


Handler = Callable[["Responder", Parameters], Reply]
DatasetHandler = Callable[["Responder", Parameters, Buffer], Reply]
SinkOpener = Callable[["Responder", Parameters], DataSink]
SinkHandler = Callable[["Responder", Parameters, Any], Reply]


@dataclass(slots=True, frozen=True)
class Operation:
    """One row.

    Attributes:
        handler: Runs the operation; after the data phase where there is one from the initiator.
        open_sink: Set for operations with a data phase from the initiator: what takes it.
        needs_session: Refused with SESSION_NOT_OPEN outside of a session.
    """

    handler: Callable[..., Reply]
    open_sink: SinkOpener | None = None
    needs_session: bool = True


def takes_dataset(handler: DatasetHandler) -> Operation:
    """The row of an operation to which the initiator sends a dataset."""

    @functools.wraps(handler)
    def handle(responder: Responder, parameters: Parameters, sink: BytesSink) -> Reply:
        return handler(responder, parameters, sink.data)

    return Operation(handle, open_sink=lambda _responder, _parameters: BytesSink())


def takes_stream(open_sink: SinkOpener, handler: SinkHandler) -> Operation:
    """The row of an operation whose data goes to a sink as it arrives."""
    return Operation(handler, open_sink=open_sink)
