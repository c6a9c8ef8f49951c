"""Makes docs/performance.md, and its plot, of what the benchmarks have found: `make bench-page`."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
PLOT = "performance.svg"

HEAD = f"""# Performance

Made by `make bench-page` of what `make bench`, `make bench-guest` and `make bench-scale` found. Times depend on the
machine and on what else it does; ratios of runs that alternate depend less on it, so these are the goals.

![Time of ours and of the least that Python can do, the floor's being 1]({PLOT})
"""

FLOOR = """## Against the floor

The floor is a responder in C that answers each transfer at once: with data from mapped memory and one write, and one
write to the file for each block of an upload (`benchmarks/floor.c`). It checks nothing. "Least" is the same on uvloop,
in a page of Python (`benchmarks/least.py`): what it takes more than the floor is the price of an event loop in Python.
All three face the same C client, in turn.

"""

BOUNDS = """What bounds them: with one transfer in flight, two wake-ups of a process and, in Python, 3 us for a transfer
through session, device and protocol, a write and a read. With more, copying: the file's data goes from the page cache
to us and from us to the socket, where the floor copies once.

"""

GUEST = """## In a guest

A Debian guest in QEMU without KVM, so times are ratios only: the same libmtp against our server, against the floor
behind the same usb-redir, and against QEMU's own usb-mtp, which has no socket in between; listings also against
umtp-responder, which runs in the guest on a virtual bus.

What bounds them: mtp-filetree and mtp-files of libmtp 1.1.20 ask for each object by itself, two transactions of ours
and three of usb-mtp. Each is three USB transfers, and a transfer over a socket costs a guest like this about 0.5 ms,
one of usb-mtp, which is inside of QEMU, 0.15 ms: 60,000 of ours are the 30 s. Our server computes for 4 of them (0.2 ms
a transaction, most of it waking threads), so that no server behind usb-redir can be much faster there. Programs that
ask for whole lists do gain: those on jmtpfs, and `aft-mtp-cli`, which cannot list usb-mtp's folder at all. Copies are a
transfer of 16 KiB after the other, each 0.55 ms with the floor; runs differ by a tenth.

"""

SCALE = """## Large trees and many guests

"""


@dataclass(frozen=True)
class Table:
    """A table in Markdown: its heading and its rows."""

    heading: list[str]
    rows: list[list[str]]

    def __str__(self) -> str:
        lines = [self.heading, ["---", *["---:"] * (len(self.heading) - 1)], *self.rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def verdict(met: bool) -> str:
    """How a goal is marked."""
    return "✓" if met else "✗"


def floor_table(found: dict[str, Any]) -> Table:
    """The cases of `make bench`."""
    heading = ["", "floor, us", "ours, us", "ours, GB/s", "least / floor", "ours / floor", "goal", ""]
    rows = [
        [
            f"{case['case']}, {case['over']}",
            f"{case['micros']['floor']:.1f}",
            f"{case['micros']['ours']:.1f}",
            f"{case['rates']['ours']:.2f}",
            "" if case["least"] is None else f"{case['least']:.2f}",
            f"{case['ratio']:.2f}",
            f"≤ {case['goal']:.2f}",
            verdict(case["ratio"] <= case["goal"]),
        ]
        for case in found["cases"]
    ]
    return Table(heading, rows)


def rows_table(rows: list[dict[str, Any]]) -> Table:
    """Rows of goal and figure."""
    return Table(
        ["", "figure", "goal", ""],
        [
            [
                row["what"],
                "-" if row["figure"] is None else f"{row['figure']:.4g} {row['unit']}",
                f"{'≥' if row['at_least'] else '≤'} {row['goal']:g} {row['unit']}",
                verdict(row["met"]),
            ]
            for row in rows
        ],
    )


def plot(found: dict[str, Any], path: Path) -> None:
    """Bars of the ratios, and the goals."""
    import matplotlib as mpl  # noqa: PLC0415  (only who makes the page has it)
    from matplotlib.figure import Figure  # noqa: PLC0415  (likewise)

    mpl.rcParams["svg.hashsalt"] = "performance"  # so that the same figures make the same file
    cases = [case for case in found["cases"] if case["over"] == "tcp"]
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    places = range(len(cases))
    axes.bar([place - 0.2 for place in places], [case["ratio"] for case in cases], 0.4, label="ours")
    axes.bar([place + 0.2 for place in places], [case["least"] or 0 for case in cases], 0.4, label="least in Python")
    goals = [case["goal"] for case in cases]
    axes.hlines(goals, [place - 0.45 for place in places], [place + 0.45 for place in places], "k", label="goal")
    axes.axhline(1, color="grey", linewidth=0.5)
    axes.set_xticks(list(places), [case["case"] for case in cases], rotation=30, ha="right")
    axes.set_ylabel("time, floor = 1")
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def page(found: dict[str, Any], guest: list[dict[str, Any]], scale: list[dict[str, Any]]) -> str:
    """The whole page."""
    used = found["cpu_per_gb"]
    machine = found["machine"]
    cpu = f"CPU seconds of the server for a GB, got with 64 KiB x 16: {used:.2f} (goal: 1.5).\n\n" if used else ""
    system = f"{machine['system']} {machine['kernel']}, Python {machine['python']}"
    parts = [
        HEAD,
        f"\nMeasured on {machine['cores']} cores, {system}.\n\n",
        FLOOR,
        str(floor_table(found)),
        cpu,
        BOUNDS,
    ]
    if guest:
        parts += [GUEST, str(rows_table(guest))]
    if scale:
        parts += [SCALE, str(rows_table(scale))]
    return "".join(parts).rstrip("\n") + "\n"


def main() -> None:
    """Write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=HERE / "build")
    options = parser.parse_args()

    def rows(name: str) -> list[dict[str, Any]]:
        path = options.build / name
        return list(json.loads(path.read_text())["rows"]) if path.exists() else []

    found = json.loads((options.build / "results.json").read_text())
    plot(found, DOCS / PLOT)
    (DOCS / "performance.md").write_text(page(found, rows("guest.json"), rows("scale.json")), "utf-8")


if __name__ == "__main__":
    main()
