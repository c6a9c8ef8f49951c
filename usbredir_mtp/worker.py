"""A responder on a thread of its own: storages may block, the event loop must not.

The loop's side hands over commands and gathered data, and takes back pieces of containers; nothing on it waits.
Everything in between belongs to an *epoch*: cancelling begins the next one, and what is left of older ones is dropped
wherever it is met.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from queue import SimpleQueue
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from usbredir_mtp import logs
from usbredir_mtp.mtp.codes import ResponseCode
from usbredir_mtp.mtp.containers import Command, DataEnd, DataStart, Item, Payload
from usbredir_mtp.mtp.errors import MtpError, TransactionCancelled
from usbredir_mtp.tally import Tallies

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbredir_mtp.mtp.responder import Responder

Buffer = bytes | bytearray | memoryview
Output = list[Buffer | None]
"""Pieces of containers in order; END after the last piece of each."""

END = None

logger = logging.getLogger(__name__)

BLOCK = 1 << 20
"""Bytes of an upload that are gathered before they are written: few large writes beat many small ones."""

MAX_UPLOAD = 4 << 20
"""Bytes of an upload that may wait for the storage before the guest has to: a few blocks, so that the storage is never
idle; more would only cost memory."""

ITEM = 4 << 10
"""Bytes that anything else counts as: no initiator gives a second command before it has the first one's answer, and who
does shall not fill our memory with them."""

MAX_READ_AHEAD = 2 << 20
"""Bytes that may wait for the guest before reading pauses: likewise. As much again may wait in the socket's buffer."""

SMALL = 64 << 10
"""Bytes of a reply that are gathered before they are handed over: each time wakes the loop."""

REST = 8 << 10
"""Bytes of earlier replies that may be left when the next command is begun. An initiator takes an answer before it
gives the next command; one that does not has to wait, since many short answers cost much more than their bytes."""


class _Close(NamedTuple):
    """Ends the MTP session, and if `final` the worker."""

    final: bool


class _Tidy(NamedTuple):
    """Lets go of what is held open in vain."""


class _Entry(NamedTuple):
    epoch: int
    item: Item | _Close | _Tidy | None  # None only wakes the worker


def _weight(item: Item | _Close | _Tidy | None) -> int:
    if isinstance(item, Payload):
        return len(item.data)
    return 0 if item is None or isinstance(item, _Close | _Tidy) else ITEM


class Worker:
    """Runs a responder's transactions, one after the other. Its methods are for the loop's side.

    Args:
        responder: Whose commands to run.
        deliver: Called through `post` with output, in order.
        release: Called through `post` when there is room for uploads again.
        post: Runs a function on the loop's side soon; may be called from any thread.
        tallies: Where transactions are counted.
        name: The peer, for the log.
    """

    def __init__(
        self,
        responder: Responder,
        deliver: Callable[[Output], None],
        release: Callable[[], None],
        post: Callable[[Callable[[], None]], None],
        tallies: Tallies | None = None,
        name: str = "",
    ) -> None:
        self._responder = responder
        self._tallies = tallies or Tallies()
        self.tally = self._tallies.begin(responder.errors)
        self._name = name
        self._deliver = deliver
        self._release = release
        self._post = post
        self._inbox: SimpleQueue[_Entry] = SimpleQueue()
        self._next: _Entry | None = None
        self._gathered: list[Buffer] = []
        self._gathered_size = 0
        self._room = threading.Event()
        # Counters, each written by one thread only: bytes of uploads and the like handed over and taken, of output
        # produced and sent, commands begun and ended, the epoch and the last one that the worker has reached.
        self._handed_over = self._taken = 0
        self._produced = self._sent = 0
        self._begun = self._ended = 0
        self.epoch = self._reached = 0
        self._thread = threading.Thread(target=self._run, name="mtp-responder", daemon=True)
        self._thread.start()

    # -- the loop's side -----------------------------------------------------------------------------------------

    def accept(self, items: list[Item]) -> None:
        """Take what arrived from the initiator."""
        for item in items:
            if isinstance(item, Payload):
                self._gathered.append(item.data)
                self._gathered_size += len(item.data)
                if self._gathered_size >= BLOCK:
                    self._hand_over_gathered()
                continue
            self._hand_over_gathered()
            if isinstance(item, Command):
                self._begun += 1
            self._hand_over(item)

    @property
    def full(self) -> bool:
        """Whether uploads have to wait; `release` will follow."""
        return self._handed_over - self._taken > MAX_UPLOAD

    @property
    def busy(self) -> bool:
        """Whether a transaction is running or queued."""
        return self._begun != self._ended

    @property
    def unsent(self) -> int:
        """Bytes of output that have not left: delivered or on their way to it."""
        return self._produced - self._sent

    @property
    def waiting(self) -> int:
        """Bytes of uploads, or what counts as such, that the storage has not been given."""
        return self._handed_over - self._taken + self._gathered_size

    @property
    def cancelling(self) -> bool:
        """Whether something that was given up is still being undone."""
        return self._reached != self.epoch

    def sent(self, size: int) -> None:
        """`size` bytes of the delivered output have left."""
        self._sent += size
        if self._produced - self._sent <= MAX_READ_AHEAD and not self._room.is_set():
            self._room.set()

    def cancel(self) -> None:
        """Give up the running transaction and what is queued behind it."""
        self._begin_epoch(None)

    def reset(self) -> None:
        """`cancel`, and end the MTP session."""
        self._begin_epoch(_Close(final=False))

    def close(self) -> None:
        """`reset`, for good: the thread ends as soon as its storage lets it."""
        self._begin_epoch(_Close(final=True))

    def tidy(self) -> None:
        """Let the responder give up what it holds open of objects that are gone."""
        self._inbox.put(_Entry(self.epoch, _Tidy()))

    def join(self, timeout: float) -> bool:
        """Wait for the thread after `close`; says whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _begin_epoch(self, item: _Close | None) -> None:
        self._gathered.clear()
        self._gathered_size = 0
        self.epoch += 1
        self._inbox.put(_Entry(self.epoch, item))
        self._room.set()

    def _hand_over_gathered(self) -> None:
        if not self._gathered:
            return
        data = self._gathered[0] if len(self._gathered) == 1 else b"".join(self._gathered)
        self._gathered.clear()
        self._gathered_size = 0
        self._hand_over(Payload(data))

    def _hand_over(self, item: Item) -> None:
        self._handed_over += _weight(item)
        self._inbox.put(_Entry(self.epoch, item))

    def _hand_out(self, epoch: int, output: Output, size: int) -> None:
        if epoch == self.epoch:
            self._deliver(output)
        else:
            self.sent(size)

    # -- the worker's side ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        logs.PEER.set(self._name)
        try:
            self._work()
        finally:
            self._tallies.end(self.tally)

    def _work(self) -> None:
        while True:
            entry = self.take()
            self._reached = entry.epoch
            if isinstance(entry.item, Command):
                self._wait_for_room(entry.epoch, REST)
                if entry.epoch == self.epoch:
                    self._transact(entry.epoch, entry.item)
                self._ended += 1
            elif isinstance(entry.item, _Close):
                self._responder.close_session()
                if entry.item.final:
                    return
            # Anything else is data that no operation waits for: it is dropped.

    def _transact(self, epoch: int, command: Command) -> None:
        transaction = _Transaction(self, epoch, command)
        begun = perf_counter()
        try:
            result = self._responder.execute(command, transaction)
            transaction.flush()
        except TransactionCancelled:
            result = ResponseCode.TRANSACTION_CANCELLED
            logger.info("transaction %d was cancelled", command.transaction)
        except Exception:
            result = ResponseCode.GENERAL_ERROR
            logger.exception("a fault of usbredir-mtp's, please report it: operation %#06x", command.code)
        self.tally.ended(command.code, result, perf_counter() - begun)

    def take(self) -> _Entry:
        """The next entry that is not of an older epoch."""
        while True:
            entry, self._next = self._next or self._take_over(), None
            if isinstance(entry.item, _Tidy):
                self._responder.tidy()
                continue
            if entry.epoch == self.epoch:
                return entry
            if isinstance(entry.item, Command):
                self._ended += 1
            elif isinstance(entry.item, _Close):
                return entry

    def _take_over(self) -> _Entry:
        entry = self._inbox.get()
        if size := _weight(entry.item):
            self._taken += size
            # Looked at once, and afterwards: the loop's side may hand over more meanwhile, and then finds this taken.
            waiting = self._handed_over - self._taken
            if waiting <= MAX_UPLOAD < waiting + size:
                self._post(self._release)
        return entry

    def put_back(self, entry: _Entry) -> None:
        """Let the next `take` give this entry again."""
        self._next = entry

    def produce(self, epoch: int, output: Output, size: int) -> None:
        """Hand out a piece of output; waits while too much of it is waiting for the guest."""
        self._wait_for_room(epoch, MAX_READ_AHEAD)
        self._produced += size
        self._post(partial(self._hand_out, epoch, output, size))

    def _wait_for_room(self, epoch: int, limit: int) -> None:
        """Until no more than `limit` bytes wait for the guest, or the epoch is over."""
        while self._produced - self._sent > limit and epoch == self.epoch:
            self._room.clear()
            if self._produced - self._sent > limit and epoch == self.epoch:
                self._room.wait()


class _Transaction:
    """The channel of one transaction (see `mtp.responder.Channel`)."""

    def __init__(self, worker: Worker, epoch: int, command: Command) -> None:
        self._worker = worker
        self._epoch = epoch
        self._command = command
        self._output: Output = []
        self._size = 0

    def check(self) -> None:
        if self._worker.epoch != self._epoch:
            raise TransactionCancelled

    def receive(self) -> Buffer | None:
        while True:
            entry = self._worker.take()
            item = entry.item
            if entry.epoch != self._epoch or item is None or isinstance(item, Command | _Close):
                self._worker.put_back(entry)
                raise TransactionCancelled
            if isinstance(item, Payload):
                self._worker.tally.received += len(item.data)
                return item.data
            if isinstance(item, DataEnd):
                if not item.complete:
                    raise MtpError(ResponseCode.INCOMPLETE_TRANSFER, "the data ended early")
                return None
            if isinstance(item, DataStart):
                self._check_start(item)

    def _check_start(self, start: DataStart) -> None:
        """Data of another transaction is not this one's (MTP 1.1, 4.6): what was asked for will not come."""
        if start.transaction != self._command.transaction or start.code != self._command.code:
            raise MtpError(ResponseCode.INVALID_TRANSACTION_ID, f"data of transaction {start.transaction}")

    def send(self, data: Buffer) -> None:
        self._output.append(data)
        self._size += len(data)
        if self._size >= SMALL:
            self.flush()

    def end(self) -> None:
        self._output.append(END)

    def flush(self) -> None:
        self.check()
        if self._output:
            output, self._output = self._output, []
            size, self._size = self._size, 0
            self._worker.tally.sent += size
            self._worker.produce(self._epoch, output, size)
