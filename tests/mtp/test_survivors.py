"""What mutation testing found unguarded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from tests.mtp.memory_storage import MemoryStorage
from tests.support.codes import Op
from usbredir_mtp.mtp import codes
from usbredir_mtp.mtp.claims import Claims
from usbredir_mtp.mtp.codes import OperationCode, ResponseCode
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.objects import ObjectTable
from usbredir_mtp.mtp.operations.edit import PartialSink

if TYPE_CHECKING:
    from usbredir_mtp.mtp.storage import Editor

KIB = 1 << 10


def test_claimed_names_are_those_of_one_folder_of_one_storage() -> None:
    table = ObjectTable()
    one, other = table.add_storage(MemoryStorage("one")), table.add_storage(MemoryStorage("other"))
    claims = Claims()
    claims.begin([(one, ("folder", "here")), (one, ("elsewhere", "there")), (other, ("folder", "theirs"))])
    assert claims.names(one, ("folder",)) == {"here"}
    assert claims.names(other, ("folder",)) == {"theirs"}
    assert claims.names(other, ("elsewhere",)) == set()


@dataclass
class Notes:
    """An editor that writes nothing."""

    written: list[tuple[int, int]] = field(default_factory=list)

    def write_at(self, offset: int, data: bytes) -> None:
        self.written.append((offset, len(data)))


def test_several_pieces_are_no_more_than_announced() -> None:
    notes = Notes()
    sink = PartialSink(cast("Editor", notes), 100, 3 * KIB)
    for _ in range(3):
        sink.write(bytes(KIB))
    with pytest.raises(MtpError) as caught:
        sink.write(b"x")
    assert caught.value.code is ResponseCode.INVALID_PARAMETER
    assert notes.written == [(100, KIB), (100 + KIB, KIB), (100 + 2 * KIB, KIB)]


def test_a_file_that_is_as_it_was_is_no_news() -> None:
    storage = MemoryStorage()
    table = ObjectTable()
    root = table.add_storage(storage)
    heard: list[codes.EventCode] = []

    class Subscriber:
        def notify(self, event: object, /) -> None:
            heard.append(event.code)  # type: ignore[attr-defined]

    storage.put("file", 6)
    [node] = table.children(root)
    subscriber = Subscriber()  # it is only remembered as long as it lives
    table.publisher.subscribe(subscriber)
    stat = storage.stat(("file",))
    table.changed(node, stat)
    heard.clear()
    table.changed(node, stat)
    assert heard == []
    storage.put("file", 25)
    table.changed(node, storage.stat(("file",)))
    assert heard == [codes.EventCode.OBJECT_INFO_CHANGED]


def test_numbers_of_operations() -> None:
    """As the guest's side of the tests has them, which is written by itself."""
    assert {code.name: int(code) for code in OperationCode} == {op.name: int(op) for op in Op if op.name in known()}
    assert len(set(OperationCode)) == len(OperationCode.__members__)


def known() -> set[str]:
    return set(OperationCode.__members__)
