"""The whole server but for its sockets: a session, a folder behind it, and a loop that runs when it is told."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import pytest

from tests.protocol import guest
from tests.reliability.captures import FILES
from usbredir_mtp.mtp.containers import Command, encode_command
from usbredir_mtp.mtp.device import MtpDevice
from usbredir_mtp.mtp.objects import ObjectTable
from usbredir_mtp.protocol.constants import Capability, Side
from usbredir_mtp.protocol.errors import RemoteProtocolError
from usbredir_mtp.protocol.packets import BulkPacket
from usbredir_mtp.protocol.reader import PacketReader
from usbredir_mtp.session import Phone, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from usbredir_mtp.mtp.storage import Storage
    from usbredir_mtp.session import Buffer

PATIENCE = 20.0
_GLANCE = 0.02


class Inbox:
    """A worker's queue that tells when the worker waits, for more or for its output to leave."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._changed = threading.Condition()
        self._wants_more = self._wants_room = False

    @property
    def idle(self) -> bool:
        """Whether the worker waits."""
        return self._wants_more or self._wants_room

    def put(self, item: Any) -> None:
        with self._changed:
            self._items.append(item)
            self._wants_more = False
            self._changed.notify_all()

    def get(self) -> Any:
        with self._changed:
            while not self._items:
                self._wants_more = True
                self._changed.notify_all()
                self._changed.wait()
            return self._items.popleft()

    def tell_room(self, wanted: bool) -> None:
        """The worker waits for its output to leave, or no longer."""
        with self._changed:
            self._wants_room = wanted
            self._changed.notify_all()

    def wait_idle(self, worker: threading.Thread) -> None:
        """Until the worker waits, or is no more."""
        end = time.monotonic() + PATIENCE
        with self._changed:
            while worker.is_alive() and not self._changed.wait_for(lambda: self.idle, _GLANCE):
                assert time.monotonic() < end, "the worker does not come to an end"


class Room(threading.Event):
    """What a worker waits for when the guest does not read; the inbox tells of it."""

    def __init__(self, inbox: Inbox) -> None:
        super().__init__()
        self._inbox = inbox

    def set(self) -> None:
        self._inbox.tell_room(False)
        super().set()

    def wait(self, timeout: float | None = None) -> bool:
        self._inbox.tell_room(not self.is_set())
        return super().wait(timeout)


class Faults(logging.Handler):
    """Collects what the program reports as a fault of its own: no peer may be able to cause that."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.texts.append(self.format(record))


@contextmanager
def no_faults() -> Iterator[None]:
    """The block must not make the program report a fault of its own; its workers can be waited for."""
    faults, logger = Faults(), logging.getLogger("usbredir_mtp")
    logger.addHandler(faults)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("usbredir_mtp.worker.SimpleQueue", Inbox)
            yield
    finally:
        logger.removeHandler(faults)
    assert not faults.texts, faults.texts


def fill(share: Path) -> None:
    """Make the folder as it was when sessions were recorded."""
    for name, data in FILES.items():
        path = share / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class Bench:
    """One connection to a device; within `no_faults`.

    Attributes:
        written: What has been sent to the guest.
        ended: The connection is closed, whoever did it.
        error: What the guest did wrong, if that is why.
    """

    def __init__(self, device: MtpDevice) -> None:
        self.written = bytearray()
        self.ended = False
        self.error: RemoteProtocolError | None = None
        self._posted: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._session = Session(Phone(device), self, self._posted.put, "guest")
        worker: Any = self._session._function._worker
        self._inbox: Inbox = worker._inbox
        worker._room = Room(self._inbox)
        self._thread: threading.Thread = worker._thread
        self._session.start()

    # What the session asks of its transport

    def write(self, buffers: Sequence[Buffer]) -> None:
        for buffer in buffers:
            self.written += buffer

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None:
        self.ended = True
        self._session.closed()

    def later(self, seconds: float, function: Callable[[], None]) -> None: ...

    # The guest's side

    def feed(self, data: Buffer) -> bytes:
        """Give the session some bytes, and let it do all it can; what it sent."""
        if not self.ended:
            try:
                self._session.receive(data)
            except RemoteProtocolError as error:
                self.error = error
                self.close()
        self._settle()
        written = bytes(self.written)
        self.written.clear()
        return written

    def end(self) -> None:
        """Hang up."""
        self.close()
        assert self._session._function.join(PATIENCE)

    def _settle(self) -> None:
        while not self.ended:
            self._inbox.wait_idle(self._thread)
            try:
                while True:
                    self._posted.get_nowait()()
            except Empty:
                if self._posted.empty() and (self._inbox.idle or not self._thread.is_alive()):
                    return


def plugged(storage: Storage) -> MtpDevice:
    """A device with one storage."""
    device = MtpDevice(ObjectTable())
    device.add_storage(storage)
    return device


def check_device(device: MtpDevice) -> None:
    """A fresh connection works: it gets an answer with data, and can open a session."""
    bench = Bench(device)
    reader = PacketReader(Side.HOST, frozenset(Capability))
    commands = [Command(0x1001, 0, ()), Command(0x1002, 0, (1,)), Command(0x1007, 1, (0xFFFFFFFF, 0, 0xFFFFFFFF))]
    stream = guest.hello() + guest.raw(6, b"\1", 1)
    messages: list[bytes] = []
    for number, command in enumerate(commands, 10):
        data = encode_command(command)
        stream += guest.bulk(number * 10, len(data), data, guest.BULK_OUT)
        stream += b"".join(guest.bulk(number * 10 + each, 1 << 16) for each in range(1, 3))
        found = reader.feed(bench.written + bench.feed(stream))
        messages += [bytes(packet.data) for packet in found if isinstance(packet, BulkPacket) and packet.data]
        stream = b""
    # Of OpenSession there is no data: its second transfer takes the listing's.
    codes = [int.from_bytes(message[6:8], "little") for message in messages]
    assert codes == [0x1001, 0x2001, 0x2001, 0x1007, 0x2001], [hex(code) for code in codes]
    bench.end()
