"""Large trees: the start, listings, and the memory of the object table."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from benchmarks.scale_rows import Row, spread
from benchmarks.scale_server import running
from benchmarks.scale_trees import IN_A_FOLDER, files_below, flat_folder
from tests.support.codes import ALL, Op

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.scale_rows import Scale
    from tests.support.initiator import Initiator

FILES = 1_000_000
IN_ONE_FOLDER = 100_000
STARTS = 7
LISTINGS = 5


def hello(scale: Scale) -> Iterator[Row]:
    """From the start of a process to its first byte for a guest."""
    count = scale.of(FILES)
    tree = files_below(scale.trees, count)
    _first_byte(tree)  # the interpreter's and the file system's caches
    times = [_first_byte(tree) for _ in range(STARTS)]
    yield Row(f"first hello after start, {count} files", 200, statistics.median(times) * 1e3, "ms", spread(times))


def _first_byte(tree: object) -> float:
    with running(str(tree)) as program, program.connection() as connection:
        connection.recv(1)
        return time.monotonic() - program.begun


def listing(scale: Scale) -> Iterator[Row]:
    """The listings of one large folder."""
    count = scale.of(IN_ONE_FOLDER)
    tree = flat_folder(scale.trees, count)
    handles, properties = zip(*(_list(tree, count) for _ in range(LISTINGS)), strict=True)
    yield Row(f"GetObjectHandles of {count} files, cold", 0.5, statistics.median(handles), "s", spread(handles))
    what = f"GetObjectPropList of {count} files, all, depth 1"
    yield Row(what, 2, statistics.median(properties), "s", spread(properties))


def _list(tree: object, count: int) -> tuple[float, float]:
    with running(str(tree), options=("--watch", "off")) as program, program.guest() as mtp:
        (folder,) = mtp.object_handles()
        begun = time.monotonic()
        listed = mtp.command(Op.GET_OBJECT_HANDLES, ALL, 0, folder)
        handles_done = time.monotonic()
        mtp.command(Op.GET_OBJECT_PROP_LIST, folder, 0, ALL, 0, 1)
        done = time.monotonic()
        assert len(listed.data) == 4 + 4 * count
        return handles_done - begun, done - handles_done


def memory(scale: Scale) -> Iterator[Row]:
    """What the object table costs: all handles asked for, and then all properties."""
    count = scale.of(FILES)
    tree = files_below(scale.trees, count)
    objects = count + -(-count // IN_A_FOLDER)
    with running(str(tree), options=("--watch", "off")) as program, program.guest() as mtp:
        before = program.resident()
        assert mtp.num_objects() == objects // (IN_A_FOLDER + 1)
        assert mtp.num_objects(ALL, 0, 0) == objects
        known = (program.resident() - before) / objects
        _read_all_properties(mtp)
        seen = (program.resident() - before) / objects
    yield Row(f"memory with {objects} objects known, each", 300, known, "bytes")
    yield Row(f"memory with {objects} objects known and their properties read, each", 300, seen, "bytes")


def _read_all_properties(mtp: Initiator) -> None:
    for folder in mtp.object_handles():
        mtp.command(Op.GET_OBJECT_PROP_LIST, folder, 0, ALL, 0, 1)
