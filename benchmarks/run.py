"""Our server against the C floor, by the same C client: `make bench`.

Rounds of all responders alternate, so that whatever else the machine does hits each; medians and their ratios are
printed with the goal beside them, and everything is written to `results.json`. Between the floor and ours stands the
least that Python can do (`least.py`), where it can do it: what it costs is no work of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
MIB = 1 << 20
LIMIT_SECONDS = 120
"""Bound on one run of the client."""


class Case(NamedTuple):
    """One way to move a file.

    Attributes:
        way: "get" or "put".
        size: Bytes of a transfer.
        depth: Transfers in flight.
        total: MiB to move.
        goal: Most that ours may take, the floor's time being 1.
    """

    way: str
    size: int
    depth: int
    total: int
    goal: float

    def __str__(self) -> str:
        size = f"{self.size} B" if self.size < 1 << 10 else f"{self.size >> 10} KiB" if self.size < MIB else "1 MiB"
        return f"{self.way} {size} x {self.depth}"


CASES = [
    Case("get", 512, 1, 16, 1.3),
    Case("get", 16 << 10, 1, 128, 1.15),
    Case("get", 16 << 10, 8, 256, 1 / 0.9),
    Case("get", 64 << 10, 16, 512, 1 / 0.9),
    Case("get", 256 << 10, 4, 512, 1 / 0.9),
    Case("get", MIB, 2, 512, 1 / 0.9),
    Case("put", 16 << 10, 1, 128, 1 / 0.85),
    Case("put", 16 << 10, 8, 256, 1 / 0.85),
    Case("put", 64 << 10, 16, 256, 1 / 0.85),
    Case("put", 256 << 10, 4, 256, 1 / 0.85),
    Case("put", MIB, 2, 256, 1 / 0.85),
]
CPU_CASE = next(case for case in CASES if (case.way, case.size, case.depth) == ("get", 64 << 10, 16))
CPU_GOAL = 1.5


@dataclass
class Result:
    """What one case came to.

    Attributes:
        over: "tcp" or "unix".
        case: Its name.
        micros: Responder -> median time of a transfer in microseconds.
        rates: Responder -> median rate in GB/s.
        ratio: Our time, the floor's being 1: the median of those of each round.
        least: Likewise, the least that Python can do; None where it cannot.
        goal: Most that the ratio may be.
    """

    over: str
    case: str
    micros: dict[str, float]
    rates: dict[str, float]
    ratio: float
    least: float | None
    goal: float

    def __str__(self) -> str:
        least = "" if self.least is None else f"{self.least:.2f}"
        return (
            f"{self.over:5} {self.case:18} {self.micros['floor']:9.1f} {self.micros['ours']:9.1f} "
            f"{self.rates['floor']:6.2f} {self.rates['ours']:6.2f} {least:>6} {self.ratio:6.2f} {self.goal:6.2f} "
            f"{'yes' if self.ratio <= self.goal else 'NO'}"
        )


HEADING = f"{'':24} {'floor us':>9} {'ours us':>9} {'GB/s':>6} {'GB/s':>6} {'least':>6} {'ratio':>6} {'goal':>6}"


@dataclass
class Bench:
    """Where things are.

    Attributes:
        programs: Folder of the C programs.
        work: Folder for what is moved.
        over: "tcp" or "unix".
        numbers: For addresses.
    """

    programs: Path
    work: Path
    over: str
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(45111, 46000)))

    def address(self) -> str:
        """A new one, as the programs take it: a port or a path."""
        number = next(self.numbers)
        return str(number) if self.over == "tcp" else str(self.work / f"{number}.sock")

    def share(self, case: Case) -> Path:
        """A folder with a file of the case's size in it."""
        share = self.work / f"{case.total}"
        share.mkdir(exist_ok=True)
        file = share / "file"
        if not file.exists():
            with file.open("wb") as out:
                for _ in range(case.total):
                    out.write(bytes(range(256)) * 4096)
        return share


@contextmanager
def started(command: list[str | Path], line: str) -> Iterator[tuple[subprocess.Popen[str], re.Match[str]]]:
    """A program that has printed a line."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for text in process.stdout:
                if found := re.match(line, text):
                    yield process, found
                    break
            else:
                sys.exit(f"{command[0]} did not start")
        finally:
            process.terminate()


@contextmanager
def floor(bench: Bench, case: Case) -> Iterator[str]:
    """The C responder; gives where it listens."""
    where = bench.address()
    with started([bench.programs / "floor", where, bench.share(case) / "file", bench.work / "sink"], "ready"):
        yield where


@contextmanager
def least(bench: Bench, case: Case) -> Iterator[str]:
    """The least that Python can do."""
    where = bench.address()
    with started([sys.executable, HERE / "least.py", where, bench.share(case) / "file"], "ready"):
        yield where


@contextmanager
def ours(bench: Bench, case: Case) -> Iterator[tuple[str, int]]:
    """Our server; gives where it listens, and its process."""
    where = bench.address()
    listen = ["--port", where] if bench.over == "tcp" else ["--listen", f"unix:{where}"]
    command: list[str | Path] = [sys.executable, "-m", "usbredir_mtp", "--export", bench.share(case), *listen]
    with started([*command, "--state-dir", bench.work / "state"], "Listening on") as (process, _):
        yield where, process.pid


def measure(bench: Bench, where: str, case: Case) -> tuple[float, float]:
    """Microseconds a transfer, and GB/s."""
    numbers = [str(number) for number in (case.size, case.depth, case.total * MIB)]
    command: list[str | Path] = [bench.programs / "client", where, case.way, *numbers]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=LIMIT_SECONDS)
    shown = json.loads(done.stdout)
    return shown["seconds"] / shown["transfers"] * 1e6, shown["bytes"] / shown["seconds"] / 1e9


def cpu_seconds(pid: int) -> float:
    """What a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(bench: Bench, case: Case, rounds: int) -> Result:
    """One case, all responders in turn."""
    with ExitStack() as stack:
        sides = {"floor": stack.enter_context(floor(bench, case))}
        if case.way == "get":
            sides["least"] = stack.enter_context(least(bench, case))
        sides["ours"] = stack.enter_context(ours(bench, case))[0]
        runs: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, where in sides.items():
                runs[side].append(measure(bench, where, case))
            (bench.share(case) / "put").unlink(missing_ok=True)

    def ratio(side: str) -> float:
        pairs = zip(runs[side], runs["floor"], strict=True)
        return round(statistics.median(mine[0] / theirs[0] for mine, theirs in pairs), 3)

    def median(column: int) -> dict[str, float]:
        return {side: statistics.median(run[column] for run in runs[side]) for side in runs}

    least_ratio = ratio("least") if "least" in runs else None
    return Result(bench.over, str(case), median(0), median(1), ratio("ours"), least_ratio, round(case.goal, 3))


def cpu(bench: Bench) -> float:
    """CPU seconds that our server uses for a GB, got with 64 KiB x 16."""
    with ours(bench, CPU_CASE) as (where, pid):
        measure(bench, where, CPU_CASE)
        before = cpu_seconds(pid)
        for _ in range(4):
            measure(bench, where, CPU_CASE)
        return (cpu_seconds(pid) - before) / (4 * CPU_CASE.total * MIB / 1e9)


def machine() -> dict[str, str]:
    """What a figure depends on."""
    return {
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--programs", type=Path, default=HERE / "build")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--over", choices=["tcp", "unix"], action="append", help="default: both")
    parser.add_argument("--only", default="", help="cases whose names begin so, such as 'get 16'")
    parser.add_argument("--json", type=Path, default=HERE / "build" / "results.json")
    options = parser.parse_args()
    results = []
    print(HEADING)
    with tempfile.TemporaryDirectory() as folder:
        for over in options.over or ["tcp", "unix"]:
            bench = Bench(options.programs, Path(folder), over)
            for case in CASES:
                if str(case).startswith(options.only):
                    results.append(compare(bench, case, options.rounds))
                    print(results[-1], flush=True)
        used = None if options.only else cpu(Bench(options.programs, Path(folder), "tcp"))
    if used is not None:
        print(f"CPU seconds a GB, get 64 KiB x 16: {used:.2f} (goal {CPU_GOAL:.2f})")
    found = {"machine": machine(), "cases": [asdict(result) for result in results], "cpu_per_gb": used}
    options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
