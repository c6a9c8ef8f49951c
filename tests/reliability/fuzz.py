"""Wrong input for everything that takes input from a guest: python -m tests.reliability.fuzz --seconds 3600."""

from __future__ import annotations

import argparse
import gc
import resource
import shutil
import tempfile
import time
import tracemalloc
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.reliability import captures
from tests.reliability.bench import Bench, check_device, fill, no_faults, plugged
from tests.reliability.figures import figure
from tests.reliability.mutation import mutate
from tests.reliability.targets import TARGETS, packets
from tests.reliability.transactions import random_steps
from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.protocol.codec import codec_table
from usbredir_mtp.protocol.constants import Capability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

KIB = 1 << 10
WARM_UP = 300
"""Inputs until all that is made once is there."""
MOST_AT_ONCE = 1024
"""KiB that one input may need while it is decoded: inputs are far smaller than that."""
LARGEST_FILE = 8 << 20
"""Bytes of a file that a guest may make: more than the program keeps in memory of one."""
MOST_KEPT = 64
"""KiB that may be kept after any number of inputs."""


class FuzzError(AssertionError):
    """An input did what none may do; the text says which and how to have it again."""


@dataclass(slots=True)
class Outcome:
    """What a run came to: inputs, and KiB of memory that one of them needed and that were kept after all."""

    inputs: int = 0
    peak: float = 0.0
    kept: float = 0.0


def fuzz_decoder(name: str, seconds: float, seed: int = 0) -> Outcome:
    """Feed a target of TARGETS for some seconds.

    Raises:
        FuzzError: It raised what is not documented, or memory is not flat.
    """
    target, outcome, before = TARGETS[name], Outcome(), 0
    corpus = target.corpus()
    for bits in range(1 << len(Capability)):  # tables that are made once for each set
        codec_table(frozenset(bit for bit in Capability if bits >> bit & 1))
    tracemalloc.start()
    try:
        for number in _numbers(seconds, 2 * WARM_UP):
            random = Random(f"{seed}/{number}")
            data = mutate(random, random.choice(corpus), corpus)
            tracemalloc.reset_peak()
            held = tracemalloc.get_traced_memory()[0]
            _run(partial(target.run, data), f"{name}: input {number} of seed {seed}: {data.hex()}")
            if number == WARM_UP:
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
            elif number > WARM_UP:
                outcome.peak = max(outcome.peak, (tracemalloc.get_traced_memory()[1] - held) / KIB)
                if outcome.peak > MOST_AT_ONCE:
                    raise FuzzError(f"{name}: {outcome.peak} KiB for input {number} of seed {seed}: {data.hex()}")
            outcome.inputs = number + 1
        gc.collect()
        outcome.kept = max(0.0, (tracemalloc.get_traced_memory()[0] - before) / KIB)
    finally:
        tracemalloc.stop()
    if outcome.kept > MOST_KEPT:
        raise FuzzError(f"{name}: {outcome.kept} KiB are kept after {outcome.inputs} inputs of seed {seed}")
    return outcome


def fuzz_sessions(seconds: float, seed: int = 0) -> Outcome:
    """Feed whole sessions that were recorded and broken, each to a share of its own.

    Raises:
        FuzzError: An exception has escaped, or the next guest is not served.
    """
    streams = {name: packets(captures.stream(name)) for name in captures.names()}

    def pieces(random: Random) -> list[bytes]:
        hello, *rest = random.choice(list(streams.values()))
        others = random.choice(list(streams.values()))
        wrong = list(rest)
        for _ in range(random.randint(1, 8)):
            at = random.randrange(len(wrong))
            wrong[at] = mutate(random, wrong[at], others) if random.random() < 0.7 else random.choice(others)
        return [hello, *wrong]

    return _fuzz_device("broken session", pieces, seconds, seed)


def fuzz_transactions(seconds: float, seed: int = 0) -> Outcome:
    """Run transactions at random, right and wrong, and all that may come between them.

    Raises:
        FuzzError: An exception has escaped, or the next guest is not served.
    """
    return _fuzz_device("random transactions", random_steps, seconds, seed)


def _fuzz_device(name: str, pieces: Callable[[Random], Sequence[bytes]], seconds: float, seed: int) -> Outcome:
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder, _small_files():
        for number in _numbers(seconds, WARM_UP // 10):
            share = Path(folder) / f"{number}" / "share"
            fill(share)
            given = pieces(Random(f"{seed}/{number}"))
            _run(partial(_attempt, share, given), f"{name} {number} of seed {seed}")
            outcome.inputs = number + 1
            left = [path.name for path in share.parent.iterdir()]
            if left != ["share"]:
                raise FuzzError(f"{name} {number} of seed {seed}: {left} beside the share")
            shutil.rmtree(share.parent)
    return outcome


@contextmanager
def _small_files() -> Iterator[None]:
    """Guests may make files as large as they like, but not here: their copies would fill the disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _attempt(share: Path, given: Sequence[bytes]) -> None:
    with no_faults(), FolderStorage(share, description="share", volume="volume") as storage:
        device = plugged(storage)
        bench = Bench(device)
        for piece in given:
            bench.feed(piece)
        bench.end()
        check_device(device)


def _run(action: Callable[[], object], what: str) -> None:
    try:
        action()
    except Exception as error:
        raise FuzzError(f"{what}: {error!r}") from error


def _numbers(seconds: float, least: int) -> Iterator[int]:
    """Counts up until the time is over, and at least so far."""
    end, number = time.monotonic() + seconds, 0
    while number < least or time.monotonic() < end:
        yield number
        number += 1


def main() -> None:
    """Fuzz everything in turn, for so many seconds altogether."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    arguments = parser.parse_args()
    share = arguments.seconds / (len(TARGETS) + 2)
    for name in TARGETS:
        outcome = fuzz_decoder(name, share, arguments.seed)
        report(name, outcome)
        print(f"{name}: {outcome.inputs:,} inputs, {outcome.peak:.0f} KiB for one, {outcome.kept:.1f} KiB kept")
    for name, fuzz in FUNCTIONS.items():
        outcome = fuzz(share, arguments.seed)
        report(name, outcome)
        print(f"{name}: {outcome.inputs:,}")


def report(name: str, outcome: Outcome) -> None:
    """Keep the figure of one target."""
    figure(f"{name}, inputs", outcome.inputs)


FUNCTIONS = {"whole sessions": fuzz_sessions, "random transactions": fuzz_transactions}
"""Name -> what runs the whole function that long."""

if __name__ == "__main__":
    main()
