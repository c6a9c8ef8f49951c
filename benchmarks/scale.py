"""What the server does with large trees and many guests: `make bench-scale`.

Every measurement starts servers of its own, prints rows of goal and figure, and all rows go to `scale.json`. Run it as
`python -m benchmarks.scale` in the folder of the repository: the guests are those of the tests.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.scale_events import events
from benchmarks.scale_idle import idle
from benchmarks.scale_listing import hello, listing, memory
from benchmarks.scale_rows import SMALL, Scale
from benchmarks.scale_sharing import many, slow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.scale_rows import Row

BUILD = Path(__file__).parent / "build"

MEASURES: dict[str, Callable[[Scale], Iterator[Row]]] = {
    "hello": hello,
    "listing": listing,
    "memory": memory,
    "idle": idle,
    "events": events,
    "many": many,
    "slow": slow,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all of it, or what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=MEASURES, action="append", help="may be repeated")
    parser.add_argument("--scale", choices=("full", "small"), default="full", help="small: 1 %% of the sizes")
    parser.add_argument(
        "--trees", type=Path, default=BUILD / "trees", help="where to make trees of files, and keep them"
    )
    parser.add_argument("--programs", type=Path, default=BUILD)
    parser.add_argument("--json", type=Path, default=BUILD / "scale.json")
    options = parser.parse_args(arguments)
    scale = Scale(SMALL if options.scale == "small" else 1, options.trees.resolve(), options.programs.resolve())
    rows, load = [], os.getloadavg()[0]
    print(f"load average {load:.2f} on {os.cpu_count()} cores: with others at work the figures say little")
    for name in options.only or MEASURES:
        for row in MEASURES[name](scale):
            rows.append(row)
            print(row, flush=True)
    result = {"load": load, "rows": [row.to_json() for row in rows]}
    options.json.write_text(json.dumps(result, indent=1), "utf-8")


if __name__ == "__main__":
    main()
