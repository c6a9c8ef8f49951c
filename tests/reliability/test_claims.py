"""Numbers that promise more than there is: refused before anything is allocated for them."""

from __future__ import annotations

import struct
import time
import tracemalloc
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.protocol import guest
from tests.reliability.bench import Bench, fill, no_faults, plugged
from tests.reliability.figures import figure
from tests.reliability.targets import DECODERS
from tests.support import mtp
from tests.support.codes import Op, Prop, Rc
from tests.support.mtp import Row
from usbredir_mtp.mtp.codes import DataType
from usbredir_mtp.mtp.containers import Command, ContainerAssembler, ContainerError, encode_command, encode_data_header
from usbredir_mtp.mtp.datasets import ObjectInfo
from usbredir_mtp.mtp.datatypes import decode_string, decode_uint32_array, decode_value
from usbredir_mtp.mtp.errors import DatasetError
from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.object_properties import decode_rows
from usbredir_mtp.protocol.constants import HOST_CAPABILITIES, PacketType, Side
from usbredir_mtp.protocol.errors import RemoteProtocolError
from usbredir_mtp.protocol.packets import BulkPacket
from usbredir_mtp.protocol.reader import PacketReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MOST = 1 << 20
"""Bytes that a lie may cost."""
LARGEST = {"B": 0xFF, "H": 0xFFFF, "I": 0xFFFFFFFF}
STRING = 0xFFFF


class Lie(NamedTuple):
    """Bytes, what takes them, and how it refuses them."""

    name: str
    data: bytes
    take: Callable[[bytes], object]
    refusal: type[Exception]


def peak(action: Callable[[], object]) -> int:
    """Bytes of memory that it took at once."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# The decoders


def usbredir_lies() -> Iterator[Lie]:
    """A header's length, for every type that a guest may send and those that it may not; and the lengths within."""

    def read(data: bytes) -> object:
        return PacketReader(Side.GUEST, HOST_CAPABILITIES).feed(data)

    for kind in PacketType:
        length = struct.pack("<II", kind, 0xFFFFFFFF)
        yield Lie(f"{kind.name} instead of hello", length + bytes(4), read, RemoteProtocolError)
        yield Lie(kind.name, guest.hello() + length + bytes(8), read, RemoteProtocolError)
        yield Lie(f"narrow {kind.name}", guest.hello(0) + length + bytes(4), read, RemoteProtocolError)
    for endpoint in (guest.BULK_IN, guest.BULK_OUT):
        data = guest.bulk(1, 0xFFFFFFFF, endpoint=endpoint)
        yield Lie(f"a transfer on {endpoint:#x}", guest.hello() + data, read, RemoteProtocolError)
    body = struct.pack("<BBBBHHH", 0, 9, 0x21, 0, 0, 0, 0xFFFF)
    yield Lie("control data", guest.hello() + guest.raw(100, body + b"x", 1), read, RemoteProtocolError)
    body = struct.pack("<BBH", guest.INTERRUPT_OUT, 0, 0xFFFF)
    yield Lie("interrupt data", guest.hello() + guest.raw(103, body, 1), read, RemoteProtocolError)


def container_lies() -> Iterator[Lie]:
    def assemble(data: bytes) -> object:
        return ContainerAssembler().receive(data, short=True)

    command = encode_command(Command(Op.GET_OBJECT, 1, (1, 2, 3, 4, 5)))
    for length in (0xFFFFFFFF, 0x80000000, 0xFFFF, len(command) + 4, 11, 0):
        yield Lie(f"a command of {length}", struct.pack("<I", length) + command[4:], assemble, ContainerError)
    yield Lie("a response", struct.pack("<IHHI", 0xFFFFFFFF, 3, 0x2001, 1), assemble, ContainerError)


class Dataset(NamedTuple):
    """A right one, and where in it there are lengths and counts: offsets with their layout."""

    name: str
    data: bytes
    decode: Callable[[bytes], object]
    claims: dict[int, str]


def strings_at(data: bytes, *texts: str) -> dict[int, str]:
    """Where the counts of strings are."""
    return {data.index(mtp.string(text)): "B" for text in texts}


INFO = mtp.ObjectInfo(name="name", size=5, created="20200102T030405", modified="20210102T030405").encode()
ROWS = mtp.encode_prop_list(
    Row(1, Prop.FILE_NAME, STRING, "new name"), Row(2, 0xDC86, 0x4002, [7, 8, 9]), Row(3, Prop.NAME, STRING, "last")
)
ARRAY = mtp.encode(0x4006, [1, 2, 3])
BYTES = mtp.encode(0x4002, [7, 8, 9])
DATASETS = [
    Dataset("ObjectInfo", INFO, ObjectInfo.decode, strings_at(INFO, "name", "20200102T030405", "20210102T030405")),
    Dataset(
        "property list",
        ROWS,
        lambda data: list(decode_rows(data)),
        {0: "I", ROWS.index(BYTES): "I", **strings_at(ROWS, "new name", "last")},
    ),
    Dataset("array of handles", ARRAY, decode_uint32_array, {0: "I"}),
    Dataset("array of bytes", BYTES, lambda data: decode_value(DataType.ARRAY_UINT8, data), {0: "I"}),
    Dataset("string", mtp.string("text"), lambda data: decode_string(data, 0), {0: "B"}),
]


def replaced(data: bytes, offset: int, layout: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(f"<{layout}", changed, offset, value)
    return bytes(changed)


def dataset_lies() -> Iterator[Lie]:
    """Each length and each count: the largest, one too many."""
    for dataset in DATASETS:
        for offset, layout in dataset.claims.items():
            (true,) = struct.unpack_from(f"<{layout}", dataset.data, offset)
            for value in {LARGEST[layout], LARGEST[layout] >> 1, true + 1} - {true}:
                changed = replaced(dataset.data, offset, layout, value)
                yield Lie(f"{dataset.name}: {value:#x} at {offset}", changed, dataset.decode, DatasetError)


LIES = [*usbredir_lies(), *container_lies(), *dataset_lies()]


def refuse(lie: Lie) -> float:
    """Milliseconds that it took."""
    start = time.perf_counter()
    with pytest.raises(lie.refusal):
        lie.take(lie.data)
    return (time.perf_counter() - start) * 1000


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: str(dataset.name))
def test_without_the_lie_it_is_taken(dataset: Dataset) -> None:
    assert dataset.decode(dataset.data)


def test_every_lie_is_refused_for_next_to_nothing() -> None:
    assert len(LIES) > 100
    times = [min(refuse(lie) for _ in range(3)) for lie in LIES]
    sizes = {lie.name: peak(partial(refuse, lie)) for lie in LIES}
    assert {name: size for name, size in sizes.items() if size >= MOST} == {}
    figure("lies told", len(LIES))
    figure("KiB that one of them cost, at most", max(sizes.values()) / 1024)
    figure("ms that one of them took, at most", max(times))


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: str(dataset.name))
@pytest.mark.parametrize("layout", LARGEST)
def test_the_largest_number_anywhere_costs_next_to_nothing(dataset: Dataset, layout: str) -> None:
    """It may be right, where it counts nothing; then it is taken."""

    def take(data: bytes) -> None:
        for decode in (dataset.decode, *DECODERS.values()):
            with suppress(DatasetError):
                decode(data)

    for offset in range(len(dataset.data) - struct.calcsize(layout) + 1):
        changed = replaced(dataset.data, offset, layout, LARGEST[layout])
        assert peak(partial(take, changed)) < MOST, offset


def test_headers_alone_are_kept_small() -> None:
    """The length is possible, but nothing follows."""
    reader = PacketReader(Side.GUEST, HOST_CAPABILITIES)
    reader.feed(guest.hello())
    header = struct.pack("<IIQ", PacketType.BULK_PACKET, 10 + (32 << 20), 1)
    assert peak(lambda: reader.feed(header)) < MOST
    assembler = ContainerAssembler()
    header = encode_data_header(Op.SEND_OBJECT, 1, 0xFFFFFFF0)
    assert peak(lambda: assembler.receive(header, short=True)) < MOST


# The whole server but for its sockets: what it answers, and what it allocates meanwhile


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    fill(tmp_path)
    with no_faults(), FolderStorage(tmp_path, description="share", volume="volume") as storage:
        bench = Bench(plugged(storage))
        bench.feed(guest.hello() + guest.raw(6, b"\1", 1))
        transact(bench, 0, Op.OPEN_SESSION, (1,))
        transact(bench, 1, Op.GET_OBJECT_HANDLES, (0xFFFFFFFF, 0, 0))
        yield bench
        bench.end()


def transact(
    bench: Bench, number: int, code: int, parameters: tuple[int, ...], data: bytes | None = None, length: int = -1
) -> tuple[int, bytes]:
    """A transaction's response code and data; `length` is what its data's header says if that is not the truth."""
    command = encode_command(Command(code, number, parameters))
    sent = guest.bulk(number * 10 + 1000, len(command), command, guest.BULK_OUT)
    if data is not None:
        whole = encode_data_header(code, number, len(data) if length < 0 else length) + data
        sent += guest.bulk(number * 10 + 1001, len(whole), whole, guest.BULK_OUT)
    reader = PacketReader(Side.HOST, HOST_CAPABILITIES)
    reader.feed(guest.hello())
    messages: list[bytes] = []
    for each in range(1002, 1004):
        sent += guest.bulk(number * 10 + each, 1 << 20)
        answers = reader.feed(bench.feed(sent))
        messages += [bytes(packet.data) for packet in answers if isinstance(packet, BulkPacket) and packet.data]
        if messages and messages[-1][4:6] == b"\3\0":
            return int.from_bytes(messages[-1][6:8], "little"), b"".join(messages[:-1])[12:]
        sent = b""
    raise AssertionError(messages)


class Sent(NamedTuple):
    """An operation: its code and parameters, which of DATASETS it takes, and how it refuses what is none."""

    code: int
    parameters: tuple[int, ...]
    dataset: int
    refusals: tuple[int, ...] = (Rc.INVALID_DATASET,)


SENT = {
    "SendObjectInfo": Sent(Op.SEND_OBJECT_INFO, (0x00010001, 0), 0),
    "SendObjectPropList": Sent(Op.SEND_OBJECT_PROP_LIST, (0x00010001, 0, 0x3000, 0, 5), 1),
    # Its rows are set one by one: the second cannot be, whatever the third is.
    "SetObjectPropList": Sent(Op.SET_OBJECT_PROP_LIST, (), 1, (Rc.INVALID_DATASET, Rc.ACCESS_DENIED)),
    "SetObjectReferences": Sent(Op.SET_OBJECT_REFERENCES, (2,), 2),
    "SetObjectPropValue": Sent(Op.SET_OBJECT_PROP_VALUE, (2, Prop.FILE_NAME), 4, (Rc.INVALID_OBJECT_PROP_FORMAT,)),
    "SetDevicePropValue": Sent(Op.SET_DEVICE_PROP_VALUE, (0xD402,), 4, (Rc.INVALID_DEVICE_PROP_FORMAT,)),
}


@pytest.mark.parametrize("name", SENT)
def test_operations_refuse_lies(bench: Bench, name: str) -> None:
    code, parameters, index, refusals = SENT[name]
    dataset = DATASETS[index]
    for number, (offset, layout) in enumerate(dataset.claims.items(), 2):
        changed = replaced(dataset.data, offset, layout, LARGEST[layout])
        told, spent = measured(bench, number, code, parameters, changed)
        assert told[0] in refusals
        assert spent < MOST


def measured(bench: Bench, number: int, code: int, *given: Any) -> tuple[tuple[int, bytes], int]:
    """A transaction, and the memory that it took."""
    told: list[tuple[int, bytes]] = []
    spent = peak(lambda: told.append(transact(bench, number, code, *given)))
    return told[0], spent


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0xFFFFFF00, 1 << 20])
def test_a_data_header_that_promises_much(bench: Bench, length: int) -> None:
    told, spent = measured(bench, 2, Op.SEND_OBJECT_INFO, (0, 0), DATASETS[0].data, length)
    assert told[0] == (Rc.OK if length == 0xFFFFFFFF else Rc.INCOMPLETE_TRANSFER)  # the first means: until it ends
    assert spent < MOST


@pytest.mark.parametrize("offset", [0, 5, 2048, 0xFFFFFFFF])
def test_more_of_a_file_than_there_is(bench: Bench, offset: int) -> None:
    (code, data), spent = measured(bench, 2, Op.GET_PARTIAL_OBJECT, (2, offset, 0xFFFFFFFF))
    assert (code, len(data)) == (Rc.OK, max(0, 2048 - offset))
    assert spent < MOST
