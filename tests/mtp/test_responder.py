"""The responder with operations of its own and a channel that does what a test tells it."""

from __future__ import annotations

import errno
import struct
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.mtp.memory_storage import MemoryStorage
from usbredir_mtp.mtp.codes import EventCode, ResponseCode
from usbredir_mtp.mtp.containers import HEADER, Command
from usbredir_mtp.mtp.device import MtpDevice
from usbredir_mtp.mtp.errors import MtpError, TransactionCancelled
from usbredir_mtp.mtp.events import MAX_PENDING, Event
from usbredir_mtp.mtp.objects import ObjectTable
from usbredir_mtp.mtp.operation import (
    MAX_DATASET,
    BytesSink,
    BytesSource,
    Operation,
    Parameters,
    Reply,
    data_reply,
    takes_dataset,
    takes_stream,
)
from usbredir_mtp.mtp.responder import BLOCK, FIRST_BLOCK, Responder
from usbredir_mtp.mtp.state import PendingObject

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbredir_mtp.mtp.storage import Buffer

OK, GENERAL_ERROR = ResponseCode.OK, ResponseCode.GENERAL_ERROR
TRANSACTION = 9


# -- what stands around the responder -------------------------------------------------------------------------------


@dataclass
class Channel:
    """Gives what is `incoming`, keeps what is sent; an exception in the row is raised.

    Attributes:
        allowed: Calls of `send` before the transaction is given up.
    """

    incoming: deque[bytes | Exception] = field(default_factory=deque)
    allowed: int = 1 << 30
    sent: list[bytes] = field(default_factory=list)
    containers: list[bytes] = field(default_factory=list)
    checks: int = 0

    def receive(self) -> Buffer | None:
        if not self.incoming:
            return None
        item = self.incoming.popleft()
        if isinstance(item, Exception):
            raise item
        return item

    def send(self, data: Buffer) -> None:
        if len(self.sent) == self.allowed:
            raise TransactionCancelled
        self.sent.append(bytes(data))

    def end(self) -> None:
        done = sum(map(len, self.containers))
        self.containers.append(b"".join(self.sent)[done:])

    def check(self) -> None:
        self.checks += 1


@dataclass
class Source:
    """A data phase out of pieces; an exception in the row is raised."""

    length: int
    pieces: deque[bytes | Exception]
    asked: list[int] = field(default_factory=list)
    closed: int = 0

    def read(self, size: int, /) -> Buffer:
        self.asked.append(size)
        item = self.pieces.popleft() if self.pieces else b""
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self.closed += 1


@dataclass
class Sink:
    """Keeps what is written; from `full` bytes on it raises `error`."""

    full: int = 1 << 30
    error: Exception = field(default_factory=lambda: OSError(errno.ENOSPC, "full"))
    data: bytearray = field(default_factory=bytearray)
    writes: int = 0
    aborted: int = 0

    def write(self, data: Buffer, /) -> None:
        self.writes += 1
        if len(self.data) + len(data) > self.full:
            raise self.error
        self.data += data

    def abort(self) -> None:
        self.aborted += 1


@dataclass
class Editor:
    """Only tells whether it was closed."""

    closed: int = 0

    def write_at(self, offset: int, data: Buffer) -> None:
        raise NotImplementedError

    def truncate(self, size: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed += 1


SIMPLE, NEEDS_SESSION, DATASET, STREAM = 0x9F01, 0x9F02, 0x9F03, 0x9F04


@dataclass
class Bench:
    """A responder whose operations do what its fields say."""

    reply: Callable[[Responder, Parameters], Reply] = field(default=lambda _responder, _parameters: Reply())
    sink: Sink = field(default_factory=Sink)
    opening: Exception | None = None
    handled: list[tuple[object, ...]] = field(default_factory=list)
    woken: int = 0

    def __post_init__(self) -> None:
        self.table = ObjectTable()
        self.root = self.table.add_storage(MemoryStorage("a", "b"))
        operations = {
            SIMPLE: Operation(self._handle, needs_session=False),
            NEEDS_SESSION: Operation(self._handle),
            DATASET: takes_dataset(self._take),
            STREAM: takes_stream(self._open, self._finish),
        }
        self.responder = Responder(MtpDevice(self.table), self._wake, operations)

    def _wake(self) -> None:
        self.woken += 1

    def _handle(self, responder: Responder, parameters: Parameters) -> Reply:
        self.handled.append(parameters)
        return self.reply(responder, parameters)

    def _take(self, responder: Responder, parameters: Parameters, data: Buffer) -> Reply:
        self.handled.append((parameters[0], bytes(data)))
        return self.reply(responder, parameters)

    def _open(self, _responder: Responder, _parameters: Parameters) -> Sink:
        if self.opening is not None:
            raise self.opening
        return self.sink

    def _finish(self, responder: Responder, parameters: Parameters, sink: Sink) -> Reply:
        self.handled.append((bytes(sink.data), sink.aborted))
        return self.reply(responder, parameters)

    def run(self, code: int, *parameters: int, channel: Channel | None = None) -> tuple[int, list[int]]:
        """One transaction; returns the response's code and parameters."""
        channel = channel or Channel()
        self.responder.execute(Command(code, TRANSACTION, parameters), channel)
        return response(channel)

    def upload(self, code: int, *incoming: bytes | Exception) -> tuple[int, list[int]]:
        channel = Channel(deque(incoming))
        ended = self.run(code, 1, channel=channel)
        assert not channel.incoming, "the data phase was not taken to its end"
        assert len(channel.containers) == 1
        return ended

    def works(self) -> bool:
        self.reply = lambda _responder, _parameters: Reply()
        return self.run(NEEDS_SESSION) == (OK, [])


def response(channel: Channel) -> tuple[int, list[int]]:
    """The last container, which must be a response, whole and alone."""
    length, kind, code, transaction, *parameters = struct.unpack(
        f"<IHHI{len(channel.containers[-1]) // 4 - 3}I", channel.containers[-1]
    )
    assert (length, kind, transaction) == (len(channel.containers[-1]), 3, TRANSACTION)
    assert sum(map(len, channel.containers)) == sum(map(len, channel.sent)), "bytes after the last container"
    return code, parameters


def data_of(channel: Channel, length: int) -> bytes:
    """The payload of the data container, whose header must say `length`."""
    [data, _] = channel.containers
    assert struct.unpack_from("<IHHI", data) == (12 + length, 2, SIMPLE, TRANSACTION)
    return data[12:]


def failing(error: Exception) -> Callable[[Responder, Parameters], Reply]:
    def fail(_responder: Responder, _parameters: Parameters) -> Reply:
        raise error

    return fail


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.responder.open_session(1)
    return made


# -- sessions and dispatch -----------------------------------------------------------------------------------------


def test_outside_of_a_session() -> None:
    bench = Bench()
    assert bench.run(SIMPLE)[0] == OK
    assert bench.run(NEEDS_SESSION)[0] == ResponseCode.SESSION_NOT_OPEN
    assert bench.run(DATASET)[0] == ResponseCode.SESSION_NOT_OPEN
    assert bench.run(STREAM)[0] == ResponseCode.SESSION_NOT_OPEN
    assert bench.handled == [(0, 0, 0, 0, 0)]


def test_in_a_session(bench: Bench) -> None:
    assert bench.run(NEEDS_SESSION)[0] == OK
    assert bench.responder.require_session().session_id == 1
    bench.responder.close_session()
    assert bench.run(NEEDS_SESSION)[0] == ResponseCode.SESSION_NOT_OPEN
    bench.responder.close_session()
    assert bench.responder.session is None


def test_an_unknown_operation(bench: Bench) -> None:
    assert bench.run(0x9FFF) == (ResponseCode.OPERATION_NOT_SUPPORTED, [])
    assert bench.works()


def test_parameters_that_were_left_out_are_zero(bench: Bench) -> None:
    bench.run(NEEDS_SESSION, 7, 8)
    bench.run(NEEDS_SESSION, 1, 2, 3, 4, 5)
    assert bench.handled == [(7, 8, 0, 0, 0), (1, 2, 3, 4, 5)]


def test_the_reply_s_code_and_parameters(bench: Bench) -> None:
    bench.reply = lambda _responder, _parameters: Reply(parameters=(7, 8), code=ResponseCode.PARTIAL_DELETION)
    assert bench.run(NEEDS_SESSION) == (ResponseCode.PARTIAL_DELETION, [7, 8])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MtpError(ResponseCode.INVALID_OBJECT_HANDLE, "which"), ResponseCode.INVALID_OBJECT_HANDLE),
        (OSError(errno.EROFS, "read-only"), ResponseCode.STORE_READ_ONLY),
        (OSError("strange"), GENERAL_ERROR),
        (RuntimeError("a fault"), GENERAL_ERROR),
        (struct.error("a fault"), GENERAL_ERROR),
        (KeyError(7), GENERAL_ERROR),
    ],
)
@pytest.mark.parametrize("code_of_operation", [NEEDS_SESSION, DATASET, STREAM])
def test_an_operation_that_fails(bench: Bench, code_of_operation: int, error: Exception, code: ResponseCode) -> None:
    bench.reply = failing(error)
    assert bench.run(code_of_operation) == (code, [])
    assert bench.works()


def test_only_faults_are_logged_as_faults(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.reply = failing(OSError(errno.EIO, "the disk"))
    bench.run(NEEDS_SESSION)
    assert not [record for record in caplog.records if record.exc_info]
    bench.reply = failing(RuntimeError("the program"))
    bench.run(NEEDS_SESSION)
    [record] = [record for record in caplog.records if record.exc_info]
    assert "please report" in record.message
    assert "operation 0x9f02" in record.message


def test_an_operation_that_is_given_up(bench: Bench) -> None:
    channel = Channel()
    bench.reply = failing(TransactionCancelled())
    with pytest.raises(TransactionCancelled):
        bench.run(NEEDS_SESSION, channel=channel)
    assert channel.sent == []
    assert bench.works()


def test_checkpoints_ask_the_channel(bench: Bench) -> None:
    def look_twice(responder: Responder, _parameters: Parameters) -> Reply:
        responder.checkpoint()
        responder.checkpoint()
        return Reply()

    bench.reply = look_twice
    channel = Channel()
    bench.run(NEEDS_SESSION, channel=channel)
    assert channel.checks == 2
    bench.responder.checkpoint()
    assert channel.checks == 2


# -- data to the initiator -----------------------------------------------------------------------------------------


def download(bench: Bench, length: int, *pieces: bytes | Exception) -> tuple[Source, Channel]:
    source, channel = Source(length, deque(pieces)), Channel()
    bench.reply = lambda _responder, _parameters: Reply(source, (5,))
    bench.run(SIMPLE, channel=channel)
    assert source.closed == 1
    return source, channel


def test_a_dataset(bench: Bench) -> None:
    bench.reply = lambda _responder, _parameters: data_reply(b"some bytes", 7)
    channel = Channel()
    assert bench.run(SIMPLE, channel=channel) == (OK, [7])
    assert data_of(channel, 10) == b"some bytes"


def test_an_empty_dataset_has_a_header(bench: Bench) -> None:
    source, channel = download(bench, 0)
    assert data_of(channel, 0) == b""
    assert response(channel) == (OK, [5])
    assert source.asked == []


def test_blocks_end_where_transfers_do(bench: Bench) -> None:
    sizes = [FIRST_BLOCK - HEADER.size, BLOCK - FIRST_BLOCK, BLOCK, 1]
    source, channel = download(bench, sum(sizes), *(bytes(size) for size in sizes[:-1]), b"x")
    assert source.asked == sizes
    assert data_of(channel, sum(sizes)) == bytes(sum(sizes) - 1) + b"x"
    assert response(channel) == (OK, [5])


def test_a_block_that_is_short_does_not_shift_the_rest(bench: Bench) -> None:
    sizes = [FIRST_BLOCK - HEADER.size, 1000, BLOCK - FIRST_BLOCK - 1000, 5]
    source, channel = download(bench, sum(sizes), *(bytes(size) for size in sizes))
    assert source.asked == [sizes[0], BLOCK - FIRST_BLOCK, sizes[2], 5]
    assert data_of(channel, sum(sizes)) == bytes(sum(sizes))


def test_blocks_that_come_in_pieces(bench: Bench) -> None:
    source, channel = download(bench, 10, b"abcd", b"efg", b"hij")
    assert source.asked == [10, 6, 3]
    assert data_of(channel, 10) == b"abcdefghij"
    assert response(channel) == (OK, [5])


@pytest.mark.parametrize("error", [MtpError(ResponseCode.ACCESS_DENIED), OSError(errno.EACCES, "no")])
def test_data_that_fails_at_once_does_not_begin(bench: Bench, error: Exception) -> None:
    _, channel = download(bench, 10, error)
    assert len(channel.containers) == 1
    assert response(channel)[0] == ResponseCode.ACCESS_DENIED
    assert bench.works()


@pytest.mark.parametrize("error", [MtpError(ResponseCode.ACCESS_DENIED), OSError(errno.EACCES, "no")])
def test_data_that_fails_later_ends_early(bench: Bench, error: Exception) -> None:
    _, channel = download(bench, 10, b"abc", error)
    assert data_of(channel, 10) == b"abc"
    assert response(channel)[0] == ResponseCode.ACCESS_DENIED
    assert bench.works()


@pytest.mark.parametrize("pieces", [(), (b"abc",)])
def test_data_that_ends_early(bench: Bench, pieces: tuple[bytes, ...]) -> None:
    _, channel = download(bench, 10, *pieces)
    assert data_of(channel, 10) == b"".join(pieces)
    assert response(channel)[0] == ResponseCode.INCOMPLETE_TRANSFER
    assert bench.works()


@pytest.mark.parametrize("allowed", [0, 1, 2, 3])
def test_cancelled_while_data_leaves(bench: Bench, allowed: int) -> None:
    source, channel = Source(8, deque([b"abcd", b"efgh"])), Channel(allowed=allowed)
    bench.reply = lambda _responder, _parameters: Reply(source)
    with pytest.raises(TransactionCancelled):
        bench.run(SIMPLE, channel=channel)
    assert source.closed == 1
    assert len(channel.sent) == allowed
    assert bench.works()


@pytest.mark.parametrize("before", [[], [b"abc"]])
def test_a_source_with_a_fault(bench: Bench, before: list[bytes]) -> None:
    _, channel = download(bench, 10, *before, RuntimeError("a fault"))
    assert response(channel)[0] == GENERAL_ERROR


def test_bytes_from_memory() -> None:
    source = BytesSource(b"abcdef")
    assert source.length == 6
    assert [bytes(source.read(size)) for size in (4, 4, 4)] == [b"abcd", b"ef", b""]
    source.close()
    source.close()


# -- data from the initiator ---------------------------------------------------------------------------------------


def test_a_dataset_arrives(bench: Bench) -> None:
    assert bench.upload(DATASET, b"some ", b"bytes") == (OK, [])
    assert bench.handled == [(1, b"some bytes")]


def test_an_empty_data_phase(bench: Bench) -> None:
    assert bench.upload(DATASET) == (OK, [])
    assert bench.handled == [(1, b"")]


def test_a_dataset_that_is_too_long(bench: Bench) -> None:
    block = bytes(MAX_DATASET // 2)
    assert bench.upload(DATASET, block, block)[0] == OK
    assert bench.upload(DATASET, block, block, b"x", b"y")[0] == ResponseCode.INVALID_DATASET
    assert len(bench.handled) == 1
    assert bench.works()


def test_memory_is_given_back() -> None:
    sink = BytesSink()
    sink.write(b"data")
    sink.abort()
    sink.abort()
    assert sink.data == b""


def test_a_stream_arrives(bench: Bench) -> None:
    assert bench.upload(STREAM, b"some ", b"bytes") == (OK, [])
    assert bench.handled == [(b"some bytes", 0)]
    assert bench.sink.aborted == 1, "whoever has committed does not mind"


def test_a_stream_that_cannot_be_stored(bench: Bench) -> None:
    bench.sink.full = 4
    assert bench.upload(STREAM, b"abcd", b"e", b"f", b"g") == (ResponseCode.STORAGE_FULL, [])
    assert bench.handled == []
    assert bench.sink.writes == 2, "nothing is written after a failure"
    assert bench.sink.aborted == 2, "at once, not only when the rest has come"
    assert bench.works()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MtpError(ResponseCode.STORE_READ_ONLY), ResponseCode.STORE_READ_ONLY),
        (OSError(errno.ENOENT, "gone"), ResponseCode.INVALID_OBJECT_HANDLE),
    ],
)
def test_a_stream_that_may_not_begin(bench: Bench, error: Exception, code: ResponseCode) -> None:
    bench.opening = error
    assert bench.upload(STREAM, b"abcd", b"efgh") == (code, [])
    assert bench.handled == []
    assert bench.sink.writes == 0
    assert bench.works()


def test_data_that_came_short(bench: Bench) -> None:
    incomplete = MtpError(ResponseCode.INCOMPLETE_TRANSFER)
    assert bench.upload(STREAM, b"abcd", incomplete) == (ResponseCode.INCOMPLETE_TRANSFER, [])
    assert bench.handled == []
    assert bench.sink.aborted
    assert bench.works()


@pytest.mark.parametrize("before", [[], [b"abcd"]])
@pytest.mark.parametrize("code", [DATASET, STREAM])
def test_cancelled_while_data_arrives(bench: Bench, code: int, before: list[bytes]) -> None:
    channel = Channel(deque([*before, TransactionCancelled()]))
    with pytest.raises(TransactionCancelled):
        bench.run(code, channel=channel)
    assert channel.sent == []
    assert bench.handled == []
    assert bench.sink.aborted == (code == STREAM)
    assert bench.works()


def test_a_sink_with_a_fault(bench: Bench) -> None:
    bench.sink.full, bench.sink.error = 0, RuntimeError("a fault")
    assert bench.run(STREAM, channel=Channel(deque([b"abcd"]))) == (GENERAL_ERROR, [])
    assert bench.sink.aborted
    assert bench.works()


# -- what a session holds --------------------------------------------------------------------------------------------


def test_the_end_of_a_session_lets_go_of_all(bench: Bench) -> None:
    session = bench.responder.require_session()
    editor = Editor()
    session.editors[1] = editor
    handle = bench.table.reserve(bench.root, "coming")
    session.pending = PendingObject(handle, bench.root, "coming", 1, None)
    bench.responder.notify(Event(EventCode.OBJECT_ADDED, 1))
    bench.responder.close_session()
    assert editor.closed == 1
    assert bench.responder.take_events() == []
    assert bench.table.reserve(bench.root, "coming") != handle, "the name is free again"


def test_tidying_up_closes_what_is_gone(bench: Bench) -> None:
    there, gone = Editor(), Editor()
    handle = bench.table.children(bench.root)[0].handle
    bench.responder.require_session().editors.update({handle: there, 0xABCD: gone})
    bench.responder.notify(Event(EventCode.STORE_REMOVED, 1))
    assert bench.responder.untidy
    bench.responder.tidy()
    assert (there.closed, gone.closed) == (0, 1)
    assert list(bench.responder.require_session().editors) == [handle]
    assert not bench.responder.untidy


def test_tidying_up_without_a_session() -> None:
    responder = Bench().responder
    responder.untidy = True
    responder.tidy()
    assert not responder.untidy


# -- events ----------------------------------------------------------------------------------------------------------


def test_events_need_a_session(bench: Bench) -> None:
    bench.responder.close_session()
    bench.responder.notify(Event(EventCode.STORE_REMOVED, 1))
    assert (bench.woken, bench.responder.untidy) == (0, False)
    bench.responder.open_session(2)
    assert bench.responder.take_events() == []


def test_events_leave_in_order(bench: Bench) -> None:
    bench.responder.notify(Event(EventCode.OBJECT_ADDED, 7))
    bench.responder.notify(Event(EventCode.STORE_ADDED, 0x10001))
    assert (bench.woken, bench.responder.untidy) == (2, False)
    assert bench.responder.take_events() == [bytes.fromhex("10000000 0400 0240 ffffffff 07000000")]
    assert bench.responder.take_events() == [bytes.fromhex("10000000 0400 0440 ffffffff 01000100")]
    assert bench.responder.take_events() == []


def test_too_many_events_become_a_new_beginning(bench: Bench) -> None:
    for handle in range(MAX_PENDING + 1):
        bench.responder.notify(Event(EventCode.OBJECT_ADDED, handle))
    assert bench.responder.take_events() == [bytes.fromhex("10000000 0400 0540 ffffffff 01000100")]
    assert bench.responder.take_events() == [bytes.fromhex("10000000 0400 0440 ffffffff 01000100")]
    assert bench.responder.take_events() == []


def test_a_storage_stays_open_while_a_transaction_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    storage = MemoryStorage()
    monkeypatch.setattr(storage, "close", lambda: closed.append("closed"))
    root = bench.table.add_storage(storage)

    def remove(_responder: Responder, _parameters: Parameters) -> Reply:
        bench.table.remove_storage(root)
        assert closed == []
        return Reply()

    bench.reply = remove
    bench.run(NEEDS_SESSION)
    assert closed == ["closed"]
