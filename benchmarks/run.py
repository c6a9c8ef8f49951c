"""Our server against the C floor, by the same C client: `make bench`.

Runs of both sides alternate, so that whatever else the machine does hits both; medians and their ratio are printed with
the goal beside them, and everything is written to `results.json`.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
MIB = 1 << 20


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


@dataclass
class Result:
    """Medians of one case; times are of one transfer, in microseconds."""

    case: str
    floor_us: float
    ours_us: float
    floor_gbs: float
    ours_gbs: float
    ratio: float
    goal: float


@contextmanager
def floor(programs: Path, where: str, file: Path, sink: Path) -> Iterator[str]:
    """The C responder; gives where it listens."""
    with subprocess.Popen([programs / "floor", where, file, sink], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield where
        finally:
            process.kill()


@contextmanager
def ours(folder: Path, state: Path) -> Iterator[tuple[str, int]]:
    """Our server on a TCP port; gives it and the process."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "usbredir_mtp",
        "--export",
        folder,
        "--port",
        "0",
        "--state-dir",
        state,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.match(r"Listening on .*:(\d+)", line):
                break
        else:
            sys.exit("the server did not start")
        try:
            yield found[1], process.pid
        finally:
            process.terminate()


def measure(programs: Path, where: str, case: Case) -> tuple[float, float]:
    """Seconds a transfer, and bytes a second."""
    command: list[str | Path] = [
        programs / "client",
        where,
        case.way,
        str(case.size),
        str(case.depth),
        str(case.total * MIB),
    ]
    shown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return shown["seconds"] / shown["transfers"], shown["bytes"] / shown["seconds"]


def cpu_seconds(pid: int) -> float:
    """What a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def compare(programs: Path, work: Path, case: Case, rounds: int, port: int) -> Result:
    """One case, both sides in turn."""
    share = work / f"{case.total}"
    share.mkdir(exist_ok=True)
    file = share / "file"
    if not file.exists():
        with file.open("wb") as out:
            for _ in range(case.total):
                out.write(bytes(range(256)) * 4096)
    times: dict[str, list[tuple[float, float]]] = {"floor": [], "ours": []}
    with ExitStack() as stack:
        theirs = stack.enter_context(floor(programs, str(port), file, work / "sink"))
        mine, _ = stack.enter_context(ours(share, work / "state"))
        for _ in range(rounds):
            times["floor"].append(measure(programs, theirs, case))
            times["ours"].append(measure(programs, mine, case))
            (share / "put").unlink(missing_ok=True)
    (floor_time, floor_rate), (our_time, our_rate) = (
        tuple(statistics.median(column) for column in zip(*times[side], strict=True)) for side in ("floor", "ours")
    )
    name = f"{case.way} {case.size} B x {case.depth}"
    ratio = our_time / floor_time
    return Result(
        name, floor_time * 1e6, our_time * 1e6, floor_rate / 1e9, our_rate / 1e9, round(ratio, 3), round(case.goal, 3)
    )


def cpu(programs: Path, work: Path) -> float:
    """CPU seconds that our server uses for a GB, got with 64 KiB x 16."""
    case = next(case for case in CASES if (case.way, case.size, case.depth) == ("get", 64 << 10, 16))
    with ours(work / f"{case.total}", work / "state") as (port, pid):
        measure(programs, port, case)
        before = cpu_seconds(pid)
        for _ in range(4):
            measure(programs, port, case)
        return (cpu_seconds(pid) - before) / (4 * case.total * MIB / 1e9)


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--programs", type=Path, default=HERE / "build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--port", type=int, default=45111, help="for the floor")
    parser.add_argument("--only", default="", help="cases whose names begin so")
    parser.add_argument("--json", type=Path, default=HERE / "build" / "results.json")
    options = parser.parse_args()
    results = []
    print(f"{'':22} {'floor':>10} {'ours':>10} {'GB/s':>6} {'GB/s':>6} {'ratio':>7} {'goal':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(CASES):
            if not f"{case.way} {case.size}".startswith(options.only):
                continue
            result = compare(options.programs, Path(folder), case, options.rounds, options.port + number)
            results.append(result)
            print(
                f"{result.case:22} {result.floor_us:8.1f}us {result.ours_us:8.1f}us {result.floor_gbs:6.2f} "
                f"{result.ours_gbs:6.2f} {result.ratio:7.2f} {result.goal:6.2f}",
                flush=True,
            )
        used = None if options.only else cpu(options.programs, Path(folder))
    if used is not None:
        print(f"CPU seconds a GB, get 64 KiB x 16: {used:.2f} (goal 1.50)")
    options.json.write_text(json.dumps({"cases": [asdict(result) for result in results], "cpu_per_gb": used}, indent=1))


if __name__ == "__main__":
    main()
