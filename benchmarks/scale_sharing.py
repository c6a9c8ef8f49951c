"""Many guests at once: fair shares of the whole, and nobody waits for somebody else's disk."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.scale_rows import Row, percentile, spread
from benchmarks.scale_server import MIB, Program, running
from benchmarks.scale_slow import NAME, SECONDS
from benchmarks.scale_trees import large_file
from tests.support.codes import ALL, Op

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.scale_rows import Scale
    from tests.support.initiator import Initiator

READERS = 50
ROUNDS = 3
TRANSFER, DEPTH = 64 << 10, 16
"""What a deep reader has in flight."""
FILE = 256 * MIB
OTHERS = 4
OPERATIONS = 2000


class Load(NamedTuple):
    """What some readers got, in bytes a second, all of them together and each; and how many cores the server used."""

    total: float
    each: list[float]
    cpu: float


def many(scale: Scale) -> Iterator[Row]:
    """Readers at once against one alone."""
    size = scale.of(FILE, MIB)
    client = scale.programs / "client"
    with running(large_file(scale.trees, size), options=("--watch", "off")) as program:
        loads = [(_read(client, program, 1, size), _read(client, program, READERS, size)) for _ in range(ROUNDS)]
    one = statistics.median(alone.each[0] for alone, _ in loads)
    all_ = statistics.median(together.total for _, together in loads)
    used = statistics.median(together.cpu for _, together in loads)
    note = f"{all_ / 1e9:.2f} GB/s, one deep reader {one / 1e9:.2f} GB/s; the server uses {used:.2f} of a core"
    yield Row(f"{READERS} guests reading at once, total over one deep reader", 0.9, all_ / one, "", note, at_least=True)
    shares = [min(together.each) / statistics.mean(together.each) for _, together in loads]
    yield Row("the slowest of them over its share", 0.5, statistics.median(shares), "", at_least=True)


def _read(client: Path, program: Program, readers: int, size: int) -> Load:
    command = [str(client), str(program.port), "get", str(TRANSFER), str(DEPTH)]
    begun, used = time.monotonic(), program.cpu_seconds()
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(readers)]
    shown = [json.loads(process.communicate()[0]) for process in processes]
    seconds = time.monotonic() - begun
    cpu = (program.cpu_seconds() - used) / seconds
    return Load(readers * size / seconds, [one["bytes"] / one["seconds"] for one in shown], cpu)


def slow(scale: Scale) -> Iterator[Row]:
    """Metadata while somebody reads what takes long, on the same export and on another."""
    tree = large_file(scale.trees, MIB)
    launcher = ("-m", "benchmarks.scale_slow")
    with running(f"{NAME}={tree}", f"fast={tree}", start=launcher) as program, ExitStack() as stack:
        waiting = stack.enter_context(program.guest())
        others = [stack.enter_context(program.guest()) for _ in range(OTHERS)]
        handles = others[0].object_handles()
        begun = time.monotonic()
        number = waiting.send_command(Op.GET_OBJECT, waiting.object_handles(waiting.storage)[0])
        turns = range(scale.of(OPERATIONS, 200))
        times = [_look(others[turn % OTHERS], handles[turn % len(handles)], turn) for turn in turns]
        meanwhile = time.monotonic() - begun
        waiting.finish(Op.GET_OBJECT, number)
        reading = time.monotonic() - begun
    assert reading > max(SECONDS, meanwhile), "nobody was reading"
    what = f"metadata while another's reads take {SECONDS:g} s each, p99"
    yield Row(what, 20, percentile(times, 0.99) * 1e3, "ms", f"{len(times)} operations, {spread(times)}")


_LOOKS: list[Callable[[int], tuple[int, ...]]] = [
    lambda handle: (Op.GET_OBJECT_INFO, handle),
    lambda handle: (Op.GET_OBJECT_PROP_LIST, handle, 0, ALL),
    lambda _handle: (Op.GET_OBJECT_HANDLES, ALL, 0, ALL),
]


def _look(mtp: Initiator, handle: int, turn: int) -> float:
    begun = time.monotonic()
    mtp.command(*_LOOKS[turn % len(_LOOKS)](handle))
    return time.monotonic() - begun
